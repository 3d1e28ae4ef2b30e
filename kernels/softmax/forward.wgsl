// Softmax over the last axis of scale * x, one row per workgroup.
// Grid: rows workgroups, spread over x and y. Tile: one row; lanes stride along its columns.
// Workgroup memory: 8 * WORKGROUP_SIZE bytes. Bytes moved: x and out once (both again from cache). Flops: 6 an element.
// Every lane joins all partial results in the same order: two barriers and the same bits everywhere.

override WORKGROUP_SIZE: u32 = 64;

struct Params {
  rows: u32,
  columns: u32,
  scale: f32,
}

@group(0) @binding(0) var<storage, read> x: array<Scalar>;
@group(0) @binding(1) var<storage, read_write> out: array<Scalar>;
@group(0) @binding(2) var<uniform> params: Params;

var<workgroup> largest: array<f32, WORKGROUP_SIZE>;
var<workgroup> sums: array<f32, WORKGROUP_SIZE>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let row = group.x + group.y * groups.x;
  if (row >= params.rows) {
    return;
  }
  let base = row * params.columns;
  var high = -1e30;
  for (var column = lane; column < params.columns; column += WORKGROUP_SIZE) {
    high = max(high, f32(x[base + column]) * params.scale);
  }
  largest[lane] = high;
  workgroupBarrier();
  for (var other = 0u; other < WORKGROUP_SIZE; other++) {
    high = max(high, largest[other]);
  }
  var sum = 0.0;
  for (var column = lane; column < params.columns; column += WORKGROUP_SIZE) {
    sum += exp(f32(x[base + column]) * params.scale - high);
  }
  sums[lane] = sum;
  workgroupBarrier();
  var total = 0.0;
  for (var other = 0u; other < WORKGROUP_SIZE; other++) {
    total += sums[other];
  }
  let inverse = 1.0 / total;
  for (var column = lane; column < params.columns; column += WORKGROUP_SIZE) {
    out[base + column] = Scalar(exp(f32(x[base + column]) * params.scale - high) * inverse);
  }
}
