// Attention of one or two new tokens per row, straight out of their projections, against the row's cache and one another, for
// adapters without fast workgroup memory: a workgroup owns one head of one token, each lane runs an online softmax over
// every WORKGROUP_SIZE-th key, and the lanes' results are merged once at the end. Token i of row b has slot position[b] + i
// of the caches; those past the capacity are left out.
// No workgroup reads a slot that another one writes: keys and values of new tokens are made of their projections wherever
// they are attended to, as the cache will give them back, and the first head of each group writes its own token's.
// How a vector lies in memory (Four, SCALES, widen ..) stands before this source, see vectors-plain.wgsl, and how new
// tokens' vectors are made, see new-tokens.wgsl.
// Grid: x = heads, y = tokens. Tile: all keys start[row] <= j <= the token's slot.
// Workgroup memory: WORKGROUP_SIZE * (4 * HEAD_DIMENSION + 8) + 4 * HEAD_DIMENSION * (1 + 2 * NEW_TOKENS) + 8 * NEW_TOKENS
// bytes. Bytes moved: the visible part of the caches once per head, the projections and out.
// Flops: 4 * HEAD_DIMENSION per visible (key, head).

override WORKGROUP_SIZE: u32 = 8;

const VECTORS: u32 = HEAD_DIMENSION / 4;
const MASKED: f32 = -1e30;
// The position of a row that has nothing to see.
const IDLE: u32 = 0xffffffff;

struct Params {
  // HEAD_DIMENSION / 4, a loop bound that keeps the software compiler from unrolling.
  vectors: u32,
  heads: u32,
  key_value_heads: u32,
  capacity: u32,
  table_rows: u32,
  scale: f32,
}

@group(0) @binding(0) var<storage, read> projected: array<vec4<Scalar>>;
@group(0) @binding(1) var<storage, read> rotary_positions: array<u32>;
@group(0) @binding(2) var<storage, read> table: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> start: array<u32>;
@group(0) @binding(4) var<storage, read> position: array<u32>;
@group(0) @binding(5) var<storage, read_write> key_cache: array<Four>;
@group(0) @binding(6) var<storage, read_write> value_cache: array<Four>;
@group(0) @binding(7) var<storage, read_write> out: array<vec4<Scalar>>;
@group(0) @binding(8) var<uniform> params: Params;

var<workgroup> query: array<vec4<f32>, VECTORS>;
// Of the row's new tokens up to this one: key and value of each, and their scales.
var<workgroup> fresh: array<vec4<f32>, 2 * NEW_TOKENS * VECTORS>;
var<workgroup> scales: array<f32, 2 * NEW_TOKENS>;
var<workgroup> sums: array<vec4<f32>, WORKGROUP_SIZE * VECTORS>;
// largest score, total weight
var<workgroup> statistics: array<vec2<f32>, WORKGROUP_SIZE>;

