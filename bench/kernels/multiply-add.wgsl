// Arithmetic ceiling: chains of fused multiply-adds in registers, eight independent ones an invocation.
// Grid: [workgroups]. Tile: two vectors of four chains. Workgroup memory: none.
// Bytes: 4 read and written an invocation. Flops: 16 an iteration and invocation.
override WORKGROUP_SIZE: u32 = 64;

struct Params {
  iterations: u32,
  factor: f32,
  summand: f32,
}

@group(0) @binding(0) var<storage, read_write> values: array<f32>;
@group(0) @binding(1) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let start = Scalar(values[id.x]);
  let factor = vec4<Scalar>(Scalar(params.factor));
  let summand = vec4<Scalar>(Scalar(params.summand));
  var a = vec4<Scalar>(start, start + Scalar(1), start + Scalar(2), start + Scalar(3));
  var b = a + vec4<Scalar>(Scalar(4));
  for (var iteration = 0u; iteration < params.iterations; iteration += 4u) {
    a = fma(a, factor, summand);
    b = fma(b, factor, summand);
    a = fma(a, factor, summand);
    b = fma(b, factor, summand);
    a = fma(a, factor, summand);
    b = fma(b, factor, summand);
    a = fma(a, factor, summand);
    b = fma(b, factor, summand);
  }
  let sum = a + b;
  values[id.x] = f32(sum.x + sum.y + sum.z + sum.w);
}
