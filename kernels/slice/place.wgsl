// out[row, start + column] = x[row, column]; the other columns of out stay as they are. Rows are the indices of all axes
// before the one along which x is placed.
// Grid: one invocation an element of x. Workgroup memory: none. Bytes: x read and written once. Flops: 0.

override WORKGROUP_SIZE: u32 = 64;

struct Params {
  length: u32,
  columns: u32,
  out_columns: u32,
  start: u32,
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
  let row = index / params.columns;
  out[row * params.out_columns + params.start + index - row * params.columns] = x[index];
}
