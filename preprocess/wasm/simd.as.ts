/** Shared by the kernels. */

/** Eight bytes, widened to 16 bits each. */
@inline
export function words(address: usize): v128 {
  return i16x8.extend_low_i8x16_u(v128.load64_zero(address))
}
