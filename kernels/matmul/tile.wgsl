// out[M,N] = A . B with f32 accumulation, for GPUs. A and B are addressed by strides, so that one file serves A.B, A.Bt and At.B.
// Grid: (tiles of 64 x 64 outputs, spread over x and y; batch * splits in z). 8 x 8 threads, 8 x 8 outputs each.
// Workgroup memory: 2 * 64 * TILE_DEPTH * 4 bytes = 8 KiB at 16. Bytes: A once per column tile, B once per row tile,
// out once. Flops: 2 M N K.
// A thread's 8 rows are two runs of 4 that lie 32 apart (columns likewise): its vec4 reads of workgroup memory then
// touch neighbouring banks in neighbouring threads.
// With splits > 1, split s sums its share of K into its own [M,N] slab of out.
override TILE_DEPTH: u32 = 16u;
// Which index neighbouring threads vary while they load: the one that is contiguous in memory.
override DEPTH_FASTEST_A: bool = true;
override DEPTH_FASTEST_B: bool = true;

struct Params {
  m: u32,
  n: u32,
  depth: u32,
  rowStrideA: u32,
  depthStrideA: u32,
  depthStrideB: u32,
  columnStrideB: u32,
  batchStrideA: u32,
  batchStrideB: u32,
  batchStrideOut: u32,
  splits: u32,
  depthPerSplit: u32,
}

@group(0) @binding(0) var<storage, read> a: array<TypeA>;
@group(0) @binding(1) var<storage, read> b: array<TypeB>;
@group(0) @binding(2) var<storage, read_write> out: array<TypeOut>;
@group(0) @binding(3) var<uniform> params: Params;

// [depth][64 rows or columns], as vec4 along rows or columns.
var<workgroup> tileA: array<vec4f, 16u * TILE_DEPTH>;
var<workgroup> tileB: array<vec4f, 16u * TILE_DEPTH>;

fn loadA(row: u32, k: u32, depthEnd: u32, offset: u32) -> f32 {
  if (row >= params.m || k >= depthEnd) { return 0.0; }
  return f32(a[offset + row * params.rowStrideA + k * params.depthStrideA]);
}

fn loadB(column: u32, k: u32, depthEnd: u32, offset: u32) -> f32 {
  if (column >= params.n || k >= depthEnd) { return 0.0; }
  return f32(b[offset + column * params.columnStrideB + k * params.depthStrideB]);
}

fn storeColumns(index: u32, column: u32, values: vec4f) {
  if (column < params.n) { out[index] = TypeOut(values.x); }
  if (column + 1u < params.n) { out[index + 1u] = TypeOut(values.y); }
  if (column + 2u < params.n) { out[index + 2u] = TypeOut(values.z); }
  if (column + 3u < params.n) { out[index + 3u] = TypeOut(values.w); }
}

fn storeRow(row: u32, column: u32, batchOffset: u32, left: vec4f, right: vec4f) {
  if (row >= params.m) { return; }
  let index = batchOffset + row * params.n + column;
  storeColumns(index, column, left);
  storeColumns(index + 32u, column + 32u, right);
}

