/** What the kernels have in common. */

/** Sixteen bits of each of the eight bytes from an address. */
// @ts-expect-error a decorator of AssemblyScript's
@inline
export function words(address: usize): v128 {
  return i16x8.extend_low_i8x16_u(v128.load64_zero(address))
}
