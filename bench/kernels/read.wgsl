// Memory ceiling, reading: each invocation adds up VECTORS vectors and writes one sum.
// Grid: [vectors / (WORKGROUP_SIZE * VECTORS)]. Tile: VECTORS vectors an invocation, neighbours in neighbouring lanes.
// Workgroup memory: none. Bytes: 16 read a vector, 4 written an invocation. Flops: 4 a vector.
override WORKGROUP_SIZE: u32 = 64;
override VECTORS: u32 = 64;

@group(0) @binding(0) var<storage, read> source: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> sums: array<f32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(workgroup_id) tile: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let first = tile.x * WORKGROUP_SIZE * VECTORS + lane;
  var even = vec4<f32>(0.0);
  var odd = vec4<f32>(0.0);
  for (var index = 0u; index < VECTORS; index += 2u) {
    even += source[first + index * WORKGROUP_SIZE];
    odd += source[first + (index + 1u) * WORKGROUP_SIZE];
  }
  let sum = even + odd;
  sums[tile.x * WORKGROUP_SIZE + lane] = sum.x + sum.y + sum.z + sum.w;
}
