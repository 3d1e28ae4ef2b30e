// In each row: out[i] = x[i - start + offset] for start <= i < start + count, 0 elsewhere. A range of every row of x
// is placed in a row of zeros.
// Grid: one invocation an element of out. Workgroup memory: none. Bytes: count read, length written. Flops: 0.

override WORKGROUP_SIZE: u32 = 64;

struct Params {
  length: u32,
  row_in: u32,
  row_out: u32,
  start: u32,
  count: u32,
  offset: u32,
}

@group(0) @binding(0) var<storage, read> x: array<Scalar>;
@group(0) @binding(1) var<storage, read_write> out: array<Scalar>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let index = id.x + id.y * groups.x * WORKGROUP_SIZE;
  if (index >= params.length) {
    return;
  }
  var value = Scalar(0.0);
  let row = index / params.row_out;
  let column = index - row * params.row_out;
  if (column >= params.start && column - params.start < params.count) {
    value = x[row * params.row_in + column - params.start + params.offset];
  }
  out[index] = value;
}
