// xGradient[M,K] = outGradient[M,N] . W for a packed weight W[N,K] (kernels/quantize), for GPUs.
// Grid: (tiles of 64 x 64 elements of xGradient, spread over x and y). 8 x 8 threads, 8 x 8 elements each; N in steps of 16.
// Workgroup memory: 2 * 64 * 16 * 4 bytes = 8 KiB. Bytes: outGradient once a column tile, the packed weight once a row
// tile, xGradient once. Flops: 2 M N K. A thread's 8 rows are two runs of 4 that lie 32 apart, columns likewise.
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

const TILE_DEPTH = 16u;

// [n][64 rows of outGradient or columns of W], as vec4 along rows or columns.
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

fn loadGradient(row: u32, n: u32) -> f32 {
  if (row >= params.m || n >= params.n) { return 0.0; }
  return f32(outGradient[row * params.n + n]);
}

// K is a multiple of 32, so a run of 32 columns is inside as a whole or not at all.
fn storeRow(row: u32, column: u32, left: vec4f, right: vec4f) {
  if (row >= params.m) { return; }
  let columns = params.groups * 32u;
  let index = (row * columns + column) / 4u;
  if (column < columns) { xGradient[index] = vec4<TypeOut>(left); }
  if (column + 32u < columns) { xGradient[index + 8u] = vec4<TypeOut>(right); }
}

@compute @workgroup_size(8, 8)
fn main(
  @builtin(workgroup_id) workgroupId: vec3u,
  @builtin(num_workgroups) workgroupCount: vec3u,
  @builtin(local_invocation_id) thread: vec3u,
  @builtin(local_invocation_index) threadIndex: u32,
) {
  let columnTiles = (params.groups + 1u) / 2u;
  let tile = workgroupId.x + workgroupId.y * workgroupCount.x;
  let tileRow = tile / columnTiles * 64u;
  if (tileRow >= params.m) { return; }
  let tileGroup = tile % columnTiles * 2u;

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

  for (var start = 0u; start < params.n; start += TILE_DEPTH) {
    for (var slot = threadIndex; slot < 16u * TILE_DEPTH; slot += 64u) {
      let n = slot % TILE_DEPTH;
      let quad = slot / TILE_DEPTH;
      let row = tileRow + 4u * quad;
      tileX[n * 16u + quad] = vec4f(
        loadGradient(row, start + n),
        loadGradient(row + 1u, start + n),
        loadGradient(row + 2u, start + n),
        loadGradient(row + 3u, start + n),
      );
    }
    // Two groups of a row of W are twice as many words as a level has bits.
    for (var slot = threadIndex; slot < 2u * BITS * TILE_DEPTH; slot += 64u) {
      let word = slot % (2u * BITS);
      let n = slot / (2u * BITS);
      // Rows and groups past the end repeat the last one: the former meet gradients of 0, the latter are not stored.
      let row = min(start + n, params.n - 1u);
      let group = min(tileGroup + word / BITS, params.groups - 1u);
      let pair = unpack2x16float(scales[row * params.scaleWords + group / 2u]);
      let scale = select(pair.x, pair.y, (group & 1u) == 1u) * PLACE;
      let bits = data[(row * params.groups + group) * BITS + word % BITS];
      if (BITS == 4u) {
        tileW[n * 16u + 2u * word] = scale * levelsOf(vec4u(bits));
        tileW[n * 16u + 2u * word + 1u] = scale * levelsOf(vec4u(bits >> 16u));
      } else {
        // Two's complement to level + 128.
        let low = vec2u(bits ^ 0x80808080u);
        tileW[n * 16u + word] = scale * levelsOf(vec4u(low, low >> vec2u(16u)));
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
  let column = tileGroup * 32u + 4u * thread.x;
  storeRow(row + 0u, column, left0, right0);
  storeRow(row + 1u, column, left1, right1);
  storeRow(row + 2u, column, left2, right2);
  storeRow(row + 3u, column, left3, right3);
  storeRow(row + 32u, column, left4, right4);
  storeRow(row + 33u, column, left5, right5);
  storeRow(row + 34u, column, left6, right6);
  storeRow(row + 35u, column, left7, right7);
}
