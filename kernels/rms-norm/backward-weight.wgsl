// Gradient of RMSNorm with respect to its weight, first stage: each workgroup sums a slice of the rows for
// WORKGROUP_SIZE columns, dw[c] = sum over rows of g * x * r. sum-partials.wgsl adds the slices.
// Grid: x = blocks of columns, y = slices of rows. Tile: WORKGROUP_SIZE columns x rows_per_slice rows.
// Workgroup memory: none. Bytes moved: x and the output gradient once, slices * features partial sums.
// Flops: 3 per element.

override WORKGROUP_SIZE: u32 = 64;

struct Params {
  rows: u32,
  features: u32,
  rows_per_slice: u32,
}

@group(0) @binding(0) var<storage, read> x: array<Scalar>;
@group(0) @binding(1) var<storage, read> inverse_rms: array<f32>;
@group(0) @binding(2) var<storage, read> out_gradient: array<f32>;
@group(0) @binding(3) var<storage, read_write> partials: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let column = group.x * WORKGROUP_SIZE + lane;
  if (column >= params.features) {
    return;
  }
  let first = group.y * params.rows_per_slice;
  let last = min(first + params.rows_per_slice, params.rows);
  var sum = 0.0;
  for (var row = first; row < last; row++) {
    let index = row * params.features + column;
    sum += out_gradient[index] * f32(x[index]) * inverse_rms[row];
  }
  partials[group.y * params.features + column] = sum;
}
