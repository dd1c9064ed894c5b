/** The page in a real browser (Debian's Chromium, driven by playwright-core), and handwritten digits to draw. */
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core'

const CHROMIUM = [
  process.env.CHROMIUM,
  '/usr/bin/chromium',
  '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome',
]
const executablePath = CHROMIUM.find((path) => path && existsSync(path))

/** false, or why the tests that need a browser are skipped. */
export const NO_BROWSER = executablePath
  ? false
  : 'there is no Chromium: install it (Debian: chromium), or set CHROMIUM to its path'

export function launchBrowser(): Promise<Browser> {
  // no requests to the browser's vendor
  const quiet = [
    '--disable-quic',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
  ]
  // no sandbox, which root cannot use; a camera with a test pattern, for which the page still needs permission
  const args = ['--no-sandbox', '--disable-gpu', '--use-fake-device-for-media-stream', ...quiet]
  return chromium.launch({ executablePath, args })
}

export interface Visit {
  page: Page
  /** every request, `METHOD path` */
  requests: string[]
  /** Allow console errors about failed requests. */
  expectErrors(): void
  /** Close the page; fails after an error or a request to another origin. */
  close(): Promise<void>
}

/** Open the page of a server, as a first visitor. */
export async function visit(
  browser: Browser,
  url: string,
  options: BrowserContextOptions = {},
): Promise<Visit> {
  const context = await browser.newContext(options)
  const page = await context.newPage()
  const requests: string[] = []
  const foreign: string[] = []
  const errors: string[] = []
  let areErrorsExpected = false
  page.on('request', (request) => {
    const { protocol, origin, pathname } = new URL(request.url())
    if (protocol === 'http:' && origin === url) requests.push(`${request.method()} ${pathname}`)
    else if (protocol !== 'blob:' && protocol !== 'data:') foreign.push(request.url())
  })
  page.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning') errors.push(message.text())
  })
  page.on('pageerror', (error) => errors.push(`uncaught: ${error}`))
  await page.goto(url)
  // until the page knows the model, or asks for a token
  await page.locator('#stage:visible, #token-form:visible').waitFor()
  return {
    page,
    requests,
    expectErrors() {
      areErrorsExpected = true
    },
    async close() {
      await context.close()
      assert.deepEqual(foreign, [])
      const unexpected = errors.filter((text) => !areErrorsExpected || !/^Failed to load resource/.test(text))
      assert.deepEqual(unexpected, [])
    },
  }
}

/** Wait until every input has its result. */
export async function untilIdle(page: Page): Promise<void> {
  await page.locator('#answer[aria-busy=false]').waitFor()
}

type Point = [number, number]

/** The strokes of each digit, as points in a box of 1 x 1. */
export const DIGITS: Point[][][] = [
  [
    [
      [0.5, 0],
      [0.15, 0.2],
      [0.08, 0.5],
      [0.2, 0.85],
      [0.5, 1],
      [0.8, 0.85],
      [0.92, 0.5],
      [0.85, 0.18],
      [0.5, 0],
    ],
  ],
  [
    [
      [0.3, 0.2],
      [0.52, 0],
      [0.52, 0.5],
      [0.5, 1],
    ],
  ],
  [
    [
      [0.12, 0.25],
      [0.3, 0.03],
      [0.65, 0.02],
      [0.82, 0.25],
      [0.65, 0.55],
      [0.35, 0.8],
      [0.1, 1],
    ],
    [
      [0.1, 1],
      [0.5, 0.99],
      [0.9, 1],
    ],
  ],
  [
    [
      [0.15, 0.1],
      [0.45, 0],
      [0.8, 0.12],
      [0.75, 0.38],
      [0.42, 0.48],
    ],
    [
      [0.42, 0.48],
      [0.8, 0.56],
      [0.88, 0.8],
      [0.55, 1],
      [0.12, 0.9],
    ],
  ],
  [
    [
      [0.3, 0],
      [0.2, 0.3],
      [0.12, 0.58],
    ],
    [
      [0.12, 0.58],
      [0.5, 0.57],
      [0.92, 0.55],
    ],
    [
      [0.7, 0.1],
      [0.69, 0.55],
      [0.68, 1],
    ],
  ],
  [
    [
      [0.3, 0],
      [0.26, 0.2],
      [0.22, 0.42],
    ],
    [
      [0.22, 0.42],
      [0.5, 0.36],
      [0.82, 0.52],
      [0.82, 0.85],
      [0.5, 1],
      [0.15, 0.9],
    ],
    [
      [0.3, 0],
      [0.55, 0.01],
      [0.85, 0],
    ],
  ],
  [
    [
      [0.7, 0],
      [0.4, 0.2],
      [0.2, 0.5],
      [0.15, 0.78],
      [0.4, 1],
      [0.75, 0.92],
      [0.8, 0.65],
      [0.5, 0.54],
      [0.2, 0.7],
    ],
  ],
  [
    [
      [0.1, 0.02],
      [0.5, 0.03],
      [0.88, 0],
    ],
    [
      [0.88, 0],
      [0.62, 0.4],
      [0.45, 0.7],
      [0.38, 1],
    ],
  ],
  [
    [
      [0.72, 0.12],
      [0.45, 0],
      [0.22, 0.15],
      [0.32, 0.38],
      [0.62, 0.55],
      [0.8, 0.8],
      [0.5, 1],
      [0.2, 0.82],
      [0.36, 0.56],
      [0.68, 0.36],
      [0.72, 0.12],
    ],
  ],
  [
    [
      [0.8, 0.2],
      [0.5, 0.02],
      [0.2, 0.2],
      [0.3, 0.46],
      [0.6, 0.46],
      [0.8, 0.2],
    ],
    [
      [0.8, 0.2],
      [0.76, 0.6],
      [0.66, 1],
    ],
  ],
]

