// Gradient of softmax(scale * x): dx = scale * y * (dy - sum(dy * y)), one row per workgroup.
// Grid: rows workgroups, spread over x and y. Tile: one row; lanes stride along its columns.
// Workgroup memory: 4 * WORKGROUP_SIZE bytes. Bytes moved: y, dy and dx once. Flops: 5 an element.

override WORKGROUP_SIZE: u32 = 64;

struct Params {
  rows: u32,
  columns: u32,
  scale: f32,
}

@group(0) @binding(0) var<storage, read> y: array<Scalar>;
@group(0) @binding(1) var<storage, read> out_gradient: array<f32>;
@group(0) @binding(2) var<storage, read_write> x_gradient: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

var<workgroup> partial: array<f32, WORKGROUP_SIZE>;

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
  var sum = 0.0;
  for (var column = lane; column < params.columns; column += WORKGROUP_SIZE) {
    sum += f32(y[base + column]) * out_gradient[base + column];
  }
  partial[lane] = sum;
  workgroupBarrier();
  var total = 0.0;
  for (var other = 0u; other < WORKGROUP_SIZE; other++) {
    total += partial[other];
  }
  for (var column = lane; column < params.columns; column += WORKGROUP_SIZE) {
    let index = base + column;
    x_gradient[index] = params.scale * f32(y[index]) * (out_gradient[index] - total);
  }
}
