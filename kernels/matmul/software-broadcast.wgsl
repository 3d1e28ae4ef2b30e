// out[M,N] = A . B with f32 accumulation, for software adapters with subgroups of 4 lanes or more.
// Grid: (tiles of 16 rows x 8*LANES columns, spread over x and y; batch * splits in z). Tile: 16 x 8 outputs a thread.
// Lanes lie along N. A value of A is needed by all lanes: four lanes load one row each, and a broadcast of a register
// hands them round, since on these adapters a load costs as much as eight fused multiply-adds whatever its address.
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
  let rowTiles = (params.m + 15u) / 16u;
  let tile = workgroupId.x + workgroupId.y * workgroupCount.x;
  let tileColumn = tile / rowTiles * 8u * LANES;
  if (tileColumn >= params.n) { return; }
  let column = tileColumn + lane;
  let row = tile % rowTiles * 16u;
  let batch = workgroupId.z / params.splits;
  let depthStart = workgroupId.z % params.splits * params.depthPerSplit;
  let depthEnd = min(depthStart + params.depthPerSplit, params.depth);

  // Rows and columns past the end repeat the last one: loads stay inside and need no branch; stores are guarded.
  let lastRow = params.m - 1u;
  let lastColumn = params.n - 1u;
  let startA = batch * params.batchStrideA + depthStart * params.depthStrideA;
  let startB = batch * params.batchStrideB + depthStart * params.depthStrideB;
  let quad = lane & 3u;
  var indexA0 = startA + min(row + 0u + quad, lastRow) * params.rowStrideA;
  var indexA1 = startA + min(row + 4u + quad, lastRow) * params.rowStrideA;
  var indexA2 = startA + min(row + 8u + quad, lastRow) * params.rowStrideA;
  var indexA3 = startA + min(row + 12u + quad, lastRow) * params.rowStrideA;
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
  var left8 = vec4f();
  var right8 = vec4f();
  var left9 = vec4f();
  var right9 = vec4f();
  var left10 = vec4f();
  var right10 = vec4f();
  var left11 = vec4f();
  var right11 = vec4f();
  var left12 = vec4f();
  var right12 = vec4f();
  var left13 = vec4f();
  var right13 = vec4f();
  var left14 = vec4f();
  var right14 = vec4f();
  var left15 = vec4f();
  var right15 = vec4f();
  for (var k = depthStart; k < depthEnd; k++) {
    let left = vec4f(f32(b[indexB0]), f32(b[indexB1]), f32(b[indexB2]), f32(b[indexB3]));
    let right = vec4f(f32(b[indexB4]), f32(b[indexB5]), f32(b[indexB6]), f32(b[indexB7]));
    let rows0 = f32(a[indexA0]);
    let rows1 = f32(a[indexA1]);
    let rows2 = f32(a[indexA2]);
    let rows3 = f32(a[indexA3]);
    let a0 = subgroupBroadcast(rows0, 0u);
    left0 = fma(vec4f(a0), left, left0);
    right0 = fma(vec4f(a0), right, right0);
    let a1 = subgroupBroadcast(rows0, 1u);
    left1 = fma(vec4f(a1), left, left1);
    right1 = fma(vec4f(a1), right, right1);
    let a2 = subgroupBroadcast(rows0, 2u);
    left2 = fma(vec4f(a2), left, left2);
    right2 = fma(vec4f(a2), right, right2);
    let a3 = subgroupBroadcast(rows0, 3u);
    left3 = fma(vec4f(a3), left, left3);
    right3 = fma(vec4f(a3), right, right3);
    let a4 = subgroupBroadcast(rows1, 0u);
    left4 = fma(vec4f(a4), left, left4);
    right4 = fma(vec4f(a4), right, right4);
    let a5 = subgroupBroadcast(rows1, 1u);
    left5 = fma(vec4f(a5), left, left5);
    right5 = fma(vec4f(a5), right, right5);
    let a6 = subgroupBroadcast(rows1, 2u);
    left6 = fma(vec4f(a6), left, left6);
    right6 = fma(vec4f(a6), right, right6);
    let a7 = subgroupBroadcast(rows1, 3u);
    left7 = fma(vec4f(a7), left, left7);
    right7 = fma(vec4f(a7), right, right7);
    let a8 = subgroupBroadcast(rows2, 0u);
    left8 = fma(vec4f(a8), left, left8);
    right8 = fma(vec4f(a8), right, right8);
    let a9 = subgroupBroadcast(rows2, 1u);
    left9 = fma(vec4f(a9), left, left9);
    right9 = fma(vec4f(a9), right, right9);
    let a10 = subgroupBroadcast(rows2, 2u);
    left10 = fma(vec4f(a10), left, left10);
    right10 = fma(vec4f(a10), right, right10);
    let a11 = subgroupBroadcast(rows2, 3u);
    left11 = fma(vec4f(a11), left, left11);
    right11 = fma(vec4f(a11), right, right11);
    let a12 = subgroupBroadcast(rows3, 0u);
    left12 = fma(vec4f(a12), left, left12);
    right12 = fma(vec4f(a12), right, right12);
    let a13 = subgroupBroadcast(rows3, 1u);
    left13 = fma(vec4f(a13), left, left13);
    right13 = fma(vec4f(a13), right, right13);
    let a14 = subgroupBroadcast(rows3, 2u);
    left14 = fma(vec4f(a14), left, left14);
    right14 = fma(vec4f(a14), right, right14);
    let a15 = subgroupBroadcast(rows3, 3u);
    left15 = fma(vec4f(a15), left, left15);
    right15 = fma(vec4f(a15), right, right15);
    indexA0 += params.depthStrideA;
    indexA1 += params.depthStrideA;
    indexA2 += params.depthStrideA;
    indexA3 += params.depthStrideA;
    indexB0 += params.depthStrideB;
    indexB1 += params.depthStrideB;
    indexB2 += params.depthStrideB;
    indexB3 += params.depthStrideB;
    indexB4 += params.depthStrideB;
    indexB5 += params.depthStrideB;
    indexB6 += params.depthStrideB;
    indexB7 += params.depthStrideB;
  }

  // One loop over an array instead of 128 copies of the guarded store: compiles several times faster.
  var results = array<vec4f, 32>(
    left0, right0,
    left1, right1,
    left2, right2,
    left3, right3,
    left4, right4,
    left5, right5,
    left6, right6,
    left7, right7,
    left8, right8,
    left9, right9,
    left10, right10,
    left11, right11,
    left12, right12,
    left13, right13,
    left14, right14,
    left15, right15,
  );
  let rowCount = min(params.m - row, 16u);
  for (var r = 0u; r < rowCount; r++) {
    let index = workgroupId.z * params.batchStrideOut + (row + r) * params.n + column;
    storeColumns(index, column, results[2u * r]);
    storeColumns(index + 4u * LANES, column + 4u * LANES, results[2u * r + 1u]);
  }
}