@compute @workgroup_size(8, 8)
fn main(
  @builtin(workgroup_id) workgroupId: vec3u,
  @builtin(num_workgroups) workgroupCount: vec3u,
  @builtin(local_invocation_id) thread: vec3u,
  @builtin(local_invocation_index) threadIndex: u32,
) {
  let columnTiles = (params.n + 63u) / 64u;
  let tile = workgroupId.x + workgroupId.y * workgroupCount.x;
  let tileRow = tile / columnTiles * 64u;
  if (tileRow >= params.m) { return; }
  let tileColumn = tile % columnTiles * 64u;
  let batch = workgroupId.z / params.splits;
  let depthStart = workgroupId.z % params.splits * params.depthPerSplit;
  let depthEnd = min(depthStart + params.depthPerSplit, params.depth);
  let offsetA = batch * params.batchStrideA;
  let offsetB = batch * params.batchStrideB;

  var left0 = vec4f();
  var right0 = vec4f();
  var left1 = vec4f();
  var right1 = vec4f();
  var left2 = vec4f();
  var right2 = vec4f();
  var left3 = vec4f();
  var right3 = vec4f();
  var left4 = vec4f();
  var right4 = vec4f();
  var left5 = vec4f();
  var right5 = vec4f();
  var left6 = vec4f();
  var right6 = vec4f();
  var left7 = vec4f();
  var right7 = vec4f();

  for (var start = depthStart; start < depthEnd; start += TILE_DEPTH) {
    for (var slot = threadIndex; slot < 16u * TILE_DEPTH; slot += 64u) {
      let depthA = select(slot / 16u, slot % TILE_DEPTH, DEPTH_FASTEST_A);
      let groupA = select(slot % 16u, slot / TILE_DEPTH, DEPTH_FASTEST_A);
      let rowA = tileRow + 4u * groupA;
      tileA[depthA * 16u + groupA] = vec4f(
        loadA(rowA, start + depthA, depthEnd, offsetA),
        loadA(rowA + 1u, start + depthA, depthEnd, offsetA),
        loadA(rowA + 2u, start + depthA, depthEnd, offsetA),
        loadA(rowA + 3u, start + depthA, depthEnd, offsetA),
      );
      let depthB = select(slot / 16u, slot % TILE_DEPTH, DEPTH_FASTEST_B);
      let groupB = select(slot % 16u, slot / TILE_DEPTH, DEPTH_FASTEST_B);
      let columnB = tileColumn + 4u * groupB;
      tileB[depthB * 16u + groupB] = vec4f(
        loadB(columnB, start + depthB, depthEnd, offsetB),
        loadB(columnB + 1u, start + depthB, depthEnd, offsetB),
        loadB(columnB + 2u, start + depthB, depthEnd, offsetB),
        loadB(columnB + 3u, start + depthB, depthEnd, offsetB),
      );
    }
    workgroupBarrier();
    for (var k = 0u; k < TILE_DEPTH; k++) {
      let top = tileA[k * 16u + thread.y];
      let bottom = tileA[k * 16u + 8u + thread.y];
      let left = tileB[k * 16u + thread.x];
      let right = tileB[k * 16u + 8u + thread.x];
      left0 = fma(vec4f(top.x), left, left0);
      right0 = fma(vec4f(top.x), right, right0);
      left1 = fma(vec4f(top.y), left, left1);
      right1 = fma(vec4f(top.y), right, right1);
      left2 = fma(vec4f(top.z), left, left2);
      right2 = fma(vec4f(top.z), right, right2);
      left3 = fma(vec4f(top.w), left, left3);
      right3 = fma(vec4f(top.w), right, right3);
      left4 = fma(vec4f(bottom.x), left, left4);
      right4 = fma(vec4f(bottom.x), right, right4);
      left5 = fma(vec4f(bottom.y), left, left5);
      right5 = fma(vec4f(bottom.y), right, right5);
      left6 = fma(vec4f(bottom.z), left, left6);
      right6 = fma(vec4f(bottom.z), right, right6);
      left7 = fma(vec4f(bottom.w), left, left7);
      right7 = fma(vec4f(bottom.w), right, right7);
    }
    workgroupBarrier();
  }

  let row = tileRow + 4u * thread.y;
  let column = tileColumn + 4u * thread.x;
  let offset = workgroupId.z * params.batchStrideOut;
  storeRow(row + 0u, column, offset, left0, right0);
  storeRow(row + 1u, column, offset, left1, right1);
  storeRow(row + 2u, column, offset, left2, right2);
  storeRow(row + 3u, column, offset, left3, right3);
  storeRow(row + 32u, column, offset, left4, right4);
  storeRow(row + 33u, column, offset, left5, right5);
  storeRow(row + 34u, column, offset, left6, right6);
  storeRow(row + 35u, column, offset, left7, right7);
}
