// Gradient of attention with respect to q, tiled through workgroup memory; threads and tiles as in the forward pass:
//   p = exp(scale * q.k - logsumexp),  dq = scale * sum over keys of p * (keep * out_gradient.v - delta) * k.
// Grid: x = blocks of 32 rows, y = key-value heads, z = batch. Tile: 32 rows x 32 keys, 32 elements of a head at a time.
// Workgroup memory: 3 * 4608 = 13824 bytes. Bytes moved: q and two gradients, and k and v once per block of rows.
// Flops: 6 * HEAD_DIMENSION per visible (query, key, head).

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

// 0 or 1 / (1 - rate) for a row and keys 4 * quad + (0, 1, 2, 3).
fn keep_factors(row: u32, quad: u32) -> vec4<f32> {
  let words = pcg4d(vec4(state[0] + params.site * 0x9e3779b9u, state[1], row, quad));
  return select(vec4(0.0), vec4(params.keep_scale), words >= vec4(params.threshold));
}

// Queries or output gradients; keys or values; gradients of the scores.
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
  let rows = params.length * params.group_size;
  let first_row = group.x * 32u;
  let first_query = first_row / params.group_size;
  let last_key = (min(first_row + 32u, rows) - 1u) / params.group_size;
  var first_key = last_key + 1u;
  for (var other = first_query; other <= last_key; other++) {
    first_key = min(first_key, u32(statistics[(batch * params.length + other) * params.heads].z));
  }
  let own_row = vec4(first_row + 4u * down) + vec4(0u, 1u, 2u, 3u);
  let query = min(own_row / params.group_size, vec4(params.length - 1u));
  let row = (vec4(batch * params.length) + query) * params.heads + vec4(key_head * params.group_size) +
    own_row % params.group_size;

  let stride = params.heads / params.group_size * VECTORS;
  let base = batch * params.length * stride + key_head * VECTORS;
  var sum: array<vec4<f32>, 4 * CHUNKS>;
  let first_tile = first_key - first_key % 4u;
  for (var tile = first_tile; tile <= last_key; tile += 32u) {
    var scores = array<vec4<f32>, 4>();
    var gradients = array<vec4<f32>, 4>();
    for (var turn = 0u; turn < 2u * CHUNKS; turn++) {
      // First the scores from q and k, then the probabilities' gradients from the output gradient and v.
      let second = turn >= CHUNKS;
      let chunk = turn % CHUNKS;
      for (var load = lane; load < 256u; load += 64u) {
        let slot = load / 8u;
        let element = chunk * 8u + load % 8u;
        let q_row = min(first_row + row_of_slot(slot), rows - 1u);
        let q_index = (batch * params.length + q_row / params.group_size) * params.heads +
          key_head * params.group_size + q_row % params.group_size;
        let key_index = base + min(tile + row_of_slot(slot), last_key) * stride + element;
        var left_value = vec4(0.0);
        var right_value = vec4(0.0);
        if (element < VECTORS) {
          if (second) {
            left_value = out_gradient[q_index * VECTORS + element];
            right_value = vec4<f32>(v[key_index]);
          } else {
            left_value = vec4<f32>(q[q_index * VECTORS + element]) * params.scale;
            right_value = vec4<f32>(k[key_index]);
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

    let keys = vec4(tile + 4u * across) + vec4(0u, 1u, 2u, 3u);
    for (var i = 0u; i < 4u; i++) {
      let statistic = statistics[row[i]];
      let visible = (keys >= vec4(u32(statistic.z))) & (keys <= vec4(query[i]));
      let probability = select(vec4(0.0), exp(min(scores[i] - statistic.x, vec4(0.0))), visible);
      var gradient = gradients[i];
      if (DROPOUT != 0u) {
        gradient *= keep_factors(row[i], keys.x / 4u);
      }
      weights[(down + 8u * i) * STRIDE + across] = probability * (gradient - statistic.y);
    }

    for (var chunk = 0u; chunk < CHUNKS; chunk++) {
      for (var load = lane; load < 256u; load += 64u) {
        let slot = load / 8u;
        let element = chunk * 8u + load % 8u;
        var k_value = vec4(0.0);
        if (element < VECTORS) {
          k_value = vec4<f32>(k[base + min(tile + row_of_slot(slot), last_key) * stride + element]);
        }
        right[slot * STRIDE + load % 8u] = k_value;
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
    for (var chunk = 0u; chunk < CHUNKS; chunk++) {
      let element = chunk * 8u + across;
      if (own_row[i] < rows && element < VECTORS) {
        q_gradient[row[i] * VECTORS + element] = sum[i * CHUNKS + chunk] * params.scale;
      }
    }
  }
}
