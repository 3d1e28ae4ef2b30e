// What products of few rows share: out = x . Wt, and what may come before and behind it.
// With GATED = 1 the weight has the rows (columns, where it is not transposed) of a gate and then as many of up, and
// out = silu(x . gate) * (x . up): SwiGLU. params.n counts outputs.
// With NORMED = 1 x passes an RMSNorm of the weight `gain` before: whatever multiplies by a row of x adds up its squares too,
// and divides its sums by their root mean in the end. With ADDEND = 1 `addend`, shaped like out, is added behind.
// `gain` and `addend` are read in these cases only; in others anything is bound to them.
@group(0) @binding(5) var<storage, read> gain: array<vec4<TypeGain>>;
@group(0) @binding(6) var<storage, read> addend: array<TypeAddend>;

// Outputs a thread makes of four products.
const OUTPUTS = 4u / (1u + GATED);

// Rows of the weight that a thread multiplies by: those of four outputs, `step` apart, or of two gates and two ups. Past
// the end the last one is repeated; only stores are guarded.
fn columnsFrom(column: u32, step: u32) -> vec4u {
  let outputs = min(vec4u(column) + vec4u(0u, 1u, 2u, 3u) * step, vec4u(params.n - 1u));
  if (GATED == 1u) { return vec4u(outputs.xy, outputs.xy + params.n); }
  return outputs;
}

// The gains of four inputs.
fn gainsAt(four: u32) -> vec4f {
  if (NORMED == 0u) { return vec4f(1.0); }
  return vec4f(gain[four]);
}

// The gain of one of four inputs.
fn gainAt(four: u32, input: u32) -> f32 {
  if (NORMED == 0u) { return 1.0; }
  return f32(gain[four][input]);
}

// Inputs as their squares count.
fn squaresOf(inputs: vec4f) -> f32 {
  if (NORMED == 0u) { return 0.0; }
  return dot(inputs, inputs);
}

// The outputs of four sums, in the first OUTPUTS components, where the squares of so many inputs add up to `squares`.
// exp(80) is finite, and beyond it SwiGLU is zero in f32 anyway.
fn outputsOf(unscaled: vec4f, squares: f32, inputs: u32) -> vec4f {
  var sums = unscaled;
  if (NORMED == 1u) { sums *= inverseSqrt(squares / f32(inputs) + params.epsilon); }
  if (GATED == 0u) { return sums; }
  return vec4f(sums.xy / (1.0 + exp(min(-sums.xy, vec2f(80.0)))) * sums.zw, 0.0, 0.0);
}

fn store(index: u32, output: f32) {
  if (ADDEND == 1u) { out[index] = TypeOut(f32(addend[index]) + output); } else { out[index] = TypeOut(output); }
}
