// out[i] = gradient[i] * s * (1 + x[i] * (1 - s)) with s = sigmoid(x[i]): the gradient of SiLU.
// Grid: (elements / (WORKGROUP_SIZE * ELEMENTS), spread over x and y); neighbouring threads take neighbouring elements.
// Workgroup memory: none. Bytes: x, gradient and out once. Flops: 7 an element.
override WORKGROUP_SIZE: u32 = 64u;
override ELEMENTS: u32 = 4u;

struct Params {
  count: u32,
}

@group(0) @binding(0) var<storage, read> x: array<TypeX>;
@group(0) @binding(1) var<storage, read> gradient: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
  @builtin(workgroup_id) workgroupId: vec3u,
  @builtin(num_workgroups) workgroupCount: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let start = (workgroupId.x + workgroupId.y * workgroupCount.x) * WORKGROUP_SIZE * ELEMENTS + thread;
  for (var j = 0u; j < ELEMENTS; j++) {
    let index = start + j * WORKGROUP_SIZE;
    if (index >= params.count) { return; }
    let value = f32(x[index]);
    // exp(80) is still finite; below that the derivative is 0 anyway.
    let sigmoid = 1.0 / (1.0 + exp(-max(value, -80.0)));
    out[index] = gradient[index] * sigmoid * (1.0 + value * (1.0 - sigmoid));
  }
}
