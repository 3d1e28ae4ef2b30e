// Attention of one new token per row against its cache, first stage (split-KV, "Flash-Decoding", Dao et al. 2023): a
// workgroup owns one split of one row's keys for HEADS query heads that share a key-value head, so that the cache is
// read once for all of them. decode-combine.wgsl merges the splits.
// How a vector lies in memory (Four, SCALES, widen ..) stands before this source, see vectors-plain.wgsl.
// Splits are fixed in number and cut by the row's own key count, so results do not depend on other rows.
// Grid: x = key-value heads * (group size / HEADS), y = splits, z = rows. Tile: 16 keys.
// Workgroup memory: at HEADS = 8 and HEAD_DIMENSION = 128, 8448 (keys) + 4096 (q) + 512 (scores) = 13056 bytes.
// Bytes moved: the visible part of the caches once, splits * (HEAD_DIMENSION + 2) floats per head.
// Flops: 4 * HEAD_DIMENSION per visible (key, head).

const WORKGROUP_SIZE: u32 = 64;
const VECTORS: u32 = HEAD_DIMENSION / 4;
// Fours from one cached vector to the next.
const CACHED: u32 = SCALES + VECTORS;
const KEYS: u32 = 16;
// vec4s from one key of the tile to the next: one more than it holds, so that keys fall into different banks.
const STRIDE: u32 = VECTORS + 1;
// Output vec4s a lane accumulates.
const ITEMS: u32 = (HEADS * VECTORS + WORKGROUP_SIZE - 1) / WORKGROUP_SIZE;
const MASKED: f32 = -1e30;

struct Params {
  // HEAD_DIMENSION / 4, for a loop that need not be unrolled.
  vectors: u32,
  heads: u32,
  group_size: u32,
  capacity: u32,
  splits: u32,
  scale: f32,
}

@group(0) @binding(0) var<storage, read> q: array<vec4<Scalar>>;
@group(0) @binding(1) var<storage, read> key_cache: array<Four>;
@group(0) @binding(2) var<storage, read> value_cache: array<Four>;
@group(0) @binding(3) var<storage, read> start: array<u32>;
@group(0) @binding(4) var<storage, read> position: array<u32>;
// [rows, heads, splits, HEAD_DIMENSION], not normalised.
@group(0) @binding(5) var<storage, read_write> partials: array<vec4<f32>>;
// [rows, heads, splits]: largest score, total weight.
@group(0) @binding(6) var<storage, read_write> statistics: array<vec2<f32>>;
@group(0) @binding(7) var<uniform> params: Params;

var<workgroup> keys: array<vec4<f32>, KEYS * STRIDE>;
var<workgroup> queries: array<vec4<f32>, HEADS * VECTORS>;
var<workgroup> scores: array<f32, HEADS * KEYS>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let row = group.z;
  let first_head = group.x * HEADS;
  let key_heads = params.heads / params.group_size;
  let base = (row * key_heads + first_head / params.group_size) * params.capacity;
  let first = start[row];
  let end = min(position[row] + 1u, params.capacity);
  let count = max(end, first) - first;
  let per_split = (count + params.splits - 1u) / params.splits;
  let split_first = first + group.y * per_split;
  let split_end = min(split_first + per_split, end);

  for (var item = lane; item < HEADS * VECTORS; item += WORKGROUP_SIZE) {
    queries[item] = vec4<f32>(q[(row * params.heads + first_head) * VECTORS + item]) * params.scale;
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
      if (tile + key < split_end) {
        let at = (base + tile + key) * CACHED;
        value = widen(key_cache[at + SCALES + item % VECTORS]) * scale_of(key_cache[at]);
      }
      keys[key * STRIDE + item % VECTORS] = value;
    }
    workgroupBarrier();
    for (var pair = lane; pair < HEADS * KEYS; pair += WORKGROUP_SIZE) {
      let key = pair % KEYS;
      var products = vec4(0.0);
      for (var i = 0u; i < params.vectors; i++) {
        products += queries[pair / KEYS * VECTORS + i] * keys[key * STRIDE + i];
      }
      let score = (products.x + products.y) + (products.z + products.w);
      scores[pair] = select(MASKED, score, tile + key < split_end);
    }
    workgroupBarrier();
    let visible = min(KEYS, split_end - tile);
    for (var n = 0u; n < ITEMS; n++) {
      let item = lane + n * WORKGROUP_SIZE;
      if (item < HEADS * VECTORS) {
        let head_scores = item / VECTORS * KEYS;
        var next_largest = largest[n];
        for (var key = 0u; key < visible; key++) {
          next_largest = max(next_largest, scores[head_scores + key]);
        }
        let shrink = exp(largest[n] - next_largest);
        largest[n] = next_largest;
        total[n] *= shrink;
        sum[n] *= shrink;
        for (var key = 0u; key < visible; key++) {
          let weight = exp(scores[head_scores + key] - next_largest);
          total[n] += weight;
          let at = (base + tile + key) * CACHED;
          sum[n] += weight * scale_of(value_cache[at]) * widen(value_cache[at + SCALES + item % VECTORS]);
        }
      }
    }
    workgroupBarrier();
  }

  for (var n = 0u; n < ITEMS; n++) {
    let item = lane + n * WORKGROUP_SIZE;
    if (item < HEADS * VECTORS) {
      let slot = (row * params.heads + first_head + item / VECTORS) * params.splits + group.y;
      partials[slot * VECTORS + item % VECTORS] = sum[n];
      if (item % VECTORS == 0u) {
        statistics[slot] = vec2(largest[n], total[n]);
      }
    }
  }
}