fn scale_at(vector: u32) -> f32 {
  if (SCALES == 0u) {
    return 1.0;
  }
  return scales[vector];
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let vectors = params.vectors;
  let head = group.x;
  let row = group.y / NEW_TOKENS;
  let own = group.y % NEW_TOKENS;
  let group_size = params.heads / params.key_value_heads;
  let key_head = head / group_size;
  let base = (row * params.key_value_heads + key_head) * params.capacity;
  // Compared without adding first: a position near 2^32 must not wrap round to the beginning.
  let begin = min(position[row], params.capacity);
  let seen = select(begin, 0u, position[row] == IDLE);
  let fits = min(own + 1u, params.capacity - begin);

  for (var four = lane; four < vectors; four += WORKGROUP_SIZE) {
    query[four] = turned(vector_at(group.y, head), angles_of(group.y), four);
  }
  for (var other = 0u; other < fits; other++) {
    let token = row * NEW_TOKENS + other;
    let keys = vector_at(token, params.heads + key_head);
    let values = vector_at(token, params.heads + params.key_value_heads + key_head);
    for (var four = lane; four < vectors; four += WORKGROUP_SIZE) {
      fresh[2u * other * VECTORS + four] = turned(keys, angles_of(token), four);
      fresh[(2u * other + 1u) * VECTORS + four] = vec4<f32>(projected[values + four]);
    }
  }
  workgroupBarrier();
  if (SCALES != 0u) {
    for (var vector = lane; vector < 2u * fits; vector += WORKGROUP_SIZE) {
      var largest = vec4(0.0);
      for (var i = 0u; i < vectors; i++) {
        largest = max(largest, abs(fresh[vector * VECTORS + i]));
      }
      let pair = max(largest.xy, largest.zw);
      scales[vector] = scale_for(max(pair.x, pair.y));
    }
    workgroupBarrier();
  }
  if (head % group_size == 0u && own < fits) {
    let at = (base + begin + own) * (SCALES + vectors);
    let key_scale = scale_at(2u * own);
    let value_scale = scale_at(2u * own + 1u);
    for (var four = lane; four < vectors; four += WORKGROUP_SIZE) {
      key_cache[at + SCALES + four] = narrow(fresh[2u * own * VECTORS + four], key_scale);
      value_cache[at + SCALES + four] = narrow(fresh[(2u * own + 1u) * VECTORS + four], value_scale);
    }
    if (SCALES != 0u && lane == 0u) {
      key_cache[at] = narrow_scale(key_scale);
      value_cache[at] = narrow_scale(value_scale);
    }
  }

  var sum: array<vec4<f32>, VECTORS>;
  var largest = MASKED;
  var total = 0.0;
  var key = start[row] + lane;
  for (; key < seen; key += WORKGROUP_SIZE) {
    let at = (base + key) * (SCALES + vectors);
    var products = vec4(0.0);
    for (var i = 0u; i < vectors; i++) {
      products += query[i] * widen(key_cache[at + SCALES + i]);
    }
    let score = dot(products, vec4(params.scale * scale_of(key_cache[at])));
    let next_largest = max(largest, score);
    let shrink = exp(largest - next_largest);
    let weight = exp(score - next_largest);
    largest = next_largest;
    total = total * shrink + weight;
    let value_weight = weight * scale_of(value_cache[at]);
    for (var i = 0u; i < vectors; i++) {
      sum[i] = sum[i] * shrink + value_weight * widen(value_cache[at + SCALES + i]);
    }
  }
  for (; key < seen + fits; key += WORKGROUP_SIZE) {
    let vector = 2u * (key - seen);
    let at = vector * VECTORS;
    let key_scale = scale_at(vector);
    let value_scale = scale_at(vector + 1u);
    var products = vec4(0.0);
    for (var i = 0u; i < vectors; i++) {
      products += query[i] * widen(narrow(fresh[at + i], key_scale));
    }
    let score = dot(products, vec4(params.scale * key_scale));
    let next_largest = max(largest, score);
    let shrink = exp(largest - next_largest);
    let weight = exp(score - next_largest);
    largest = next_largest;
    total = total * shrink + weight;
    let value_weight = weight * value_scale;
    for (var i = 0u; i < vectors; i++) {
      sum[i] = sum[i] * shrink + value_weight * widen(narrow(fresh[at + VECTORS + i], value_scale));
    }
  }
  statistics[lane] = vec2(largest, total);
  for (var i = 0u; i < vectors; i++) {
    sums[lane * VECTORS + i] = sum[i];
  }
  workgroupBarrier();

  for (var other = 0u; other < WORKGROUP_SIZE; other++) {
    largest = max(largest, statistics[other].x);
  }
  var all = 0.0;
  for (var other = 0u; other < WORKGROUP_SIZE; other++) {
    all += statistics[other].y * exp(statistics[other].x - largest);
  }
  let normaliser = select(0.0, 1.0 / all, all > 0.0);
  for (var i = lane; i < vectors; i += WORKGROUP_SIZE) {
    var merged = vec4(0.0);
    for (var other = 0u; other < WORKGROUP_SIZE; other++) {
      merged += sums[other * VECTORS + i] * exp(statistics[other].x - largest);
    }
    out[(group.y * params.heads + head) * vectors + i] = vec4<Scalar>(merged * normaliser);
  }
}
