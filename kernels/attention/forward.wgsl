// Causal grouped-query attention with an online softmax (Milakov and Gimelshein 2018, arXiv 1805.02867; Dao et al. 2022,
// arXiv 2205.14135), tiled through workgroup memory. The rows of a key-value head are its (query, head of the group)
// pairs, query-major, so the heads of a group share the loads of keys and values.
// 64 threads as 8 down x 8 across: a thread owns 4 rows x 4 keys of the scores, and 4 rows x 4 elements of each chunk of
// 32 elements of the output.
// Keys come from the sequence itself, or from a cache with other strides that holds earlier positions too.
// How a vector lies in memory (Four, SCALES, widen ..) stands before this source, see vectors-plain.wgsl.
// Grid: x = blocks of 32 rows, y = key-value heads, z = batch. Tile: 32 rows x 32 keys, 32 elements of a head at a time.
// Workgroup memory: 3 * 4608 + 1024 = 14848 bytes. Bytes moved: q and out, and k and v once per block of rows.
// Flops: 4 * HEAD_DIMENSION per visible (query, key, head).

override DROPOUT: u32 = 0;

const MASKED: f32 = -1e30;
const VECTORS: u32 = HEAD_DIMENSION / 4;
// Fours from one vector of k or v to the next.
const STORED: u32 = SCALES + VECTORS;
// Columns of 32 elements, the last one filled up with zeros.
const CHUNKS: u32 = (HEAD_DIMENSION + 31) / 32;
// vec4s from one row of a tile to the next; 9 and not 8, so that rows fall into different banks.
const STRIDE: u32 = 9;

struct Params {
  // HEAD_DIMENSION / 4.
  vectors: u32,
  // Queries in a row of the batch.
  queries: u32,
  heads: u32,
  group_size: u32,
  scale: f32,
  // Strides of k and v in vectors of a head.
  batch_stride: u32,
  position_stride: u32,
  head_stride: u32,
  // start is at [batch * start_batch_stride + query * start_query_stride].
  start_batch_stride: u32,
  start_query_stride: u32,
  // 1 when the first query of row b stands at position[b]; 0 when it stands at 0 and `position` is not read.
  cached: u32,
  site: u32,
  threshold: u32,
  keep_scale: f32,
}

@group(0) @binding(0) var<storage, read> q: array<vec4<Scalar>>;
@group(0) @binding(1) var<storage, read> k: array<Four>;
@group(0) @binding(2) var<storage, read> v: array<Four>;
@group(0) @binding(3) var<storage, read> start: array<u32>;
@group(0) @binding(4) var<storage, read> position: array<u32>;
// seed, step
@group(0) @binding(5) var<storage, read> state: array<u32>;
@group(0) @binding(6) var<storage, read_write> out: array<vec4<Scalar>>;
@group(0) @binding(7) var<storage, read_write> logsumexp: array<f32>;
@group(0) @binding(8) var<uniform> params: Params;

fn pcg4d(key: vec4<u32>) -> vec4<u32> {
  var x = key * 1664525u + 1013904223u;
  x.x += x.y * x.w;
  x.y += x.z * x.x;
  x.z += x.x * x.y;
  x.w += x.y * x.z;
  x ^= x >> vec4(16u);
  x.x += x.y * x.w;
  x.y += x.z * x.x;
  x.z += x.x * x.y;
  x.w += x.y * x.z;
  return x;
}

// 0 or 1 / (1 - rate) for a row and keys 4 * quad + (0, 1, 2, 3).
fn keep_factors(row: u32, quad: u32) -> vec4<f32> {
  let words = pcg4d(vec4(state[0] + params.site * 0x9e3779b9u, state[1], row, quad));
  return select(vec4(0.0), vec4(params.keep_scale), words >= vec4(params.threshold));
}

// Queries; keys, then values; probabilities; largest scores by (row, thread across).
var<workgroup> left: array<vec4<f32>, 288>;
var<workgroup> right: array<vec4<f32>, 288>;
var<workgroup> weights: array<vec4<f32>, 288>;
var<workgroup> reduction: array<f32, 256>;

