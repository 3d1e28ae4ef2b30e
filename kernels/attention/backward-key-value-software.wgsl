// Gradients of attention with respect to k and v, for adapters without fast workgroup memory. A lane owns four
// consecutive keys of a key-value head, with their keys, values and gradients in private arrays [dimension] of vec4 over
// the keys; all lanes read the same four rows, (query, head of the group) pairs in query-major order, at the same time.
// No barrier, and no two lanes add to the same element:
//   p = exp(scale * q.k - logsumexp),  dv = sum of keep * p * out_gradient,
//   dk = scale * sum of p * (keep * out_gradient.v - delta) * q,  over queries with start <= key <= query.
// Grid: x = blocks of 4 * WORKGROUP_SIZE keys, y = key-value heads, z = batch. Tile: 4 * WORKGROUP_SIZE keys x 4 rows.
// Workgroup memory: none. Bytes moved: k, v and their gradients, and q and the output gradient once per block of keys.
// Flops: 8 * HEAD_DIMENSION per visible (query, key, head).

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
@group(0) @binding(6) var<storage, read_write> k_gradient: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> v_gradient: array<vec4<f32>>;
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

struct Visible {
  keys: vec4<bool>,
  logsumexp: f32,
  delta: f32,
}

fn visible(keys: vec4<u32>, row: u32, rows: u32, pair: u32) -> Visible {
  let statistic = statistics[pair];
  let query = row / params.group_size;
  let seen = (keys >= vec4(u32(statistic.z))) & (keys <= vec4(query)) & vec4(row < rows);
  return Visible(seen, statistic.x, statistic.y);
}

fn probability(score: vec4<f32>, seen: Visible) -> vec4<f32> {
  return select(vec4(0.0), exp(min(score - seen.logsumexp, vec4(0.0))), seen.keys);
}

