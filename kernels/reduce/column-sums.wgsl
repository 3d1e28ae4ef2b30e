// out[s,c] = scale * sum of x[r,c] over the rows r of split s: column sums of a row-major matrix.
// Grid: (columns / WORKGROUP_SIZE * splits, spread over x and y). A thread owns a column and walks down its rows, so
// neighbouring threads read neighbouring elements and the order of additions is fixed.
// Workgroup memory: none. Bytes: x once, out once. Flops: rows * columns.
override WORKGROUP_SIZE: u32 = 64u;

struct Params {
  rows: u32,
  columns: u32,
  splits: u32,
  rowsPerSplit: u32,
  scale: f32,
}

@group(0) @binding(0) var<storage, read> x: array<TypeIn>;
@group(0) @binding(1) var<storage, read_write> out: array<TypeOut>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
  @builtin(workgroup_id) workgroupId: vec3u,
  @builtin(num_workgroups) workgroupCount: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let groups = (params.columns + WORKGROUP_SIZE - 1u) / WORKGROUP_SIZE;
  let index = workgroupId.x + workgroupId.y * workgroupCount.x;
  let split = index / groups;
  let column = index % groups * WORKGROUP_SIZE + thread;
  if (split >= params.splits || column >= params.columns) { return; }
  let start = split * params.rowsPerSplit;
  let end = min(start + params.rowsPerSplit, params.rows);
  // Four sums: independent additions overlap, and rounding errors stay smaller than in one long chain.
  var sums = vec4f();
  var row = start;
  for (; row + 4u <= end; row += 4u) {
    let first = row * params.columns + column;
    sums += vec4f(
      f32(x[first]),
      f32(x[first + params.columns]),
      f32(x[first + 2u * params.columns]),
      f32(x[first + 3u * params.columns]),
    );
  }
  for (; row < end; row++) { sums.x += f32(x[row * params.columns + column]); }
  out[split * params.columns + column] = TypeOut(params.scale * (sums.x + sums.y + sums.z + sums.w));
}
