/** Infers rescaling and normalization from the values themselves: per channel, they are a linear function of the levels. */
import type { Recipe } from '../../preprocess/index.ts'
import { sizeOf, type Tensor } from '../inference/tensor.ts'
import type { ExpectedTensor } from './check_file.ts'

/** How Python made the tensors, and what makes the server do the same. */
export interface Cause {
  made: string
  /** keys to set, or something to do */
  fix: string
}

/** Another way to turn levels into numbers. */
export interface NumberVariation extends Cause {
  change: (recipe: Recipe) => Recipe
}

/** value = slope * level + offset */
interface Line {
  slope: number
  offset: number
}

interface Statistics {
  mean: number[]
  std: number[]
}

const FACTOR = 1 / 255

/** Statistics with more digits than a line has. */
const KNOWN: Statistics[] = [
  { mean: [0.48145466, 0.4578275, 0.40821073], std: [0.26862954, 0.26130258, 0.27577711] },
  { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] },
]

/** Digits that people write, the usual ones first. */
const DIGITS = [4, 3, 5, 6, 2, 7]

/** A line fits if no value is further from it, in levels. */
const FIT = 0.02

/**
 * The line of each channel.
 *
 * @param levels of the same dims, 0 to 255
 * @returns undefined if the values are not linear in the levels: then these are the wrong levels
 */
export function fitLines(
  levels: Tensor,
  { values, stride, dims }: ExpectedTensor,
  layout: Recipe['layout'] = 'nchw',
): Line[] | undefined {
  const channels = dims[layout === 'nchw' ? 1 : 3]
  const plane = sizeOf(dims) / channels
  const samples = Array.from(values, (value, i) => {
    const at = i * stride
    const channel = layout === 'nchw' ? Math.floor(at / plane) : at % channels
    return { channel, level: Number(levels.data[at]), value }
  })
  const lines = Array.from({ length: channels }, (_, channel) =>
    fitLine(samples.filter((sample) => sample.channel === channel)),
  )
  return lines.every((line) => line !== undefined) ? lines : undefined
}

function fitLine(samples: { level: number; value: number }[]): Line | undefined {
  const byLevel = samples.toSorted((a, b) => a.level - b.level)
  const [darkest, brightest] = [byLevel[0], byLevel.at(-1)!]
  if (!darkest || darkest.level === brightest.level) return undefined
  const slope = (brightest.value - darkest.value) / (brightest.level - darkest.level)
  const offset = darkest.value - slope * darkest.level
  const isNear = ({ level, value }: { level: number; value: number }) =>
    Math.abs(value - (slope * level + offset)) <= FIT * Math.abs(slope)
  return slope !== 0 && samples.every(isNear) ? { slope, offset } : undefined
}

/** The ways that give such lines, the likely ones first. All are to be tried: rounding differs. */
export function numberVariationsOf(recipe: Recipe, lines: Line[], isTimm: boolean): NumberVariation[] {
  const statistics = [
    sameNumbers,
    notNormalized,
    onlyLevels,
    ...statisticsOf(lines).map((numbers) => normalized(numbers, isTimm)),
  ]
  const factors = [sameNumbers, factor(recipe)]
  return statistics.flatMap((first) => factors.map((second) => inTurn([first, second])))
}

const sameNumbers: NumberVariation = { made: '', fix: '', change: (recipe) => recipe }

const notNormalized: NumberVariation = {
  made: 'the values were not normalized',
  fix: '"do_normalize": false',
  change: (recipe) => ({ ...recipe, normalize: [] }),
}

const onlyLevels: NumberVariation = {
  made: 'the levels 0 to 255 were neither rescaled nor normalized',
  fix: '"do_rescale": false, "do_normalize": false',
  change: (recipe) => ({ ...recipe, rescale: undefined, normalize: [] }),
}

function normalized(statistics: Statistics, isTimm: boolean): NumberVariation {
  const { mean, std } = statistics
  const keys = isTimm ? ['mean', 'std'] : ['image_mean', 'image_std']
  return {
    made: `the values were normalized with mean ${mean.join(', ')} and std ${std.join(', ')}`,
    fix: `"${keys[0]}": ${listText(mean)}, "${keys[1]}": ${listText(std)}`,
    change: (recipe) => ({
      ...recipe,
      rescale: recipe.rescale ?? { factor: FACTOR, offset: 0 },
      normalize: [statistics],
    }),
  }
}

/** torchvision's ToTensor divides by 255, its ToDtype multiplies by 1 / 255 in float32: 126 of 256 levels differ. */
function factor({ rescale }: Recipe): NumberVariation {
  const isDivided = rescale?.factor !== FACTOR
  const other = isDivided ? FACTOR : Math.fround(FACTOR)
  return {
    made: isDivided
      ? 'levels were divided by 255'
      : "levels were multiplied by float32(1 / 255), as torchvision's ToDtype does",
    fix: rescale ? `"rescale_factor": ${other}` : '"do_rescale": true',
    change: (recipe) => ({ ...recipe, rescale: { factor: other, offset: rescale?.offset ?? 0 } }),
  }
}

function inTurn(variations: NumberVariation[]): NumberVariation {
  return {
    ...joined(variations),
    change: (recipe) => variations.reduce((changed, { change }) => change(changed), recipe),
  }
}

/** The parts that are not empty. */
function joinWords(parts: string[], separator: string): string {
  return parts.filter((part) => part !== '').join(separator)
}

/** value = (level / 255 - mean) / std, in several roundings. */
function statisticsOf(lines: Line[]): Statistics[] {
  const std = lines.map(({ slope }) => FACTOR / slope)
  const mean = lines.map(({ offset }, channel) => -offset * std[channel])
  const isNear = (a: number[], b: number[]) =>
    a.length === b.length && a.every((number, i) => Math.abs(number - b[i]) < 1e-4)
  const known = KNOWN.filter((other) => isNear(mean, other.mean) && isNear(std, other.std))
  const round = (numbers: number[], digits: number) =>
    numbers.map((number) => (Math.abs(number) < 1e-6 ? 0 : Number(number.toPrecision(digits))))
  return [...known, ...DIGITS.map((digits) => ({ mean: round(mean, digits), std: round(std, digits) }))]
}

function listText(numbers: number[]): string {
  return numbers.every((number) => number === numbers[0]) ? String(numbers[0]) : `[${numbers.join(', ')}]`
}

/** Several causes as one. */
export function joined(causes: Cause[]): Cause {
  const made = causes.map((cause) => cause.made)
  const fix = causes.map((cause) => cause.fix)
  return { made: joinWords(made, '; '), fix: joinWords(fix, ', ') }
}
