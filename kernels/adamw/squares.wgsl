// First stage of the global gradient norm: each thread sums the squares of a strided share of vec4s into a number of its own.
// Grid: a fixed number of workgroups in x. Workgroup memory: none. Bytes moved: 4 an element. Flops: 2 an element.

override WORKGROUP_SIZE: u32 = 64;

struct Params {
  vectors: u32,
  partialOffset: u32,
}

@group(0) @binding(0) var<storage, read> gradients: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> partial: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) invocation: vec3<u32>, @builtin(num_workgroups) workgroupCount: vec3<u32>) {
  let threads = workgroupCount.x * WORKGROUP_SIZE;
  var sum = vec4<f32>(0.0);
  for (var i = invocation.x; i < params.vectors; i += threads) {
    let gradient = gradients[i];
    sum += gradient * gradient;
  }
  partial[params.partialOffset + invocation.x] = (sum.x + sum.y) + (sum.z + sum.w);
}
