// Gradients of attention with respect to k and v, tiled through workgroup memory. A workgroup owns 32 keys of a key-value
// head and passes over the (query, head of the group) rows that can see them; no two workgroups add to the same element:
//   p = exp(scale * q.k - logsumexp),  dv = sum of keep * p * out_gradient,
//   dk = scale * sum of p * (keep * out_gradient.v - delta) * q,  over queries with start <= key <= query.
// 64 threads as 8 down (4 keys each) x 8 across (4 rows, or 4 elements of each chunk of 32).
// Grid: x = blocks of 32 keys, y = key-value heads, z = batch. Tile: 32 keys x 32 rows, 32 elements of a head at a time.
// Workgroup memory: 3 * 4608 = 13824 bytes. Bytes moved: k, v and their gradients, and q and the output gradient once
// per block of keys. Flops: 8 * HEAD_DIMENSION per visible (query, key, head).

override DROPOUT: u32 = 0;

const VECTORS: u32 = HEAD_DIMENSION / 4;
// Columns of 32 elements, the last one filled up with zeros.
const CHUNKS: u32 = (HEAD_DIMENSION + 31) / 32;
// vec4s from one row of a tile to the next; 9 and not 8, so that rows fall into different banks.
const STRIDE: u32 = 9;

struct Params {
  // HEAD_DIMENSION / 4.
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

// 0 or 1 / (1 - rate) for a row and keys 4 * quad + (0, 1, 2, 3).
fn keep_factors(row: u32, quad: u32) -> vec4<f32> {
  let words = pcg4d(vec4(state[0] + params.site * 0x9e3779b9u, state[1], row, quad));
  return select(vec4(0.0), vec4(params.keep_scale), words >= vec4(params.threshold));
}

// Keys or values; queries or output gradients; probabilities, then gradients of the scores.
var<workgroup> left: array<vec4<f32>, 288>;
var<workgroup> right: array<vec4<f32>, 288>;
var<workgroup> weights: array<vec4<f32>, 288>;

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
  let first_key = group.x * 32u;
  let last_key = min(first_key + 32u, params.length) - 1u;
  let own_key = vec4(first_key + 4u * down) + vec4(0u, 1u, 2u, 3u);
  let stride = params.heads / params.group_size * VECTORS;
  let base = batch * params.length * stride + key_head * VECTORS;
  let rows = params.length * params.group_size;

