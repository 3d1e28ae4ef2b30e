// out[s] = scale * reduction of the elements of x in chunk s. OPERATION: 0 sum, 1 sum of squares, 2 largest
// magnitude.
// Grid: (chunks). A thread takes every WORKGROUP_SIZE-th element of its chunk; a tree joins the threads, so the order is fixed.
// Workgroup memory: WORKGROUP_SIZE * 4 bytes. Bytes: x once. Flops: 1 or 2 an element.
override WORKGROUP_SIZE: u32 = 64u;
override OPERATION: u32 = 0u;

struct Params {
  count: u32,
  perChunk: u32,
  scale: f32,
}

@group(0) @binding(0) var<storage, read> x: array<TypeX>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

var<workgroup> partials: array<f32, WORKGROUP_SIZE>;

fn combine(left: f32, right: f32) -> f32 {
  return select(left + right, max(left, right), OPERATION == 2u);
}

fn prepare(value: f32) -> f32 {
  switch OPERATION {
    case 1u: { return value * value; }
    case 2u: { return abs(value); }
    default: { return value; }
  }
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
    first = combine(first, prepare(f32(x[index])));
    second = combine(second, prepare(f32(x[index + WORKGROUP_SIZE])));
    third = combine(third, prepare(f32(x[index + 2u * WORKGROUP_SIZE])));
    fourth = combine(fourth, prepare(f32(x[index + 3u * WORKGROUP_SIZE])));
  }
  for (; index < end; index += WORKGROUP_SIZE) { first = combine(first, prepare(f32(x[index]))); }
  partials[thread] = combine(combine(first, second), combine(third, fourth));
  workgroupBarrier();
  for (var half = WORKGROUP_SIZE / 2u; half > 0u; half /= 2u) {
    if (thread < half) { partials[thread] = combine(partials[thread], partials[thread + half]); }
    workgroupBarrier();
  }
  if (thread == 0u) { out[workgroupId.x] = params.scale * partials[0]; }
}
