// Causal grouped-query attention with an online softmax (Milakov and Gimelshein 2018, arXiv 1805.02867; Dao et al. 2022,
// arXiv 2205.14135), for adapters without fast workgroup memory. The rows of a key-value head are its (query, head of the
// group) pairs, query-major; a lane owns four consecutive ones, with their queries and accumulators in private arrays
// [dimension] of vec4 over the rows, and all lanes read the same key at the same time: each broadcast load feeds four
// multiply-adds. No workgroup memory, no barrier.
// Keys come from the sequence itself, or from a cache with other strides that holds earlier positions too.
// How a vector lies in memory (Four, SCALES, widen ..) stands before this source, see vectors-plain.wgsl.
// Grid: x = blocks of 4 * WORKGROUP_SIZE rows, y = key-value heads, z = batch. Tile: 4 * WORKGROUP_SIZE rows x 4 keys.
// Bytes moved: q, out, and k and v once per block of rows. Flops: 4 * HEAD_DIMENSION per visible (query, key, head).

override WORKGROUP_SIZE: u32 = 8;
override DROPOUT: u32 = 0;

const MASKED: f32 = -1e30;

struct Params {
  // HEAD_DIMENSION / 4. A loop bound that is no constant keeps the software compiler from unrolling: same speed at a
  // twentieth of the compile time.
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

// 0 or 1 / (1 - rate) for four rows, and keys 4 * quad + (0, 1, 2, 3) along the columns.
fn keep_factors(row: vec4<u32>, quad: u32) -> mat4x4<f32> {
  let seed = state[0] + params.site * 0x9e3779b9u;
  let threshold = vec4(params.threshold);
  let kept = vec4(params.keep_scale);
  return transpose(mat4x4(
    select(vec4(0.0), kept, pcg4d(vec4(seed, state[1], row.x, quad)) >= threshold),
    select(vec4(0.0), kept, pcg4d(vec4(seed, state[1], row.y, quad)) >= threshold),
    select(vec4(0.0), kept, pcg4d(vec4(seed, state[1], row.z, quad)) >= threshold),
    select(vec4(0.0), kept, pcg4d(vec4(seed, state[1], row.w, quad)) >= threshold),
  ));
}

fn between(key: u32, first: vec4<u32>, last: vec4<u32>) -> vec4<bool> {
  return (vec4(key) >= first) & (vec4(key) <= last);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let vectors = params.vectors;
  let key_head = group.y;
  let batch = group.z;
  let rows = params.queries * params.group_size;
  let first_row = group.x * WORKGROUP_SIZE * 4u;
  let own_row = vec4(first_row + lane * 4u) + vec4(0u, 1u, 2u, 3u);
  let first_query = first_row / params.group_size;
  let last_query = (min(first_row + WORKGROUP_SIZE * 4u, rows) - 1u) / params.group_size;
  let query = min(own_row / params.group_size, vec4(params.queries - 1u));
  let head = vec4(key_head * params.group_size) + own_row % params.group_size;
  let row = (vec4(batch * params.queries) + query) * params.heads + head;
  var offset = 0u;
  if (params.cached != 0u) {
    offset = position[batch];
  }

  let starts = batch * params.start_batch_stride;
  var first_key = start[starts + first_query * params.start_query_stride];
  for (var other = first_query; other <= last_query; other++) {
    first_key = min(first_key, start[starts + other * params.start_query_stride]);
  }
  let own_first = vec4(
    start[starts + query.x * params.start_query_stride],
    start[starts + query.y * params.start_query_stride],
    start[starts + query.z * params.start_query_stride],
    start[starts + query.w * params.start_query_stride],
  );
  let own_last = vec4(offset) + query;
  let last_key = offset + last_query;

  var own: array<vec4<f32>, HEAD_DIMENSION>;
  var sum: array<vec4<f32>, HEAD_DIMENSION>;
  for (var i = 0u; i < vectors; i++) {
    let four = transpose(mat4x4(
      vec4<f32>(q[row.x * vectors + i]),
      vec4<f32>(q[row.y * vectors + i]),
      vec4<f32>(q[row.z * vectors + i]),
      vec4<f32>(q[row.w * vectors + i]),
    ));
    for (var part = 0u; part < 4u; part++) {
      own[4u * i + part] = four[part] * params.scale;
      sum[4u * i + part] = vec4(0.0);
    }
  }

  var largest = vec4(MASKED);
  var total = vec4(0.0);
  let base = batch * params.batch_stride + key_head * params.head_stride;
  // Fours from one vector of k or v to the next.
  let stored = SCALES + vectors;
  // Four keys at a time, from a multiple of four so that one hash serves their dropout.
  let first_block = first_key - first_key % 4u;
  for (var key = first_block; key <= last_key; key += 4u) {
    let at0 = (base + key * params.position_stride) * stored;
    let at1 = (base + min(key + 1u, last_key) * params.position_stride) * stored;
    let at2 = (base + min(key + 2u, last_key) * params.position_stride) * stored;
    let at3 = (base + min(key + 3u, last_key) * params.position_stride) * stored;
    var s0 = vec4(0.0);
    var s1 = vec4(0.0);
    var s2 = vec4(0.0);
    var s3 = vec4(0.0);
    for (var i = 0u; i < vectors; i++) {
      let a = own[4u * i];
      let b = own[4u * i + 1u];
      let c = own[4u * i + 2u];
      let d = own[4u * i + 3u];
      let x0 = widen(k[at0 + SCALES + i]);
      let x1 = widen(k[at1 + SCALES + i]);
      let x2 = widen(k[at2 + SCALES + i]);
      let x3 = widen(k[at3 + SCALES + i]);
      s0 += a * x0.x + b * x0.y + c * x0.z + d * x0.w;
      s1 += a * x1.x + b * x1.y + c * x1.z + d * x1.w;
      s2 += a * x2.x + b * x2.y + c * x2.z + d * x2.w;
      s3 += a * x3.x + b * x3.y + c * x3.z + d * x3.w;
    }
    let visible0 = between(key, own_first, own_last);
    let visible1 = between(key + 1u, own_first, own_last);
    let visible2 = between(key + 2u, own_first, own_last);
    let visible3 = between(key + 3u, own_first, own_last);
    s0 = select(vec4(MASKED), s0 * scale_of(k[at0]), visible0);
    s1 = select(vec4(MASKED), s1 * scale_of(k[at1]), visible1);
    s2 = select(vec4(MASKED), s2 * scale_of(k[at2]), visible2);
    s3 = select(vec4(MASKED), s3 * scale_of(k[at3]), visible3);
    let next_largest = max(largest, max(max(s0, s1), max(s2, s3)));
    let shrink = exp(largest - next_largest);
    largest = next_largest;
    var w0 = select(vec4(0.0), exp(s0 - largest), visible0);
    var w1 = select(vec4(0.0), exp(s1 - largest), visible1);
    var w2 = select(vec4(0.0), exp(s2 - largest), visible2);
    var w3 = select(vec4(0.0), exp(s3 - largest), visible3);
    total = total * shrink + (w0 + w1) + (w2 + w3);
    if (DROPOUT != 0u) {
      let keep = keep_factors(row, key / 4u);
      w0 *= keep[0];
      w1 *= keep[1];
      w2 *= keep[2];
      w3 *= keep[3];
    }
    w0 *= scale_of(v[at0]);
    w1 *= scale_of(v[at1]);
    w2 *= scale_of(v[at2]);
    w3 *= scale_of(v[at3]);
    for (var i = 0u; i < vectors; i++) {
      let x0 = widen(v[at0 + SCALES + i]);
      let x1 = widen(v[at1 + SCALES + i]);
      let x2 = widen(v[at2 + SCALES + i]);
      let x3 = widen(v[at3 + SCALES + i]);
      let d = 4u * i;
      sum[d] = sum[d] * shrink + w0 * x0.x + w1 * x1.x + w2 * x2.x + w3 * x3.x;
      sum[d + 1u] = sum[d + 1u] * shrink + w0 * x0.y + w1 * x1.y + w2 * x2.y + w3 * x3.y;
      sum[d + 2u] = sum[d + 2u] * shrink + w0 * x0.z + w1 * x1.z + w2 * x2.z + w3 * x3.z;
      sum[d + 3u] = sum[d + 3u] * shrink + w0 * x0.w + w1 * x1.w + w2 * x2.w + w3 * x3.w;
    }
  }

  let normaliser = select(vec4(0.0), 1.0 / total, total > vec4(0.0));
  let statistic = select(vec4(0.0), largest + log(total), total > vec4(0.0));
  for (var i = 0u; i < vectors; i++) {
    let d = 4u * i;
    let four = transpose(mat4x4(
      sum[d] * normaliser,
      sum[d + 1u] * normaliser,
      sum[d + 2u] * normaliser,
      sum[d + 3u] * normaliser,
    ));
    for (var part = 0u; part < 4u; part++) {
      if (own_row[part] < rows) {
        out[row[part] * vectors + i] = vec4<Scalar>(four[part]);
      }
    }
  }
  for (var part = 0u; part < 4u; part++) {
    if (own_row[part] < rows) {
      logsumexp[row[part]] = statistic[part];
    }
  }
}
