// out[M,N] = A . Bt for M = ROWS <= 8 rows and K a multiple of 4, for GPUs: the decode path. A is [M,K], B is [N,K].
// With GATED = 1 out = silu(A . gate) * (A . up) for B of both, one behind the other: SwiGLU. NORMED and ADDEND: see few-rows.wgsl.
// Grid: (outputs / 4, or / 2 with GATED, spread over x and y). A workgroup multiplies ROWS x 4 columns, its threads along K
// with vec4 loads.
// Workgroup memory: WORKGROUP_SIZE * ROWS * 16 bytes, with NORMED * 20 (10 KiB at 64 threads, 8 rows). Bytes: B once, A once per column
// group (from cache), out once. Flops: 2 M N K. The sum over threads is a tree, hence the same every time.
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

var<workgroup> partials: array<vec4f, ROWS * WORKGROUP_SIZE>;
var<workgroup> squareParts: array<f32, max(1u, NORMED * ROWS * WORKGROUP_SIZE)>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
  @builtin(workgroup_id) workgroupId: vec3u,
  @builtin(num_workgroups) workgroupCount: vec3u,
  @builtin(local_invocation_index) thread: u32,
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
    partials[row * WORKGROUP_SIZE + thread] = sums[row];
    if (NORMED == 1u) { squareParts[row * WORKGROUP_SIZE + thread] = squares[row]; }
  }
  workgroupBarrier();
  for (var half = WORKGROUP_SIZE / 2u; half > 0u; half /= 2u) {
    if (thread < half) {
      for (var row = 0u; row < ROWS; row++) {
        let slot = row * WORKGROUP_SIZE + thread;
        partials[slot] += partials[slot + half];
        if (NORMED == 1u) { squareParts[slot] += squareParts[slot + half]; }
      }
    }
    workgroupBarrier();
  }
  for (var slot = thread; slot < OUTPUTS * ROWS; slot += WORKGROUP_SIZE) {
    let output = slot % OUTPUTS;
    let row = slot / OUTPUTS;
    let first = row * WORKGROUP_SIZE;
    if (column + output < params.n) {
      let outputs = outputsOf(partials[first], squareParts[first * NORMED], 4u * params.depthOfFours);
      store(row * params.n + column + output, outputs[output]);
    }
  }
}
