// Gradient of attention with respect to q, for adapters without fast workgroup memory; laid out as the forward pass:
//   p = exp(scale * q.k - logsumexp),  dq = scale * sum over keys of p * (keep * out_gradient.v - delta) * k.
// Grid: x = blocks of 4 * WORKGROUP_SIZE rows, y = key-value heads, z = batch. Tile: 4 * WORKGROUP_SIZE rows x 4 keys.
// Workgroup memory: none. Bytes moved: q and two gradients, and k and v once per block of rows.
// Flops: 6 * HEAD_DIMENSION per visible (query, key, head).

override WORKGROUP_SIZE: u32 = 8;
override DROPOUT: u32 = 0;

struct Params {
  // HEAD_DIMENSION / 4, a loop bound that keeps the software compiler from unrolling.
  vectors: u32,
  length: u32,
  heads: u32,
  group_size: u32,
  scale: f32,
  site: u32,
  threshold: u32,
  keep_scale: f32,
}

@group(0) @binding(0) var<storage, read> q: array<vec4<Scalar>>;
@group(0) @binding(1) var<storage, read> k: array<vec4<Scalar>>;
@group(0) @binding(2) var<storage, read> v: array<vec4<Scalar>>;
@group(0) @binding(3) var<storage, read> statistics: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> out_gradient: array<vec4<f32>>;
// seed, step
@group(0) @binding(5) var<storage, read> state: array<u32>;
@group(0) @binding(6) var<storage, read_write> q_gradient: array<vec4<f32>>;
@group(0) @binding(7) var<uniform> params: Params;

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

