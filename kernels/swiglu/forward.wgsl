// SwiGLU: out = gate / (1 + exp(-gate)) * up, element by element. Gate and up may be halves of the rows of one tensor.
// Grid: blocks of WORKGROUP_SIZE * 4 elements, spread over x and y. Tile: 4 elements a lane, WORKGROUP_SIZE apart.
// Workgroup memory: none. Bytes moved: gate, up and out once. Flops: 5 per element.

override WORKGROUP_SIZE: u32 = 64;

struct Params {
  count: u32,
  // Of a row of out.
  features: u32,
  // Elements from one row of gate, and of up, to the next.
  row_stride: u32,
  // Where up begins.
  up_start: u32,
}

@group(0) @binding(0) var<storage, read> gate: array<Scalar>;
@group(0) @binding(1) var<storage, read> up: array<Scalar>;
@group(0) @binding(2) var<storage, read_write> out: array<Scalar>;
@group(0) @binding(3) var<uniform> params: Params;

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
      let at = index + index / params.features * (params.row_stride - params.features);
      let value = f32(gate[at]);
      // exp(80) is finite; beyond it the result is zero in f32 anyway.
      out[index] = Scalar(value / (1.0 + exp(min(-value, 80.0))) * f32(up[params.up_start + at]));
    }
  }
}
