// Rotary position embedding, rotate-half form, out of place. Pair i of a head is (x[i], x[i + headDimension / 2]):
//   out[i] = x[i] * cos - x[i + half] * sin,  out[i + half] = x[i + half] * cos + x[i] * sin.
// The backward pass is the same rotation with direction = -1.
// Cosines and sines come from a table made on the host in f64: at position 131,071 an f32 angle is off by up to 4e-3
// radians before any sine is taken, and WGSL promises nothing for the sine of a large angle.
// Grid: x, y = rows, z = groups of heads_per_workgroup heads. Tile: one row's heads; lanes stride along the pairs.
// Workgroup memory: none. Bytes moved: x and out once, one table row per row. Flops: 6 per pair.

override WORKGROUP_SIZE: u32 = 64;

struct Params {
  rows: u32,
  heads: u32,
  half_dimension: u32,
  heads_per_workgroup: u32,
  table_rows: u32,
  // 1 rotates forward, -1 back.
  direction: f32,
}

@group(0) @binding(0) var<storage, read> x: array<Scalar>;
@group(0) @binding(1) var<storage, read> positions: array<u32>;
// [table_rows, 2 * half_dimension]: half_dimension cosines, then half_dimension sines.
@group(0) @binding(2) var<storage, read> table: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<Scalar>;
@group(0) @binding(4) var<uniform> params: Params;

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
  let half = params.half_dimension;
  let angles = min(positions[row], params.table_rows - 1u) * 2u * half;
  let first_head = group.z * params.heads_per_workgroup;
  let last_head = min(first_head + params.heads_per_workgroup, params.heads);
  for (var pair = lane; pair < half; pair += WORKGROUP_SIZE) {
    let cosine = table[angles + pair];
    let sine = table[angles + half + pair] * params.direction;
    for (var head = first_head; head < last_head; head++) {
      let index = (row * params.heads + head) * 2u * half + pair;
      let low = f32(x[index]);
      let high = f32(x[index + half]);
      out[index] = Scalar(low * cosine - high * sine);
      out[index + half] = Scalar(high * cosine + low * sine);
    }
  }
}
