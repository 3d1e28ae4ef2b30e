// Attention of one or two new tokens per row, straight out of their projections, against the row's cache and one another, first
// stage (split-KV, "Flash-Decoding", Dao et al. 2023): a workgroup owns one split of one row's keys for QUERIES (token, head)
// pairs that share a key-value head, token-major, so that the cache is read once for all of them. decode-combine.wgsl merges
// the splits. Token i of row b has slot position[b] + i of the caches; those past the capacity are left out.
// No workgroup reads a slot that another one writes: keys and values of new tokens are made of their projections wherever
// they are attended to, as the cache will give them back, and one workgroup of each key-value head writes them, the first
// pairs' of the last split.
// How a vector lies in memory (Four, SCALES, widen ..) stands before this source, see vectors-plain.wgsl, and how new
// tokens' vectors are made, see new-tokens.wgsl.
// Splits are fixed in number and cut by the row's own key count, so results do not depend on other rows.
// Grid: x = key-value heads * blocks of QUERIES pairs, y = splits, z = rows. Tile: 16 keys.
// Workgroup memory: at QUERIES = 8 and HEAD_DIMENSION = 128, 8448 (keys) + 4096 (queries) + 512 (scores) = 13056 bytes, and
// 8 * NEW_TOKENS where vectors have scales.
// Bytes moved: the visible part of the caches once for each block of pairs, splits * (HEAD_DIMENSION + 4) floats per pair.
// Flops: 4 * HEAD_DIMENSION per visible (key, pair).

const WORKGROUP_SIZE: u32 = 64;
const VECTORS: u32 = HEAD_DIMENSION / 4;
// Fours from one cached vector to the next.
const CACHED: u32 = SCALES + VECTORS;
const KEYS: u32 = 16;
// vec4s from one key of the tile to the next: one more than it holds, so that keys fall into different banks.
const STRIDE: u32 = VECTORS + 1;
// Output vec4s a lane accumulates.
const ITEMS: u32 = (QUERIES * VECTORS + WORKGROUP_SIZE - 1) / WORKGROUP_SIZE;
const MASKED: f32 = -1e30;

// The position of a row that has nothing to see.
const IDLE: u32 = 0xffffffff;

struct Params {
  // HEAD_DIMENSION / 4, for loops that need not be unrolled.
  vectors: u32,
  heads: u32,
  key_value_heads: u32,
  capacity: u32,
  table_rows: u32,
  splits: u32,
  scale: f32,
}

@group(0) @binding(0) var<storage, read> projected: array<vec4<Scalar>>;
@group(0) @binding(1) var<storage, read> rotary_positions: array<u32>;
@group(0) @binding(2) var<storage, read> table: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> start: array<u32>;
@group(0) @binding(4) var<storage, read> position: array<u32>;
@group(0) @binding(5) var<storage, read_write> key_cache: array<Four>;
@group(0) @binding(6) var<storage, read_write> value_cache: array<Four>;
// [tokens, heads, splits]: a vec4 of largest score and total weight, then the sum of the values, not normalised.
@group(0) @binding(7) var<storage, read_write> partials: array<vec4<f32>>;
@group(0) @binding(8) var<uniform> params: Params;

var<workgroup> keys: array<vec4<f32>, KEYS * STRIDE>;
var<workgroup> queries: array<vec4<f32>, QUERIES * VECTORS>;
var<workgroup> scores: array<f32, QUERIES * KEYS>;
// Of each new token's key and value, the bits of the largest magnitude, which are in the order of what they stand for.
var<workgroup> largest_bits: array<atomic<u32>, 2 * NEW_TOKENS>;

// Four elements of a new token's key (kind 0) or value (1).
fn new_four(token: u32, key_value_head: u32, kind: u32, four: u32) -> vec4<f32> {
  let vector = vector_at(token, params.heads + kind * params.key_value_heads + key_value_head);
  if (kind == 0u) {
    return turned(vector, angles_of(token), four);
  }
  return vec4<f32>(projected[vector + four]);
}

