// Second stage of the embedding gradient: every element of the table's gradient is written once, as the sum of the
// output gradients of the rows with its id in ascending order, or zero. The padding id's row is zero.
// Grid: blocks of WORKGROUP_SIZE elements of the table, spread over x and y. Tile: one element a lane.
// Workgroup memory: none. Bytes moved: the output gradient and the table gradient once. Flops: rows * features.

override WORKGROUP_SIZE: u32 = 64;

struct Params {
  rows: u32,
  features: u32,
  vocabulary: u32,
  // An id >= vocabulary means there is no padding id.
  padding_id: u32,
}

@group(0) @binding(0) var<storage, read> ids: array<u32>;
@group(0) @binding(1) var<storage, read> head: array<u32>;
@group(0) @binding(2) var<storage, read> next: array<u32>;
@group(0) @binding(3) var<storage, read> out_gradient: array<f32>;
@group(0) @binding(4) var<storage, read_write> table_gradient: array<f32>;
@group(0) @binding(5) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = (group.x + group.y * groups.x) * WORKGROUP_SIZE + lane;
  let id = index / params.features;
  if (id >= params.vocabulary) {
    return;
  }
  let column = index - id * params.features;
  var sum = 0.0;
  var row = head[id];
  if (row < params.rows && id != params.padding_id) {
    if (ids[row] == id) {
      while (row < params.rows) {
        sum += out_gradient[row * params.features + column];
        row = next[row];
      }
    }
  }
  table_gradient[index] = sum;
}
