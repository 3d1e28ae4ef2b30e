// Gradient of RMSNorm with respect to its input, one row per workgroup:
//   dx = r * (g * w - x * r^2 * mean(g * w * x)),  r = 1 / sqrt(mean(x^2) + epsilon), saved by the forward pass.
// Grid: rows workgroups, spread over x and y. Tile: one row; lanes stride along its features.
// Workgroup memory: 4 * WORKGROUP_SIZE bytes. Bytes moved: x, the output gradient and the input gradient once.
// Flops: 8 per element.

override WORKGROUP_SIZE: u32 = 64;

struct Params {
  rows: u32,
  features: u32,
}

@group(0) @binding(0) var<storage, read> x: array<Scalar>;
@group(0) @binding(1) var<storage, read> weight: array<Weight>;
@group(0) @binding(2) var<storage, read> inverse_rms: array<f32>;
@group(0) @binding(3) var<storage, read> out_gradient: array<f32>;
@group(0) @binding(4) var<storage, read_write> x_gradient: array<f32>;
@group(0) @binding(5) var<uniform> params: Params;

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
  let base = row * params.features;
  var product = 0.0;
  for (var column = lane; column < params.features; column += WORKGROUP_SIZE) {
    product += out_gradient[base + column] * f32(weight[column]) * f32(x[base + column]);
  }
  partial[lane] = product;
  workgroupBarrier();
  var total = 0.0;
  for (var other = 0u; other < WORKGROUP_SIZE; other++) {
    total += partial[other];
  }
  let scale = inverse_rms[row];
  let projection = scale * scale * total / f32(params.features);
  for (var column = lane; column < params.features; column += WORKGROUP_SIZE) {
    let index = base + column;
    x_gradient[index] = scale * (out_gradient[index] * f32(weight[column]) - f32(x[index]) * projection);
  }
}
