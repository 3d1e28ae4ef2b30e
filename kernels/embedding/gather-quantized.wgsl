// Embedding look-up in rows of a packed table (see quantize/quantize.wgsl): out[row] = table[ids[row] - first] for the ids
// that these rows hold. Rows of other ids stay as they are, or are zeroed where CLEAR is set: of the shards of one table
// the first clears.
// Grid: rows workgroups, spread over x and y. Tile: one row; lanes stride along its words of levels.
// Workgroup memory: none. Bytes moved: the looked-up rows and out once. Flops: one a value.

override WORKGROUP_SIZE: u32 = 64;
override CLEAR: bool = true;

struct Params {
  rows: u32,
  // Words of levels of a row.
  words: u32,
  scale_words: u32,
  first: u32,
  count: u32,
}

@group(0) @binding(0) var<storage, read> ids: array<u32>;
@group(0) @binding(1) var<storage, read> data: array<u32>;
@group(0) @binding(2) var<storage, read> scales: array<u32>;
@group(0) @binding(3) var<storage, read_write> out: array<Scalar>;
@group(0) @binding(4) var<uniform> params: Params;

const PER_WORD = 32u / BITS;

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
  // Ids before the first wrap round to numbers above any count.
  let source = ids[row] - params.first;
  let held = source < params.count;
  if (!held && !CLEAR) {
    return;
  }
  for (var index = lane; index < params.words; index += WORKGROUP_SIZE) {
    let at = (row * params.words + index) * PER_WORD;
    if (!held) {
      for (var i = 0u; i < PER_WORD; i++) {
        out[at + i] = Scalar(0.0);
      }
      continue;
    }
    let word = data[source * params.words + index];
    let scale_group = index * PER_WORD / 32u;
    let pair = unpack2x16float(scales[source * params.scale_words + scale_group / 2u]);
    let scale = select(pair.x, pair.y, (scale_group & 1u) == 1u);
    for (var i = 0u; i < PER_WORD; i++) {
      var level: i32;
      if (BITS == 4u) {
        level = bitcast<i32>((word >> (4u * i)) & 15u) - 8;
      } else {
        // To the top of the word and back down, which spreads the sign.
        level = bitcast<i32>(word << (24u - 8u * i)) >> 24u;
      }
      out[at + i] = Scalar(scale * f32(level));
    }
  }
}
