// What products of few rows share that can be gated. With GATED = 1 the weight has the rows (columns, where it is not
// transposed) of a gate and then as many of up, and out = silu(x . gate) * (x . up): SwiGLU. params.n counts outputs.

// Outputs a thread makes of four products.
const OUTPUTS = 4u / (1u + GATED);

// Rows of the weight that a thread multiplies by: those of four outputs, `step` apart, or of two gates and two ups. Past
// the end the last one is repeated; only stores are guarded.
fn columnsFrom(column: u32, step: u32) -> vec4u {
  let outputs = min(vec4u(column) + vec4u(0u, 1u, 2u, 3u) * step, vec4u(params.n - 1u));
  if (GATED == 1u) { return vec4u(outputs.xy, outputs.xy + params.n); }
  return outputs;
}

// The outputs of four sums, in the first OUTPUTS components. exp(80) is finite, and beyond it SwiGLU is zero in f32 anyway.
fn outputsOf(sums: vec4f) -> vec4f {
  if (GATED == 0u) { return sums; }
  return vec4f(sums.xy / (1.0 + exp(min(-sums.xy, vec2f(80.0)))) * sums.zw, 0.0, 0.0);
}
