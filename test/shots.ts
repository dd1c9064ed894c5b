/**
 * Pictures of the page in several states, on a desktop in both colour schemes and on a phone: npm run shots
 *
 * Written to shots/. `npm run shots -- empty batch` makes those of two states only.
 */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { BrowserContextOptions, Page } from 'playwright-core'
import sharp from 'sharp'
import { drawDigit, launchBrowser, NO_BROWSER, STYLES, untilIdle, visit } from './browser.ts'
import { ROOT, type RunningServer, startServer } from './running_server.ts'

const MODELS = join(ROOT, 'test/fixtures/models')
const DEVICES: Record<string, BrowserContextOptions> = {
  desktop: { viewport: { width: 1280, height: 800 } },
  'desktop-dark': { viewport: { width: 1280, height: 800 }, colorScheme: 'dark' },
  phone: {
    viewport: { width: 360, height: 640 },
    hasTouch: true,
    isMobile: true,
    deviceScaleFactor: 2,
    colorScheme: 'dark',
  },
}

/** A drawing in place of a photo: a sun over the sea. */
const SUNSET = `<svg xmlns="http://www.w3.org/2000/svg" width="1200" height="800">
  <defs>
    <linearGradient id="sky" x2="0" y2="1"><stop stop-color="#5b4b8a"/><stop offset=".5" stop-color="#f08a5d"/><stop offset="1" stop-color="#ffd9a0"/></linearGradient>
    <linearGradient id="sea" x2="0" y2="1"><stop stop-color="#e58f63"/><stop offset="1" stop-color="#6b4a6b"/></linearGradient>
    <filter id="soft"><feGaussianBlur stdDeviation="14"/></filter>
  </defs>
  <rect width="1200" height="520" fill="url(#sky)"/><rect y="520" width="1200" height="280" fill="url(#sea)"/>
  <circle cx="760" cy="500" r="90" fill="#fff3d6"/><rect y="520" width="1200" height="280" fill="url(#sea)" opacity=".9"/>
  <g filter="url(#soft)" fill="#ffe9c4"><rect x="700" y="540" width="120" height="20"/><rect x="640" y="590" width="240" height="16"/><rect x="720" y="640" width="100" height="14"/></g>
  <g filter="url(#soft)" fill="#fff" opacity=".45"><ellipse cx="300" cy="190" rx="230" ry="38"/><ellipse cx="930" cy="120" rx="260" ry="30"/></g>
</svg>`

const photo = await sharp(Buffer.from(SUNSET)).jpeg({ quality: 88 }).toBuffer()
const plain = (background: string) =>
  sharp({ create: { width: 600, height: 400, channels: 3, background } })
    .jpeg()
    .toBuffer()

const asFile = (name: string, buffer: Buffer) => ({ name, mimeType: 'image/jpeg', buffer })

async function give(page: Page, ...files: ReturnType<typeof asFile>[]): Promise<void> {
  await page.locator('#file').setInputFiles(files)
  await untilIdle(page)
  await page.waitForLoadState('networkidle')
}

/** The README's pictures; copy them to docs/. */
const README: Record<string, string> = { 'drawn-desktop': 'page.png', 'unsure-phone': 'page-phone.png' }

interface State {
  model?: string
  env?: Record<string, string>
  /** a visitor's actions */
  act(page: Page, server: RunningServer): Promise<unknown>
}

const batch = async () => [
  asFile('sunset.jpg', photo),
  asFile('holiday at the sea.jpg', await plain('#3366a0')),
  asFile('broken.jpg', photo.subarray(0, 3000)),
  asFile('dune.jpg', await plain('#c9b27c')),
  asFile('notes.txt', Buffer.from('no image')),
  asFile('winter.jpg', await plain('#eef2f6')),
  asFile('dusk.jpg', await plain('#8a6f70')),
]

const STATES: Record<string, State> = {
  empty: { act: async () => {} },
  drawn: { act: (page) => drawDigit(page, 2, STYLES.plain) },
  small: {
    act: (page) => drawDigit(page, 3, { ...STYLES.plain, width: 0.1, height: 0.12, pen: 8, jitter: 0 }),
  },
  unsure: { act: drawUnsure },
  photo: { model: 'scenes', act: (page) => give(page, asFile('sunset.jpg', photo)) },
  'drop-zone': { model: 'scenes', act: async () => {} },
  'forty-labels': { model: 'attributes', act: (page) => give(page, asFile('portrait.jpg', photo)) },
  regression: {
    model: 'linear',
    async act(page) {
      await page.locator('#numbers').fill('5.25')
      await page.keyboard.press('Enter')
    },
  },
  batch: { model: 'scenes', act: async (page) => give(page, ...(await batch())) },
  'token-refused': {
    env: { API_TOKEN: 'right' },
    async act(page) {
      await page.locator('#token').fill('wrong')
      await page.keyboard.press('Enter')
      await page.locator('#message:not(:empty)').waitFor()
    },
  },
  'server-away': {
    async act(page, server) {
      await server.stop()
      await drawDigit(page, 7, STYLES.plain)
      await page.locator('#message.bad').waitFor()
    },
  },
}

/** A 9 whose top opens until it could be a 4. */
async function drawUnsure(page: Page): Promise<void> {
  const unsure = page.locator('#answer.unsure')
  for (let gap = 0.1; gap < 0.26 && (await unsure.count()) === 0; gap += 0.0025) {
    await page.locator('#clear').click()
    const top = { left: [0.36, 0.24], right: [0.66, 0.22] }
    await drawStroke(page, [top.left, [0.34, 0.48], [0.66, 0.46]])
    await drawStroke(page, [top.left, [0.51, 0.2], [0.66 - gap, 0.22]])
    await drawStroke(page, [top.right, [0.65, 0.5], [0.6, 0.82]])
    await untilIdle(page)
  }
  if ((await unsure.count()) === 0) throw new Error('the model is sure of every drawing')
}

/** @param points as shares of the canvas */
async function drawStroke(page: Page, points: number[][]): Promise<void> {
  const box = (await page.locator('#canvas').boundingBox())!
  for (const [index, [x, y]] of points.entries()) {
    await page.mouse.move(box.x + x * box.width, box.y + y * box.height, { steps: 5 })
    if (index === 0) await page.mouse.down()
  }
  await page.mouse.up()
}

if (NO_BROWSER) throw new Error(NO_BROWSER)
const chosen = process.argv.slice(2)
const folder = join(ROOT, 'shots')
mkdirSync(folder, { recursive: true })
const browser = await launchBrowser()
for (const [name, { model, env, act }] of Object.entries(STATES)) {
  if (chosen.length > 0 && !chosen.includes(name)) continue
  for (const [device, options] of Object.entries(DEVICES)) {
    const modelDir = model ? { MODEL_DIR: join(MODELS, model) } : undefined
    const server = await startServer({ env: { ...modelDir, ...env } })
    const seen = await visit(browser, server.url, options)
    seen.expectErrors()
    await act(seen.page, server)
    if (name !== 'server-away') await untilIdle(seen.page)
    await seen.page.waitForTimeout(400) // until the bars have settled
    const path = join(folder, `${name}-${device}.png`)
    await seen.page.screenshot({ path })
    const picture = README[`${name}-${device}`]
    // few colours, small files
    if (picture)
      await sharp(path).png({ palette: true, colours: 48, effort: 10 }).toFile(join(folder, picture))
    await seen.close()
    await server.stop()
  }
}
await browser.close()
