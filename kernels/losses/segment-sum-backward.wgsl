// valuesGradient[r] = scale * sumsGradient[r / rowsPerSegment].
// Grid: one thread a value, spread over x and y. Workgroup memory: none. Bytes moved: 4 a value. Flops: 1 a value.

override WORKGROUP_SIZE: u32 = 64;

struct Params {
  rows: u32,
  rowsPerSegment: u32,
  scale: f32,
}

@group(0) @binding(0) var<storage, read> sumsGradient: array<f32>;
@group(0) @binding(1) var<storage, read_write> valuesGradient: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
  @builtin(workgroup_id) workgroupId: vec3<u32>,
  @builtin(num_workgroups) workgroupCount: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let row = (workgroupId.x + workgroupId.y * workgroupCount.x) * WORKGROUP_SIZE + lane;
  if (row < params.rows) {
    valuesGradient[row] = params.scale * sumsGradient[row / params.rowsPerSegment];
  }
}
