// out[M,N] = x . Wt for any M and a packed weight W[N,K] (kernels/quantize), for software adapters with subgroups of 4
// lanes or more.
// With GATED = 1 out = silu(x . gate) * (x . up) for W of the rows of both, one behind the other: SwiGLU. NORMED and ADDEND: see matmul/few-rows.wgsl.
// Grid: (outputs / (4*LANES), or / (2*LANES) with GATED, spread over x and y; blocks of ROWS <= 8 rows in z). Tile:
// ROWS x 4 products a thread, lanes along N. A lane walks down its own four rows of W and unpacks a level once for ROWS
// rows of x.
// Four lanes load four consecutive k of a row of x and hand them round by broadcasts: one load in place of four.
// Workgroup memory: none. Bytes: the packed weight once for every block of rows (18 for 32 q4 weights, 34 for 32 q8), x
// once a column tile, out once. Flops: 2 M N K.
override LANES: u32 = 8u;

struct Params {
  m: u32,
  n: u32,
  groups: u32,
  scaleWords: u32,
  epsilon: f32,
}

@group(0) @binding(0) var<storage, read> x: array<TypeX>;
@group(0) @binding(1) var<storage, read> data: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> scales: array<u32>;
@group(0) @binding(3) var<storage, read_write> out: array<TypeOut>;
@group(0) @binding(4) var<uniform> params: Params;

// Vectors of four inputs in 128 bits of levels, and vectors of 128 bits in a group.
const FOURS = 32u / BITS;
const VECTORS = BITS / 4u;

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

// Adds four inputs times their levels, for the four outputs whose bits are given.
fn addFour(sums: ptr<function, array<vec4f, ROWS>>, squares: ptr<function, array<f32, ROWS>>, firstRow: u32, quad: u32, at: u32, bits0: vec4u, bits1: vec4u, bits2: vec4u, bits3: vec4u) {
  let levels0 = levelsOf(bits0);
  let levels1 = levelsOf(bits1);
  let levels2 = levelsOf(bits2);
  let levels3 = levelsOf(bits3);
  let ownGain = gainAt(at, quad);
  for (var row = 0u; row < ROWS; row++) {
    let input = f32(x[min(firstRow + row, params.m - 1u) * params.groups * 32u + 4u * at + quad]);
    let values = PLACE * ofFour(input * ownGain);
    if (NORMED == 1u) { (*squares)[row] += input * input; }
    (*sums)[row] += vec4f(dot(values, levels0), dot(values, levels1), dot(values, levels2), dot(values, levels3));
  }
}

// The same word of four outputs: eight or four inputs.
fn addWord(sums: ptr<function, array<vec4f, ROWS>>, squares: ptr<function, array<f32, ROWS>>, firstRow: u32, quad: u32, at: u32, words: vec4u) {
  if (BITS == 4u) {
    addFour(sums, squares, firstRow, quad, at, vec4u(words.x), vec4u(words.y), vec4u(words.z), vec4u(words.w));
    let high = words >> vec4u(16u);
    addFour(sums, squares, firstRow, quad, at + 1u, vec4u(high.x), vec4u(high.y), vec4u(high.z), vec4u(high.w));
  } else {
    // Two's complement to level + 128.
    let low = words ^ vec4u(0x80808080u);
    let high = low >> vec4u(16u);
    addFour(
      sums,
      squares,
      firstRow,
      quad,
      at,
      vec4u(low.xx, high.xx),
      vec4u(low.yy, high.yy),
      vec4u(low.zz, high.zz),
      vec4u(low.ww, high.ww),
    );
  }
}

fn addVector(sums: ptr<function, array<vec4f, ROWS>>, squares: ptr<function, array<f32, ROWS>>, firstRow: u32, quad: u32, at: u32, b0: vec4u, b1: vec4u, b2: vec4u, b3: vec4u) {
  // Turned, since a component chosen by the counter costs more than the rest where compilers do not unroll the loop; four
  // copies of its body for eight rows would compile for seconds.
  var words0 = b0;
  var words1 = b1;
  var words2 = b2;
  var words3 = b3;
  for (var i = 0u; i < 4u; i++) {
    addWord(sums, squares, firstRow, quad, at + i * FOURS / 4u, vec4u(words0.x, words1.x, words2.x, words3.x));
    words0 = words0.yzwx;
    words1 = words1.yzwx;
    words2 = words2.yzwx;
    words3 = words3.yzwx;
  }
}

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) workgroupId: vec3u,
  @builtin(num_workgroups) workgroupCount: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let firstRow = workgroupId.z * ROWS;
  let column = (workgroupId.x + workgroupId.y * workgroupCount.x) * OUTPUTS * LANES + lane;
  let columns = columnsFrom(column, LANES);
  let vectors = columns * params.groups * VECTORS;
  let words = columns * params.scaleWords;
  var sums: array<vec4f, ROWS>;
  var squares: array<f32, ROWS>;
  // Set to 0 by hand below: declared in the loop, it kept old values on lavapipe (Mesa 25.0.7).
  var groupSums: array<vec4f, ROWS>;
  // A word of scales serves two groups.
  for (var word = 0u; word < params.scaleWords; word++) {
    let pair0 = unpack2x16float(scales[words.x + word]);
    let pair1 = unpack2x16float(scales[words.y + word]);
    let pair2 = unpack2x16float(scales[words.z + word]);
    let pair3 = unpack2x16float(scales[words.w + word]);
    var scale = vec4f(pair0.x, pair1.x, pair2.x, pair3.x);
    for (var group = 2u * word; group < min(2u * word + 2u, params.groups); group++) {
      for (var vector = group * VECTORS; vector < (group + 1u) * VECTORS; vector++) {
        addVector(
          &groupSums,
          &squares,
          firstRow,
          lane & 3u,
          vector * FOURS,
          data[vectors.x + vector],
          data[vectors.y + vector],
          data[vectors.z + vector],
          data[vectors.w + vector],
        );
      }
      for (var row = 0u; row < ROWS; row++) {
        sums[row] = fma(scale, groupSums[row], sums[row]);
        groupSums[row] = vec4f();
      }
      scale = vec4f(pair0.y, pair1.y, pair2.y, pair3.y);
    }
  }

  for (var row = 0u; row < min(ROWS, params.m - firstRow); row++) {
    let results = outputsOf(sums[row], dot(ofFour(squares[row]), vec4f(1.0)), 32u * params.groups);
    for (var j = 0u; j < OUTPUTS; j++) {
      let outColumn = column + j * LANES;
      if (outColumn < params.n) { store((firstRow + row) * params.n + outColumn, results[j]); }
    }
  }
}
