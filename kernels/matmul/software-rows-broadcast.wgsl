// out[M,N] = A . B for M <= 8 rows, for software adapters with subgroups of 4 lanes or more: the decode path, where B is
// read once and is nearly all the traffic.
// With GATED = 1 out = silu(A . gate) * (A . up) for B of both side by side: SwiGLU. NORMED and ADDEND: see few-rows.wgsl.
// Grid: (outputs / (4*LANES), or / (2*LANES) with GATED, spread over x and y). Tile: ROWS x 4 columns a thread, lanes along N.
// A lane walks down its own columns; runs of four consecutive k keep a row of a transposed B in the nearest cache.
// Four lanes load four consecutive k of a row of A and hand them round by broadcasts: one load in place of four.
// Workgroup memory: none. Bytes: B once, A once per column tile, out once. Flops: 2 M N K.
override LANES: u32 = 8u;

struct Params {
  n: u32,
  depth: u32,
  rowStrideA: u32,
  depthStrideA: u32,
  depthStrideB: u32,
  columnStrideB: u32,
  epsilon: f32,
}

@group(0) @binding(0) var<storage, read> a: array<TypeA>;
@group(0) @binding(1) var<storage, read> b: array<TypeB>;
@group(0) @binding(2) var<storage, read_write> out: array<TypeOut>;
@group(0) @binding(3) var<uniform> params: Params;

// Four consecutive k of one column.
fn loadB(index: u32) -> vec4f {
  return vec4f(
    f32(b[index]),
    f32(b[index + params.depthStrideB]),
    f32(b[index + 2u * params.depthStrideB]),
    f32(b[index + 3u * params.depthStrideB]),
  );
}

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) workgroupId: vec3u,
  @builtin(num_workgroups) workgroupCount: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let column = (workgroupId.x + workgroupId.y * workgroupCount.x) * OUTPUTS * LANES + lane;
  let columns = columnsFrom(column, LANES) * params.columnStrideB;
  var index0 = columns.x;
  var index1 = columns.y;
  var index2 = columns.z;
  var index3 = columns.w;
  let quad = lane & 3u;
  let startA = quad * params.depthStrideA;
  var sums: array<vec4f, ROWS>;
  var squares: array<f32, ROWS>;

  let depthOfFours = params.depth & ~3u;
  var k = 0u;
  for (; k < depthOfFours; k += 4u) {
    let b0 = loadB(index0);
    let b1 = loadB(index1);
    let b2 = loadB(index2);
    let b3 = loadB(index3);
    let ownGain = gainAt(k / 4u, quad);
    for (var row = 0u; row < ROWS; row++) {
      let input = f32(a[startA + row * params.rowStrideA + k * params.depthStrideA]);
      let values = ofFour(input * ownGain);
      if (NORMED == 1u) { squares[row] += input * input; }
      sums[row] += vec4f(dot(values, b0), dot(values, b1), dot(values, b2), dot(values, b3));
    }
    index0 += 4u * params.depthStrideB;
    index1 += 4u * params.depthStrideB;
    index2 += 4u * params.depthStrideB;
    index3 += 4u * params.depthStrideB;
  }
  // Normed products end before.
  for (; k < params.depth; k++) {
    let values = vec4f(f32(b[index0]), f32(b[index1]), f32(b[index2]), f32(b[index3]));
    for (var row = 0u; row < ROWS; row++) {
      sums[row] += f32(a[row * params.rowStrideA + k * params.depthStrideA]) * values;
    }
    index0 += params.depthStrideB;
    index1 += params.depthStrideB;
    index2 += params.depthStrideB;
    index3 += params.depthStrideB;
  }

  for (var row = 0u; row < ROWS; row++) {
    let results = outputsOf(sums[row], dot(ofFour(squares[row]), vec4f(1.0)), params.depth);
    for (var j = 0u; j < OUTPUTS; j++) {
      let outColumn = column + j * LANES;
      if (outColumn < params.n) { store(row * params.n + outColumn, results[j]); }
    }
  }
}