// 0 or 1 / (1 - rate) for a row and a lane's four keys.
fn keep_factors(pair: u32, keys: vec4<u32>) -> vec4<f32> {
  if (DROPOUT == 0u) {
    return vec4(1.0);
  }
  let words = pcg4d(vec4(state[0] + params.site * 0x9e3779b9u, state[1], pair, keys.x / 4u));
  return select(vec4(0.0), vec4(params.keep_scale), words >= vec4(params.threshold));
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let vectors = params.vectors;
  let key_head = group.y;
  let batch = group.z;
  let first_key = group.x * WORKGROUP_SIZE * 4u;
  let last_key = min(first_key + WORKGROUP_SIZE * 4u, params.length) - 1u;
  let own_key = vec4(first_key + lane * 4u) + vec4(0u, 1u, 2u, 3u);
  let key = min(own_key, vec4(params.length - 1u));
  let row = ((vec4(batch * params.length) + key) * (params.heads / params.group_size) + key_head) * vectors;

  var keys: array<vec4<f32>, HEAD_DIMENSION>;
  var values: array<vec4<f32>, HEAD_DIMENSION>;
  var key_sum: array<vec4<f32>, HEAD_DIMENSION>;
  var value_sum: array<vec4<f32>, HEAD_DIMENSION>;
  for (var i = 0u; i < vectors; i++) {
    let at = row + i;
    let four_keys = transpose(mat4x4(vec4<f32>(k[at.x]), vec4<f32>(k[at.y]), vec4<f32>(k[at.z]), vec4<f32>(k[at.w])));
    let four_values = transpose(mat4x4(vec4<f32>(v[at.x]), vec4<f32>(v[at.y]), vec4<f32>(v[at.z]), vec4<f32>(v[at.w])));
    for (var part = 0u; part < 4u; part++) {
      keys[4u * i + part] = four_keys[part] * params.scale;
      values[4u * i + part] = four_values[part];
      key_sum[4u * i + part] = vec4(0.0);
      value_sum[4u * i + part] = vec4(0.0);
    }
  }

  let rows = params.length * params.group_size;
  for (var four = first_key * params.group_size; four < rows; four += 4u) {
    let rows_of_four = min(vec4(four) + vec4(0u, 1u, 2u, 3u), vec4(rows - 1u));
    let pair = (vec4(batch * params.length) + rows_of_four / params.group_size) * params.heads +
      vec4(key_head * params.group_size) + rows_of_four % params.group_size;
    let seen0 = visible(key, four, rows, pair.x);
    let seen1 = visible(key, four + 1u, rows, pair.y);
    let seen2 = visible(key, four + 2u, rows, pair.z);
    let seen3 = visible(key, four + 3u, rows, pair.w);
    let first_visible = min(
      min(statistics[pair.x].z, statistics[pair.y].z),
      min(statistics[pair.z].z, statistics[pair.w].z),
    );
    if (u32(first_visible) > last_key) {
      continue;
    }
    let at = pair * vectors;
    var s0 = vec4(0.0);
    var s1 = vec4(0.0);
    var s2 = vec4(0.0);
    var s3 = vec4(0.0);
    for (var i = 0u; i < vectors; i++) {
      let a = keys[4u * i];
      let b = keys[4u * i + 1u];
      let c = keys[4u * i + 2u];
      let d = keys[4u * i + 3u];
      let x0 = vec4<f32>(q[at.x + i]);
      let x1 = vec4<f32>(q[at.y + i]);
      let x2 = vec4<f32>(q[at.z + i]);
      let x3 = vec4<f32>(q[at.w + i]);
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
      let a = values[4u * i];
      let b = values[4u * i + 1u];
      let c = values[4u * i + 2u];
      let d = values[4u * i + 3u];
      let x0 = out_gradient[at.x + i];
      let x1 = out_gradient[at.y + i];
      let x2 = out_gradient[at.z + i];
      let x3 = out_gradient[at.w + i];
      g0 += a * x0.x + b * x0.y + c * x0.z + d * x0.w;
      g1 += a * x1.x + b * x1.y + c * x1.z + d * x1.w;
      g2 += a * x2.x + b * x2.y + c * x2.z + d * x2.w;
      g3 += a * x3.x + b * x3.y + c * x3.z + d * x3.w;
    }
    let keep0 = keep_factors(pair.x, own_key);
    let keep1 = keep_factors(pair.y, own_key);
    let keep2 = keep_factors(pair.z, own_key);
    let keep3 = keep_factors(pair.w, own_key);
    let p0 = probability(s0, seen0);
    let p1 = probability(s1, seen1);
    let p2 = probability(s2, seen2);
    let p3 = probability(s3, seen3);
    let k0 = p0 * (keep0 * g0 - seen0.delta);
    let k1 = p1 * (keep1 * g1 - seen1.delta);
    let k2 = p2 * (keep2 * g2 - seen2.delta);
    let k3 = p3 * (keep3 * g3 - seen3.delta);
    for (var i = 0u; i < vectors; i++) {
      let x0 = vec4<f32>(q[at.x + i]);
      let x1 = vec4<f32>(q[at.y + i]);
      let x2 = vec4<f32>(q[at.z + i]);
      let x3 = vec4<f32>(q[at.w + i]);
      let d = 4u * i;
      key_sum[d] += k0 * x0.x + k1 * x1.x + k2 * x2.x + k3 * x3.x;
      key_sum[d + 1u] += k0 * x0.y + k1 * x1.y + k2 * x2.y + k3 * x3.y;
      key_sum[d + 2u] += k0 * x0.z + k1 * x1.z + k2 * x2.z + k3 * x3.z;
      key_sum[d + 3u] += k0 * x0.w + k1 * x1.w + k2 * x2.w + k3 * x3.w;
    }
    let v0 = p0 * keep0;
    let v1 = p1 * keep1;
    let v2 = p2 * keep2;
    let v3 = p3 * keep3;
    for (var i = 0u; i < vectors; i++) {
      let x0 = out_gradient[at.x + i];
      let x1 = out_gradient[at.y + i];
      let x2 = out_gradient[at.z + i];
      let x3 = out_gradient[at.w + i];
      let d = 4u * i;
      value_sum[d] += v0 * x0.x + v1 * x1.x + v2 * x2.x + v3 * x3.x;
      value_sum[d + 1u] += v0 * x0.y + v1 * x1.y + v2 * x2.y + v3 * x3.y;
      value_sum[d + 2u] += v0 * x0.z + v1 * x1.z + v2 * x2.z + v3 * x3.z;
      value_sum[d + 3u] += v0 * x0.w + v1 * x1.w + v2 * x2.w + v3 * x3.w;
    }
  }

  for (var i = 0u; i < vectors; i++) {
    let d = 4u * i;
    let four_keys = transpose(mat4x4(key_sum[d], key_sum[d + 1u], key_sum[d + 2u], key_sum[d + 3u]));
    let four_values = transpose(mat4x4(value_sum[d], value_sum[d + 1u], value_sum[d + 2u], value_sum[d + 3u]));
    for (var part = 0u; part < 4u; part++) {
      if (own_key[part] < params.length) {
        k_gradient[row[part] + i] = four_keys[part] * params.scale;
        v_gradient[row[part] + i] = four_values[part];
      }
    }
  }
}
