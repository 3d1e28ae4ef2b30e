// Gradients of SwiGLU, s = 1 / (1 + exp(-gate)):
//   dgate = g * up * s * (1 + gate * (1 - s)),  dup = g * gate * s.
// Grid: blocks of WORKGROUP_SIZE * 4 elements, spread over x and y. Tile: 4 elements a lane, WORKGROUP_SIZE apart.
// Workgroup memory: none. Bytes moved: gate, up, the output gradient and two gradients once. Flops: 10 per element.

override WORKGROUP_SIZE: u32 = 64;

struct Params {
  count: u32,
}

@group(0) @binding(0) var<storage, read> gate: array<Scalar>;
@group(0) @binding(1) var<storage, read> up: array<Scalar>;
@group(0) @binding(2) var<storage, read> out_gradient: array<f32>;
@group(0) @binding(3) var<storage, read_write> gate_gradient: array<f32>;
@group(0) @binding(4) var<storage, read_write> up_gradient: array<f32>;
@group(0) @binding(5) var<uniform> params: Params;

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
      let value = f32(gate[index]);
      let sigmoid = 1.0 / (1.0 + exp(min(-value, 80.0)));
      let gradient = out_gradient[index];
      gate_gradient[index] = gradient * f32(up[index]) * sigmoid * (1.0 + value * (1.0 - sigmoid));
      up_gradient[index] = gradient * value * sigmoid;
    }
  }
}
