// out[M,N] = A . B with f32 accumulation, for software adapters without subgroups.
// Grid: (tiles of 8 rows x 8*LANES columns, spread over x and y; batch * splits in z). Tile: 8 x 8 outputs a thread.
// Lanes lie along N; the address of A depends on the workgroup and the loop counter only.
// Workgroup memory: none. Bytes: A once per column tile, B once per row tile, out once. Flops: 2 M N K.
// With splits > 1, split s sums its share of K into its own [M,N] slab of out.
override LANES: u32 = 8u;

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

fn storeColumns(index: u32, column: u32, values: vec4f) {
  if (column < params.n) { out[index] = TypeOut(values.x); }
  if (column + LANES < params.n) { out[index + LANES] = TypeOut(values.y); }
  if (column + 2u * LANES < params.n) { out[index + 2u * LANES] = TypeOut(values.z); }
  if (column + 3u * LANES < params.n) { out[index + 3u * LANES] = TypeOut(values.w); }
}

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) workgroupId: vec3u,
  @builtin(num_workgroups) workgroupCount: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  // Row tiles vary fastest: the columns of B that a run of workgroups shares stay in the cache.
  let rowTiles = (params.m + 7u) / 8u;
  let tile = workgroupId.x + workgroupId.y * workgroupCount.x;
  let tileColumn = tile / rowTiles * 8u * LANES;
  if (tileColumn >= params.n) { return; }
  let column = tileColumn + lane;
  let row = tile % rowTiles * 8u;
  let batch = workgroupId.z / params.splits;
  let depthStart = workgroupId.z % params.splits * params.depthPerSplit;
  let depthEnd = min(depthStart + params.depthPerSplit, params.depth);

  // Rows and columns past the end repeat the last one: loads stay inside and need no branch; stores are guarded.
  let lastRow = params.m - 1u;
  let lastColumn = params.n - 1u;
  let startA = batch * params.batchStrideA + depthStart * params.depthStrideA;
  let startB = batch * params.batchStrideB + depthStart * params.depthStrideB;
  var indexA0 = startA + min(row + 0u, lastRow) * params.rowStrideA;
  var indexA1 = startA + min(row + 1u, lastRow) * params.rowStrideA;
  var indexA2 = startA + min(row + 2u, lastRow) * params.rowStrideA;
  var indexA3 = startA + min(row + 3u, lastRow) * params.rowStrideA;
  var indexA4 = startA + min(row + 4u, lastRow) * params.rowStrideA;
  var indexA5 = startA + min(row + 5u, lastRow) * params.rowStrideA;
  var indexA6 = startA + min(row + 6u, lastRow) * params.rowStrideA;
  var indexA7 = startA + min(row + 7u, lastRow) * params.rowStrideA;
  var indexB0 = startB + min(column + 0u * LANES, lastColumn) * params.columnStrideB;
  var indexB1 = startB + min(column + 1u * LANES, lastColumn) * params.columnStrideB;
  var indexB2 = startB + min(column + 2u * LANES, lastColumn) * params.columnStrideB;
  var indexB3 = startB + min(column + 3u * LANES, lastColumn) * params.columnStrideB;
  var indexB4 = startB + min(column + 4u * LANES, lastColumn) * params.columnStrideB;
  var indexB5 = startB + min(column + 5u * LANES, lastColumn) * params.columnStrideB;
  var indexB6 = startB + min(column + 6u * LANES, lastColumn) * params.columnStrideB;
  var indexB7 = startB + min(column + 7u * LANES, lastColumn) * params.columnStrideB;
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
  for (var k = depthStart; k < depthEnd; k++) {
    let left = vec4f(f32(b[indexB0]), f32(b[indexB1]), f32(b[indexB2]), f32(b[indexB3]));
    let right = vec4f(f32(b[indexB4]), f32(b[indexB5]), f32(b[indexB6]), f32(b[indexB7]));
    let a0 = vec4f(f32(a[indexA0]));
    left0 = fma(a0, left, left0);
    right0 = fma(a0, right, right0);
    let a1 = vec4f(f32(a[indexA1]));
    left1 = fma(a1, left, left1);
    right1 = fma(a1, right, right1);
    let a2 = vec4f(f32(a[indexA2]));
    left2 = fma(a2, left, left2);
    right2 = fma(a2, right, right2);
    let a3 = vec4f(f32(a[indexA3]));
    left3 = fma(a3, left, left3);
    right3 = fma(a3, right, right3);
    let a4 = vec4f(f32(a[indexA4]));
    left4 = fma(a4, left, left4);
    right4 = fma(a4, right, right4);
    let a5 = vec4f(f32(a[indexA5]));
    left5 = fma(a5, left, left5);
    right5 = fma(a5, right, right5);
    let a6 = vec4f(f32(a[indexA6]));
    left6 = fma(a6, left, left6);
    right6 = fma(a6, right, right6);
    let a7 = vec4f(f32(a[indexA7]));
    left7 = fma(a7, left, left7);
    right7 = fma(a7, right, right7);
    indexA0 += params.depthStrideA;
    indexA1 += params.depthStrideA;
    indexA2 += params.depthStrideA;
    indexA3 += params.depthStrideA;
    indexA4 += params.depthStrideA;
    indexA5 += params.depthStrideA;
    indexA6 += params.depthStrideA;
    indexA7 += params.depthStrideA;
    indexB0 += params.depthStrideB;
    indexB1 += params.depthStrideB;
    indexB2 += params.depthStrideB;
    indexB3 += params.depthStrideB;
    indexB4 += params.depthStrideB;
    indexB5 += params.depthStrideB;
    indexB6 += params.depthStrideB;
    indexB7 += params.depthStrideB;
  }

  // One loop over an array instead of 64 copies of the guarded store: compiles several times faster.
  var results = array<vec4f, 16>(
    left0, right0,
    left1, right1,
    left2, right2,
    left3, right3,
    left4, right4,
    left5, right5,
    left6, right6,
    left7, right7,
  );
  let rowCount = min(params.m - row, 8u);
  for (var r = 0u; r < rowCount; r++) {
    let index = workgroupId.z * params.batchStrideOut + (row + r) * params.n + column;
    storeColumns(index, column, results[2u * r]);
    storeColumns(index + 4u * LANES, column + 4u * LANES, results[2u * r + 1u]);
  }
}
