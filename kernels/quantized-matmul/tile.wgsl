// out[M,N] = x . Wt for a packed weight W[N,K] (kernels/quantize), for GPUs and more rows than the decode path has.
// Grid: (tiles of 64 x 64 outputs, spread over x and y). 8 x 8 threads, 8 x 8 outputs each; K in steps of a group of 32.
// A thread unpacks the same word of four rows of W, so that it can store vectors along N.
// Workgroup memory: 2 * 64 * 32 * 4 bytes = 16 KiB. Bytes: x once a column tile, the packed weight once a row tile, out
// once. Flops: 2 M N K. A thread's 8 rows are two runs of 4 that lie 32 apart, columns likewise, as in matmul's tile.
struct Params {
  m: u32,
  n: u32,
  groups: u32,
  scaleWords: u32,
}

@group(0) @binding(0) var<storage, read> x: array<TypeX>;
@group(0) @binding(1) var<storage, read> data: array<u32>;
@group(0) @binding(2) var<storage, read> scales: array<u32>;
@group(0) @binding(3) var<storage, read_write> out: array<TypeOut>;
@group(0) @binding(4) var<uniform> params: Params;

const TILE_DEPTH = 32u;

// [k][64 rows or columns], as vec4 along rows or columns.
var<workgroup> tileX: array<vec4f, 16u * TILE_DEPTH>;
var<workgroup> tileW: array<vec4f, 16u * TILE_DEPTH>;

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

fn loadX(row: u32, k: u32) -> f32 {
  if (row >= params.m) { return 0.0; }
  return f32(x[row * params.groups * 32u + k]);
}

fn scaleOf(row: u32, group: u32) -> f32 {
  let pair = unpack2x16float(scales[row * params.scaleWords + group / 2u]);
  return select(pair.x, pair.y, (group & 1u) == 1u);
}

// Stores weights of four columns at four k as vectors along the columns.
fn storeFour(k: u32, quad: u32, scale: vec4f, bits0: vec4u, bits1: vec4u, bits2: vec4u, bits3: vec4u) {
  let weights0 = scale.x * PLACE * levelsOf(bits0);
  let weights1 = scale.y * PLACE * levelsOf(bits1);
  let weights2 = scale.z * PLACE * levelsOf(bits2);
  let weights3 = scale.w * PLACE * levelsOf(bits3);
  tileW[k * 16u + quad] = vec4f(weights0.x, weights1.x, weights2.x, weights3.x);
  tileW[(k + 1u) * 16u + quad] = vec4f(weights0.y, weights1.y, weights2.y, weights3.y);
  tileW[(k + 2u) * 16u + quad] = vec4f(weights0.z, weights1.z, weights2.z, weights3.z);
  tileW[(k + 3u) * 16u + quad] = vec4f(weights0.w, weights1.w, weights2.w, weights3.w);
}

fn storeColumns(index: u32, column: u32, values: vec4f) {
  if (column < params.n) { out[index] = TypeOut(values.x); }
  if (column + 1u < params.n) { out[index + 1u] = TypeOut(values.y); }
  if (column + 2u < params.n) { out[index + 2u] = TypeOut(values.z); }
  if (column + 3u < params.n) { out[index + 3u] = TypeOut(values.w); }
}

fn storeRow(row: u32, column: u32, left: vec4f, right: vec4f) {
  if (row >= params.m) { return; }
  let index = row * params.n + column;
  storeColumns(index, column, left);
  storeColumns(index + 32u, column + 32u, right);
}

