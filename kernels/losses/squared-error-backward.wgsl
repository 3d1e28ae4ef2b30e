// aGradient = lossGradient * scale * (a - b), where scale already holds the 2 of the derivative.
// Grid: one thread an element, spread over x and y. Workgroup memory: none. Bytes moved: 12 an element. Flops: 2.

override WORKGROUP_SIZE: u32 = 64;

struct Params {
  count: u32,
  scale: f32,
}

@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read> lossGradient: array<f32>;
@group(0) @binding(3) var<storage, read_write> aGradient: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
  @builtin(workgroup_id) workgroupId: vec3<u32>,
  @builtin(num_workgroups) workgroupCount: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = (workgroupId.x + workgroupId.y * workgroupCount.x) * WORKGROUP_SIZE + lane;
  if (i < params.count) {
    aGradient[i] = (lossGradient[0] * params.scale) * (a[i] - b[i]);
  }
}
