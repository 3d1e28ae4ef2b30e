// Loss weight of each target id: 0 where ignored, visionWeight within [visionFirst, visionLast], textWeight elsewhere.
// Grid: one thread a target, spread over x and y. Workgroup memory: none. Bytes moved: 8 a target.

override WORKGROUP_SIZE: u32 = 64;

struct Params {
  rows: u32,
  visionFirst: i32,
  visionLast: i32,
  visionWeight: f32,
  textWeight: f32,
}

@group(0) @binding(0) var<storage, read> targets: array<i32>;
@group(0) @binding(1) var<storage, read_write> weights: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

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
  let id = targets[row];
  var weight = params.textWeight;
  if (id >= params.visionFirst && id <= params.visionLast) {
    weight = params.visionWeight;
  }
  if (id < 0) {
    weight = 0.0;
  }
  weights[row] = weight;
}
