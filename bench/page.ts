/**
 * The speed of the page, in Debian's Chromium: npm run bench:page
 *
 * From the visit to the first paint, and from pen up to the bars of the result.
 */
import { drawDigit, launchBrowser, NO_BROWSER, STYLES, visit } from '../test/browser.ts'
import { startServer } from '../test/running_server.ts'
import { median } from './load.ts'

const ROUNDS = 30

/** In the page: milliseconds from the visit to the first contentful paint. */
const FIRST_PAINT = `new Promise((resolve) => {
  const isPaint = ({ name }) => name === 'first-contentful-paint'
  new PerformanceObserver((list) => resolve(list.getEntries().find(isPaint).startTime)).observe({ type: 'paint', buffered: true })
})`

/** In the page: milliseconds from pen up to the frame that shows the bars. */
const PEN_UP_TO_BARS = `new Promise((resolve) => {
  let startedAt
  document.getElementById('canvas').addEventListener('pointerup', () => { startedAt = performance.now() }, { once: true })
  const observer = new MutationObserver(() => {
    observer.disconnect()
    requestAnimationFrame(() => resolve(performance.now() - startedAt))
  })
  observer.observe(document.getElementById('bars'), { childList: true, subtree: true, characterData: true, attributes: true })
})`

if (NO_BROWSER) throw new Error(NO_BROWSER)
const [server, browser] = await Promise.all([startServer(), launchBrowser()])

const paints: number[] = []
let bytes = 0
for (let round = 0; round < ROUNDS; round++) {
  const { page, close } = await visit(browser, server.url)
  await page.locator('#samples button').first().waitFor()
  paints.push((await page.evaluate(FIRST_PAINT)) as number)
  bytes = (await page.evaluate(
    '[...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")].reduce((sum, { transferSize }) => sum + transferSize, 0)',
  )) as number
  await close()
}

const { page, close } = await visit(browser, server.url)
await page.locator('#samples button').first().waitFor()
await drawDigit(page, 3, STYLES.plain)
const idle = page.locator('#answer[aria-busy=false]')
await idle.waitFor()
const canvas = (await page.locator('#canvas').boundingBox())!
const penUp: number[] = []
for (let round = 0; round < ROUNDS; round++) {
  // one more dot, so that no response to an unfinished line is counted
  const time = page.evaluate(PEN_UP_TO_BARS)
  await page.mouse.move(canvas.x + canvas.width / 2, canvas.y + 3 + round)
  await page.mouse.down()
  await page.mouse.up()
  penUp.push((await time) as number)
  await idle.waitFor()
}
await close()

const range = (values: number[]) =>
  `${median(values).toFixed(0)} ms (${Math.min(...values).toFixed(0)} to ${Math.max(...values).toFixed(0)})`
console.log(
  `first contentful paint: ${range(paints)}, median of ${ROUNDS}; ${bytes} bytes with headers and /model`,
)
console.log(`pen up to the bars: ${range(penUp)}, median of ${ROUNDS}`)
await browser.close()
await server.stop()
