// Memory ceiling, read and write: destination = source, vec4 by vec4.
// Grid: [vectors / (WORKGROUP_SIZE * VECTORS)]. Tile: VECTORS vectors an invocation, neighbours in neighbouring lanes.
// Workgroup memory: none. Bytes: 16 read and 16 written a vector. Flops: none.
override WORKGROUP_SIZE: u32 = 64;
override VECTORS: u32 = 16;

@group(0) @binding(0) var<storage, read> source: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> destination: array<vec4<f32>>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(workgroup_id) tile: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let first = tile.x * WORKGROUP_SIZE * VECTORS + lane;
  for (var index = 0u; index < VECTORS; index++) {
    let at = first + index * WORKGROUP_SIZE;
    destination[at] = source[at];
  }
}
