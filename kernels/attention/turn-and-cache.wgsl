// Takes the projections of new tokens, [tokens, (heads + 2 key-value heads) * head dimension], apart: queries are turned by
// their rotary position and scaled, keys are turned and go to the cache, values go there as they are. Token i of row b lies at
// position[b] + i of the caches [batch, key-value heads, capacity, padded dimension]; those past the capacity are left out.
// A head's dimension is filled up to the padded one with zeros: in queries here, in the caches by whoever made them.
// Pair i of a head is (x[i], x[i + half]), as in kernels/rotary, with its table of cosines and sines.
// Grid: x, y = tokens, z = groups of heads_per_workgroup heads of all three kinds. Tile: one token's heads; lanes stride along
// the pairs. Workgroup memory: none. Bytes moved: the projections and their copies once. Flops: 6 per turned pair.

override WORKGROUP_SIZE: u32 = 64;

struct Params {
  tokens: u32,
  // Tokens of a row.
  length: u32,
  heads: u32,
  key_value_heads: u32,
  heads_per_workgroup: u32,
  half_dimension: u32,
  padded_dimension: u32,
  capacity: u32,
  table_rows: u32,
  query_scale: f32,
}

@group(0) @binding(0) var<storage, read> projected: array<Scalar>;
@group(0) @binding(1) var<storage, read> rotary_positions: array<u32>;
// [table_rows, 2 * half_dimension]: half_dimension cosines, then half_dimension sines.
@group(0) @binding(2) var<storage, read> table: array<f32>;
@group(0) @binding(3) var<storage, read> position: array<u32>;
@group(0) @binding(4) var<storage, read_write> query: array<Scalar>;
@group(0) @binding(5) var<storage, read_write> key_cache: array<KeyValue>;
@group(0) @binding(6) var<storage, read_write> value_cache: array<KeyValue>;
@group(0) @binding(7) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let token = group.x + group.y * groups.x;
  if (token >= params.tokens) {
    return;
  }
  let half = params.half_dimension;
  let all_heads = params.heads + 2u * params.key_value_heads;
  let batch = token / params.length;
  // Compared without adding first: a position near 2^32 must not wrap round to the beginning.
  let fits = token % params.length < params.capacity - min(position[batch], params.capacity);
  let slot = position[batch] + token % params.length;
  let angles = min(rotary_positions[token], params.table_rows - 1u) * 2u * half;
  let first_head = group.z * params.heads_per_workgroup;
  let last_head = min(first_head + params.heads_per_workgroup, all_heads);
  for (var pair = lane; pair < half; pair += WORKGROUP_SIZE) {
    let cosine = table[angles + pair];
    let sine = table[angles + half + pair];
    for (var head = first_head; head < last_head; head++) {
      let index = (token * all_heads + head) * 2u * half + pair;
      let low = f32(projected[index]);
      let high = f32(projected[index + half]);
      let turned_low = low * cosine - high * sine;
      let turned_high = high * cosine + low * sine;
      if (head < params.heads) {
        let to = (token * params.heads + head) * params.padded_dimension + pair;
        query[to] = Scalar(turned_low * params.query_scale);
        query[to + half] = Scalar(turned_high * params.query_scale);
      } else if (fits) {
        let other = head - params.heads;
        let cached_head = batch * params.key_value_heads + other % params.key_value_heads;
        let to = (cached_head * params.capacity + slot) * params.padded_dimension + pair;
        if (other < params.key_value_heads) {
          key_cache[to] = KeyValue(turned_low);
          key_cache[to + half] = KeyValue(turned_high);
        } else {
          value_cache[to] = KeyValue(low);
          value_cache[to + half] = KeyValue(high);
        }
      }
    }
  }
  for (var head = first_head; head < min(last_head, params.heads); head++) {
    for (var column = 2u * half + lane; column < params.padded_dimension; column += WORKGROUP_SIZE) {
      query[(token * params.heads + head) * params.padded_dimension + column] = Scalar(0.0);
    }
  }
}