// Of vectors of the row's new tokens: key and value of each.
fn scale_at(vector: u32) -> f32 {
  if (SCALES == 0u) {
    return 1.0;
  }
  return scale_for(bitcast<f32>(atomicLoad(&largest_bits[vector])));
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let row = group.z;
  let group_size = params.heads / params.key_value_heads;
  let pairs = NEW_TOKENS * group_size;
  let blocks = (pairs + QUERIES - 1u) / QUERIES;
  let key_head = group.x / blocks;
  let first_pair = group.x % blocks * QUERIES;
  let first_token = row * NEW_TOKENS;
  let base = (row * params.key_value_heads + key_head) * params.capacity;
  let first = start[row];
  // Compared without adding first: a position near 2^32 must not wrap round to the beginning.
  let begin = min(position[row], params.capacity);
  let seen = select(begin, 0u, position[row] == IDLE);
  let fits = min(NEW_TOKENS, params.capacity - begin);
  let end = seen + fits;
  let count = max(end, first) - first;
  let per_split = (count + params.splits - 1u) / params.splits;
  let split_first = first + group.y * per_split;
  let split_end = min(split_first + per_split, end);
  let writes = group.y == params.splits - 1u && first_pair == 0u;

  for (var item = lane; item < QUERIES * VECTORS; item += WORKGROUP_SIZE) {
    let pair = min(first_pair + item / VECTORS, pairs - 1u);
    let token = first_token + pair / group_size;
    let vector = vector_at(token, key_head * group_size + pair % group_size);
    queries[item] = turned(vector, angles_of(token), item % VECTORS) * params.scale;
  }
  if (SCALES != 0u && (writes || split_end > seen)) {
    for (var item = lane; item < 2u * fits * VECTORS; item += WORKGROUP_SIZE) {
      let vector = item / VECTORS;
      let four = abs(new_four(first_token + vector / 2u, key_head, vector % 2u, item % VECTORS));
      let pair = max(four.xy, four.zw);
      atomicMax(&largest_bits[vector], bitcast<u32>(max(pair.x, pair.y)));
    }
    workgroupBarrier();
  }
  if (writes) {
    for (var item = lane; item < 2u * fits * VECTORS; item += WORKGROUP_SIZE) {
      let vector = item / VECTORS;
      let at = (base + begin + vector / 2u) * CACHED;
      let to = at + SCALES + item % VECTORS;
      let scale = scale_at(vector);
      let narrowed = narrow(new_four(first_token + vector / 2u, key_head, vector % 2u, item % VECTORS), scale);
      if (vector % 2u == 0u) {
        key_cache[to] = narrowed;
      } else {
        value_cache[to] = narrowed;
      }
      if (SCALES != 0u && item % VECTORS == 0u) {
        if (vector % 2u == 0u) {
          key_cache[at] = narrow_scale(scale);
        } else {
          value_cache[at] = narrow_scale(scale);
        }
      }
    }
  }

  var sum: array<vec4<f32>, ITEMS>;
  var largest: array<f32, ITEMS>;
  var total: array<f32, ITEMS>;
  for (var n = 0u; n < ITEMS; n++) {
    largest[n] = MASKED;
  }
  for (var tile = split_first; tile < split_end; tile += KEYS) {
    for (var item = lane; item < KEYS * VECTORS; item += WORKGROUP_SIZE) {
      let key = item / VECTORS;
      var value = vec4(0.0);
      if (tile + key < min(split_end, seen)) {
        let at = (base + tile + key) * CACHED;
        value = widen(key_cache[at + SCALES + item % VECTORS]) * scale_of(key_cache[at]);
      } else if (tile + key < split_end) {
        let other = tile + key - seen;
        let scale = scale_at(2u * other);
        value = widen(narrow(new_four(first_token + other, key_head, 0u, item % VECTORS), scale)) * scale;
      }
      keys[key * STRIDE + item % VECTORS] = value;
    }
    workgroupBarrier();
    for (var pair = lane; pair < QUERIES * KEYS; pair += WORKGROUP_SIZE) {
      let key = pair % KEYS;
      var products = vec4(0.0);
      for (var i = 0u; i < params.vectors; i++) {
        products += queries[pair / KEYS * VECTORS + i] * keys[key * STRIDE + i];
      }
      let score = (products.x + products.y) + (products.z + products.w);
      scores[pair] = score;
    }
    workgroupBarrier();
    for (var n = 0u; n < ITEMS; n++) {
      let item = lane + n * WORKGROUP_SIZE;
      if (item < QUERIES * VECTORS) {
        let pair_scores = item / VECTORS * KEYS;
        let own = (first_pair + item / VECTORS) / group_size;
        let visible_end = min(min(split_end, tile + KEYS), seen + min(own + 1u, fits));
        let visible = max(visible_end, tile) - tile;
        var next_largest = largest[n];
        for (var key = 0u; key < visible; key++) {
          next_largest = max(next_largest, scores[pair_scores + key]);
        }
        let shrink = exp(largest[n] - next_largest);
        largest[n] = next_largest;
        total[n] *= shrink;
        sum[n] *= shrink;
        for (var key = 0u; key < visible; key++) {
          let weight = exp(scores[pair_scores + key] - next_largest);
          total[n] += weight;
          if (tile + key < seen) {
            let at = (base + tile + key) * CACHED;
            sum[n] += weight * scale_of(value_cache[at]) * widen(value_cache[at + SCALES + item % VECTORS]);
          } else {
            let other = tile + key - seen;
            let scale = scale_at(2u * other + 1u);
            let four = narrow(new_four(first_token + other, key_head, 1u, item % VECTORS), scale);
            sum[n] += weight * scale * widen(four);
          }
        }
      }
    }
    workgroupBarrier();
  }

  for (var n = 0u; n < ITEMS; n++) {
    let item = lane + n * WORKGROUP_SIZE;
    let pair = first_pair + item / VECTORS;
    if (item < QUERIES * VECTORS && pair < pairs) {
      let token = first_token + pair / group_size;
      let head = key_head * group_size + pair % group_size;
      let slot = ((token * params.heads + head) * params.splits + group.y) * (1u + VECTORS);
      partials[slot + 1u + item % VECTORS] = sum[n];
      if (item % VECTORS == 0u) {
        partials[slot] = vec4(largest[n], total[n], 0.0, 0.0);
      }
    }
  }
}
