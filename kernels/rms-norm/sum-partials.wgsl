// Second stage of a column reduction: adds `slices` rows of partial sums in ascending order.
// Grid: x = blocks of columns. Tile: WORKGROUP_SIZE columns. Workgroup memory: none.
// Bytes moved: slices * features read, features written. Flops: slices * features.

override WORKGROUP_SIZE: u32 = 64;

struct Params {
  slices: u32,
  features: u32,
}

@group(0) @binding(0) var<storage, read> partials: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) invocation: vec3<u32>) {
  let column = invocation.x;
  if (column >= params.features) {
    return;
  }
  var sum = 0.0;
  for (var slice = 0u; slice < params.slices; slice++) {
    sum += partials[slice * params.features + column];
  }
  out[column] = sum;
}
