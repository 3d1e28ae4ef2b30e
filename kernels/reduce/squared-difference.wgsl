// out[s] = scale * sum of (x - y)^2 over the elements of chunk s: the first stage of the mean squared error.
// Grid: (chunks). A thread takes every WORKGROUP_SIZE-th element of its chunk; a tree joins the threads, so the order is fixed.
// Workgroup memory: WORKGROUP_SIZE * 4 bytes. Bytes: x and y once. Flops: 3 an element.
override WORKGROUP_SIZE: u32 = 64u;

struct Params {
  count: u32,
  perChunk: u32,
  scale: f32,
}

@group(0) @binding(0) var<storage, read> x: array<TypeX>;
@group(0) @binding(1) var<storage, read> y: array<TypeY>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

var<workgroup> partials: array<f32, WORKGROUP_SIZE>;

fn squaredDifference(index: u32) -> f32 {
  let difference = f32(x[index]) - f32(y[index]);
  return difference * difference;
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(workgroup_id) workgroupId: vec3u, @builtin(local_invocation_index) thread: u32) {
  let start = workgroupId.x * params.perChunk;
  let end = min(start + params.perChunk, params.count);
  var first = 0.0;
  var second = 0.0;
  var third = 0.0;
  var fourth = 0.0;
  var index = start + thread;
  for (; index + 3u * WORKGROUP_SIZE < end; index += 4u * WORKGROUP_SIZE) {
    first += squaredDifference(index);
    second += squaredDifference(index + WORKGROUP_SIZE);
    third += squaredDifference(index + 2u * WORKGROUP_SIZE);
    fourth += squaredDifference(index + 3u * WORKGROUP_SIZE);
  }
  for (; index < end; index += WORKGROUP_SIZE) { first += squaredDifference(index); }
  partials[thread] = (first + second) + (third + fourth);
  workgroupBarrier();
  for (var half = WORKGROUP_SIZE / 2u; half > 0u; half /= 2u) {
    if (thread < half) { partials[thread] += partials[thread + half]; }
    workgroupBarrier();
  }
  if (thread == 0u) { out[workgroupId.x] = params.scale * partials[0]; }
}
