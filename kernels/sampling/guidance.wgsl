// Classifier-free guidance on log-probabilities: guided = u + g * (c - u), c and u the log-softmax of the conditional row r
// and the unconditional row rows + r, g the row's guidance from its state.
// Grid: ceil(vocabulary / WORKGROUP_SIZE) workgroups in x, a row each in y. Workgroup memory: none.
// Bytes moved: rows * vocabulary * (2 * sizeof(Scalar) + 4). Flops: 5 a guided logit.

override WORKGROUP_SIZE: u32 = 64;

// Index into a row's state, as kernels/sampling/state.ts names it.
const STATE_LENGTH = 8u;
const GUIDANCE = 6u;

struct Params {
  rows: u32,
  vocabulary: u32,
}

@group(0) @binding(0) var<storage, read> logits: array<Scalar>;
@group(0) @binding(1) var<storage, read> logSumExp: array<f32>;
@group(0) @binding(2) var<storage, read> state: array<u32>;
@group(0) @binding(3) var<storage, read_write> guided: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(workgroup_id) workgroupId: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let id = workgroupId.x * WORKGROUP_SIZE + lane;
  let row = workgroupId.y;
  if (id >= params.vocabulary) {
    return;
  }
  let guidance = bitcast<f32>(state[row * STATE_LENGTH + GUIDANCE]);
  let conditional = f32(logits[row * params.vocabulary + id]) - logSumExp[row];
  let unconditional = f32(logits[(params.rows + row) * params.vocabulary + id]) - logSumExp[params.rows + row];
  guided[row * params.vocabulary + id] = guidance * (conditional - unconditional) + unconditional;
}
