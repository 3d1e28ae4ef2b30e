// counts = 0, before a histogram is counted into it.
// Grid: one thread a count, spread over x and y. Workgroup memory: none. Bytes moved: 4 a count.

override WORKGROUP_SIZE: u32 = 64;

struct Params {
  codes: u32,
}

@group(0) @binding(0) var<storage, read_write> counts: array<u32>;
@group(0) @binding(1) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
  @builtin(workgroup_id) workgroupId: vec3<u32>,
  @builtin(num_workgroups) workgroupCount: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let code = (workgroupId.x + workgroupId.y * workgroupCount.x) * WORKGROUP_SIZE + lane;
  if (code < params.codes) {
    counts[code] = 0u;
  }
}
