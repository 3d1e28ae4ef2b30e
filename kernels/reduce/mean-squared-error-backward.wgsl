// out[i] = scale * gradient[0] * (x[i] - y[i]): the gradient of the mean squared error with respect to x, where scale
// is 2 / count; minus that for y.
// Grid: (elements / (WORKGROUP_SIZE * 4), spread over x and y). Workgroup memory: none.
// Bytes: x, y and out once. Flops: 2 an element.
override WORKGROUP_SIZE: u32 = 64u;

struct Params {
  count: u32,
  scale: f32,
}

@group(0) @binding(0) var<storage, read> x: array<TypeX>;
@group(0) @binding(1) var<storage, read> y: array<TypeY>;
@group(0) @binding(2) var<storage, read> gradient: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
  @builtin(workgroup_id) workgroupId: vec3u,
  @builtin(num_workgroups) workgroupCount: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let start = (workgroupId.x + workgroupId.y * workgroupCount.x) * WORKGROUP_SIZE * 4u + thread;
  let factor = params.scale * gradient[0];
  for (var j = 0u; j < 4u; j++) {
    let index = start + j * WORKGROUP_SIZE;
    if (index < params.count) { out[index] = factor * (f32(x[index]) - f32(y[index])); }
  }
}
