/**
 * SwiGLU (Shazeer 2020, arXiv 2002.05202, section 2) between its projections: `out = silu(gate) * up`,
 * `silu(x) = x / (1 + exp(-x))`, element by element.
 */
export function swigluReference(gate: Float64Array, up: Float64Array): Float64Array {
  return gate.map((value, index) => (value / (1 + Math.exp(-value))) * (up[index] ?? 0));
}