  var key_sum: array<vec4<f32>, 4 * CHUNKS>;
  var value_sum: array<vec4<f32>, 4 * CHUNKS>;
  for (var tile = first_key * params.group_size; tile < rows; tile += 32u) {
    // Tiles of other documents or of padding only are passed over.
    var nearest = params.length;
    for (var query = tile / params.group_size; query <= (min(tile + 32u, rows) - 1u) / params.group_size; query++) {
      nearest = min(nearest, u32(statistics[(batch * params.length + query) * params.heads].z));
    }
    if (nearest > last_key) {
      continue;
    }
    var scores = array<vec4<f32>, 4>();
    var gradients = array<vec4<f32>, 4>();
    for (var turn = 0u; turn < 2u * CHUNKS; turn++) {
      // First the scores from k and q, then the probabilities' gradients from v and the output gradient.
      let second = turn >= CHUNKS;
      let chunk = turn % CHUNKS;
      for (var load = lane; load < 256u; load += 64u) {
        let slot = load / 8u;
        let element = chunk * 8u + load % 8u;
        let key_index = base + min(first_key + row_of_slot(slot), last_key) * stride + element;
        let q_row = min(tile + row_of_slot(slot), rows - 1u);
        let q_index = (batch * params.length + q_row / params.group_size) * params.heads +
          key_head * params.group_size + q_row % params.group_size;
        var left_value = vec4(0.0);
        var right_value = vec4(0.0);
        if (element < VECTORS) {
          if (second) {
            left_value = vec4<f32>(v[key_index]);
            right_value = out_gradient[q_index * VECTORS + element];
          } else {
            left_value = vec4<f32>(k[key_index]) * params.scale;
            right_value = vec4<f32>(q[q_index * VECTORS + element]);
          }
        }
        left[slot * STRIDE + load % 8u] = left_value;
        right[slot * STRIDE + load % 8u] = right_value;
      }
      workgroupBarrier();
      var products = array<vec4<f32>, 4>();
      for (var column = 0u; column < 8u; column++) {
        let b0 = right[across * STRIDE + column];
        let b1 = right[(across + 8u) * STRIDE + column];
        let b2 = right[(across + 16u) * STRIDE + column];
        let b3 = right[(across + 24u) * STRIDE + column];
        for (var i = 0u; i < 4u; i++) {
          let a = left[(down + 8u * i) * STRIDE + column];
          products[i] += vec4(dot(a, b0), dot(a, b1), dot(a, b2), dot(a, b3));
        }
      }
      for (var i = 0u; i < 4u; i++) {
        if (second) {
          gradients[i] += products[i];
        } else {
          scores[i] += products[i];
        }
      }
      workgroupBarrier();
    }

    // Columns of these are rows of the tile: probabilities kept by dropout, and gradients of the scores.
    var kept = mat4x4<f32>();
    var score_gradients = mat4x4<f32>();
    for (var j = 0u; j < 4u; j++) {
      let q_row = tile + 4u * across + j;
      let query = min(q_row, rows - 1u) / params.group_size;
      let pair = (batch * params.length + query) * params.heads + key_head * params.group_size +
        min(q_row, rows - 1u) % params.group_size;
      let statistic = statistics[pair];
      let visible = (own_key >= vec4(u32(statistic.z))) & (own_key <= vec4(query)) & vec4(q_row < rows);
      let score = vec4(scores[0][j], scores[1][j], scores[2][j], scores[3][j]);
      let gradient = vec4(gradients[0][j], gradients[1][j], gradients[2][j], gradients[3][j]);
      let probability = select(vec4(0.0), exp(min(score - statistic.x, vec4(0.0))), visible);
      var keep = vec4(1.0);
      if (DROPOUT != 0u) {
        keep = keep_factors(pair, own_key.x / 4u);
      }
      kept[j] = probability * keep;
      score_gradients[j] = probability * (keep * gradient - statistic.y);
    }

    for (var turn = 0u; turn < 2u * CHUNKS; turn++) {
      // First the values' gradients from the output gradient, then the keys' from q.
      let second = turn >= CHUNKS;
      let chunk = turn % CHUNKS;
      if (chunk == 0u) {
        for (var i = 0u; i < 4u; i++) {
          let by_key = select(
            vec4(kept[0][i], kept[1][i], kept[2][i], kept[3][i]),
            vec4(score_gradients[0][i], score_gradients[1][i], score_gradients[2][i], score_gradients[3][i]),
            second,
          );
          weights[(down + 8u * i) * STRIDE + across] = by_key;
        }
      }
      for (var load = lane; load < 256u; load += 64u) {
        let slot = load / 8u;
        let element = chunk * 8u + load % 8u;
        let q_row = min(tile + row_of_slot(slot), rows - 1u);
        let q_index = (batch * params.length + q_row / params.group_size) * params.heads +
          key_head * params.group_size + q_row % params.group_size;
        var right_value = vec4(0.0);
        if (element < VECTORS) {
          if (second) {
            right_value = vec4<f32>(q[q_index * VECTORS + element]);
          } else {
            right_value = out_gradient[q_index * VECTORS + element];
          }
        }
        right[slot * STRIDE + load % 8u] = right_value;
      }
      workgroupBarrier();
      var products = array<vec4<f32>, 4>();
      for (var quad = 0u; quad < 8u; quad++) {
        // Rows 4 * quad + (0, 1, 2, 3) lie in slots quad + (0, 8, 16, 24).
        let b0 = right[quad * STRIDE + across];
        let b1 = right[(quad + 8u) * STRIDE + across];
        let b2 = right[(quad + 16u) * STRIDE + across];
        let b3 = right[(quad + 24u) * STRIDE + across];
        for (var i = 0u; i < 4u; i++) {
          let w = weights[(down + 8u * i) * STRIDE + quad];
          products[i] += w.x * b0 + w.y * b1 + w.z * b2 + w.w * b3;
        }
      }
      for (var i = 0u; i < 4u; i++) {
        if (second) {
          key_sum[i * CHUNKS + chunk] += products[i];
        } else {
          value_sum[i * CHUNKS + chunk] += products[i];
        }
      }
      workgroupBarrier();
    }
  }

  for (var i = 0u; i < 4u; i++) {
    for (var chunk = 0u; chunk < CHUNKS; chunk++) {
      let element = chunk * 8u + across;
      if (own_key[i] < params.length && element < VECTORS) {
        let index = base + own_key[i] * stride + element;
        k_gradient[index] = key_sum[i * CHUNKS + chunk] * params.scale;
        v_gradient[index] = value_sum[i * CHUNKS + chunk];
      }
    }
  }
}
