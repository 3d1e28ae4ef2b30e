// Attention of one new token per row against its cache, for adapters without fast workgroup memory: a workgroup owns one
// head of one row, each lane runs an online softmax over every WORKGROUP_SIZE-th key, and the lanes' results are merged
// once at the end, behind the only barrier.
// How a vector lies in memory (Four, SCALES, widen ..) stands before this source, see vectors-plain.wgsl.
// Grid: x = heads, y = rows. Tile: all keys start[row] <= j <= position[row].
// Workgroup memory: WORKGROUP_SIZE * (4 * HEAD_DIMENSION + 8) bytes, 4160 at most. Bytes moved: the visible part of the
// caches once per head, q and out. Flops: 4 * HEAD_DIMENSION per visible (key, head).

override WORKGROUP_SIZE: u32 = 8;

const VECTORS: u32 = HEAD_DIMENSION / 4;
const MASKED: f32 = -1e30;

struct Params {
  // HEAD_DIMENSION / 4, a loop bound that keeps the software compiler from unrolling.
  vectors: u32,
  heads: u32,
  group_size: u32,
  capacity: u32,
  scale: f32,
}

@group(0) @binding(0) var<storage, read> q: array<vec4<Scalar>>;
@group(0) @binding(1) var<storage, read> key_cache: array<Four>;
@group(0) @binding(2) var<storage, read> value_cache: array<Four>;
@group(0) @binding(3) var<storage, read> start: array<u32>;
@group(0) @binding(4) var<storage, read> position: array<u32>;
@group(0) @binding(5) var<storage, read_write> out: array<vec4<Scalar>>;
@group(0) @binding(6) var<uniform> params: Params;

var<workgroup> sums: array<vec4<f32>, WORKGROUP_SIZE * VECTORS>;
// largest score, total weight
var<workgroup> statistics: array<vec2<f32>, WORKGROUP_SIZE>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let vectors = params.vectors;
  let head = group.x;
  let row = group.y;
  let own = (row * params.heads + head) * vectors;
  let key_heads = params.heads / params.group_size;
  let base = (row * key_heads + head / params.group_size) * params.capacity;
  let keys = min(position[row] + 1u, params.capacity);

  var sum: array<vec4<f32>, VECTORS>;
  var largest = MASKED;
  var total = 0.0;
  for (var key = start[row] + lane; key < keys; key += WORKGROUP_SIZE) {
    let at = (base + key) * (SCALES + vectors);
    var products = vec4(0.0);
    for (var i = 0u; i < vectors; i++) {
      products += vec4<f32>(q[own + i]) * widen(key_cache[at + SCALES + i]);
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
    out[own + i] = vec4<Scalar>(merged * normaliser);
  }
}
