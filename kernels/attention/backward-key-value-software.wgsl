// Gradients of attention with respect to k and v, for adapters without fast workgroup memory. A lane owns four
// consecutive keys of a key-value head, with their keys, values and gradients in private arrays [dimension] of vec4 over
// the keys; all lanes read the same (query, head of the group) at the same time. No barrier, and no two lanes add to the
// same element:
//   p = exp(scale * q.k - logsumexp),  dv = sum of keep * p * out_gradient,
//   dk = scale * sum of p * (keep * out_gradient.v - delta) * q,  over queries with start <= key <= query.
// Grid: x = blocks of 4 * WORKGROUP_SIZE keys, y = key-value heads, z = batch. Tile: 4 * WORKGROUP_SIZE keys x 1 query.
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

  for (var query = first_key; query < params.length; query++) {
    let first_head = (batch * params.length + query) * params.heads + key_head * params.group_size;
    let first_visible = u32(statistics[first_head].z);
    if (first_visible > min(query, last_key)) {
      continue;
    }
    let visible = (key >= vec4(first_visible)) & (key <= vec4(query));
    for (var pair = first_head; pair < first_head + params.group_size; pair++) {
      let base = pair * vectors;
      var score = vec4(0.0);
      var gradient = vec4(0.0);
      for (var i = 0u; i < vectors; i++) {
        let x = vec4<f32>(q[base + i]);
        let g = out_gradient[base + i];
        let d = 4u * i;
        score += keys[d] * x.x + keys[d + 1u] * x.y + keys[d + 2u] * x.z + keys[d + 3u] * x.w;
        gradient += values[d] * g.x + values[d + 1u] * g.y + values[d + 2u] * g.z + values[d + 3u] * g.w;
      }
      let statistic = statistics[pair];
      let p = select(vec4(0.0), exp(min(score - statistic.x, vec4(0.0))), visible);
      var keep = vec4(1.0);
      if (DROPOUT != 0u) {
        let seed = state[0] + params.site * 0x9e3779b9u;
        let words = pcg4d(vec4(seed, state[1], pair, own_key.x / 4u));
        keep = select(vec4(0.0), vec4(params.keep_scale), words >= vec4(params.threshold));
      }
      let value_weight = p * keep;
      let key_weight = p * (keep * gradient - statistic.y);
      for (var i = 0u; i < vectors; i++) {
        let x = vec4<f32>(q[base + i]);
        let g = out_gradient[base + i];
        let d = 4u * i;
        key_sum[d] += key_weight * x.x;
        key_sum[d + 1u] += key_weight * x.y;
        key_sum[d + 2u] += key_weight * x.z;
        key_sum[d + 3u] += key_weight * x.w;
        value_sum[d] += value_weight * g.x;
        value_sum[d + 1u] += value_weight * g.y;
        value_sum[d + 2u] += value_weight * g.z;
        value_sum[d + 3u] += value_weight * g.w;
      }
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
