// Classifier-free guidance on a slice of the vocabulary: guided = u + g * (c - u) of the raw logits c and u. It differs from
// the guided log-probabilities by one number a row, which cancels in ranks, maxima and a softmax over the slice; so the
// log-softmax over the whole vocabulary need not be known where only the slice can be sampled.
// Grid: ceil(count / WORKGROUP_SIZE) workgroups in x, a row each in y. Workgroup memory: none.
// Bytes moved: rows * count * (2 * sizeof(Scalar) + 4). Flops: 3 a guided logit.

override WORKGROUP_SIZE: u32 = 64;

// Index into a row's state, as kernels/sampling/state.ts names it.
const STATE_LENGTH = 8u;
const GUIDANCE = 6u;

struct Params {
  rows: u32,
  vocabulary: u32,
  first: u32,
  count: u32,
}

@group(0) @binding(0) var<storage, read> logits: array<Scalar>;
@group(0) @binding(1) var<storage, read> state: array<u32>;
@group(0) @binding(2) var<storage, read_write> guided: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(workgroup_id) workgroupId: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = workgroupId.x * WORKGROUP_SIZE + lane;
  let row = workgroupId.y;
  if (i >= params.count) {
    return;
  }
  let guidance = bitcast<f32>(state[row * STATE_LENGTH + GUIDANCE]);
  let id = params.first + i;
  let conditional = f32(logits[row * params.vocabulary + id]);
  let unconditional = f32(logits[(params.rows + row) * params.vocabulary + id]);
  guided[row * params.count + i] = guidance * (conditional - unconditional) + unconditional;
}
