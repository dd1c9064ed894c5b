/** Makes RESULTS.md and results.svg from results.jsonl: npm run bench:report */
import { writeFileSync } from 'node:fs'
import { bestRate, median } from './load.ts'
import { type Measured, type Results, readResults } from './results.ts'
import { CONTENDERS, isPeer } from './servers.ts'

const results = readResults()
if (!results) throw new Error('there is no bench/results.jsonl: run npm run bench:peers first')

const best = ({ closed }: Measured) => bestRate(closed)
const roundsOf = ([{ closed }]: Measured[]) => closed[0].perSecond.length
const failures = ({ closed, open, equal }: Measured) =>
  [...closed, ...open, ...(equal ? [equal] : [])].reduce((sum, { errors }) => sum + errors, 0)

function digits(value: number): string {
  if (value >= 100) return value.toFixed(0)
  return value >= 10 ? value.toFixed(1) : value.toFixed(2)
}

function withRange(values: number[]): string {
  return `${digits(median(values))} (${digits(Math.min(...values))}-${digits(Math.max(...values))})`
}

function table(head: string[], rows: string[][]): string {
  const line = (cells: string[]) => `| ${cells.join(' | ')} |`
  return [line(head), line(head.map((_, index) => (index === 0 ? '---' : '--:'))), ...rows.map(line)].join(
    '\n',
  )
}

function throughput(measured: Measured[]): string {
  const connections = measured[0].closed.map((row) => row.connections)
  const reference = measured.find(({ contender }) => contender === 'Flask + PyTorch')
  const rows = measured.map((one) => [
    one.contender,
    ...one.closed.map(({ perSecond }) => withRange(perSecond)),
    reference ? `${digits(best(one) / best(reference))}` : '',
    String(failures(one)),
  ])
  return table(
    ['requests per second, at connections:', ...connections.map(String), 'best / Flask', 'failed'],
    rows,
  )
}

function latency(measured: Measured[]): string {
  const equalLoad = measured.find(({ equal }) => equal)?.equal?.perSecond
  const cell = (p50Ms: number, p99Ms: number, errors: number) => {
    const failed = errors ? `, ${errors} failed` : ''
    return p50Ms === 0 ? 'no response' : `${digits(p50Ms)} / ${digits(p99Ms)}${failed}`
  }
  const medians = ({ p50Ms, p99Ms, errors }: { p50Ms: number[]; p99Ms: number[]; errors: number }) =>
    cell(median(p50Ms), median(p99Ms), errors)
  const atEqualLoad = (one: Measured) => {
    if (one.equal) return medians(one.equal)
    return equalLoad && best(one) < equalLoad ? 'too much' : 'not measured'
  }
  const rows = measured.map((one) => [
    one.contender,
    ...one.closed.map(medians),
    atEqualLoad(one),
    ...one.open.map(({ p50Ms, p99Ms, errors }) => cell(p50Ms, p99Ms, errors)),
    digits(median(one.closed.at(-1)!.cores)),
    (one.startMs / 1000).toFixed(2),
    one.memoryMb.toFixed(0),
  ])
  const heads = measured[0].closed.map(({ connections }) => `${connections}`)
  const open = measured[0].open.map(({ share }) => `${share * 100} % load`)
  const equal = equalLoad ? `${digits(equalLoad)}/s` : 'equal load'
  return table(
    ['p50 / p99 in ms, at connections:', ...heads, equal, ...open, 'cores', 'start, s', 'memory, MB'],
    rows,
  )
}

/**
 * For each workload, this server with one process and the peers' input, divided by the best peer, whose name follows.
 * Best is the highest rate and the lowest p99.
 */
function ratios({ workloads }: Results): string {
  const peerNames = CONTENDERS.filter(isPeer).map(({ name }) => name)
  const rows = workloads.map(({ workload, measured }) => {
    const own = measured.find(({ contender }) => contender === 'onnxpress')
    const peers = measured.filter(({ contender }) => peerNames.includes(contender))
    const ratio = (better: 'highest' | 'lowest', numberOf: (one: Measured) => number) => {
      // 0 if it did not answer, or not every request
      const ascending = peers.filter(numberOf).sort((one, other) => numberOf(one) - numberOf(other))
      const peer = ascending.at(better === 'highest' ? -1 : 0)
      if (!own || !peer) return ''
      return `${(numberOf(own) / numberOf(peer)).toFixed(2)} (${peer.contender.split(' ')[0]})`
    }
    return [
      `${workload.name}: ${workload.title}`,
      ratio('highest', best),
      ratio('highest', ({ closed: [single] }) => median(single.perSecond)),
      ratio('lowest', ({ closed: [single] }) => (single.errors ? 0 : median(single.p99Ms))),
      ratio('lowest', ({ equal }) => (equal && !equal.errors ? median(equal.p99Ms) : 0)),
    ]
  })
  return table(['', 'best rate', 'rate, 1 connection', 'p99, 1 connection', 'p99, same load'], rows)
}

