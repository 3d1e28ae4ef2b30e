// Appends the keys and values of new tokens to the caches [batch, key-value heads, capacity, head dimension]: token i of
// row b goes to position[b] + i. Tokens past the capacity are left out.
// One head's keys lie one after the other, so that decoding streams each head's history from contiguous memory.
// Grid: batch * length workgroups, spread over x and y. Tile: one token; lanes stride along its vec4s.
// Workgroup memory: none. Bytes moved: k, v and their copies once. Flops: 0.

override WORKGROUP_SIZE: u32 = 64;

struct Params {
  tokens: u32,
  length: u32,
  key_value_heads: u32,
  // Head dimension / 4.
  vectors: u32,
  capacity: u32,
}

@group(0) @binding(0) var<storage, read> k: array<vec4<Scalar>>;
@group(0) @binding(1) var<storage, read> v: array<vec4<Scalar>>;
@group(0) @binding(2) var<storage, read> position: array<u32>;
@group(0) @binding(3) var<storage, read_write> key_cache: array<vec4<KeyValue>>;
@group(0) @binding(4) var<storage, read_write> value_cache: array<vec4<KeyValue>>;
@group(0) @binding(5) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let token = group.x + group.y * groups.x;
  if (token >= params.tokens) {
    return;
  }
  let batch = token / params.length;
  // Compared without adding first: a position near 2^32 must not wrap round to the beginning.
  let room = params.capacity - min(position[batch], params.capacity);
  if (token % params.length >= room) {
    return;
  }
  let target_position = position[batch] + token % params.length;
  let width = params.key_value_heads * params.vectors;
  for (var column = lane; column < width; column += WORKGROUP_SIZE) {
    let head = column / params.vectors;
    let cached = ((batch * params.key_value_heads + head) * params.capacity + target_position) * params.vectors +
      column % params.vectors;
    key_cache[cached] = vec4<KeyValue>(vec4<f32>(k[token * width + column]));
    value_cache[cached] = vec4<KeyValue>(vec4<f32>(v[token * width + column]));
  }
}