// Row of a tile that is kept in a slot: a thread's four rows 4 * thread + (0, 1, 2, 3) lie in slots 8 apart, so that
// neighbouring threads read neighbouring slots.
fn row_of_slot(slot: u32) -> u32 {
  return 4u * (slot % 8u) + slot / 8u;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let across = lane % 8u;
  let down = lane / 8u;
  let key_head = group.y;
  let batch = group.z;
  let rows = params.queries * params.group_size;
  let first_row = group.x * 32u;
  let first_query = first_row / params.group_size;
  let last_query = (min(first_row + 32u, rows) - 1u) / params.group_size;
  var offset = 0u;
  if (params.cached != 0u) {
    offset = position[batch];
  }
  let last_key = offset + last_query;
  let starts = batch * params.start_batch_stride;
  var first_key = last_key + 1u;
  for (var other = first_query; other <= last_query; other++) {
    first_key = min(first_key, start[starts + other * params.start_query_stride]);
  }

  // The four rows: index of (batch, query, head), first and last visible key.
  let own_row = vec4(first_row + 4u * down) + vec4(0u, 1u, 2u, 3u);
  let query = min(own_row / params.group_size, vec4(params.queries - 1u));
  let row = (vec4(batch * params.queries) + query) * params.heads + vec4(key_head * params.group_size) +
    own_row % params.group_size;
  let own_first = vec4(
    start[starts + query.x * params.start_query_stride],
    start[starts + query.y * params.start_query_stride],
    start[starts + query.z * params.start_query_stride],
    start[starts + query.w * params.start_query_stride],
  );
  let own_last = vec4(offset) + query;

  let base = batch * params.batch_stride + key_head * params.head_stride;
  var sum: array<vec4<f32>, 4 * CHUNKS>;
  var largest = vec4(MASKED);
  // Sums of this thread's keys only; added up across threads at the end.
  var total = vec4(0.0);
  let first_tile = first_key - first_key % 4u;
  for (var tile = first_tile; tile <= last_key; tile += 32u) {
    var scores = array<vec4<f32>, 4>();
    for (var chunk = 0u; chunk < CHUNKS; chunk++) {
      for (var load = lane; load < 256u; load += 64u) {
        let slot = load / 8u;
        let element = chunk * 8u + load % 8u;
        let q_row = min(first_row + row_of_slot(slot), rows - 1u);
        let q_index = (batch * params.queries + q_row / params.group_size) * params.heads +
          key_head * params.group_size + q_row % params.group_size;
        let key = min(tile + row_of_slot(slot), last_key);
        var q_value = vec4(0.0);
        var k_value = vec4(0.0);
        if (element < VECTORS) {
          q_value = vec4<f32>(q[q_index * VECTORS + element]) * params.scale;
          let at = (base + key * params.position_stride) * STORED;
          k_value = widen(k[at + SCALES + element]) * scale_of(k[at]);
        }
        left[slot * STRIDE + load % 8u] = q_value;
        right[slot * STRIDE + load % 8u] = k_value;
      }
      workgroupBarrier();
      for (var column = 0u; column < 8u; column++) {
        let b0 = right[across * STRIDE + column];
        let b1 = right[(across + 8u) * STRIDE + column];
        let b2 = right[(across + 16u) * STRIDE + column];
        let b3 = right[(across + 24u) * STRIDE + column];
        for (var i = 0u; i < 4u; i++) {
          let a = left[(down + 8u * i) * STRIDE + column];
          scores[i] += vec4(dot(a, b0), dot(a, b1), dot(a, b2), dot(a, b3));
        }
      }
      workgroupBarrier();
    }

    let keys = vec4(tile + 4u * across) + vec4(0u, 1u, 2u, 3u);
    for (var i = 0u; i < 4u; i++) {
      let visible = (keys >= vec4(own_first[i])) & (keys <= vec4(own_last[i]));
      scores[i] = select(vec4(MASKED), scores[i], visible);
      let pair = max(scores[i].xy, scores[i].zw);
      reduction[(4u * down + i) * 8u + across] = max(pair.x, pair.y);
    }
    workgroupBarrier();
    for (var i = 0u; i < 4u; i++) {
      var next_largest = largest[i];
      for (var other = 0u; other < 8u; other++) {
        next_largest = max(next_largest, reduction[(4u * down + i) * 8u + other]);
      }
      let shrink = exp(largest[i] - next_largest);
      largest[i] = next_largest;
      let visible = (keys >= vec4(own_first[i])) & (keys <= vec4(own_last[i]));
      var probability = select(vec4(0.0), exp(scores[i] - next_largest), visible);
      total[i] = total[i] * shrink + (probability.x + probability.y) + (probability.z + probability.w);
      if (DROPOUT != 0u) {
        probability *= keep_factors(row[i], keys.x / 4u);
      }
      weights[(down + 8u * i) * STRIDE + across] = probability;
      for (var chunk = 0u; chunk < CHUNKS; chunk++) {
        sum[i * CHUNKS + chunk] *= shrink;
      }
    }

    for (var chunk = 0u; chunk < CHUNKS; chunk++) {
      for (var load = lane; load < 256u; load += 64u) {
        let slot = load / 8u;
        let element = chunk * 8u + load % 8u;
        let key = min(tile + row_of_slot(slot), last_key);
        var v_value = vec4(0.0);
        if (element < VECTORS) {
          let at = (base + key * params.position_stride) * STORED;
          v_value = widen(v[at + SCALES + element]) * scale_of(v[at]);
        }
        right[slot * STRIDE + load % 8u] = v_value;
      }
      workgroupBarrier();
      for (var quad = 0u; quad < 8u; quad++) {
        // Rows 4 * quad + (0, 1, 2, 3) lie in slots quad + (0, 8, 16, 24).
        let b0 = right[quad * STRIDE + across];
        let b1 = right[(quad + 8u) * STRIDE + across];
        let b2 = right[(quad + 16u) * STRIDE + across];
        let b3 = right[(quad + 24u) * STRIDE + across];
        for (var i = 0u; i < 4u; i++) {
          let w = weights[(down + 8u * i) * STRIDE + quad];
          sum[i * CHUNKS + chunk] += w.x * b0 + w.y * b1 + w.z * b2 + w.w * b3;
        }
      }
      workgroupBarrier();
    }
  }

  for (var i = 0u; i < 4u; i++) {
    reduction[(4u * down + i) * 8u + across] = total[i];
  }
  workgroupBarrier();
  for (var i = 0u; i < 4u; i++) {
    var all = 0.0;
    for (var other = 0u; other < 8u; other++) {
      all += reduction[(4u * down + i) * 8u + other];
    }
    if (own_row[i] < rows) {
      let normaliser = select(0.0, 1.0 / all, all > 0.0);
      for (var chunk = 0u; chunk < CHUNKS; chunk++) {
        let element = chunk * 8u + across;
        if (element < VECTORS) {
          out[row[i] * VECTORS + element] = vec4<Scalar>(sum[i * CHUNKS + chunk] * normaliser);
        }
      }
      if (across == 0u) {
        logsumexp[row[i]] = select(0.0, largest[i] + log(all), all > 0.0);
      }
    }
  }
}
