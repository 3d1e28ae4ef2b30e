// chosenGradient = -lossGradient * beta * sigmoid(-margin) / pairs; rejectedGradient is its negative.
// Grid: one thread a pair, spread over x and y. Workgroup memory: none. Bytes moved: 12 a pair. Flops: 5 a pair.

override WORKGROUP_SIZE: u32 = 64;

struct Params {
  pairs: u32,
  beta: f32,
}

@group(0) @binding(0) var<storage, read> margins: array<f32>;
@group(0) @binding(1) var<storage, read> lossGradient: array<f32>;
@group(0) @binding(2) var<storage, read_write> chosenGradient: array<f32>;
@group(0) @binding(3) var<storage, read_write> rejectedGradient: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
  @builtin(workgroup_id) workgroupId: vec3<u32>,
  @builtin(num_workgroups) workgroupCount: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let pair = (workgroupId.x + workgroupId.y * workgroupCount.x) * WORKGROUP_SIZE + lane;
  if (pair >= params.pairs) {
    return;
  }
  // Past 80 the sigmoid is 0 in f32 anyway, and the exponential would overflow.
  let complement = 1.0 / (1.0 + exp(min(margins[pair], 80.0)));
  let gradient = lossGradient[0] * params.beta * complement / f32(params.pairs);
  chosenGradient[pair] = -gradient;
  rejectedGradient[pair] = gradient;
}