fn probability(score: vec4<f32>, logsumexp: vec4<f32>, key: u32, first: vec4<u32>, last: vec4<u32>) -> vec4<f32> {
  let visible = (vec4(key) >= first) & (vec4(key) <= last);
  return select(vec4(0.0), exp(min(score - logsumexp, vec4(0.0))), visible);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let vectors = params.vectors;
  let key_head = group.y;
  let batch = group.z;
  let rows = params.length * params.group_size;
  let first_row = group.x * WORKGROUP_SIZE * 4u;
  let own_row = vec4(first_row + lane * 4u) + vec4(0u, 1u, 2u, 3u);
  let first_query = first_row / params.group_size;
  let last_key = (min(first_row + WORKGROUP_SIZE * 4u, rows) - 1u) / params.group_size;
  let query = min(own_row / params.group_size, vec4(params.length - 1u));
  let head = vec4(key_head * params.group_size) + own_row % params.group_size;
  let row = (vec4(batch * params.length) + query) * params.heads + head;

  var first_key = last_key + 1u;
  for (var other = first_query; other <= last_key; other++) {
    first_key = min(first_key, u32(statistics[(batch * params.length + other) * params.heads].z));
  }
  // Columns: logsumexp, delta, start.
  let own = transpose(mat4x4(statistics[row.x], statistics[row.y], statistics[row.z], statistics[row.w]));
  let own_first = vec4<u32>(own[2]);

  var queries: array<vec4<f32>, HEAD_DIMENSION>;
  var gradients: array<vec4<f32>, HEAD_DIMENSION>;
  var sum: array<vec4<f32>, HEAD_DIMENSION>;
  for (var i = 0u; i < vectors; i++) {
    let at = row * vectors + i;
    let four = transpose(mat4x4(vec4<f32>(q[at.x]), vec4<f32>(q[at.y]), vec4<f32>(q[at.z]), vec4<f32>(q[at.w])));
    let gradient = transpose(mat4x4(out_gradient[at.x], out_gradient[at.y], out_gradient[at.z], out_gradient[at.w]));
    for (var part = 0u; part < 4u; part++) {
      queries[4u * i + part] = four[part] * params.scale;
      gradients[4u * i + part] = gradient[part];
      sum[4u * i + part] = vec4(0.0);
    }
  }

  let stride = params.heads / params.group_size * vectors;
  let base = batch * params.length * stride + key_head * vectors;
  let first_block = first_key - first_key % 4u;
  for (var key = first_block; key <= last_key; key += 4u) {
    let at0 = base + key * stride;
    let at1 = base + min(key + 1u, last_key) * stride;
    let at2 = base + min(key + 2u, last_key) * stride;
    let at3 = base + min(key + 3u, last_key) * stride;
    var s0 = vec4(0.0);
    var s1 = vec4(0.0);
    var s2 = vec4(0.0);
    var s3 = vec4(0.0);
    for (var i = 0u; i < vectors; i++) {
      let a = queries[4u * i];
      let b = queries[4u * i + 1u];
      let c = queries[4u * i + 2u];
      let d = queries[4u * i + 3u];
      let x0 = vec4<f32>(k[at0 + i]);
      let x1 = vec4<f32>(k[at1 + i]);
      let x2 = vec4<f32>(k[at2 + i]);
      let x3 = vec4<f32>(k[at3 + i]);
      s0 += a * x0.x + b * x0.y + c * x0.z + d * x0.w;
      s1 += a * x1.x + b * x1.y + c * x1.z + d * x1.w;
      s2 += a * x2.x + b * x2.y + c * x2.z + d * x2.w;
      s3 += a * x3.x + b * x3.y + c * x3.z + d * x3.w;
    }
    var g0 = vec4(0.0);
    var g1 = vec4(0.0);
    var g2 = vec4(0.0);
    var g3 = vec4(0.0);
    for (var i = 0u; i < vectors; i++) {
      let a = gradients[4u * i];
      let b = gradients[4u * i + 1u];
      let c = gradients[4u * i + 2u];
      let d = gradients[4u * i + 3u];
      let x0 = vec4<f32>(v[at0 + i]);
      let x1 = vec4<f32>(v[at1 + i]);
      let x2 = vec4<f32>(v[at2 + i]);
      let x3 = vec4<f32>(v[at3 + i]);
      g0 += a * x0.x + b * x0.y + c * x0.z + d * x0.w;
      g1 += a * x1.x + b * x1.y + c * x1.z + d * x1.w;
      g2 += a * x2.x + b * x2.y + c * x2.z + d * x2.w;
      g3 += a * x3.x + b * x3.y + c * x3.z + d * x3.w;
    }
    if (DROPOUT != 0u) {
      let keep = keep_factors(row, key / 4u);
      g0 *= keep[0];
      g1 *= keep[1];
      g2 *= keep[2];
      g3 *= keep[3];
    }
    let w0 = probability(s0, own[0], key, own_first, query) * (g0 - own[1]);
    let w1 = probability(s1, own[0], key + 1u, own_first, query) * (g1 - own[1]);
    let w2 = probability(s2, own[0], key + 2u, own_first, query) * (g2 - own[1]);
    let w3 = probability(s3, own[0], key + 3u, own_first, query) * (g3 - own[1]);
    for (var i = 0u; i < vectors; i++) {
      let x0 = vec4<f32>(k[at0 + i]);
      let x1 = vec4<f32>(k[at1 + i]);
      let x2 = vec4<f32>(k[at2 + i]);
      let x3 = vec4<f32>(k[at3 + i]);
      let d = 4u * i;
      sum[d] += w0 * x0.x + w1 * x1.x + w2 * x2.x + w3 * x3.x;
      sum[d + 1u] += w0 * x0.y + w1 * x1.y + w2 * x2.y + w3 * x3.y;
      sum[d + 2u] += w0 * x0.z + w1 * x1.z + w2 * x2.z + w3 * x3.z;
      sum[d + 3u] += w0 * x0.w + w1 * x1.w + w2 * x2.w + w3 * x3.w;
    }
  }

  for (var i = 0u; i < vectors; i++) {
    let d = 4u * i;
    let four = transpose(mat4x4(sum[d], sum[d + 1u], sum[d + 2u], sum[d + 3u]));
    for (var part = 0u; part < 4u; part++) {
      if (own_row[part] < rows) {
        q_gradient[row[part] * vectors + i] = four[part] * params.scale;
      }
    }
  }
}
