// out[M,N] = x . Wt for M <= ROWS rows, ROWS at most 8, and a packed weight W[N,K] (kernels/quantize), for GPUs with subgroups: the
// decode path, bound by reading the weight.
// With GATED = 1 out = silu(x . gate) * (x . up) for W of the rows of both, one behind the other: SwiGLU. NORMED and ADDEND: see matmul/few-rows.wgsl.
// Grid: (outputs / 16, or / 8 with GATED, spread over x and y). A subgroup makes ROWS x 4 sums alone, so nothing waits at a barrier: its
// lanes lie along K and load 128 bits of each of four rows of W, neighbours next to each other. A row of x that was
// loaded serves four outputs, a level that was unpacked ROWS rows.
// Workgroup memory: none.
// Bytes: the packed weight once (18 for 32 q4 weights, 34 for 32 q8), x once a workgroup (from cache), out once.
// Flops: 2 M N K. Sums first in a lane, then over the subgroup.
override WORKGROUP_SIZE: u32 = 128u;

struct Params {
  m: u32,
  n: u32,
  // Vectors of 128 bits in a row of the weight: a group each (q4), half a group (q8).
  vectors: u32,
  scaleWords: u32,
  epsilon: f32,
}

@group(0) @binding(0) var<storage, read> x: array<vec4<TypeX>>;
@group(0) @binding(1) var<storage, read> data: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> scales: array<u32>;
@group(0) @binding(3) var<storage, read_write> out: array<TypeOut>;
@group(0) @binding(4) var<uniform> params: Params;

// Vectors of four inputs in 128 bits of levels.
const FOURS = 32u / BITS;
// Products of a workgroup; with subgroups of 32 lanes and 128 threads, four for each.
const PRODUCTS = 16u;

// Levels without a conversion, which costs more than the rest on some GPUs: bits of a level, left where they are in the
// mantissa of 2^23, make 2^23 + 16^i (level + 8); what is subtracted leaves 16^i level, exactly, and PLACE undoes 16^i.
const MASK = select(vec4u(0xffu, 0xff00u, 0xffu, 0xff00u), vec4u(0xfu, 0xf0u, 0xf00u, 0xf000u), BITS == 4u);
const ZERO = select(
  vec4f(8388736.0, 8421376.0, 8388736.0, 8421376.0),
  vec4f(8388616.0, 8388736.0, 8390656.0, 8421376.0),
  BITS == 4u,
);
const PLACE = select(
  vec4f(1.0, 0.00390625, 1.0, 0.00390625),
  vec4f(1.0, 0.0625, 0.00390625, 0.000244140625),
  BITS == 4u,
);

fn levelsOf(bits: vec4u) -> vec4f {
  return bitcast<vec4f>((bits & MASK) | vec4u(0x4b000000u)) - ZERO;
}

fn scaleOf(row: u32, group: u32) -> f32 {
  let pair = unpack2x16float(scales[row * params.scaleWords + group / 2u]);
  return select(pair.x, pair.y, (group & 1u) == 1u);
}

// Adds four inputs times their levels, for the four outputs whose bits are given. Rows past the end repeat the last one.
fn addFour(sums: ptr<function, array<vec4f, ROWS>>, squares: ptr<function, array<f32, ROWS>>, at: u32, bits0: vec4u, bits1: vec4u, bits2: vec4u, bits3: vec4u) {
  let levels0 = levelsOf(bits0);
  let levels1 = levelsOf(bits1);
  let levels2 = levelsOf(bits2);
  let levels3 = levelsOf(bits3);
  let gains = PLACE * gainsAt(at);
  for (var row = 0u; row < ROWS; row++) {
    let inputs = vec4f(x[min(row, params.m - 1u) * params.vectors * FOURS + at]);
    let values = inputs * gains;
    (*squares)[row] += squaresOf(inputs);
    (*sums)[row] += vec4f(dot(values, levels0), dot(values, levels1), dot(values, levels2), dot(values, levels3));
  }
}

