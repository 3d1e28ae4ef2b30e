// SwiGLU of halves that lie side by side: rows of [gate, up], out = gate / (1 + exp(-gate)) * up.
// Grid: blocks of WORKGROUP_SIZE * 4 elements of out, spread over x and y. Tile: 4 elements a lane, WORKGROUP_SIZE apart.
// Workgroup memory: none. Bytes moved: both halves and out once. Flops: 5 per element.

override WORKGROUP_SIZE: u32 = 64;

struct Params {
  count: u32,
  // Of a half.
  features: u32,
}

@group(0) @binding(0) var<storage, read> halves: array<Scalar>;
@group(0) @binding(1) var<storage, read_write> out: array<Scalar>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let first = (group.x + group.y * groups.x) * WORKGROUP_SIZE * 4u + lane;
  for (var step = 0u; step < 4u; step++) {
    let index = first + step * WORKGROUP_SIZE;
    if (index < params.count) {
      let gate = index + index / params.features * params.features;
      let value = f32(halves[gate]);
      // exp(80) is finite; beyond it the result is zero in f32 anyway.
      out[index] = Scalar(value / (1.0 + exp(min(-value, 80.0))) * f32(halves[gate + params.features]));
    }
  }
}
