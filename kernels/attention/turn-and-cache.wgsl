// Takes the projections of new tokens, [tokens, (heads + 2 key-value heads) * head dimension], apart: queries are turned by
// their rotary position and scaled, keys are turned and go to the cache, values go there as they are. Token i of row b lies at
// position[b] + i of the caches [batch, key-value heads, capacity] of vectors; those past the capacity are left out.
// How a vector lies in memory (Four, SCALES, narrow ..) stands before this source, see vectors-plain.wgsl.
// A head's dimension is filled up to whole Fours with zeros.
// Pair i of a head is (x[i], x[i + half]), as in kernels/rotary, with its table of cosines and sines.
// Grid: x, y = tokens, z = groups of HEADS heads of all three kinds. Tile: one token's heads; lanes stride along the Fours.
// Workgroup memory: 4 * HEADS bytes where vectors have scales. Bytes moved: the projections and their copies once.
// Flops: 6 per turned pair.

override WORKGROUP_SIZE: u32 = 64;

struct Params {
  tokens: u32,
  // Tokens of a row.
  length: u32,
  heads: u32,
  key_value_heads: u32,
  half_dimension: u32,
  // Fours of a vector.
  vectors: u32,
  capacity: u32,
  table_rows: u32,
  query_scale: f32,
}

@group(0) @binding(0) var<storage, read> projected: array<Scalar>;
@group(0) @binding(1) var<storage, read> rotary_positions: array<u32>;
// [table_rows, 2 * half_dimension]: half_dimension cosines, then half_dimension sines.
@group(0) @binding(2) var<storage, read> table: array<f32>;
@group(0) @binding(3) var<storage, read> position: array<u32>;
@group(0) @binding(4) var<storage, read_write> query: array<vec4<Scalar>>;
@group(0) @binding(5) var<storage, read_write> key_cache: array<Four>;
@group(0) @binding(6) var<storage, read_write> value_cache: array<Four>;
@group(0) @binding(7) var<uniform> params: Params;

// Of this workgroup's heads.
var<workgroup> scales: array<f32, HEADS>;

// The turn of four elements, and where they and their partners are in a head.
struct Turn {
  own: vec4<u32>,
  partner: vec4<u32>,
  // False for what fills heads up.
  inside: vec4<bool>,
  cosine: vec4<f32>,
  // Negative for the first elements of pairs.
  sine: vec4<f32>,
}

fn turn_of(token: u32, four: u32) -> Turn {
  let half = params.half_dimension;
  let angles = min(rotary_positions[token], params.table_rows - 1u) * 2u * half;
  let all = vec4(4u * four) + vec4(0u, 1u, 2u, 3u);
  let inside = all < vec4(2u * half);
  let own = min(all, vec4(2u * half - 1u));
  let second = own >= vec4(half);
  let pair = select(own, own - half, second);
  let at = vec4(angles) + pair;
  let cosine = vec4(table[at.x], table[at.y], table[at.z], table[at.w]);
  let sine = vec4(table[at.x + half], table[at.y + half], table[at.z + half], table[at.w + half]);
  return Turn(own, select(own + half, pair, second), inside, cosine, select(-sine, sine, second));
}

fn four_at(begin: u32, index: vec4<u32>) -> vec4<f32> {
  let at = vec4(begin) + index;
  return vec4(f32(projected[at.x]), f32(projected[at.y]), f32(projected[at.z]), f32(projected[at.w]));
}

// Four elements of one of all heads, turned unless it is of values.
fn elements(token: u32, head: u32, turn: Turn) -> vec4<f32> {
  let begin = (token * (params.heads + 2u * params.key_value_heads) + head) * 2u * params.half_dimension;
  var own = four_at(begin, turn.own);
  if (head < params.heads + params.key_value_heads) {
    own = own * turn.cosine + four_at(begin, turn.partner) * turn.sine;
  }
  return select(vec4(0.0), own, turn.inside);
}

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
  let batch = token / params.length;
  // Compared without adding first: a position near 2^32 must not wrap round to the beginning.
  let fits = token % params.length < params.capacity - min(position[batch], params.capacity);
  let slot = position[batch] + token % params.length;
  let first_head = group.z * HEADS;
  let last_head = min(first_head + HEADS, params.heads + 2u * params.key_value_heads);

  if (SCALES != 0u) {
    for (var head = max(first_head, params.heads) + lane; head < last_head; head += WORKGROUP_SIZE) {
      var largest = vec4(0.0);
      for (var four = 0u; four < params.vectors; four++) {
        largest = max(largest, abs(elements(token, head, turn_of(token, four))));
      }
      let pair = max(largest.xy, largest.zw);
      scales[head - first_head] = scale_for(max(pair.x, pair.y));
    }
    workgroupBarrier();
  }

  for (var four = lane; four < params.vectors; four += WORKGROUP_SIZE) {
    let turn = turn_of(token, four);
    for (var head = first_head; head < last_head; head++) {
      let values = elements(token, head, turn);
      if (head < params.heads) {
        query[(token * params.heads + head) * params.vectors + four] = vec4<Scalar>(values * params.query_scale);
      } else if (fits) {
        let other = head - params.heads;
        let cached_head = batch * params.key_value_heads + other % params.key_value_heads;
        let vector = (cached_head * params.capacity + slot) * (SCALES + params.vectors);
        var scale = 1.0;
        if (SCALES != 0u) {
          scale = scales[head - first_head];
        }
        let narrowed = narrow(values, scale);
        if (other < params.key_value_heads) {
          key_cache[vector + SCALES + four] = narrowed;
          if (SCALES != 0u && four == 0u) {
            key_cache[vector] = narrow_scale(scale);
          }
        } else {
          value_cache[vector + SCALES + four] = narrowed;
          if (SCALES != 0u && four == 0u) {
            value_cache[vector] = narrow_scale(scale);
          }
        }
      }
    }
  }
}
