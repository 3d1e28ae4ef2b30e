// out[M,N] = x . Wt for M <= ROWS rows, ROWS at most 8, and a packed weight W[N,K] (kernels/quantize), for GPUs without subgroups: the
// decode path, bound by reading the weight.
// With GATED = 1 out = silu(x . gate) * (x . up) for W of the rows of both, one behind the other: SwiGLU. NORMED and ADDEND: see matmul/few-rows.wgsl.
// Grid: (outputs / 4, or / 2 with GATED, spread over x and y). A workgroup multiplies ROWS x 4 rows of W, its threads along K:
// each loads 128 bits of each of the four, neighbours next to each other.
// Workgroup memory: WORKGROUP_SIZE * (ROWS * 16 + 4) bytes, with NORMED * (ROWS * 20 + 4) (10.25 KiB at 64 threads, 8 rows).
// Bytes: the packed weight once (18 for 32 q4 weights, 34 for 32 q8), x once a workgroup (from cache), out once.
// Flops: 2 M N K. Sums first in a thread, then over the threads in a fixed order of two stages.
override WORKGROUP_SIZE: u32 = 64u;

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

var<workgroup> partials: array<vec4f, ROWS * WORKGROUP_SIZE>;
var<workgroup> parts: array<f32, WORKGROUP_SIZE>;
var<workgroup> squareParts: array<f32, max(1u, NORMED * ROWS * WORKGROUP_SIZE)>;

// Vectors of four inputs in 128 bits of levels.
const FOURS = 32u / BITS;
// Sums of a workgroup, of which WORKGROUP_SIZE is a multiple.
const SUMS = 4u * ROWS;

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

// The sum that several threads made the parts of.
fn sumOf(slot: u32) -> f32 {
  var sum = 0.0;
  for (var i = slot; i < WORKGROUP_SIZE; i += SUMS) { sum += parts[i]; }
  return sum;
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
  @builtin(workgroup_id) workgroupId: vec3u,
  @builtin(num_workgroups) workgroupCount: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let column = (workgroupId.x + workgroupId.y * workgroupCount.x) * OUTPUTS;
  let columns = columnsFrom(column, 1u);
  var sums: array<vec4f, ROWS>;
  var squares: array<f32, ROWS>;
  // Set to 0 by hand below: declared in the loop, it kept old values on lavapipe (Mesa 25.0.7).
  var groupSums: array<vec4f, ROWS>;
  for (var vector = thread; vector < params.vectors; vector += WORKGROUP_SIZE) {
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
  for (var row = 0u; row < ROWS; row++) {
    partials[row * WORKGROUP_SIZE + thread] = sums[row];
    if (NORMED == 1u) { squareParts[row * WORKGROUP_SIZE + thread] = squares[row]; }
  }
  workgroupBarrier();
  // Thread t adds up some threads' shares of sum t % SUMS; the first threads join those parts.
  let slot = thread % SUMS;
  var part = 0.0;
  for (var i = thread / SUMS; i < WORKGROUP_SIZE; i += WORKGROUP_SIZE / SUMS) {
    part += partials[slot / 4u * WORKGROUP_SIZE + i][slot % 4u];
  }
  parts[thread] = part;
  workgroupBarrier();
  let output = thread % OUTPUTS;
  let row = thread / OUTPUTS;
  if (column + output < params.n && row < min(ROWS, params.m)) {
    let first = 4u * row;
    let sums = vec4f(sumOf(first), sumOf(first + 1u), sumOf(first + 2u), sumOf(first + 3u));
    var square = 0.0;
    for (var i = 0u; i < NORMED * WORKGROUP_SIZE; i++) { square += squareParts[row * WORKGROUP_SIZE + i]; }
    store(row * params.n + column + output, outputsOf(sums, square, 4u * params.vectors * FOURS)[output]);
  }
}