/** A style of handwriting; positions and sizes are shares of the drawing area. */
export interface Style {
  left: number
  top: number
  width: number
  height: number
  /** how far the top leans to the right, as a share of the height */
  slant: number
  /** value of the slider, 8 to 40 */
  pen: number
  /** largest random offset of a point, as a share of the area */
  jitter: number
}

export const STYLES: Record<string, Style> = {
  plain: { left: 0.28, top: 0.18, width: 0.42, height: 0.62, slant: 0, pen: 22, jitter: 0.008 },
  'thin, small and in a corner': {
    left: 0.12,
    top: 0.1,
    width: 0.36,
    height: 0.52,
    slant: 0.05,
    pen: 15,
    jitter: 0.01,
  },
  'thick, slanted and to the right': {
    left: 0.4,
    top: 0.24,
    width: 0.42,
    height: 0.6,
    slant: 0.15,
    pen: 32,
    jitter: 0.015,
  },
}

/** The strokes of a digit, as points in shares of the drawing area; the same on every call. */
export function strokesOf(digit: number, style: Style): Point[][] {
  const random = generator(digit + style.pen)
  const shake = () => (random() * 2 - 1) * style.jitter
  const place = ([x, y]: Point): Point => [
    style.left + style.width * x + style.slant * style.height * (0.5 - y) + shake(),
    style.top + style.height * y + shake(),
  ]
  return DIGITS[digit].map((stroke) => smooth(stroke).map(place))
}

/** Draw a digit with the mouse, without waiting. */
export async function drawDigit(page: Page, digit: number, style: Style): Promise<void> {
  await page.locator('#pen').fill(String(style.pen))
  const box = (await page.locator('#canvas').boundingBox())!
  for (const stroke of strokesOf(digit, style)) {
    const [first, ...rest] = stroke.map(([x, y]): Point => [box.x + box.width * x, box.y + box.height * y])
    await page.mouse.move(...first)
    await page.mouse.down()
    for (const point of rest) await page.mouse.move(...point)
    await page.mouse.up()
  }
}

/** Points of the Catmull-Rom curve through the given ones, six per segment. */
function smooth(points: Point[]): Point[] {
  const at = (index: number) => points[Math.max(0, Math.min(points.length - 1, index))]
  const curve = points.slice(1).flatMap((_, i) =>
    [1, 2, 3, 4, 5, 6].map((step): Point => {
      const t = step / 6
      const [p0, p1, p2, p3] = [at(i - 1), at(i), at(i + 1), at(i + 2)]
      const mix = (axis: 0 | 1) =>
        0.5 *
        (2 * p1[axis] +
          (p2[axis] - p0[axis]) * t +
          (2 * p0[axis] - 5 * p1[axis] + 4 * p2[axis] - p3[axis]) * t ** 2 +
          (3 * p1[axis] - p0[axis] - 3 * p2[axis] + p3[axis]) * t ** 3)
      return [mix(0), mix(1)]
    }),
  )
  return [points[0], ...curve]
}

/** Numbers from 0 to 1, reproducible by their seed (mulberry32). */
function generator(seed: number): () => number {
  let state = seed * 0x9e3779b9
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
