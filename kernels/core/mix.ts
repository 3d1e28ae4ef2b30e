/** A 32-bit finaliser with full avalanche, the one of the kernels: a bijection that scatters nearby whole numbers. */
export function mix32(value: number): number {
  let bits = value >>> 0;
  bits = Math.imul(bits ^ (bits >>> 16), 0x21f0aaad);
  bits = Math.imul(bits ^ (bits >>> 15), 0x735a2d97);
  return (bits ^ (bits >>> 15)) >>> 0;
}
