import assert from 'node:assert/strict'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import type { Browser, BrowserContextOptions, Page } from 'playwright-core'
import sharp from 'sharp'
import { DIGITS, drawDigit, launchBrowser, NO_BROWSER, STYLES, type Visit, visit } from './browser.ts'
import { ROOT, type RunningServer, startServer } from './running_server.ts'

const MODELS = join(ROOT, 'test/fixtures/models')
const SAMPLE = join(ROOT, 'models/mnist/sample.png')
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
/** The picture in the README; SCREENSHOT=1 makes it again. */
const PICTURE = join(ROOT, 'docs/page.png')

/** Wait until every input has its result. */
async function untilIdle(page: Page): Promise<void> {
  await page.locator('#answer[aria-busy=false]').waitFor()
}

/** Wait until the result's text is this. */
async function untilLabel(page: Page, label: string): Promise<void> {
  await page.locator('#label').getByText(label, { exact: true }).waitFor()
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

test('page, styles and scripts are under 40 kB', () => {
  const files = readdirSync(join(ROOT, 'public')).filter((name) => !name.startsWith('docs.'))
  assert.ok(files.length >= 3)
  const total = files.reduce((sum, name) => sum + statSync(join(ROOT, 'public', name)).size, 0)
  assert.ok(total < 40_000, `${total} bytes`)
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
  async function during(
    { url }: RunningServer,
    work: (page: Page, seen: Visit) => Promise<void>,
    options?: BrowserContextOptions,
  ): Promise<void> {
    const seen = await visit(browser, url, options)
    seen.page.setDefaultTimeout(20_000)
    await work(seen.page, seen)
    await seen.end()
  }

  before(async () => {
    ;[browser, mnist] = await Promise.all([launchBrowser(), start()])
  })
  after(async () => {
    await browser?.close()
    await Promise.all(servers.map((server) => server.stop()))
  })

  test('recognises drawn digits: all ten, in three handwritings', async () => {
    const misread: string[] = []
    await during(mnist, async (page) => {
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

  test('shows the sample: label, bars, pictures, times, and the request to copy', async () => {
    await during(mnist, async (page, { requests }) => {
      await page.locator('#sample').click()
      assert.equal(await page.title(), 'mnist: onnxpress')
      await untilLabel(page, '2')
      await untilIdle(page)
      const bars = page.locator('#bars li')
      assert.equal(await bars.count(), 5)
      assert.match(await bars.first().innerText(), /^2\s+95\.1 %$/)
      const shares = (await page.evaluate(
        `[...document.querySelectorAll('.fill')].map((fill) => fill.offsetWidth / fill.parentElement.offsetWidth)`,
      )) as number[]
      assert.ok(shares[0] > 0.9 && shares[1] < 0.1, shares.join())
      assert.equal(await page.locator('#seen-size').innerText(), ', 28 × 28')
      for (const name of ['upload', 'preprocess', 'queue', 'inference']) {
        assert.match(await page.locator('#times').innerText(), new RegExp(`${name}\\s+[\\d.]+ ms`))
      }
      assert.equal(await page.locator('#curl').innerText(), `curl -F image=@sample.png ${mnist.url}/predict`)
      assert.match(
        await page.locator('#python').innerText(),
        /^import requests\n[\s\S]*open\("sample.png", "rb"\)/,
      )
      assert.deepEqual(requests.slice(-3), ['GET /model/sample', 'POST /predict', 'POST /preprocess'])
    })
  })

  test('the picture of what the model saw is that of /preprocess', async () => {
    const form = new FormData()
    form.set('image', new Blob([new Uint8Array(readFileSync(SAMPLE))]))
    const headers = { accept: 'image/png' }
    const answer = await fetch(`${mnist.url}/preprocess`, { method: 'POST', body: form, headers })
    const expected = await sharp(Buffer.from(await answer.arrayBuffer()))
      .ensureAlpha()
      .raw()
      .toBuffer()
    await during(mnist, async (page) => {
      await page.locator('#sample').click()
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
    await during(
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
            await page.locator('#curl').innerText(),
            `curl -F 'image=@"it'\\''s a digit;1.png"' ${mnist.url}/predict`,
          )
        }
      },
      undefined,
    )
  })

  test('undo, clear, Ctrl+Z', async () => {
    await during(mnist, async (page, { expectErrors }) => {
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
      await untilIdle(page)
      assert.equal(await page.locator('#label').innerText(), '')
      assert.ok(await page.locator('#request').isHidden())
    })
  })

  test('explains an image that cannot be read', async () => {
    const heic = Buffer.from('\0\0\0\x18ftypheic\0\0\0\0mif1heic', 'latin1')
    const files: [string, Buffer, RegExp][] = [
      [
        'drawing.svg',
        Buffer.from('<svg xmlns="http://www.w3.org/2000/svg"/>'),
        /does not start as an image file: send JPEG/,
      ],
      ['nothing.png', Buffer.alloc(0), /is empty/],
      ['photo.heic', heic, /is HEIC, which is not decoded here/],
      ['cut.png', readFileSync(SAMPLE).subarray(0, 200), /is a broken PNG file/],
    ]
    await during(mnist, async (page, { expectErrors }) => {
      expectErrors()
      for (const [name, buffer, words] of files) {
        await page.locator('#file').setInputFiles({ name, mimeType: 'image/png', buffer })
        await page.locator('#message').getByText(words).waitFor()
        assert.equal(await page.locator('#label').innerText(), '')
      }
    })
  })

  test('a photo of 50 MB is refused before it is sent', async () => {
    await during(mnist, async (page, { requests }) => {
      await page.evaluate(`{
        const transfer = new DataTransfer()
        transfer.items.add(new File([new Uint8Array(50 * 2 ** 20)], 'photo.jpg', { type: 'image/jpeg' }))
        document.body.dispatchEvent(new DragEvent('drop', { dataTransfer: transfer, bubbles: true }))
      }`)
      assert.equal(
        await messageOf(page),
        'photo.jpg has 50 MB, and this server takes up to 20 MB: send it smaller',
      )
      assert.ok(!requests.some((request) => request.startsWith('POST')))
    })
  })

  test('a hundred files at once, one after the other', async () => {
    const bytes = readFileSync(SAMPLE)
    const files = Array.from({ length: 100 }, (_, k) => ({
      name: `${k}.png`,
      bytes: k === 50 ? Buffer.from('no image') : bytes,
    }))
    await during(mnist, async (page, { requests, expectErrors }) => {
      expectErrors()
      await give(page, 'drop', files)
      await untilIdle(page)
      const outcomes = await page.locator('#batch-list .outcome').allInnerTexts()
      assert.deepEqual(
        outcomes,
        files.map((_, k) => (k === 50 ? 'not read' : '2')),
      )
      assert.equal(requests.filter((request) => request === 'POST /predict').length, 100)
      // each can be shown again without a new request
      await page.locator('#batch-list button').nth(50).click()
      assert.match(await page.locator('#message').innerText(), /does not start as an image/)
      await page.locator('#batch-list button').nth(7).click()
      assert.equal(await page.locator('#label').innerText(), '2')
      assert.match(await page.locator('#curl').innerText(), /7\.png/)
      assert.equal(requests.filter((request) => request === 'POST /predict').length, 100)
      await page.locator('#sample').click()
      await page.locator('#batch').waitFor({ state: 'hidden' })
    })
  })

  test('retries a busy server', async () => {
    const busy = await start({ MODEL_DIR: join(MODELS, 'slow'), MAX_BATCH_SIZE: '1', MAX_QUEUE: '1' })
    await during(busy, async (page, { expectErrors }) => {
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
      const retry = page.locator('#message').getByText(/asking again in \d+ s/)
      while (!(await retry.isVisible())) {
        await page.locator('#number-form button').click()
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
    await during(first, async (page, { expectErrors }) => {
      expectErrors()
      await first.stop()
      await drawDigit(page, 7, STYLES.plain)
      await page.locator('#message').getByText('The server does not answer. Waiting for it').waitFor()
      await start({ PORT: port })
      await untilLabel(page, '7')
      assert.equal(await page.locator('#message').innerText(), '')
    })
  })

  test('asks for the token, and keeps it in the tab only', async () => {
    const server = await start({ API_TOKEN: 'right' })
    await during(server, async (page, { expectErrors }) => {
      expectErrors()
      await page.locator('#token').waitFor()
      assert.ok(await page.locator('#input').isHidden())
      assert.deepEqual(await violations(page), [])
      await page.locator('#token').fill('wrong')
      await page.keyboard.press('Enter')
      assert.match(await messageOf(page), /API_TOKEN/)
      await page.locator('#token').fill('right')
      await page.keyboard.press('Enter')
      await page.locator('#sample').click()
      await untilLabel(page, '2')
      assert.ok(await page.locator('#token').isHidden())
      assert.match(await page.locator('#curl').innerText(), /-H "Authorization: Bearer \$API_TOKEN"/)
      assert.doesNotMatch(await page.locator('body').innerText(), /right/)
      await page.reload()
      await page.locator('#sample').waitFor()
      const kept = (await page.evaluate('[localStorage.length, document.cookie]')) as unknown[]
      assert.deepEqual(kept, [0, ''])
      const other = await page.context().newPage()
      await other.goto(server.url)
      await other.locator('#token').waitFor()
    })
  })

  test('a multi-label model: all labels over the threshold, which is marked', async () => {
    const faces = await start({ MODEL_DIR: join(MODELS, 'faces') })
    const grey = await sharp({ create: { width: 64, height: 64, channels: 3, background: '#a86' } })
      .png()
      .toBuffer()
    const form = new FormData()
    form.set('image', new Blob([new Uint8Array(grey)]))
    const answer = await (await fetch(`${faces.url}/predict`, { method: 'POST', body: form })).json()
    const { predictions } = answer as { predictions: { label: string; score: number }[] }
    await during(faces, async (page) => {
      assert.ok(await page.locator('#drawing').isHidden())
      await page.locator('#file').setInputFiles({ name: 'a.png', mimeType: 'image/png', buffer: grey })
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

  test('models of numbers and of features', async () => {
    const linear = await start({ MODEL_DIR: join(MODELS, 'linear') })
    await during(linear, async (page) => {
      assert.ok(await page.locator('#images').isHidden())
      await page.locator('#numbers').fill('five')
      await page.keyboard.press('Enter')
      assert.equal(await messageOf(page), 'One number is wanted, such as 0.5')
      await page.locator('#numbers').fill('5')
      await page.keyboard.press('Enter')
      await untilLabel(page, '9')
      assert.equal(await page.locator('#curl').innerText(), `curl -d value=5 ${linear.url}/predict`)
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
    const answer = await (await fetch(`${features.url}/predict`, { method: 'POST', body, headers })).json()
    await during(features, async (page) => {
      await page.locator('#numbers').fill(numbers.join(', '))
      await page.keyboard.press('Enter')
      await untilIdle(page)
      const { prediction } = answer as { prediction: number }
      assert.equal(await page.locator('#label').innerText(), [prediction].flat().join(', '))
    })
  })

  test('by keyboard only', async () => {
    await during(mnist, async (page) => {
      await page.locator('#sample').waitFor()
      const visited: string[] = []
      while (visited.at(-1) !== 'sample' && visited.length < 20) {
        await page.keyboard.press('Tab')
        visited.push((await page.evaluate('document.activeElement.id')) as string)
      }
      assert.deepEqual(visited, ['undo', 'clear', 'pen', 'file', 'sample'])
      const outline = await page.evaluate('getComputedStyle(document.activeElement).outlineStyle')
      assert.equal(outline, 'solid')
      await page.keyboard.press('Enter')
      await untilLabel(page, '2')
    })
  })

  test('on a phone: by touch, without overflow', async () => {
    const phone = {
      viewport: { width: 360, height: 740 },
      hasTouch: true,
      isMobile: true,
      colorScheme: 'dark' as const,
    }
    await during(
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
        assert.ok(await page.locator('label[for=camera]').isVisible())
        assert.equal(await page.evaluate('document.documentElement.scrollWidth'), 360)
        assert.equal(await page.evaluate('scrollY'), 0)
        assert.deepEqual(await violations(page), [])
      },
      phone,
    )
  })

  for (const colorScheme of ['light', 'dark'] as const) {
    test(`axe-core finds nothing wrong in ${colorScheme} mode`, async () => {
      await during(
        mnist,
        async (page) => {
          await drawDigit(page, 2, STYLES.plain)
          await untilLabel(page, '2')
          await untilIdle(page)
          assert.deepEqual(await violations(page), [])
          const ground = String(await page.evaluate('getComputedStyle(document.body).backgroundColor'))
          const [red] = ground.match(/\d+/g)!.map(Number)
          assert.ok(colorScheme === 'light' ? red > 200 : red < 50, ground)
          if (process.env.SCREENSHOT && colorScheme === 'light') await page.screenshot({ path: PICTURE })
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
      await page.locator('#sample').click()
      await untilLabel(page, '2')
      const duration = await page.evaluate(
        `getComputedStyle(document.querySelector('.fill')).transitionDuration`,
      )
      assert.equal(duration, reducedMotion === 'reduce' ? '0s' : '0.12s')
    }
    for (const reducedMotion of ['reduce', 'no-preference'] as const) {
      await during(mnist, durationUnder(reducedMotion), { reducedMotion })
    }
  })
})
