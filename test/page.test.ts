import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { EventEmitter, once } from 'node:events'
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { promisify } from 'node:util'
import type { Browser, BrowserContextOptions, Page } from 'playwright-core'
import sharp from 'sharp'
import {
  DIGITS,
  drawDigit,
  launchBrowser,
  NO_BROWSER,
  STYLES,
  untilIdle,
  type Visit,
  visit,
} from './browser.ts'
import { ROOT, type RunningServer, startServer } from './running_server.ts'

const MODELS = join(ROOT, 'test/fixtures/models')
const SAMPLE = join(ROOT, 'models/mnist/sample.png')
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
const PHONE = { viewport: { width: 360, height: 640 }, hasTouch: true, isMobile: true }
const DESKTOP = { viewport: { width: 1280, height: 800 } }

interface Prediction {
  label: string
  score: number
}

/** Wait until the result shows this label. */
async function untilLabel(page: Page, label: string): Promise<void> {
  await page.locator('#label').getByText(label, { exact: true }).waitFor()
}

/** The folder's sample.png, a 2. */
async function clickSample(page: Page): Promise<void> {
  await page.locator('#samples button').first().click()
}

/** An image of one colour. */
function plain(background: string): Promise<Buffer> {
  return sharp({ create: { width: 32, height: 32, channels: 3, background } })
    .png()
    .toBuffer()
}

/** The server's result for an image, without the page. */
async function predict<Result>({ url }: RunningServer, image: Buffer): Promise<Result> {
  const response = await fetch(`${url}/predict`, { method: 'POST', body: new Uint8Array(image) })
  return (await response.json()) as Result
}

async function styleOf(page: Page, selector: string, property: string): Promise<string> {
  return String(await page.evaluate(`getComputedStyle(document.querySelector('${selector}')).${property}`))
}

/** Whether an element is entirely visible without scrolling. */
async function isInView(page: Page, selector: string): Promise<boolean> {
  const { x, y, width, height } = (await page.locator(selector).boundingBox())!
  const { width: right, height: bottom } = page.viewportSize()!
  return x >= 0 && y >= 0 && x + width <= right && y + height <= bottom
}

async function messageOf(page: Page): Promise<string> {
  await page.locator('#message:not(:empty)').waitFor()
  return page.locator('#message').innerText()
}

/** The violations that axe-core finds, by rule and element. */
async function violations(page: Page): Promise<string[]> {
  await page.evaluate(AXE)
  const { violations } = (await page.evaluate('axe.run()')) as {
    violations: { id: string; nodes: { html: string }[] }[]
  }
  return violations.flatMap(({ id, nodes }) => nodes.map(({ html }) => `${id}: ${html}`))
}

/** Drop files on the page, or paste them. */
async function give(
  page: Page,
  event: 'drop' | 'paste',
  files: { name: string; bytes: Buffer }[],
): Promise<void> {
  const given = files.map(({ name, bytes }) => ({ name, base64: bytes.toString('base64') }))
  await page.evaluate(`{
    const transfer = new DataTransfer()
    for (const { name, base64 } of ${JSON.stringify(given)}) {
      const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0))
      transfer.items.add(new File([bytes], name, { type: 'image/png' }))
    }
    const options = { bubbles: true, cancelable: true, dataTransfer: transfer, clipboardData: transfer }
    document.body.dispatchEvent(
      ${event === 'drop' ? "new DragEvent('drop', options)" : "new ClipboardEvent('paste', options)"},
    )
  }`)
}

test('page, styles and scripts are under 66 kB', () => {
  const files = readdirSync(join(ROOT, 'public')).filter((name) => !name.startsWith('docs.'))
  assert.ok(files.length >= 3)
  const total = files.reduce((sum, name) => sum + statSync(join(ROOT, 'public', name)).size, 0)
  assert.ok(total < 66_000, `${total} bytes`)
})

