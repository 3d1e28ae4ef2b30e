// Gradient of the softmax of every row: xGradient = scale * out * (outGradient - sum over the row of outGradient * out).
// Grid: x and y = rows, one workgroup a row. Workgroup memory: 4 * WORKGROUP_SIZE bytes.
// Bytes: out and outGradient once (again from cache), xGradient once. Flops: 5 an element.

struct Params {
  rows: u32,
  columns: u32,
  scale: f32,
}

override WORKGROUP_SIZE: u32 = 64;

@group(0) @binding(0) var<storage, read> out: array<Scalar>;
@group(0) @binding(1) var<storage, read> outGradient: array<f32>;
@group(0) @binding(2) var<storage, read_write> xGradient: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

var<workgroup> lanes: array<f32, WORKGROUP_SIZE>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
  @builtin(workgroup_id) workgroupId: vec3u,
  @builtin(num_workgroups) workgroupCount: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let row = workgroupId.x + workgroupId.y * workgroupCount.x;
  if (row >= params.rows) { return; }
  let first = row * params.columns;

  var sum = 0.0;
  for (var column = thread; column < params.columns; column += WORKGROUP_SIZE) {
    sum = fma(f32(out[first + column]), outGradient[first + column], sum);
  }
  lanes[thread] = sum;
  for (var width = WORKGROUP_SIZE / 2u; width > 0u; width /= 2u) {
    workgroupBarrier();
    if (thread < width) { lanes[thread] += lanes[thread + width]; }
  }
  workgroupBarrier();
  sum = lanes[0];

  for (var column = thread; column < params.columns; column += WORKGROUP_SIZE) {
    let at = first + column;
    xGradient[at] = params.scale * f32(out[at]) * (outGradient[at] - sum);
  }
}
