// Packs rows of a weight W[N,K] into levels of BITS bits and one f16 scale for each group of 32 inputs:
// W[n,k] ~ scale[n, k/32] * level, levels -8..7 (q4, stored plus 8) or -128..127 (q8, two's complement).
// Source: a tile of consecutive rows [tile.y, K], f32, or bf16 as the pairs of a safetensors file in u32 (SOURCE_BF16);
// its first row becomes row tile.x of the packed weight. Values that are not finite count as 0.
// Scale, q8: largest magnitude / 127, and no value is clipped. q4: -extremum / d, the extremum being the value of largest magnitude, for that d of
// 7, 7.25, .. 9 whose squared error over the group is least: 7 is the plain symmetric choice, 8 puts the extremum on the
// unpaired level -8, above 8 clips it. On normal values 16 % less RMS error than 7 alone, 5 % less than 8 alone.
// Grid: (scale words of the tile / WORKGROUP_SIZE, spread over x and y). A thread packs the two groups of a scale word.
// Workgroup memory: none. Bytes: source once, packed weight once. Flops: 32 * 9 * 5 a group (q4), 32 * 3 (q8).
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
@group(0) @binding(2) var<storage, read_write> data: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read_write> scales: array<u32>;
@group(0) @binding(4) var<uniform> params: Params;

const LOW = select(-128.0, -8.0, BITS == 4u);
const HIGH = select(127.0, 7.0, BITS == 4u);
const LEAST_NORMAL = 6.103515625e-5;
const LARGEST = 65504.0;
const SUBNORMAL_STEP = 5.9604644775390625e-8;

fn finite(bits: vec4u) -> vec4f {
  return bitcast<vec4f>(select(bits, vec4u(), (bits & vec4u(0x7f800000u)) == vec4u(0x7f800000u)));
}

// The nearest half, ties to even, but 0 only for 0. Not pack2x16float: compilers that see it unpacked again keep the unrounded value.
fn halfBits(value: f32) -> u32 {
  let magnitude = min(abs(value), LARGEST);
  let bits = bitcast<u32>(magnitude);
  let normal = ((bits + 0xfffu + ((bits >> 13u) & 1u)) >> 13u) - 0x1c000u;
  let subnormal = max(u32(round(magnitude / SUBNORMAL_STEP)), select(0u, 1u, magnitude > 0.0));
  return select(subnormal, normal, magnitude >= LEAST_NORMAL) | ((bitcast<u32>(value) >> 16u) & 0x8000u);
}

// The scale as readers will see it. Where an adapter takes subnormal halves for 0, the least normal one stands in.
fn asHalf(scale: f32) -> f32 {
  let kept = unpack2x16float(halfBits(scale)).x;
  return select(kept, LEAST_NORMAL * sign(scale), kept == 0.0 && scale != 0.0);
}

fn levelsOf(values: vec4f, inverse: f32) -> vec4f {
  return clamp(round(values * inverse), vec4f(LOW), vec4f(HIGH));
}

// The same eight or four levels as a word.
fn pack8(left: vec4f, right: vec4f) -> u32 {
  let low = vec4u(vec4i(left) + vec4i(8)) << vec4u(0u, 4u, 8u, 12u);
  let high = vec4u(vec4i(right) + vec4i(8)) << vec4u(16u, 20u, 24u, 28u);
  let both = low | high;
  return both.x | both.y | both.z | both.w;
}

fn pack4(levels: vec4f) -> u32 {
  let bytes = (bitcast<vec4u>(vec4i(levels)) & vec4u(255u)) << vec4u(0u, 8u, 16u, 24u);
  return bytes.x | bytes.y | bytes.z | bytes.w;
}

// Packs one group and returns its scale.
fn packGroup(sourceGroup: u32, group: u32) -> f32 {
  var values: array<vec4f, 8>;
  if (SOURCE_BF16) {
    for (var i = 0u; i < 4u; i++) {
      // The first of a pair is the low half: bytes come little-endian.
      let pairs = bitcast<vec4u>(source[sourceGroup * 4u + i]);
      let first = pairs << vec4u(16u);
      let second = pairs & vec4u(0xffff0000u);
      values[2u * i] = finite(vec4u(first.x, second.x, first.y, second.y));
      values[2u * i + 1u] = finite(vec4u(first.z, second.z, first.w, second.w));
    }
  } else {
    for (var i = 0u; i < 8u; i++) { values[i] = finite(bitcast<vec4u>(source[sourceGroup * 8u + i])); }
  }

  var extremum = 0.0;
  for (var i = 0u; i < 8u; i++) {
    for (var j = 0u; j < 4u; j++) {
      let value = values[i][j];
      extremum = select(extremum, value, abs(value) > abs(extremum));
    }
  }
  var scale = 0.0;
  if (BITS == 8u) {
    scale = asHalf(abs(extremum) * (1.0 / 127.0));
    // Only a subnormal half rounds so far down that the extremum would be clipped: the next one above does not.
    if (abs(extremum) > 127.5 * scale) { scale = asHalf(scale + SUBNORMAL_STEP); }
  } else if (extremum != 0.0) {
    var least = 0.0;
    for (var candidate = 0u; candidate < 9u; candidate++) {
      let tried = asHalf(-extremum / (7.0 + 0.25 * f32(candidate)));
      let inverse = 1.0 / tried;
      // In units of the extremum, whose square can neither overflow nor vanish.
      var sums = vec4f();
      for (var i = 0u; i < 8u; i++) {
        let error = (values[i] - tried * levelsOf(values[i], inverse)) / extremum;
        sums += error * error;
      }
      let error = dot(sums, vec4f(1.0));
      if (candidate == 0u || error < least) {
        least = error;
        scale = tried;
      }
    }
  }

  let inverse = select(0.0, 1.0 / scale, scale != 0.0);
  if (BITS == 4u) {
    data[group] = vec4u(
      pack8(levelsOf(values[0], inverse), levelsOf(values[1], inverse)),
      pack8(levelsOf(values[2], inverse), levelsOf(values[3], inverse)),
      pack8(levelsOf(values[4], inverse), levelsOf(values[5], inverse)),
      pack8(levelsOf(values[6], inverse), levelsOf(values[7], inverse)),
    );
  } else {
    for (var i = 0u; i < 2u; i++) {
      data[2u * group + i] = vec4u(
        pack4(levelsOf(values[4u * i], inverse)),
        pack4(levelsOf(values[4u * i + 1u], inverse)),
        pack4(levelsOf(values[4u * i + 2u], inverse)),
        pack4(levelsOf(values[4u * i + 3u], inverse)),
      );
    }
  }
  return scale;
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
  @builtin(workgroup_id) workgroupId: vec3u,
  @builtin(num_workgroups) workgroupCount: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let index = (workgroupId.x + workgroupId.y * workgroupCount.x) * WORKGROUP_SIZE + thread;
  let sourceRow = index / params.scaleWords;
  let word = index % params.scaleWords;
  let row = tile[0] + sourceRow;
  if (sourceRow >= min(tile[1], params.sourceRows) || row >= params.n) { return; }
  let group = 2u * word;
  var pair = vec2u();
  pair.x = halfBits(packGroup(sourceRow * params.groups + group, row * params.groups + group));
  if (group + 1u < params.groups) {
    pair.y = halfBits(packGroup(sourceRow * params.groups + group + 1u, row * params.groups + group + 1u));
  }
  scales[row * params.scaleWords + word] = pair.x | (pair.y << 16u);
}
