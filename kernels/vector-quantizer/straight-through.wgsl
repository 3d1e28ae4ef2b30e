// out = quantized: the forward half of the straight-through estimator. (A copy, because its gradient goes to the latents
// and not to the codebook, so it is another tensor than the one it copies.)
// Grid: one thread an element, spread over x and y. Workgroup memory: none. Bytes moved: 8 an element.

override WORKGROUP_SIZE: u32 = 64;

struct Params {
  count: u32,
}

@group(0) @binding(0) var<storage, read> quantized: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
  @builtin(workgroup_id) workgroupId: vec3<u32>,
  @builtin(num_workgroups) workgroupCount: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = (workgroupId.x + workgroupId.y * workgroupCount.x) * WORKGROUP_SIZE + lane;
  if (i < params.count) {
    out[i] = quantized[i];
  }
}
