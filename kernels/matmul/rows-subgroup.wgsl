// out[M,N] = A . Bt for M = ROWS <= 8 rows and K a multiple of 4, for GPUs with subgroups: the decode path. A is [M,K], B is [N,K].
// Grid: (columns / 4, spread over x and y). A workgroup makes ROWS x 4 outputs, its threads along K with vec4 loads.
// Workgroup memory: WORKGROUP_SIZE * ROWS * 4 bytes (subgroups of at least 4 lanes). Bytes: B once, A once per column
// group (from cache), out once. Flops: 2 M N K. Sums first inside a subgroup, then over subgroups in order.
override WORKGROUP_SIZE: u32 = 64u;

struct Params {
  n: u32,
  depthOfFours: u32,
}

@group(0) @binding(0) var<storage, read> a: array<vec4<TypeA>>;
@group(0) @binding(1) var<storage, read> b: array<vec4<TypeB>>;
@group(0) @binding(2) var<storage, read_write> out: array<TypeOut>;
@group(0) @binding(3) var<uniform> params: Params;

// [subgroup][row], at most WORKGROUP_SIZE / 4 subgroups.
var<workgroup> partials: array<vec4f, ROWS * (WORKGROUP_SIZE / 4u)>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
  @builtin(workgroup_id) workgroupId: vec3u,
  @builtin(num_workgroups) workgroupCount: vec3u,
  @builtin(local_invocation_index) thread: u32,
  @builtin(subgroup_size) subgroupSize: u32,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  let column = (workgroupId.x + workgroupId.y * workgroupCount.x) * 4u;
  // Columns past the end repeat the last one; only the store is guarded.
  let lastColumn = params.n - 1u;
  let row0 = min(column, lastColumn) * params.depthOfFours;
  let row1 = min(column + 1u, lastColumn) * params.depthOfFours;
  let row2 = min(column + 2u, lastColumn) * params.depthOfFours;
  let row3 = min(column + 3u, lastColumn) * params.depthOfFours;
  var sums: array<vec4f, ROWS>;
  for (var k = thread; k < params.depthOfFours; k += WORKGROUP_SIZE) {
    let b0 = vec4f(b[row0 + k]);
    let b1 = vec4f(b[row1 + k]);
    let b2 = vec4f(b[row2 + k]);
    let b3 = vec4f(b[row3 + k]);
    for (var row = 0u; row < ROWS; row++) {
      let values = vec4f(a[row * params.depthOfFours + k]);
      sums[row] += vec4f(dot(values, b0), dot(values, b1), dot(values, b2), dot(values, b3));
    }
  }
  for (var row = 0u; row < ROWS; row++) {
    let sum = subgroupAdd(sums[row]);
    if (lane == 0u) { partials[thread / subgroupSize * ROWS + row] = sum; }
  }
  workgroupBarrier();
  let subgroups = (WORKGROUP_SIZE + subgroupSize - 1u) / subgroupSize;
  for (var slot = thread; slot < 4u * ROWS; slot += WORKGROUP_SIZE) {
    let outColumn = column + slot % 4u;
    let row = slot / 4u;
    var sum = 0.0;
    for (var i = 0u; i < subgroups; i++) { sum += partials[i * ROWS + row][slot % 4u]; }
    if (outColumn < params.n) { out[row * params.n + outColumn] = TypeOut(sum); }
  }
}