/** A panel per workload, a bar per server. */
function plot({ workloads }: Results): string {
  const [width, labels, row, gap] = [820, 220, 18, 46]
  let y = 0
  const panels = workloads.map(({ workload, measured }) => {
    const top = Math.max(...measured.map(best))
    const bars = measured.map((one, index) => {
      const [at, length] = [y + 26 + index * row, ((width - labels - 90) * best(one)) / top]
      const colour = one.contender.startsWith('onnxpress') ? '#0b57d0' : '#8a909c'
      return [
        `<text x="${labels - 8}" y="${at + 12}" text-anchor="end">${one.contender}</text>`,
        `<rect x="${labels}" y="${at + 2}" width="${length.toFixed(1)}" height="${row - 5}" fill="${colour}"/>`,
        `<text x="${(labels + length + 6).toFixed(1)}" y="${at + 12}">${digits(best(one))}</text>`,
      ].join('\n')
    })
    const title = `<text x="0" y="${y + 14}" font-weight="bold">${workload.title}: requests per second</text>`
    y += 26 + measured.length * row + gap - 26
    return [title, ...bars].join('\n')
  })
  const style = 'font: 12px sans-serif; fill: #1b1d22'
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="-12 -8 ${width + 24} ${y + 8}" style="${style}">
<title>Requests per second of each server, by workload</title>
<rect x="-12" y="-8" width="100%" height="100%" fill="#fff"/>
${panels.join('\n')}
</svg>
`
}

const { machine, versions, installedMb } = results
const dates = [...new Set(results.workloads.map(({ workload }) => workload.date))].sort()
const sections = results.workloads.map(
  ({ workload: { name, title, seconds, warmUp, note }, measured }) =>
    `## ${name}: ${title}\n\n${roundsOf(measured)} rounds of ${seconds} s per number, after ${warmUp.seconds} s of requests ` +
    `from ${warmUp.connections.join(' and then as long from ')} connections; medians (lowest-highest).${note ? ` ${note}` : ''}\n\n` +
    `${throughput(measured)}\n\n${latency(measured)}\n`,
)
const text = `# Side by side on one machine

Made by \`npm run bench:peers\` and \`npm run bench:report\` on ${dates.join(' and ')}: ${machine}.

onnxpress with one process, divided by the best peer at it (more is better for a rate, less for p99):

${ratios(results)}

![Requests per second](results.svg)

- The servers of a workload take turns in several rounds, while the others are idle (LitServe, which is never idle, is
  paused). Another server begins each round, and each turn starts with two seconds that are not measured. wrk runs on the
  same machine and shares its processors.
- The first response of each server is checked against PyTorch's.
- *Cores* is the processor time of all processes of a server at 64 connections.
- *Start* is the time to the first correct response. The first server to use a library may read it from the disk, the others
  find it in the page cache.
- *Memory* is that of all its processes after the measurements (PSS).
- The column after the connections, such as *800/s*, is the same load for all: half of the best peer's rate. Its p99 is the
  median of the rounds' or, where a round has fewer than 300 requests, that of all rounds together.
- *50 %* and *80 % load* are shares of the server's own best rate.
- In these three columns, requests do not wait for responses. They come from a Node process that shares the two cores (half
  a core at ten thousand per second). Requests that MAX_QUEUE refuses, or that find 4,096 others waiting, count as failed.
- Failed requests do not count as answered. With 64 connections and a heavy model, a few seconds are only a few batches,
  and neither a batch that is unfinished at the end nor its latency counts.

One machine: compare the ratios within a workload.

${sections.join('\n')}
## How each is set up

${table(
  ['', ''],
  CONTENDERS.map(({ name, setUp }) => [name, setUp]),
)}

Each server is in the form that its own documentation shows ([bench/peers](peers)), with its fastest settings on two cores.
None writes a log line per request. The model files are the same: model.onnx, and for PyTorch the same weights as
TorchScript. MobileNet, ResNet-18 and ResNet-50 have random weights.

Versions: ${Object.entries(versions)
  .map(([name, version]) => `${name} ${version}`)
  .join(', ')}.

Installed size in MB (10^6 bytes), without Python itself and CUDA's libraries: ${Object.entries(installedMb)
  .map(([name, size]) => `${name} ${size.toFixed(0)}`)
  .join(', ')}; onnxpress adds 77 to its base image.
`
writeFileSync(new URL('RESULTS.md', import.meta.url), text)
writeFileSync(new URL('results.svg', import.meta.url), plot(results))
