/** Other ways to make a tensor of an image, each with the key that makes the server do so. */
import { FILTERS, loadSharp, type Recipe } from '../../preprocess/index.ts'

export interface Variation {
  /** variations of one aspect exclude each other */
  aspect: 'geometry' | 'filter' | 'grey' | 'crop' | 'backend' | 'colours' | 'exif'
  /** how the tensor may have been made */
  made: string
  /** what to set, or to do */
  fix: string
  change: (recipe: Recipe) => Recipe
}

type Size = { width: number; height: number }

/**
 * All variations of a recipe, except its numbers (mean, std and factor), which `numberVariationsOf` finds by itself.
 *
 * @param size of the expected tensor
 * @param isTimm whether the folder has timm's keys
 */
export function variationsOf(recipe: Recipe, size: Size, isTimm: boolean): Variation[] {
  return [
    ...geometries(recipe, size, isTimm),
    ...filters(recipe, isTimm),
    ...(recipe.channels === 1 ? [grey(recipe)] : [colours(recipe)]),
    centring(recipe),
    ...backends(recipe),
    {
      aspect: 'exif',
      made: 'the EXIF orientation was not applied',
      fix: 'open images with PIL.ImageOps.exif_transpose in Python',
      change: (same) => same,
    },
  ]
}

/** The image's size by another rule: squashed, or the shorter side to an edge and a crop. */
function geometries(recipe: Recipe, { width, height }: Size, isTimm: boolean): Variation[] {
  const filter = recipe.resize?.filter ?? 'bilinear'
  const centring = recipe.crop?.centring ?? 'transformers'
  const squash: Variation = {
    aspect: 'geometry',
    made: `resized to ${width}x${height}, whatever the aspect ratio`,
    fix: isTimm
      ? `"crop_mode": "squash", "crop_pct": 1, "input_size": [${recipe.channels}, ${height}, ${width}]`
      : `"size": {"height": ${height}, "width": ${width}}, "do_center_crop": false`,
    change: (varied) => ({ ...varied, crop: undefined, resize: { to: 'size', width, height, filter } }),
  }
  const shorter = Math.min(width, height)
  const edges = Array.from({ length: Math.ceil(shorter / 3) + 1 }, (_, i) => shorter + i)
  const crops = edges.map((edge): Variation => {
    const crop = { width, height, centring, fill: [0] }
    return {
      aspect: 'geometry',
      made: `the shorter side was resized to ${edge}, then ${width}x${height} cropped`,
      fix: isTimm
        ? `"crop_pct": ${Number((shorter / edge).toPrecision(4))}, "input_size": [${recipe.channels}, ${height}, ${width}]`
        : `"size": {"shortest_edge": ${edge}}, "do_center_crop": true, "crop_size": {"height": ${height}, "width": ${width}}`,
      change: (varied) => ({ ...varied, crop, resize: { to: 'shortest edge', edge, filter } }),
    }
  })
  return [squash, ...crops]
}

function filters({ resize }: Recipe, isTimm: boolean): Variation[] {
  if (!resize) return []
  return FILTERS.filter((filter) => filter !== resize.filter).map((filter) => ({
    aspect: 'filter',
    made: `resized with the filter ${filter}, not ${resize.filter}`,
    fix: isTimm ? `"interpolation": "${filter}"` : `"resample": ${FILTERS.indexOf(filter)}`,
    change: (varied) => (varied.resize ? { ...varied, resize: { ...varied.resize, filter } } : varied),
  }))
}

function grey({ greyAfterResize = false }: Recipe): Variation {
  return {
    aspect: 'grey',
    made: `converted to grey ${greyAfterResize ? 'before' : 'after'} the resize`,
    fix: `"grayscale": "${greyAfterResize ? 'before' : 'after'}_resize"`,
    change: (varied) => ({ ...varied, greyAfterResize: !greyAfterResize }),
  }
}

function centring({ crop }: Recipe): Variation {
  const other = crop?.centring === 'torchvision' ? 'transformers' : 'torchvision'
  return {
    aspect: 'crop',
    made: `cropped with the rounding of ${other}`,
    fix: `"crop_rounding": "${other}"`,
    change: (varied) => (varied.crop ? { ...varied, crop: { ...varied.crop, centring: other } } : varied),
  }
}

function backends({ backend = 'pil', isPillow13 = false, isFused = false }: Recipe): Variation[] {
  const others: Variation[] = [
    {
      aspect: 'backend',
      made: 'resized by Pillow 12 or earlier',
      fix: isPillow13 ? '"pillow_version": 12' : '"backend": "pil"',
      change: (varied) => ({ ...varied, backend: 'pil', isPillow13: undefined, isFused: undefined }),
    },
    {
      aspect: 'backend',
      made: 'resized by Pillow 13',
      fix: backend === 'pil' ? '"pillow_version": 13' : '"backend": "pil", "pillow_version": 13',
      change: (varied) => ({ ...varied, backend: 'pil', isPillow13: true, isFused: undefined }),
    },
    {
      aspect: 'backend',
      made: "resized by transformers' default backend, torchvision",
      fix: '"backend": "torchvision"',
      change: (varied) => ({ ...varied, backend: 'torchvision', isFused: true }),
    },
    {
      aspect: 'backend',
      made: "resized by torchvision's transforms on a tensor",
      fix: '"backend": "torchvision", "fuse_normalize": false',
      change: (varied) => ({ ...varied, backend: 'torchvision', isFused: false }),
    },
  ]
  const current = backend === 'pil' ? Number(isPillow13) : isFused ? 2 : 3
  return others.filter((_, index) => index !== current)
}

function colours({ isBgr = false }: Recipe): Variation {
  return {
    aspect: 'colours',
    made: isBgr ? 'the planes are red, green, blue' : 'the planes are blue, green, red, as OpenCV reads them',
    fix: `"do_flip_channel_order": ${!isBgr}`,
    change: (varied) => ({ ...varied, isBgr: !isBgr }),
  }
}

/** The image as it is stored, without its EXIF orientation; undefined if it has none. */
export async function withoutOrientation(image: Uint8Array): Promise<Uint8Array | undefined> {
  const sharp = await loadSharp()
  const opened = sharp(image, { ignoreIcc: true })
  const { orientation = 1 } = await opened.metadata()
  return orientation === 1 ? undefined : opened.png({ compressionLevel: 1 }).toBuffer()
}
