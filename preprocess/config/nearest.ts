/** The known name that a mistyped one resembles. */

/**
 * @param mostEdits most letters that may be missing, added, replaced or swapped with the next one; in a short name at most
 * one in three
 * @returns the nearest of the candidates; undefined if the name is one of them, or none is near
 */
export function nearest(name: string, candidates: readonly string[], mostEdits = 2): string | undefined {
  if (candidates.includes(name)) return undefined
  const lower = name.toLowerCase()
  let best: string | undefined
  let fewest = Number.POSITIVE_INFINITY
  for (const candidate of candidates) {
    const most = Math.min(mostEdits, Math.floor(candidate.length / 3))
    if (Math.abs(candidate.length - name.length) > most) continue
    const edits = editDistance(lower, candidate.toLowerCase())
    if (edits > most || edits >= fewest) continue
    best = candidate
    fewest = edits
  }
  return best
}

/** Damerau-Levenshtein distance (no letter is edited twice): the number of edits from one text to the other. */
export function editDistance(from: string, to: string): number {
  let beforeLast: number[] = []
  let last = Array.from({ length: to.length + 1 }, (_, column) => column)
  for (let row = 1; row <= from.length; row++) {
    const current = [row]
    for (let column = 1; column <= to.length; column++) {
      const isSame = from[row - 1] === to[column - 1]
      const isSwap =
        row > 1 && column > 1 && from[row - 1] === to[column - 2] && from[row - 2] === to[column - 1]
      current[column] = Math.min(
        last[column] + 1,
        current[column - 1] + 1,
        last[column - 1] + (isSame ? 0 : 1),
        isSwap ? beforeLast[column - 2] + 1 : Number.POSITIVE_INFINITY,
      )
    }
    beforeLast = last
    last = current
  }
  return last[to.length]
}
