// How far a packed weight (see quantize.wgsl) is from its source, for each row of a tile of the source:
// statistics[n] = (largest |error|, sum of error^2, sum of source^2, number of source values that are not finite).
// Such values, which were packed as 0, are left out of the other three.
// Source as in quantize.wgsl: rows [tile.y, K] that begin at row tile.x of the packed weight.
// Grid: (rows of the tile, spread over x and y). A thread takes every WORKGROUP_SIZE-th vector of four of the row's
// groups; a tree joins the threads, so the order is fixed. Workgroup memory: WORKGROUP_SIZE * 16 bytes.
// Bytes: source and packed weight once. Flops: 6 N K.
override WORKGROUP_SIZE: u32 = 64u;
override SOURCE_BF16: bool = false;

struct Params {
  n: u32,
  groups: u32,
  scaleWords: u32,
  sourceRows: u32,
}

@group(0) @binding(0) var<storage, read> source: array<vec4<Source>>;
@group(0) @binding(1) var<storage, read> tile: array<u32>;
@group(0) @binding(2) var<storage, read> data: array<u32>;
@group(0) @binding(3) var<storage, read> scales: array<u32>;
@group(0) @binding(4) var<storage, read_write> statistics: array<vec4<f32>>;
@group(0) @binding(5) var<uniform> params: Params;

var<workgroup> partials: array<vec4f, WORKGROUP_SIZE>;

fn add(total: vec4f, values: vec4u, packed: vec4f) -> vec4f {
  let finite = (values & vec4u(0x7f800000u)) != vec4u(0x7f800000u);
  let kept = bitcast<vec4f>(select(vec4u(), values, finite));
  let error = select(vec4f(), kept - packed, finite);
  let magnitude = abs(error);
  return vec4f(
    max(max(total.x, max(magnitude.x, magnitude.y)), max(magnitude.z, magnitude.w)),
    total.y + dot(error, error),
    total.z + dot(kept, kept),
    total.w + dot(select(vec4f(1.0), vec4f(), finite), vec4f(1.0)),
  );
}

// Eight consecutive values of the source.
fn addEight(total: vec4f, sourceEight: u32, left: vec4f, right: vec4f) -> vec4f {
  if (SOURCE_BF16) {
    let pairs = bitcast<vec4u>(source[sourceEight]);
    let first = pairs << vec4u(16u);
    let second = pairs & vec4u(0xffff0000u);
    let half = add(total, vec4u(first.x, second.x, first.y, second.y), left);
    return add(half, vec4u(first.z, second.z, first.w, second.w), right);
  }
  let half = add(total, bitcast<vec4u>(source[2u * sourceEight]), left);
  return add(half, bitcast<vec4u>(source[2u * sourceEight + 1u]), right);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
  @builtin(workgroup_id) workgroupId: vec3u,
  @builtin(num_workgroups) workgroupCount: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let sourceRow = workgroupId.x + workgroupId.y * workgroupCount.x;
  let row = tile[0] + sourceRow;
  let inside = sourceRow < min(tile[1], params.sourceRows) && row < params.n;
  var total = vec4f();
  if (inside) {
    for (var eight = thread; eight < params.groups * 4u; eight += WORKGROUP_SIZE) {
      let group = eight / 4u;
      let pair = unpack2x16float(scales[row * params.scaleWords + group / 2u]);
      let scale = select(pair.x, pair.y, (group & 1u) == 1u);
      let index = row * params.groups * 4u + eight;
      var left: vec4i;
      var right: vec4i;
      if (BITS == 4u) {
        let word = vec4u(data[index]);
        left = bitcast<vec4i>((word >> vec4u(0u, 4u, 8u, 12u)) & vec4u(15u)) - vec4i(8);
        right = bitcast<vec4i>((word >> vec4u(16u, 20u, 24u, 28u)) & vec4u(15u)) - vec4i(8);
      } else {
        left = bitcast<vec4i>(vec4u(data[2u * index]) << vec4u(24u, 16u, 8u, 0u)) >> vec4u(24u);
        right = bitcast<vec4i>(vec4u(data[2u * index + 1u]) << vec4u(24u, 16u, 8u, 0u)) >> vec4u(24u);
      }
      let sourceEight = sourceRow * params.groups * 4u + eight;
      total = addEight(total, sourceEight, scale * vec4f(left), scale * vec4f(right));
    }
  }
  partials[thread] = total;
  workgroupBarrier();
  for (var half = WORKGROUP_SIZE / 2u; half > 0u; half /= 2u) {
    if (thread < half) {
      let mine = partials[thread];
      let other = partials[thread + half];
      partials[thread] = vec4f(max(mine.x, other.x), mine.yzw + other.yzw);
    }
    workgroupBarrier();
  }
  if (thread == 0u && inside) { statistics[row] = partials[0]; }
}