describe('the page', { skip: NO_BROWSER }, () => {
  let browser: Browser
  let mnist: RunningServer
  const servers: RunningServer[] = []

  async function start(env: Record<string, string> = {}): Promise<RunningServer> {
    const server = await startServer({ env })
    servers.push(server)
    return server
  }

  /** Visit a server, do something, and check that the browser had no errors. */
  async function onPage(
    { url }: RunningServer,
    work: (page: Page, seen: Visit) => Promise<void>,
    options?: BrowserContextOptions,
  ): Promise<void> {
    const seen = await visit(browser, url, options)
    seen.page.setDefaultTimeout(20_000)
    await work(seen.page, seen)
    await seen.close()
  }

  before(async () => {
    ;[browser, mnist] = await Promise.all([launchBrowser(), start()])
  })
  after(async () => {
    await browser?.close()
    await Promise.all(servers.map((server) => server.stop()))
  })

  test('recognises at least 28 of 30 drawn digits: all ten, in three handwritings', async () => {
    const misread: string[] = []
    await onPage(mnist, async (page) => {
      for (const [name, style] of Object.entries(STYLES)) {
        for (const digit of DIGITS.keys()) {
          await page.locator('#clear').click()
          await drawDigit(page, digit, style)
          await untilIdle(page)
          const label = await page.locator('#label').innerText()
          if (label !== String(digit)) misread.push(`${digit} ${name}: ${label}`)
        }
      }
    })
    assert.ok(misread.length <= 2, misread.join('; '))
  })

  test('shows the sample in place of the canvas: label, bars, what the model saw, times', async () => {
    await onPage(
      mnist,
      async (page, { requests }) => {
        await clickSample(page)
        assert.equal(await page.title(), 'mnist: onnxpress')
        await untilLabel(page, '2')
        await untilIdle(page)
        const { predictions } = await predict<{ predictions: Prediction[] }>(mnist, readFileSync(SAMPLE))
        const rows = predictions.map(({ label, score }) => [label, `${(100 * score).toFixed(1)}%`])
        const shown = await page.evaluate(
          `[...document.querySelectorAll('#bars li')].map(({ children: [name, , score] }) => [name.innerText, score.innerText])`,
        )
        assert.deepEqual(shown, rows)
        assert.match(await page.locator('#bars .predicted').innerText(), /^2\s/)
        assert.equal(await page.locator('#doubt').innerText(), '')
        const shares = (await page.evaluate(
          `[...document.querySelectorAll('.fill')].map((fill) => fill.offsetWidth / fill.parentElement.offsetWidth)`,
        )) as number[]
        assert.ok(Math.abs(shares[0] - predictions[0].score) < 0.02 && shares[1] < 0.1, shares.join())
        assert.equal(await page.locator('#seen-size').innerText(), '28 × 28')
        assert.equal(await styleOf(page, '#seen', 'imageRendering'), 'pixelated')
        for (const name of ['transfer', 'preprocess', 'queue', 'inference']) {
          assert.match(await page.locator('#times').innerText(), new RegExp(`${name}\\s+[\\d.]+ ms`))
        }
        assert.ok(await page.locator('#canvas').isHidden())
        assert.deepEqual(requests.slice(-2), ['POST /predict', 'POST /preprocess'])
        await page.locator('#again').click()
        await page.locator('#canvas').waitFor()
        assert.equal(await page.locator('#label').innerText(), '')
      },
      { reducedMotion: 'reduce' },
    )
  })

  test('the preprocessed image is that of /preprocess', async () => {
    const form = new FormData()
    form.set('image', new Blob([new Uint8Array(readFileSync(SAMPLE))]))
    const headers = { accept: 'image/png' }
    const response = await fetch(`${mnist.url}/preprocess`, { method: 'POST', body: form, headers })
    const expected = await sharp(Buffer.from(await response.arrayBuffer()))
      .ensureAlpha()
      .raw()
      .toBuffer()
    await onPage(mnist, async (page) => {
      await clickSample(page)
      await page.locator('#seen[src^="blob:"]').waitFor()
      const shown = await page.evaluate(`(async () => {
        const picture = document.getElementById('seen')
        await picture.decode()
        const { naturalWidth: width, naturalHeight: height } = picture
        const pen = Object.assign(document.createElement('canvas'), { width, height }).getContext('2d')
        pen.drawImage(picture, 0, 0)
        return [...pen.getImageData(0, 0, width, height).data]
      })()`)
      assert.deepEqual(shown, [
        ...(await sharp(expected, { raw: { width: 28, height: 28, channels: 4 } })
          .toColourspace('srgb')
          .raw()
          .toBuffer()),
      ])
    })
  })

  test('takes a chosen, a dropped and a pasted file', async () => {
    await onPage(
      mnist,
      async (page, { expectErrors }) => {
        expectErrors()
        await page.locator('#file').setInputFiles(SAMPLE)
        await untilLabel(page, '2')
        for (const event of ['drop', 'paste'] as const) {
          await page
            .locator('#file')
            .setInputFiles({ name: 'x.png', mimeType: 'image/png', buffer: Buffer.alloc(3) })
          await messageOf(page)
          assert.equal(await page.locator('#label').innerText(), '')
          await give(page, event, [{ name: "it's a digit;1.png", bytes: readFileSync(SAMPLE) }])
          await untilLabel(page, '2')
          assert.equal(await page.locator('#message').innerText(), '')
          assert.equal(
            await page.locator('#snippet').innerText(),
            `curl ${mnist.url}/predict \\\n  -F 'image=@"it'\\''s a digit;1.png"'`,
          )
        }
      },
      undefined,
    )
  })

  test('takes a file that the browser drags, and an image from the clipboard', async () => {
    const permissions = ['clipboard-read', 'clipboard-write']
    await onPage(
      mnist,
      async (page) => {
        const session = await page.context().newCDPSession(page)
        const data = { items: [], files: [SAMPLE], dragOperationsMask: 1 }
        const drag = (type: 'dragEnter' | 'dragOver' | 'drop') =>
          session.send('Input.dispatchDragEvent', { type, x: 300, y: 300, data })
        await drag('dragEnter')
        await drag('dragOver')
        await page.getByText('Drop images to classify them').waitFor()
        assert.deepEqual(await violations(page), [])
        await drag('drop')
        await untilLabel(page, '2')
        assert.equal(await page.locator('#sent-name').innerText(), 'sample.png')
        assert.ok(await page.getByText('Drop images to classify them').isHidden())

        await page.locator('#again').click()
        await page.evaluate(`(async () => {
          const type = 'image/png'
          const blob = await (await fetch('model/samples/7-ballpoint.png')).blob()
          await navigator.clipboard.write([new ClipboardItem({ [type]: new Blob([blob], { type }) })])
        })()`)
        await page.keyboard.press('Control+v')
        await untilLabel(page, '7')
      },
      { permissions },
    )
  })

  test('undo, clear, Ctrl+Z', async () => {
    await onPage(mnist, async (page, { expectErrors }) => {
      expectErrors()
      const ink = () =>
        page.evaluate(`{
          const canvas = document.getElementById('canvas')
          const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height)
          data.filter((value, index) => index % 4 === 0 && value > 128).length
        }`) as Promise<number>
      assert.equal(await ink(), 0)
      await drawDigit(page, 4, STYLES.plain) // three lines
      await untilLabel(page, '4')
      const three = await ink()
      await page.locator('#undo').click()
      const two = await ink()
      await page.keyboard.press('Control+z')
      const one = await ink()
      assert.ok(three > two && two > one && one > 0, [three, two, one].join())
      await page.locator('#clear').click()
      assert.equal(await ink(), 0)
      const { x, y } = (await page.locator('#canvas').boundingBox())!
      await page.mouse.move(x + 20, y + 20)
      await page.mouse.down()
      await page.mouse.move(x + 60, y + 60)
      await page.keyboard.press('Control+z') // during a line
      await page.mouse.move(x + 90, y + 60)
      await page.mouse.up()
      assert.equal(await ink(), 0)
      await untilIdle(page)
      assert.equal(await page.locator('#label').innerText(), '')
      assert.match(await page.locator('#snippet').innerText(), /image\.png/)
    })
  })

  test('explains an image that cannot be read', async () => {
    const heic = Buffer.from('\0\0\0\x18ftypheic\0\0\0\0mif1heic', 'latin1')
    const files: [string, Buffer, RegExp][] = [
      [
        'drawing.svg',
        Buffer.from('<svg xmlns="http://www.w3.org/2000/svg"/>'),
        /is SVG, which is not supported: send JPEG/,
      ],
      ['nothing.png', Buffer.alloc(0), /is empty/],
      ['photo.heic', heic, /is HEIC, which is not supported/],
      ['cut.png', readFileSync(SAMPLE).subarray(0, 200), /is a broken PNG file/],
    ]
    await onPage(mnist, async (page, { expectErrors }) => {
      expectErrors()
      for (const [name, buffer, words] of files) {
        await page.locator('#file').setInputFiles({ name, mimeType: 'image/png', buffer })
        await page.locator('#message').getByText(words).waitFor()
        assert.equal(await page.locator('#label').innerText(), '')
        assert.ok(await page.locator('#code').isHidden(), 'no code for a request that failed')
        assert.deepEqual(await violations(page), [])
      }
    })
  })

  test('a prediction stands although what the model saw cannot be shown', async () => {
    await onPage(mnist, async (page, { expectErrors }) => {
      expectErrors()
      const refusal = { status: 422, json: { detail: 'no picture' } }
      await page.route('**/preprocess', (route) => route.fulfill(refusal))
      await clickSample(page)
      await untilLabel(page, '2')
      await untilIdle(page)
      assert.equal(await page.locator('#message').innerText(), '')
      assert.ok(await page.locator('#seen').isHidden())
      assert.ok(await page.locator('#code').isVisible())
    })
  })

  test('a photo of 50 MB is refused before it is sent', async () => {
    await onPage(mnist, async (page, { requests }) => {
      await page.evaluate(`{
        const transfer = new DataTransfer()
        transfer.items.add(new File([new Uint8Array(50 * 2 ** 20)], 'photo.jpg', { type: 'image/jpeg' }))
        document.body.dispatchEvent(new DragEvent('drop', { dataTransfer: transfer, bubbles: true }))
      }`)
      assert.equal(await messageOf(page), 'photo.jpg is 50 MB; the limit is 20 MB: send a smaller one')
      assert.ok(!requests.some((request) => request.startsWith('POST')))
    })
  })

  test('a hundred files at once, one after the other', async () => {
    const bytes = readFileSync(SAMPLE)
    const files = Array.from({ length: 100 }, (_, k) => ({
      name: `${k}.png`,
      bytes: k === 50 ? Buffer.from('no image') : bytes,
    }))
    await onPage(mnist, async (page, { requests, expectErrors }) => {
      expectErrors()
      page.setDefaultTimeout(60_000)
      await give(page, 'drop', files)
      await untilIdle(page)
      const outcomes = await page.locator('#tiles .outcome').allInnerTexts()
      const { label, score } = await predict<Prediction>(mnist, bytes)
      for (const [k, outcome] of outcomes.entries()) {
        if (k === 50) assert.match(outcome, /^failed: .*is not in a known format/)
        else assert.equal(outcome, `${label}\n${(100 * score).toFixed(1)}%`)
      }
      assert.equal(outcomes.length, 100)
      assert.equal(await page.locator('#gallery-count').innerText(), '100 images')
      assert.equal(requests.filter((request) => request === 'POST /predict').length, 100)
      // each can be shown again without a new request
      await page.locator('#tiles button').nth(50).click()
      assert.match(await page.locator('#message').innerText(), /is not in a known format/)
      await page.locator('#tiles button').nth(7).click()
      assert.equal(await page.locator('#label').innerText(), '2')
      assert.match(await page.locator('#snippet').innerText(), /7\.png/)
      assert.equal(requests.filter((request) => request === 'POST /predict').length, 100)
      await clickSample(page)
      await page.locator('#gallery').waitFor({ state: 'hidden' })
      await untilLabel(page, '2')
    })
  })

  test('retries a busy server', async () => {
    const busy = await start({ MODEL_DIR: join(MODELS, 'slow'), MAX_BATCH_SIZE: '1', MAX_QUEUE: '1' })
    await onPage(busy, async (page, { expectErrors }) => {
      expectErrors()
      let isFlooded = true
      const flood = async () => {
        while (isFlooded) {
          const body = Float32Array.of(1)
          await (await fetch(`${busy.url}/predict?dims=1`, { method: 'POST', body })).arrayBuffer()
        }
      }
      const floods = Array.from({ length: 8 }, flood)
      await page.locator('#numbers').fill('7')
      const retry = page.locator('#message').getByText(/retrying in \d+ s/)
      while (!(await retry.isVisible())) {
        await page.locator('#numbers-form button').click()
        await Promise.race([retry.waitFor(), untilIdle(page)])
      }
      isFlooded = false
      await Promise.all(floods)
      await untilIdle(page)
      assert.ok(Math.abs(Number(await page.locator('#label').innerText()) - 7) < 1e-3)
      assert.equal(await page.locator('#message').innerText(), '')
    })
  })

  test('waits for a server that is gone, and retries', async () => {
    const first = await start()
    const { port } = new URL(first.url)
    await onPage(first, async (page, { expectErrors }) => {
      expectErrors()
      await first.stop()
      await drawDigit(page, 7, STYLES.plain)
      await page.locator('#message').getByText('The server is not responding. Retrying').waitFor()
      assert.deepEqual(await violations(page), [])
      await start({ PORT: port })
      await untilLabel(page, '7')
      assert.equal(await page.locator('#message').innerText(), '')
    })
  })

  test('asks for the token, and keeps it in the tab only', async () => {
    const server = await start({ API_TOKEN: 'right' })
    await onPage(server, async (page, { expectErrors }) => {
      expectErrors()
      await page.locator('#token').waitFor()
      assert.ok(await page.locator('#stage').isHidden())
      assert.deepEqual(await violations(page), [])
      await page.locator('#token').fill('wrong')
      await page.keyboard.press('Enter')
      assert.match(await messageOf(page), /API_TOKEN/)
      await page.locator('#token').fill('wr\u200bong')
      await page.keyboard.press('Enter')
      await page.locator('#message').getByText('A token has neither spaces nor accents').waitFor()
      await page.locator('#token').fill(' right ')
      await page.keyboard.press('Enter')
      await clickSample(page)
      await untilLabel(page, '2')
      assert.ok(await page.locator('#token').isHidden())
      assert.match(await page.locator('#snippet').innerText(), /-H "Authorization: Bearer \$API_TOKEN"/)
      assert.doesNotMatch(await page.locator('body').innerText(), /right/)
      await page.reload()
      await page.locator('#samples button').first().waitFor()
      const kept = (await page.evaluate('[localStorage.length, document.cookie]')) as unknown[]
      assert.deepEqual(kept, [0, ''])
      const other = await page.context().newPage()
      await other.goto(server.url)
      await other.locator('#token').waitFor()
    })
  })

  test('a multi-label model: all labels over the threshold, which is marked', async () => {
    const faces = await start({ MODEL_DIR: join(MODELS, 'faces') })
    const image = await sharp({ create: { width: 64, height: 64, channels: 3, background: '#a86' } })
      .png()
      .toBuffer()
    const form = new FormData()
    form.set('image', new Blob([new Uint8Array(image)]))
    const result = await (await fetch(`${faces.url}/predict`, { method: 'POST', body: form })).json()
    const { predictions } = result as { predictions: { label: string; score: number }[] }
    await onPage(faces, async (page) => {
      assert.ok(await page.locator('#draw').isHidden())
      await page.locator('#file').setInputFiles({ name: 'a.png', mimeType: 'image/png', buffer: image })
      await untilIdle(page)
      const shown = await page.locator('#bars .name').allInnerTexts()
      assert.deepEqual(
        shown,
        predictions.map(({ label }) => label),
      )
      assert.ok(shown.length > 0)
      const left = (await page.evaluate(
        `{ const mark = document.querySelector('.mark'); mark.offsetLeft / mark.parentElement.offsetWidth }`,
      )) as number
      assert.ok(Math.abs(left - 0.3) < 0.01, String(left))
      assert.deepEqual(await violations(page), [])
    })
  })

  test('models of one number and of features', async () => {
    const linear = await start({ MODEL_DIR: join(MODELS, 'linear') })
    await onPage(linear, async (page) => {
      assert.ok(await page.locator('#sources').isHidden())
      await page.locator('#numbers').fill('five')
      await page.keyboard.press('Enter')
      assert.equal(await messageOf(page), 'Enter one number, such as 0.5')
      await page.locator('#numbers').fill('5,')
      await page.keyboard.press('Enter')
      await untilLabel(page, '9')
      assert.equal(await page.locator('#snippet').innerText(), `curl ${linear.url}/predict \\\n  -d value=5`)
      assert.deepEqual(await violations(page), [])
      await give(page, 'drop', [{ name: 'x.png', bytes: readFileSync(SAMPLE) }])
      await page.locator('#message').getByText('linear takes no images').waitFor()
    })
    const features = await start({ MODEL_DIR: join(MODELS, 'features') })
    const { input } = (await (await fetch(`${features.url}/model`)).json()) as {
      input: { dims: [string, number] }
    }
    const numbers = Array.from({ length: input.dims[1] }, (_, k) => k / 2)
    const body = JSON.stringify({ data: numbers, dims: [numbers.length] })
    const headers = { 'content-type': 'application/json' }
    const result = await (await fetch(`${features.url}/predict`, { method: 'POST', body, headers })).json()
    await onPage(features, async (page) => {
      await page.locator('#numbers').fill(numbers.join(', '))
      await page.keyboard.press('Enter')
      await untilIdle(page)
      const { prediction } = result as { prediction: number }
      assert.equal(await page.locator('#label').innerText(), [prediction].flat().join(', '))
    })
  })

  test('by keyboard alone: samples, images, tabs of the code', async () => {
    await onPage(mnist, async (page) => {
      await page.locator('#samples button').first().waitFor()
      const focused = () =>
        page.evaluate(
          'document.activeElement.id || document.activeElement.innerText || "sample"',
        ) as Promise<string>
      const visited: string[] = []
      while (visited.at(-1) !== 'copy' && visited.length < 30) {
        await page.keyboard.press('Tab')
        visited.push(await focused())
      }
      const samples = new Array(await page.locator('#samples button').count()).fill('sample')
      const [links, code] = [
        ['API', 'Model', 'Metrics'],
        ['tab-curl', 'snippet', 'copy'],
      ]
      const stage = ['undo', 'clear', 'pen']
      assert.deepEqual(visited, [...links, ...stage, ...samples, 'file', 'camera-open', ...code])
      await page.keyboard.press('Shift+Tab')
      await page.keyboard.press('Shift+Tab')
      for (const [key, id, words] of [
        ['ArrowRight', 'tab-Python', /requests\.post/],
        ['ArrowRight', 'tab-JavaScript', /await fetch/],
        ['ArrowRight', 'tab-curl', /^curl/],
        ['ArrowLeft', 'tab-JavaScript', /await fetch/],
      ] as const) {
        await page.keyboard.press(key)
        assert.equal(await focused(), id)
        assert.equal(await page.locator('[aria-selected=true]').getAttribute('id'), id)
        assert.match(await page.locator('#snippet').innerText(), words)
      }
      for (let step = 0; step < 3; step++) await page.keyboard.press('Shift+Tab')
      assert.equal(await focused(), 'sample')
      const outline = await page.evaluate('getComputedStyle(document.activeElement).outlineStyle')
      assert.equal(outline, 'solid')
      await page.keyboard.press('Enter')
      await untilLabel(page, '8')
    })
  })

  test('on a phone: by touch, without overflow', async () => {
    const phone = { ...PHONE, colorScheme: 'dark' as const }
    await onPage(
      mnist,
      async (page) => {
        const box = (await page.locator('#canvas').boundingBox())!
        const session = await page.context().newCDPSession(page)
        const touch = (type: 'touchStart' | 'touchMove' | 'touchEnd', at?: [number, number]) =>
          session.send('Input.dispatchTouchEvent', {
            type,
            touchPoints: at ? [{ x: box.x + at[0] * box.width, y: box.y + at[1] * box.height }] : [],
          })
        await touch('touchStart', [0.5, 0.2])
        for (let step = 1; step <= 12; step++) await touch('touchMove', [0.5, 0.2 + step * 0.05])
        await touch('touchEnd')
        await untilLabel(page, '1')
        await untilIdle(page)
        assert.ok(await page.locator('#camera-open').isVisible())
        assert.ok(await page.getByText('or drop them').isHidden(), 'nothing can be dropped on a phone')
        assert.equal(await page.evaluate('document.documentElement.scrollWidth'), 360)
        assert.equal(await page.evaluate('scrollY'), 0)
        assert.deepEqual(await violations(page), [])
      },
      phone,
    )
  })

  test('input and result are visible without scrolling, on a phone and on a desktop', async () => {
    const scenes = await start({ MODEL_DIR: join(MODELS, 'scenes') })
    const parts = ['#label', '#bars li:nth-child(1)', '#bars li:nth-child(3)']
    for (const device of [PHONE, DESKTOP]) {
      const more = device === DESKTOP ? ['#sources', '#code', '#about', '#times', '#seen'] : []
      await onPage(
        mnist,
        async (page) => {
          await drawDigit(page, 2, STYLES.plain)
          await untilLabel(page, '2')
          await untilIdle(page)
          for (const part of ['#canvas', ...parts, ...more]) assert.ok(await isInView(page, part), part)
        },
        device,
      )
      await onPage(
        scenes,
        async (page) => {
          await page
            .locator('#file')
            .setInputFiles({ name: 'a.png', mimeType: 'image/png', buffer: await plain('#f00') })
          await untilIdle(page)
          for (const part of ['#sent', ...parts, ...more]) assert.ok(await isInView(page, part), part)
        },
        device,
      )
    }
  })

  test('shows hints in place: draw here, draw it larger, drop an image', async () => {
    await onPage(
      mnist,
      async (page) => {
        assert.equal(await page.locator('#headline').innerText(), 'Draw a digit')
        const hint = page.locator('#draw-hint')
        const opacity = () => styleOf(page, '#draw-hint', 'opacity')
        assert.equal(await hint.innerText(), 'Draw a digit here')
        assert.equal(await opacity(), '0.8')
        assert.deepEqual(await violations(page), [])
        await drawDigit(page, 1, STYLES.plain)
        assert.equal(await opacity(), '0')
        await page.locator('#clear').click()
        await drawDigit(page, 3, { ...STYLES.plain, width: 0.1, height: 0.12, pen: 8 })
        assert.equal(await hint.innerText(), 'Draw it larger')
        assert.equal(await opacity(), '1')
        await page.locator('#undo').click()
        await page.locator('#undo').click()
        assert.equal(await hint.innerText(), 'Draw a digit here')
        await untilIdle(page)
      },
      { reducedMotion: 'reduce' },
    )
    const scenes = await start({ MODEL_DIR: join(MODELS, 'scenes') })
    await onPage(scenes, async (page) => {
      assert.equal(await page.locator('#headline').innerText(), 'What is in the picture?')
      assert.match(await page.locator('#drop').innerText(), /Drop an image here/)
      assert.deepEqual(await violations(page), [])
      assert.equal(await styleOf(page, '#drop', 'borderTopStyle'), 'dashed')
      const [chooser] = await Promise.all([page.waitForEvent('filechooser'), page.locator('#drop').click()])
      await chooser.setFiles({ name: 'sea.png', mimeType: 'image/png', buffer: await plain('#3366a0') })
      await untilLabel(page, 'open sea')
      assert.ok(await page.locator('#drop').isHidden())
      await page.locator('#again').click()
      await page.locator('#drop').waitFor()
    })
    await onPage(
      scenes,
      async (page) => assert.equal((await page.locator('#drop').innerText()).trim(), 'Choose an image'),
      PHONE,
    )
  })

  test('nothing moves when the samples arrive', async () => {
    for (const device of [PHONE, DESKTOP]) {
      await onPage(
        mnist,
        async (page) => {
          const arrival = new EventEmitter()
          const arrived = once(arrival, 'now')
          await page.route('**/model/samples/*', (route) => arrived.then(() => route.continue()))
          await page.reload()
          const card = page.locator('#sources')
          await card.waitFor()
          const before = await card.boundingBox()
          arrival.emit('now')
          await page.locator('#samples img').last().waitFor()
          assert.deepEqual(await card.boundingBox(), before)
        },
        device,
      )
    }
  })

  test('every sample is read as the digit in its name', async () => {
    const { samples } = (await (await fetch(`${mnist.url}/model`)).json()) as { samples: string[] }
    assert.ok(samples.length >= 4)
    await onPage(mnist, async (page) => {
      for (const [index, path] of samples.entries()) {
        await page.locator('#samples button').nth(index).click()
        await untilLabel(page, path.match(/\d/)?.[0] ?? '2')
      }
    })
  })

  test('an unsure prediction is marked as unsure', async () => {
    const scenes = await start({ MODEL_DIR: join(MODELS, 'scenes') })
    const seen = new Set<string>()
    await onPage(scenes, async (page) => {
      for (const colour of ['#3366a0', '#c9b27c', '#8a6f70', '#a07d5c', '#c8a878', '#ffff9b']) {
        const image = await plain(colour)
        const { predictions } = await predict<{ predictions: Prediction[] }>(scenes, image)
        const [best, second] = predictions
        const isClose = best.score - second.score < 0.1
        const expected = isClose
          ? `${best.label}, or perhaps ${second.label}`
          : best.score < 0.5
            ? `perhaps ${best.label}`
            : best.label
        await page.locator('#file').setInputFiles({ name: 'a.png', mimeType: 'image/png', buffer: image })
        await untilIdle(page)
        assert.equal(await page.locator('#label').textContent(), expected)
        const isUnsure = expected !== best.label
        assert.equal(await page.locator('#doubt').innerText(), isUnsure ? 'The model is not sure' : '')
        assert.equal(await page.locator('#answer.unsure').count(), Number(isUnsure))
        if (isUnsure) assert.deepEqual(await violations(page), [])
        seen.add(expected.replace(best.label, '').replace(second.label, ''))
      }
    })
    assert.deepEqual([...seen].sort(), ['', ', or perhaps ', 'perhaps '])
  })

  test('several images: a failure in its tile, the first good one selected, sorted, as a table', async () => {
    const scenes = await start({ MODEL_DIR: join(MODELS, 'scenes') })
    const colours = { 'dusk, "late".png': '#8a6f70', 'sea.png': '#3366a0', 'snow.png': '#eef2f6' }
    const images = await Promise.all(
      Object.entries(colours).map(async ([name, colour]) => ({ name, bytes: await plain(colour) })),
    )
    const results = await Promise.all(images.map(({ bytes }) => predict<Prediction>(scenes, bytes)))
    await onPage(scenes, async (page, { expectErrors }) => {
      expectErrors()
      await give(page, 'drop', [{ name: 'notes.png', bytes: Buffer.from('no image') }, ...images])
      await untilIdle(page)
      const tiles = page.locator('#tiles button')
      const names = () => page.locator('#tiles .file').allInnerTexts()
      assert.match(await tiles.first().innerText(), /failed: .*is not in a known format/)
      assert.equal(await page.locator('#tiles .bad').count(), 1)
      assert.match((await page.locator('#tiles [aria-current]').innerText()) ?? '', /dusk/)
      assert.match(await page.locator('#label').innerText(), new RegExp(results[0].label))
      assert.equal(await page.locator('#message').innerText(), '')
      assert.deepEqual(await violations(page), [])

      const order = page.getByLabel('Order')
      const given = ['notes.png', ...images.map(({ name }) => name)]
      assert.deepEqual(await names(), given)
      const byScore = images
        .map(({ name }, i) => ({ name, score: results[i].score }))
        .sort((a, b) => b.score - a.score)
      const certain = byScore.map(({ name }) => name)
      await order.selectOption('certain')
      assert.deepEqual(await names(), [...certain, 'notes.png'])
      await order.selectOption('uncertain')
      assert.deepEqual(await names(), [...certain.toReversed(), 'notes.png'])
      await order.selectOption('label')
      const byLabel = images.map(({ name }, i) => [results[i].label, name]).sort()
      assert.deepEqual(await names(), [...byLabel.map(([, name]) => name), 'notes.png'])

      const [download] = await Promise.all([page.waitForEvent('download'), page.locator('#csv').click()])
      assert.equal(download.suggestedFilename(), 'predictions.csv')
      const [header, failed, ...rows] = readFileSync(await download.path(), 'utf8')
        .trimEnd()
        .split('\r\n')
      assert.equal(header, 'file,prediction,score,error')
      assert.match(failed, /^notes\.png,,,.*is not in a known format/)
      assert.deepEqual(
        rows,
        results.map(({ label, score }, i) => {
          const fields = [images[i].name, label].map((text) =>
            /[",]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text,
          )
          return `${fields},${score},`
        }),
      )

      await page.getByText('notes.png').click()
      assert.match(await page.locator('#message.bad').innerText(), /is not in a known format/)
      assert.ok(await page.locator('#code').isHidden())
      await page.locator('#gallery-close').focus()
      await page.keyboard.press('Enter')
      await page.locator('#drop').waitFor()
    })
  })

  test('the code of each tab makes the same request', async () => {
    const digit = await predict<Prediction>(mnist, readFileSync(SAMPLE))
    const folder = mkdtempSync(join(tmpdir(), 'onnxpress-page-'))
    await onPage(
      mnist,
      async (page) => {
        await clickSample(page)
        await untilLabel(page, '2')
        await page.locator('#save-link').getByText('sample.png').waitFor()
        const [download] = await Promise.all([
          page.waitForEvent('download'),
          page.locator('#save-link').click(),
        ])
        await download.saveAs(join(folder, 'sample.png'))
        for (const [tab, command] of [
          ['curl', ['sh', '-c']],
          ['JavaScript', [process.execPath, '--input-type=module', '-e']],
        ] as const) {
          await page.getByRole('tab', { name: tab }).click()
          await page.locator('#copy').click()
          await page.locator('#copy').getByText('Copied').waitFor()
          const code = String(await page.evaluate('navigator.clipboard.readText()'))
          assert.equal(code, await page.locator('#snippet').innerText())
          const [program, ...args] = command
          const { stdout } = await promisify(execFile)(program, [...args, code], { cwd: folder })
          assert.match(stdout, /"?label"?: ?['"]2['"]/)
          assert.ok(stdout.includes(String(digit.score)), stdout)
        }
        await page.getByRole('tab', { name: 'Python' }).click()
        assert.equal(
          await page.locator('#snippet').innerText(),
          `import requests\n\nimage = open("sample.png", "rb")\nresponse = requests.post(\n  "${mnist.url}/predict",\n  files={"image": image},\n)\nprint(response.json())`,
        )
        assert.deepEqual(await violations(page), [])
      },
      { permissions: ['clipboard-read', 'clipboard-write'] },
    )
    rmSync(folder, { recursive: true })
  })

  test('the camera, after a click and with permission: live, and as a photo', async () => {
    await onPage(
      mnist,
      async (page, { requests }) => {
        await page.locator('#camera-open').click()
        await page.locator('#answer[data-state=result]').waitFor()
        assert.equal(await page.evaluate(`document.getElementById('viewfinder').paused`), false)
        assert.deepEqual(await violations(page), [])
        const predictions = () => requests.filter((request) => request === 'POST /predict').length
        const before = predictions()
        await page.waitForRequest(/predict/)
        assert.ok(predictions() > before, 'classification continues')
        await page.locator('#shoot').click()
        await page.locator('#sent[src^="blob:"]').waitFor()
        await untilIdle(page)
        assert.equal(await page.evaluate(`document.getElementById('viewfinder').srcObject`), null)
        assert.match(await page.locator('#snippet').innerText(), /camera\.jpg/)
        await page.locator('#camera-open').click()
        await page.locator('#camera-close').click()
        await page.locator('#canvas').waitFor()
        await untilIdle(page)
        assert.equal(await page.locator('#label').innerText(), '')

        // permission comes when the visitor has gone on
        await page.evaluate(`{
          const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices)
          navigator.mediaDevices.getUserMedia = async (wanted) => {
            await new Promise((resolve) => { permit = resolve })
            return late = await ask(wanted)
          }
        }`)
        await page.locator('#camera-open').click()
        assert.ok(await page.locator('#shoot').isDisabled())
        await page.locator('#camera-close').click()
        await page.evaluate('permit()')
        await page.evaluate(`(async () => {
          const hasEnded = () => globalThis.late?.getTracks().every(({ readyState }) => readyState === 'ended')
          while (!hasEnded()) await new Promise((resolve) => setTimeout(resolve, 10))
        })()`)
        assert.equal(await page.evaluate(`document.getElementById('viewfinder').srcObject`), null)
      },
      { permissions: ['camera'] },
    )
    await onPage(mnist, async (page) => {
      await page.locator('#camera-open').click()
      assert.equal(
        await messageOf(page),
        'The camera is blocked: allow it in the address bar, or choose an image',
      )
      assert.ok(await page.locator('#canvas').isVisible())
    })
  })

  for (const colorScheme of ['light', 'dark'] as const) {
    test(`axe-core finds nothing wrong in ${colorScheme} mode`, async () => {
      await onPage(
        mnist,
        async (page) => {
          await drawDigit(page, 2, STYLES.plain)
          await untilLabel(page, '2')
          await untilIdle(page)
          assert.deepEqual(await violations(page), [])
          const ground = String(await page.evaluate('getComputedStyle(document.body).backgroundColor'))
          const [red] = ground.match(/\d+/g)!.map(Number)
          assert.ok(colorScheme === 'light' ? red > 200 : red < 50, ground)
          await give(
            page,
            'drop',
            [1, 2].map((k) => ({ name: `${k}.png`, bytes: readFileSync(SAMPLE) })),
          )
          await untilIdle(page)
          assert.deepEqual(await violations(page), [])
        },
        { colorScheme, viewport: { width: 1000, height: 624 } },
      )
    })
  }

  test('respects reduced motion', async () => {
    const durationUnder = (reducedMotion: 'reduce' | 'no-preference') => async (page: Page) => {
      await clickSample(page)
      await untilLabel(page, '2')
      const duration = await page.evaluate(
        `getComputedStyle(document.querySelector('.fill')).transitionDuration`,
      )
      assert.equal(duration, reducedMotion === 'reduce' ? '0s' : '0.12s')
    }
    for (const reducedMotion of ['reduce', 'no-preference'] as const) {
      await onPage(mnist, durationUnder(reducedMotion), { reducedMotion })
    }
  })
})
