// out[M,N] = A . Bt for M = ROWS <= 8 rows and K a multiple of 4, for GPUs with subgroups: the decode path. A is [M,K], B is [N,K].
// With GATED = 1 out = silu(A . gate) * (A . up) for B of both, one behind the other: SwiGLU. NORMED and ADDEND: see few-rows.wgsl.
// Grid: (outputs / 4, or / 2 with GATED, spread over x and y). A workgroup multiplies ROWS x 4 columns, its threads along K
// with vec4 loads.
// Workgroup memory: WORKGROUP_SIZE * ROWS * 4 bytes, with NORMED * 5 (subgroups of at least 4 lanes). Bytes: B once, A once per column
// group (from cache), out once. Flops: 2 M N K. Sums first inside a subgroup, then over subgroups in order.
override WORKGROUP_SIZE: u32 = 64u;

struct Params {
  n: u32,
  depthOfFours: u32,
  epsilon: f32,
}

@group(0) @binding(0) var<storage, read> a: array<vec4<TypeA>>;
@group(0) @binding(1) var<storage, read> b: array<vec4<TypeB>>;
@group(0) @binding(2) var<storage, read_write> out: array<TypeOut>;
@group(0) @binding(3) var<uniform> params: Params;

// [subgroup][row], at most WORKGROUP_SIZE / 4 subgroups.
var<workgroup> partials: array<vec4f, ROWS * (WORKGROUP_SIZE / 4u)>;
var<workgroup> squareParts: array<f32, max(1u, NORMED * ROWS * (WORKGROUP_SIZE / 4u))>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
  @builtin(workgroup_id) workgroupId: vec3u,
  @builtin(num_workgroups) workgroupCount: vec3u,
  @builtin(local_invocation_index) thread: u32,
  @builtin(subgroup_size) subgroupSize: u32,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  let column = (workgroupId.x + workgroupId.y * workgroupCount.x) * OUTPUTS;
  let rows = columnsFrom(column, 1u) * params.depthOfFours;
  var sums: array<vec4f, ROWS>;
  var squares: array<f32, ROWS>;
  for (var k = thread; k < params.depthOfFours; k += WORKGROUP_SIZE) {
    let b0 = vec4f(b[rows.x + k]);
    let b1 = vec4f(b[rows.y + k]);
    let b2 = vec4f(b[rows.z + k]);
    let b3 = vec4f(b[rows.w + k]);
    let gains = gainsAt(k);
    for (var row = 0u; row < ROWS; row++) {
      let inputs = vec4f(a[row * params.depthOfFours + k]);
      let values = inputs * gains;
      squares[row] += squaresOf(inputs);
      sums[row] += vec4f(dot(values, b0), dot(values, b1), dot(values, b2), dot(values, b3));
    }
  }
  for (var row = 0u; row < ROWS; row++) {
    let slot = thread / subgroupSize * ROWS + row;
    let sum = subgroupAdd(sums[row]);
    if (lane == 0u) { partials[slot] = sum; }
    if (NORMED == 1u) {
      let square = subgroupAdd(squares[row]);
      if (lane == 0u) { squareParts[slot] = square; }
    }
  }
  workgroupBarrier();
  let subgroups = (WORKGROUP_SIZE + subgroupSize - 1u) / subgroupSize;
  for (var slot = thread; slot < OUTPUTS * ROWS; slot += WORKGROUP_SIZE) {
    let output = slot % OUTPUTS;
    let row = slot / OUTPUTS;
    var sum = vec4f();
    var square = 0.0;
    for (var i = 0u; i < subgroups; i++) {
      sum += partials[i * ROWS + row];
      if (NORMED == 1u) { square += squareParts[i * ROWS + row]; }
    }
    if (column + output < params.n) {
      store(row * params.n + column + output, outputsOf(sum, square, 4u * params.depthOfFours)[output]);
    }
  }
}