// The same word of four outputs: eight or four inputs.
fn addWord(sums: ptr<function, array<vec4f, ROWS>>, squares: ptr<function, array<f32, ROWS>>, at: u32, words: vec4u) {
  if (BITS == 4u) {
    addFour(sums, squares, at, vec4u(words.x), vec4u(words.y), vec4u(words.z), vec4u(words.w));
    let high = words >> vec4u(16u);
    addFour(sums, squares, at + 1u, vec4u(high.x), vec4u(high.y), vec4u(high.z), vec4u(high.w));
  } else {
    // Two's complement to level + 128.
    let low = words ^ vec4u(0x80808080u);
    let high = low >> vec4u(16u);
    addFour(
      sums,
      squares,
      at,
      vec4u(low.xx, high.xx),
      vec4u(low.yy, high.yy),
      vec4u(low.zz, high.zz),
      vec4u(low.ww, high.ww),
    );
  }
}

fn addVector(sums: ptr<function, array<vec4f, ROWS>>, squares: ptr<function, array<f32, ROWS>>, at: u32, b0: vec4u, b1: vec4u, b2: vec4u, b3: vec4u) {
  // A loop, which compilers unroll while its body is small: four copies of one for eight rows compile for seconds.
  for (var i = 0u; i < 4u; i++) {
    addWord(sums, squares, at + i * FOURS / 4u, vec4u(b0[i], b1[i], b2[i], b3[i]));
  }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
  @builtin(workgroup_id) workgroupId: vec3u,
  @builtin(num_workgroups) workgroupCount: vec3u,
  @builtin(local_invocation_index) thread: u32,
  @builtin(subgroup_size) subgroupSize: u32,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  let firstColumn = (workgroupId.x + workgroupId.y * workgroupCount.x) * (PRODUCTS / 4u * OUTPUTS);
  // Adapters differ in the lanes of a subgroup: few large subgroups take several turns, some of many small ones none.
  let productsATurn = max(WORKGROUP_SIZE / subgroupSize, 1u) * 4u;
  // Set to 0 by hand below: declared in the loop, they kept old values on lavapipe (Mesa 25.0.7).
  var sums: array<vec4f, ROWS>;
  var squares: array<f32, ROWS>;
  var groupSums: array<vec4f, ROWS>;
  for (var turn = 0u; turn < PRODUCTS; turn += productsATurn) {
    let slot = turn + thread / subgroupSize * 4u;
    let column = firstColumn + slot / 4u * OUTPUTS;
    let busy = slot < PRODUCTS && column < params.n;
    if (busy) {
      let columns = columnsFrom(column, 1u);
      for (var vector = lane; vector < params.vectors; vector += subgroupSize) {
        let group = vector * 4u / BITS;
        let scale = vec4f(
          scaleOf(columns.x, group),
          scaleOf(columns.y, group),
          scaleOf(columns.z, group),
          scaleOf(columns.w, group),
        );
        addVector(
          &groupSums,
          &squares,
          vector * FOURS,
          data[columns.x * params.vectors + vector],
          data[columns.y * params.vectors + vector],
          data[columns.z * params.vectors + vector],
          data[columns.w * params.vectors + vector],
        );
        for (var row = 0u; row < ROWS; row++) {
          sums[row] = fma(scale, groupSums[row], sums[row]);
          groupSums[row] = vec4f();
        }
      }
    }
    for (var row = 0u; row < ROWS; row++) {
      let results = outputsOf(subgroupAdd(sums[row]), subgroupAdd(squares[row]), 4u * params.vectors * FOURS);
      sums[row] = vec4f();
      squares[row] = 0.0;
      if (busy && lane == 0u && row < params.m) {
        let index = row * params.n + column;
        store(index, results.x);
        if (column + 1u < params.n) { store(index + 1u, results.y); }
        if (GATED == 0u) {
          if (column + 2u < params.n) { store(index + 2u, results.z); }
          if (column + 3u < params.n) { store(index + 3u, results.w); }
        }
      }
    }
  }
}
