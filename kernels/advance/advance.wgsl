// counters[i] += 1, in place: the positions of a recorded decoding step, which the host does not touch between replays.
// Grid: ceil(count / WORKGROUP_SIZE) workgroups, spread over x and y. Workgroup memory: none.
// Bytes moved: 8 a counter. Flops: none.

override WORKGROUP_SIZE: u32 = 64u;

struct Params {
  count: u32,
}

@group(0) @binding(0) var<storage, read_write> counters: array<u32>;
@group(0) @binding(1) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
  @builtin(workgroup_id) workgroupId: vec3<u32>,
  @builtin(num_workgroups) workgroupCount: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = (workgroupId.x + workgroupId.y * workgroupCount.x) * WORKGROUP_SIZE + lane;
  if (index < params.count) {
    counters[index] += 1u;
  }
}
