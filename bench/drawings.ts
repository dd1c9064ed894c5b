/**
 * How well drawings are read: npm run bench:drawings
 *
 * Draws digits on the page's canvas in Debian's Chromium: several sizes, in the middle and in each corner, with several
 * pens, narrow and wide, upright and slanted. Each is sent as it is and inverted. Then dots and noise: no digits, of which
 * the model should not be sure.
 */
import type { Page } from 'playwright-core'
import sharp from 'sharp'
import { DIGITS, drawDigit, launchBrowser, NO_BROWSER, visit } from '../test/browser.ts'
import { startServer } from '../test/running_server.ts'

/** the digit's height, as a share of the canvas's */
const HEIGHTS = [0.7, 0.5, 0.35, 0.25, 0.2]
/** of the slider, in pixels of a canvas of 280 */
const PENS = [15, 22, 32]
const SHAPES = [
  { aspect: 0.6, slant: 0 },
  { aspect: 0.8, slant: 0.15 },
]
/** Where the free space goes: shares to the left and above. */
const PLACES = {
  middle: [0.5, 0.5],
  'top left': [0, 0],
  'top right': [1, 0],
  'bottom left': [0, 1],
  'bottom right': [1, 1],
}

if (NO_BROWSER) throw new Error(NO_BROWSER)
const [server, browser] = await Promise.all([startServer(), launchBrowser()])
const { page, end } = await visit(browser, server.url)

async function pngOf(page: Page): Promise<Buffer> {
  const url = (await page.evaluate(`document.getElementById('canvas').toDataURL()`)) as string
  return Buffer.from(url.slice(url.indexOf(',') + 1), 'base64')
}

/** The server's answers for an image as it is, and inverted. */
async function answers(png: Buffer): Promise<{ label: string; score: number }[]> {
  const inverted = await sharp(png).negate({ alpha: false }).png().toBuffer()
  return Promise.all(
    [png, inverted].map(async (body) => {
      const response = await fetch(`${server.url}/predict`, { method: 'POST', body: new Uint8Array(body) })
      if (!response.ok) throw new Error(await response.text())
      return (await response.json()) as { label: string; score: number }
    }),
  )
}

/** Draw all digits in one size and place with every pen and shape, and count those that are read, of both polarities. */
async function read(height: number, [left, above]: number[]): Promise<{ right: number; count: number }> {
  let right = 0
  let count = 0
  for (const pen of PENS) {
    for (const { aspect, slant } of SHAPES) {
      const width = height * aspect
      const margin = pen / 2 / 280 + 0.02
      const lean = (slant * height) / 2
      const style = {
        left: margin + lean + (1 - 2 * margin - width - 2 * lean) * left,
        top: margin + (1 - 2 * margin - height) * above,
        ...{ width, height, slant, pen, jitter: 0.01 * height },
      }
      for (const digit of DIGITS.keys()) {
        await page.locator('#clear').click()
        await drawDigit(page, digit, style)
        for (const { label } of await answers(await pngOf(page))) {
          count += 1
          if (label === String(digit)) right += 1
        }
      }
    }
  }
  return { right, count }
}

console.log(`right answers of ${DIGITS.length * PENS.length * SHAPES.length * 2} drawings each`)
for (const height of HEIGHTS) {
  const cells: string[] = []
  for (const [name, place] of Object.entries(PLACES)) {
    const { right, count } = await read(height, place)
    cells.push(`${name} ${((100 * right) / count).toFixed(1)} %`)
  }
  console.log(`${height * 100} % of the canvas's height: ${cells.join(', ')}`)
}

function reportScores(of: string, scores: number[]) {
  const mean = scores.reduce((sum, score) => sum + score) / scores.length
  console.log(`top score of ${of}: ${mean.toFixed(2)} on average, ${Math.max(...scores).toFixed(2)} at most`)
}

const dots: number[] = []
for (const pen of [8, ...PENS, 40]) {
  await page.locator('#pen').fill(String(pen))
  for (const [x, y] of Object.values(PLACES)) {
    await page.locator('#clear').click()
    const canvas = (await page.locator('#canvas').boundingBox())!
    await page.mouse.move(
      canvas.x + canvas.width * (0.1 + 0.8 * x),
      canvas.y + canvas.height * (0.1 + 0.8 * y),
    )
    await page.mouse.down()
    await page.mouse.up()
    dots.push(...(await answers(await pngOf(page))).map(({ score }) => score))
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
    noises.push(...(await answers(png)).map(({ score }) => score))
  }
}
reportScores('noise', noises)
await end()
await browser.close()
await server.stop()
