/**
 * Accuracy on drawn digits: npm run bench:drawings
 *
 * Draws digits as the page's canvas does, with a round pen: in several sizes, in the middle and in each corner, with
 * several pens, narrow and wide, upright and slanted. Each is sent as drawn and inverted. Dots and noise follow: the
 * model should not be sure of them.
 */
import sharp from 'sharp'
import { DIGITS, strokesOf } from '../test/browser.ts'
import { startServer } from '../test/running_server.ts'

/** the digit's height, as a share of the canvas's */
const HEIGHTS = [0.7, 0.5, 0.35, 0.25, 0.2]
/** widths in pixels of the canvas */
const PENS = [15, 22, 32]
const SHAPES = [
  { aspect: 0.6, slant: 0 },
  { aspect: 0.8, slant: 0.15 },
]
/** Shares of the free space to the left and above. */
const PLACES = {
  middle: [0.5, 0.5],
  'top left': [0, 0],
  'top right': [1, 0],
  'bottom left': [0, 1],
  'bottom right': [1, 1],
}

/** of the canvas, in pixels */
const SIDE = 280

const server = await startServer()

/** Strokes of a round pen, white on black; a stroke of one point is a dot. */
function draw(strokes: (readonly [number, number])[][], pen: number): Promise<Buffer> {
  const lines = strokes.map((points) => {
    const [first, ...rest] = points.map(([x, y]) => `${x * SIDE} ${y * SIDE}`)
    return `M ${first} L ${(rest.length > 0 ? rest : [first]).join(' L ')}`
  })
  const style = `fill="none" stroke="#fff" stroke-width="${pen}" stroke-linecap="round" stroke-linejoin="round"`
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${SIDE}" height="${SIDE}"><rect width="${SIDE}" height="${SIDE}"/><path d="${lines.join(' ')}" ${style}/></svg>`
  return sharp(Buffer.from(svg)).png().toBuffer()
}

/** The server's results for an image, as drawn and inverted. */
async function classify(png: Buffer): Promise<{ label: string; score: number }[]> {
  const inverted = await sharp(png).negate({ alpha: false }).png().toBuffer()
  return Promise.all(
    [png, inverted].map(async (body) => {
      const response = await fetch(`${server.url}/predict`, { method: 'POST', body: new Uint8Array(body) })
      if (!response.ok) throw new Error(await response.text())
      return (await response.json()) as { label: string; score: number }
    }),
  )
}

/** Draw all digits in one size and place with every pen and shape, and count the correct results. */
async function read(height: number, [left, above]: number[]): Promise<{ correct: number; count: number }> {
  let correct = 0
  let count = 0
  for (const pen of PENS) {
    for (const { aspect, slant } of SHAPES) {
      const width = height * aspect
      const margin = pen / 2 / SIDE + 0.02
      const lean = (slant * height) / 2
      const style = {
        left: margin + lean + (1 - 2 * margin - width - 2 * lean) * left,
        top: margin + (1 - 2 * margin - height) * above,
        ...{ width, height, slant, pen, jitter: 0.01 * height },
      }
      for (const digit of DIGITS.keys()) {
        for (const { label } of await classify(await draw(strokesOf(digit, style), pen))) {
          count += 1
          if (label === String(digit)) correct += 1
        }
      }
    }
  }
  return { correct, count }
}

console.log(`correct results of ${DIGITS.length * PENS.length * SHAPES.length * 2} drawings each`)
for (const height of HEIGHTS) {
  const cells: string[] = []
  for (const [name, place] of Object.entries(PLACES)) {
    const { correct, count } = await read(height, place)
    cells.push(`${name} ${((100 * correct) / count).toFixed(1)}%`)
  }
  console.log(`${height * 100} % of the canvas's height: ${cells.join(', ')}`)
}

function reportScores(name: string, scores: number[]) {
  const mean = scores.reduce((sum, score) => sum + score) / scores.length
  console.log(`top score of ${name}: mean ${mean.toFixed(2)}, at most ${Math.max(...scores).toFixed(2)}`)
}

const dots: number[] = []
for (const pen of [8, ...PENS, 40]) {
  for (const [x, y] of Object.values(PLACES)) {
    const dot = await draw([[[0.1 + 0.8 * x, 0.1 + 0.8 * y]]], pen)
    dots.push(...(await classify(dot)).map(({ score }) => score))
  }
}
reportScores('a dot', dots)

const noises: number[] = []
for (const side of [28, 56, 280]) {
  for (const sigma of [0, 5, 20, 80]) {
    const noise = { type: 'gaussian', mean: 100, sigma } as const
    const png = await sharp({
      create: { width: side, height: side, channels: 3, background: 'black', noise },
    })
      .png()
      .toBuffer()
    noises.push(...(await classify(png)).map(({ score }) => score))
  }
}
reportScores('noise', noises)
await server.stop()
