// counts[codes[p]] += 1: how often each code was chosen. Whole numbers add up to the same in any order.
// Grid: one thread a latent, spread over x and y. Workgroup memory: none. Bytes moved: 8 a latent.

override WORKGROUP_SIZE: u32 = 64;

struct Params {
  latents: u32,
  codes: u32,
}

@group(0) @binding(0) var<storage, read> codes: array<u32>;
@group(0) @binding(1) var<storage, read_write> counts: array<atomic<u32>>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
  @builtin(workgroup_id) workgroupId: vec3<u32>,
  @builtin(num_workgroups) workgroupCount: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let latent = (workgroupId.x + workgroupId.y * workgroupCount.x) * WORKGROUP_SIZE + lane;
  if (latent < params.latents && codes[latent] < params.codes) {
    atomicAdd(&counts[codes[latent]], 1u);
  }
}
