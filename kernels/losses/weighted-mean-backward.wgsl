// valuesGradient = meanGradient * weights / denominator, 0 where the denominator is 0.
// Grid: one thread a row, spread over x and y. Workgroup memory: none. Bytes moved: 8 a row. Flops: 2 a row.

override WORKGROUP_SIZE: u32 = 64;

struct Params {
  rows: u32,
}

@group(0) @binding(0) var<storage, read> weights: array<f32>;
@group(0) @binding(1) var<storage, read> denominator: array<f32>;
@group(0) @binding(2) var<storage, read> meanGradient: array<f32>;
@group(0) @binding(3) var<storage, read_write> valuesGradient: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
  @builtin(workgroup_id) workgroupId: vec3<u32>,
  @builtin(num_workgroups) workgroupCount: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let row = (workgroupId.x + workgroupId.y * workgroupCount.x) * WORKGROUP_SIZE + lane;
  if (row >= params.rows) {
    return;
  }
  let divisor = denominator[0];
  var gradient = 0.0;
  if (divisor != 0.0) {
    gradient = meanGradient[0] * weights[row] / divisor;
  }
  valuesGradient[row] = gradient;
}
