/** Print a measurement. If it is not within its limit, say so, and let this program exit with 1. */
export function printWithLimit(line: string, isWithin: boolean): void {
  if (!isWithin) process.exitCode = 1
  console.log(isWithin ? line : `${line}: NOT WITHIN THE LIMIT`)
}
