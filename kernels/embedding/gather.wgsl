// Embedding look-up: out[row] = table[ids[row]]; zeros for an id outside the table.
// Grid: rows workgroups, spread over x and y. Tile: one row; lanes stride along its features. Workgroup memory: none.
// Bytes moved: the looked-up rows and out once. Flops: 0.

override WORKGROUP_SIZE: u32 = 64;

struct Params {
  rows: u32,
  features: u32,
  vocabulary: u32,
}

@group(0) @binding(0) var<storage, read> ids: array<u32>;
@group(0) @binding(1) var<storage, read> table: array<Weight>;
@group(0) @binding(2) var<storage, read_write> out: array<Scalar>;
@group(0) @binding(3) var<uniform> params: Params;

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
  let id = ids[row];
  let known = id < params.vocabulary;
  let source = select(0u, id, known) * params.features;
  for (var column = lane; column < params.features; column += WORKGROUP_SIZE) {
    out[row * params.features + column] = Scalar(select(0.0, f32(table[source + column]), known));
  }
}
