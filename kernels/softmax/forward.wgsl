// Softmax of every row: out = exp(scale * x - largest) / sum of the same, x and out [rows, columns].
// Grid: x and y = rows, one workgroup a row. Three passes over the row: largest, sum, quotient.
// Workgroup memory: 4 * WORKGROUP_SIZE bytes. Bytes: x once (again from cache), out once. Flops: 6 an element.

struct Params {
  rows: u32,
  columns: u32,
  scale: f32,
}

override WORKGROUP_SIZE: u32 = 64;

@group(0) @binding(0) var<storage, read> x: array<Scalar>;
@group(0) @binding(1) var<storage, read_write> out: array<Scalar>;
@group(0) @binding(2) var<uniform> params: Params;

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

  var largest = -1e30;
  for (var column = thread; column < params.columns; column += WORKGROUP_SIZE) {
    largest = max(largest, f32(x[first + column]) * params.scale);
  }
  lanes[thread] = largest;
  for (var width = WORKGROUP_SIZE / 2u; width > 0u; width /= 2u) {
    workgroupBarrier();
    if (thread < width) { lanes[thread] = max(lanes[thread], lanes[thread + width]); }
  }
  workgroupBarrier();
  largest = lanes[0];
  workgroupBarrier();

  var sum = 0.0;
  for (var column = thread; column < params.columns; column += WORKGROUP_SIZE) {
    sum += exp(f32(x[first + column]) * params.scale - largest);
  }
  lanes[thread] = sum;
  for (var width = WORKGROUP_SIZE / 2u; width > 0u; width /= 2u) {
    workgroupBarrier();
    if (thread < width) { lanes[thread] += lanes[thread + width]; }
  }
  workgroupBarrier();
  sum = lanes[0];

  for (var column = thread; column < params.columns; column += WORKGROUP_SIZE) {
    out[first + column] = Scalar(exp(f32(x[first + column]) * params.scale - largest) / sum);
  }
}