@compute @workgroup_size(8, 8)
fn main(
  @builtin(workgroup_id) workgroupId: vec3u,
  @builtin(num_workgroups) workgroupCount: vec3u,
  @builtin(local_invocation_id) thread: vec3u,
  @builtin(local_invocation_index) threadIndex: u32,
) {
  let columnTiles = (params.n + 63u) / 64u;
  let tile = workgroupId.x + workgroupId.y * workgroupCount.x;
  let tileRow = tile / columnTiles * 64u;
  if (tileRow >= params.m) { return; }
  let tileColumn = tile % columnTiles * 64u;
  let lastColumn = params.n - 1u;

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

  for (var group = 0u; group < params.groups; group++) {
    for (var slot = threadIndex; slot < 16u * TILE_DEPTH; slot += 64u) {
      let k = slot % TILE_DEPTH;
      let quad = slot / TILE_DEPTH;
      let row = tileRow + 4u * quad;
      let depth = group * TILE_DEPTH + k;
      tileX[k * 16u + quad] =
        vec4f(loadX(row, depth), loadX(row + 1u, depth), loadX(row + 2u, depth), loadX(row + 3u, depth));
    }
    // A group has as many words as a level has bits.
    for (var slot = threadIndex; slot < 16u * BITS; slot += 64u) {
      let word = slot % BITS;
      let quad = slot / BITS;
      // Columns past the end repeat the last one; only stores to out are guarded.
      let columns = min(vec4u(tileColumn + 4u * quad) + vec4u(0u, 1u, 2u, 3u), vec4u(lastColumn));
      let scale = vec4f(
        scaleOf(columns.x, group),
        scaleOf(columns.y, group),
        scaleOf(columns.z, group),
        scaleOf(columns.w, group),
      );
      let origin = (columns * params.groups + vec4u(group)) * BITS + vec4u(word);
      let words = vec4u(data[origin.x], data[origin.y], data[origin.z], data[origin.w]);
      if (BITS == 4u) {
        let high = words >> vec4u(16u);
        storeFour(8u * word, quad, scale, vec4u(words.x), vec4u(words.y), vec4u(words.z), vec4u(words.w));
        storeFour(8u * word + 4u, quad, scale, vec4u(high.x), vec4u(high.y), vec4u(high.z), vec4u(high.w));
      } else {
        // Two's complement to level + 128.
        let low = words ^ vec4u(0x80808080u);
        let high = low >> vec4u(16u);
        storeFour(
          4u * word,
          quad,
          scale,
          vec4u(low.xx, high.xx),
          vec4u(low.yy, high.yy),
          vec4u(low.zz, high.zz),
          vec4u(low.ww, high.ww),
        );
      }
    }
    workgroupBarrier();
    for (var step = 0u; step < TILE_DEPTH; step++) {
      let top = tileX[step * 16u + thread.y];
      let bottom = tileX[step * 16u + 8u + thread.y];
      let left = tileW[step * 16u + thread.x];
      let right = tileW[step * 16u + 8u + thread.x];
      left0 = fma(vec4f(top.x), left, left0);
      right0 = fma(vec4f(top.x), right, right0);
      left1 = fma(vec4f(top.y), left, left1);
      right1 = fma(vec4f(top.y), right, right1);
      left2 = fma(vec4f(top.z), left, left2);
      right2 = fma(vec4f(top.z), right, right2);
      left3 = fma(vec4f(top.w), left, left3);
      right3 = fma(vec4f(top.w), right, right3);
      left4 = fma(vec4f(bottom.x), left, left4);
      right4 = fma(vec4f(bottom.x), right, right4);
      left5 = fma(vec4f(bottom.y), left, left5);
      right5 = fma(vec4f(bottom.y), right, right5);
      left6 = fma(vec4f(bottom.z), left, left6);
      right6 = fma(vec4f(bottom.z), right, right6);
      left7 = fma(vec4f(bottom.w), left, left7);
      right7 = fma(vec4f(bottom.w), right, right7);
    }
    workgroupBarrier();
  }

  let row = tileRow + 4u * thread.y;
  let column = tileColumn + 4u * thread.x;
  storeRow(row + 0u, column, left0, right0);
  storeRow(row + 1u, column, left1, right1);
  storeRow(row + 2u, column, left2, right2);
  storeRow(row + 3u, column, left3, right3);
  storeRow(row + 32u, column, left4, right4);
  storeRow(row + 33u, column, left5, right5);
  storeRow(row + 34u, column, left6, right6);
  storeRow(row + 35u, column, left7, right7);
}
