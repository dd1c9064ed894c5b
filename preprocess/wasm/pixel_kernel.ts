/** Stages that map each row to another with pixel_kernel.wasm, a few rows at a time. */
import { Arena, type Kernel } from './arena.ts'

type PixelKernel = Kernel<
  'horizontal' | 'vertical' | 'unfilter' | 'dropChannels' | 'expandPalette' | 'luma' | 'plane'
>

export function pixelArena(): Arena<PixelKernel> {
  return new Arena('pixel_kernel')
}

/** Rows are copied into the kernel's memory in pieces of about this size, so that they stay in the CPU's cache. */
const PIECE_BYTES = 2 ** 18

/** @returns how many rows are copied at once, at least 1 */
export function rowsPerPiece(rowBytes: number): number {
  return Math.max(1, Math.floor(PIECE_BYTES / rowBytes))
}

/** Split chunks into pieces of at most `maxRows` rows. */
export function* pieces(
  chunks: Iterable<Uint8Array>,
  rowBytes: number,
  maxRows: number,
): Iterable<Uint8Array> {
  for (const chunk of chunks)
    for (let at = 0; at < chunk.length; at += maxRows * rowBytes)
      yield chunk.subarray(at, at + maxRows * rowBytes)
}

interface RowStage {
  /** rows, one or more a chunk */
  chunks: Iterable<Uint8Array>
  rowBytes: number
  outRowBytes: number
  /** constants that `work` needs in the kernel's memory */
  tables?: ArrayBufferView[]
}

/**
 * Map each row to a row of another length.
 *
 * @param work called with the number of rows, the addresses of the rows and of the result, and those of the tables
 * @returns the results in chunks, each valid until the next one is requested
 */
export function* mapRows(
  { chunks, rowBytes, outRowBytes, tables = [] }: RowStage,
  work: (kernel: PixelKernel, rows: number, source: number, out: number, tables: number[]) => void,
): Iterable<Uint8Array> {
  const arena = pixelArena()
  try {
    const tablesAt = tables.map((table) => arena.put(table))
    const maxRows = rowsPerPiece(Math.max(rowBytes, outRowBytes))
    const [source, out] = [arena.reserve(maxRows * rowBytes), arena.reserve(maxRows * outRowBytes)]
    for (const piece of pieces(chunks, rowBytes, maxRows)) {
      const rows = piece.length / rowBytes
      arena.view(source, piece.length).set(piece)
      work(arena.kernel, rows, source, out, tablesAt)
      yield arena.view(out, rows * outRowBytes)
    }
  } finally {
    arena.release()
  }
}
