/** Resampling filters, as functions of the distance from the centre in input samples (Pillow, Resample.c). */

/** Names as Pillow and timm use them. */
export type Filter = 'nearest' | 'lanczos' | 'bilinear' | 'bicubic' | 'box' | 'hamming'

/** By Pillow's `Image.Resampling` numbers, which are the values of `resample` in preprocessor_config.json. */
export const FILTERS: readonly Filter[] = ['nearest', 'lanczos', 'bilinear', 'bicubic', 'box', 'hamming']

interface FilterFunction {
  /** the weight is 0 at any larger distance */
  radius: number
  weight: (x: number) => number
}

const sinc = (x: number): number => (x === 0 ? 1 : Math.sin(x * Math.PI) / (x * Math.PI))

// float constants in Pillow's C
const HAMMING_A = Math.fround(0.54)
const HAMMING_B = Math.fround(0.46)

/** Nearest is not among them: it takes one sample, by its own rule. */
export const FILTER_FUNCTIONS: Record<Exclude<Filter, 'nearest'>, FilterFunction> = {
  box: { radius: 0.5, weight: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0) },
  bilinear: { radius: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) },
  hamming: {
    radius: 1,
    weight: (x) => {
      if (x === 0) return 1
      if (Math.abs(x) >= 1) return 0
      const angle = Math.abs(x) * Math.PI
      return (Math.sin(angle) / angle) * (HAMMING_A + HAMMING_B * Math.cos(angle))
    },
  },
  bicubic: {
    radius: 2,
    weight: (x) => {
      const a = -0.5
      const t = Math.abs(x)
      if (t < 1) return ((a + 2) * t - (a + 3)) * t * t + 1
      if (t < 2) return (((t - 5) * t + 8) * t - 4) * a
      return 0
    },
  },
  lanczos: { radius: 3, weight: (x) => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0) },
}
