// xGradient[M,K] = outGradient[M,N] . W for a packed weight W[N,K] (kernels/quantize), for software adapters.
// Grid: (half groups of 16 inputs / LANES, spread over x and y; blocks of ROWS <= 8 rows in z). Tile: ROWS x 16 elements a
// thread, lanes along K. The address of outGradient depends on the workgroup and the loop counter only.
// Workgroup memory: none. Bytes: the packed weight once for every block of rows, outGradient once a column tile, xGradient
// once. Flops: 2 M N K.
override LANES: u32 = 8u;

struct Params {
  m: u32,
  n: u32,
  groups: u32,
  scaleWords: u32,
}

@group(0) @binding(0) var<storage, read> outGradient: array<TypeX>;
@group(0) @binding(1) var<storage, read> data: array<u32>;
@group(0) @binding(2) var<storage, read> scales: array<u32>;
@group(0) @binding(3) var<storage, read_write> xGradient: array<vec4<TypeOut>>;
@group(0) @binding(4) var<uniform> params: Params;

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

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) workgroupId: vec3u,
  @builtin(num_workgroups) workgroupCount: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let firstRow = workgroupId.z * ROWS;
  let halfGroup = (workgroupId.x + workgroupId.y * workgroupCount.x) * LANES + lane;
  // Rows and half groups past the end repeat the last one; only stores are guarded.
  let halves = 2u * params.groups;
  let inside = min(halfGroup, halves - 1u);
  let group = inside / 2u;
  let words = BITS / 2u;
  var sums0: array<vec4f, ROWS>;
  var sums1: array<vec4f, ROWS>;
  var sums2: array<vec4f, ROWS>;
  var sums3: array<vec4f, ROWS>;
  for (var n = 0u; n < params.n; n++) {
    let pair = unpack2x16float(scales[n * params.scaleWords + group / 2u]);
    let scale = select(pair.x, pair.y, (group & 1u) == 1u) * PLACE;
    let origin = (n * halves + inside) * words;
    var weights0: vec4f;
    var weights1: vec4f;
    var weights2: vec4f;
    var weights3: vec4f;
    if (BITS == 4u) {
      let first = data[origin];
      let second = data[origin + 1u];
      weights0 = scale * levelsOf(vec4u(first));
      weights1 = scale * levelsOf(vec4u(first >> 16u));
      weights2 = scale * levelsOf(vec4u(second));
      weights3 = scale * levelsOf(vec4u(second >> 16u));
    } else {
      // Two's complement to level + 128.
      let low = vec4u(data[origin], data[origin + 1u], data[origin + 2u], data[origin + 3u]) ^ vec4u(0x80808080u);
      let high = low >> vec4u(16u);
      weights0 = scale * levelsOf(vec4u(low.xx, high.xx));
      weights1 = scale * levelsOf(vec4u(low.yy, high.yy));
      weights2 = scale * levelsOf(vec4u(low.zz, high.zz));
      weights3 = scale * levelsOf(vec4u(low.ww, high.ww));
    }
    for (var row = 0u; row < ROWS; row++) {
      let gradient = vec4f(f32(outGradient[min(firstRow + row, params.m - 1u) * params.n + n]));
      sums0[row] = fma(gradient, weights0, sums0[row]);
      sums1[row] = fma(gradient, weights1, sums1[row]);
      sums2[row] = fma(gradient, weights2, sums2[row]);
      sums3[row] = fma(gradient, weights3, sums3[row]);
    }
  }

  if (halfGroup >= halves) { return; }
  for (var row = 0u; row < min(ROWS, params.m - firstRow); row++) {
    let index = ((firstRow + row) * halves + halfGroup) * 4u;
    xGradient[index] = vec4<TypeOut>(sums0[row]);
    xGradient[index + 1u] = vec4<TypeOut>(sums1[row]);
    xGradient[index + 2u] = vec4<TypeOut>(sums2[row]);
    xGradient[index + 3u] = vec4<TypeOut>(sums3[row]);
  }
}
