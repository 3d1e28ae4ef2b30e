// Convolution for software adapters without subgroups of 8 lanes, and for few output channels: no workgroup memory,
// no barriers.
//
//   out[b, t, y, x, co] = bias[co] + sum over taps (dt, dy, dx) and ci of x[b, it, iy, ix, ci] * weight[tap, ci, co]
//   it = (t * stepTime + dt - padTime) / divideTime, and likewise iy, ix
//
// where a tap counts only if the division leaves no rest and the input pixel exists. A forward convolution has
// step = stride, divide = 1; a data gradient has step = 1, divide = stride and its taps reversed.
// weight is packed: input channels and output channels padded to multiples of 4, with zeros.
//
// Grid:  x = tiles of 8 * CHANNEL_LANES output channels, y and z = tiles of 16 output pixels for every CHANNEL_LANES lanes.
// Tile:  16 pixels by twice 4 neighbouring channels a lane, in registers. Lanes lie along channels, and where there are few
//        of them along pixels too.
// Workgroup memory: 0 bytes. Bytes: every operand once. Flops: 2 * pixels * taps * Ci * Co (taps over the border included).
// What a tap misses is found out before the loop over channels: there it would cost as much as the products.
// Pixels are numbered by phase (all even x, then all odd x) where divide > 1, so that whole tiles miss a tap together.

struct Params {
  pixels: u32,
  inputTime: u32, inputHeight: u32, inputWidth: u32, inputChannels: u32,
  outputTime: u32, outputHeight: u32, outputWidth: u32, outputChannels: u32,
  kernelTime: u32, kernelHeight: u32, kernelWidth: u32,
  stepTime: u32, stepHeight: u32, stepWidth: u32,
  divideTime: u32, divideHeight: u32, divideWidth: u32,
  padTime: i32, padHeight: i32, padWidth: i32,
  phasesTime: u32, phasesHeight: u32, phasesWidth: u32,
  hasBias: u32,
}

override LANES: u32 = 8;
override CHANNEL_LANES: u32 = 8;

const MISS = 0xffffffffu;

@group(0) @binding(0) var<storage, read> x: array<Scalar>;
@group(0) @binding(1) var<storage, read> weight: array<vec4<Weight>>;
@group(0) @binding(2) var<storage, read> bias: array<Weight>;
@group(0) @binding(3) var<storage, read_write> out: array<Scalar>;
@group(0) @binding(4) var<uniform> params: Params;

// Batch index and coordinates (b, t, y, x) of a pixel of the output.
fn locate(pixel: u32) -> vec4u {
  var rest = min(pixel, params.pixels - 1u);
  let x = phased(rest % params.outputWidth, params.outputWidth, params.phasesWidth);
  rest /= params.outputWidth;
  let y = phased(rest % params.outputHeight, params.outputHeight, params.phasesHeight);
  rest /= params.outputHeight;
  let t = phased(rest % params.outputTime, params.outputTime, params.phasesTime);
  return vec4u(rest / params.outputTime, t, y, x);
}

// Renumbers a coordinate so that equal phases are neighbours; a bijection of 0 .. size - 1.
fn phased(position: u32, size: u32, phases: u32) -> u32 {
  if (phases == 1u) { return position; }
  let run = size / phases;
  return (position % run) * phases + position / run;
}

// Coordinate of the input along one axis for a tap, or a number beyond any size where it misses.
fn source(position: u32, tap: u32, step: u32, divide: u32, pad: i32) -> u32 {
  let dilated = u32(i32(position * step + tap) - pad);
  if (divide == 1u || dilated > 0x7fffffffu) { return dilated; }
  let index = dilated / divide;
  return select(MISS, index, index * divide == dilated);
}

// Index of the first channel of the input pixel under a tap, or MISS.
fn address(at: vec4u, dt: u32, dy: u32, dx: u32) -> u32 {
  let t = source(at.y, dt, params.stepTime, params.divideTime, params.padTime);
  let y = source(at.z, dy, params.stepHeight, params.divideHeight, params.padHeight);
  let x = source(at.w, dx, params.stepWidth, params.divideWidth, params.padWidth);
  let hit = t < params.inputTime && y < params.inputHeight && x < params.inputWidth;
  let pixel = ((at.x * params.inputTime + t) * params.inputHeight + y) * params.inputWidth + x;
  return select(MISS, pixel * params.inputChannels, hit);
}

fn biasOf(channel: u32) -> vec4f {
  if (params.hasBias == 0u) { return vec4f(); }
  let last = params.outputChannels - 1u;
  return vec4f(f32(bias[min(channel, last)]), f32(bias[min(channel + 1u, last)]),
               f32(bias[min(channel + 2u, last)]), f32(bias[min(channel + 3u, last)]));
}

fn fetch(base: u32, hit: bool, channel: u32) -> vec4f {
  return vec4f(select(0.0, f32(x[base + channel]), hit));
}

fn store(pixel: u32, channel: u32, sum: vec4f) {
  let channels = params.outputChannels;
  for (var j = 0u; j < 4u; j++) {
    if (channel + j < channels) { out[pixel * channels + channel + j] = Scalar(sum[j]); }
  }
}

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let first = ((group.y + group.z * groups.y) * (LANES / CHANNEL_LANES) + lane / CHANNEL_LANES) * 16u;
  if (first >= params.pixels) { return; }
  let quads = (params.outputChannels + 3u) / 4u;
  let paddedInput = (params.inputChannels + 3u) / 4u * 4u;
  let leftChannel = (group.x * 2u * CHANNEL_LANES + lane % CHANNEL_LANES) * 4u;
  let rightChannel = leftChannel + 4u * CHANNEL_LANES;
  let leftColumn = min(leftChannel / 4u, quads - 1u);
  let rightColumn = min(rightChannel / 4u, quads - 1u);

  let count = min(params.pixels - first, 16u);
  var places: array<vec4u, 16>;
  for (var p = 0u; p < count; p++) { places[p] = locate(first + p); }

  let leftStart = biasOf(leftChannel);
  let rightStart = biasOf(rightChannel);
  var left0 = leftStart; var left1 = leftStart; var left2 = leftStart; var left3 = leftStart;
  var left4 = leftStart; var left5 = leftStart; var left6 = leftStart; var left7 = leftStart;
  var left8 = leftStart; var left9 = leftStart; var left10 = leftStart; var left11 = leftStart;
  var left12 = leftStart; var left13 = leftStart; var left14 = leftStart; var left15 = leftStart;
  var right0 = rightStart; var right1 = rightStart; var right2 = rightStart; var right3 = rightStart;
  var right4 = rightStart; var right5 = rightStart; var right6 = rightStart; var right7 = rightStart;
  var right8 = rightStart; var right9 = rightStart; var right10 = rightStart; var right11 = rightStart;
  var right12 = rightStart; var right13 = rightStart; var right14 = rightStart; var right15 = rightStart;

  var tapStart = 0u;
  for (var dt = 0u; dt < params.kernelTime; dt++) {
    for (var dy = 0u; dy < params.kernelHeight; dy++) {
      for (var dx = 0u; dx < params.kernelWidth; dx++) {
        var bases: array<u32, 16>;
        var hits: array<bool, 16>;
        var some = false;
        for (var p = 0u; p < count; p++) {
          let base = address(places[p], dt, dy, dx);
          hits[p] = base != MISS;
          bases[p] = select(0u, base, hits[p]);
          some = some || hits[p];
        }
        if (some) {
          var at = tapStart;
          for (var ci = 0u; ci < params.inputChannels; ci++) {
            let w = vec4f(weight[at + leftColumn]);
            let v = vec4f(weight[at + rightColumn]);
            let x0 = fetch(bases[0], hits[0], ci); left0 = fma(x0, w, left0); right0 = fma(x0, v, right0);
            let x1 = fetch(bases[1], hits[1], ci); left1 = fma(x1, w, left1); right1 = fma(x1, v, right1);
            let x2 = fetch(bases[2], hits[2], ci); left2 = fma(x2, w, left2); right2 = fma(x2, v, right2);
            let x3 = fetch(bases[3], hits[3], ci); left3 = fma(x3, w, left3); right3 = fma(x3, v, right3);
            let x4 = fetch(bases[4], hits[4], ci); left4 = fma(x4, w, left4); right4 = fma(x4, v, right4);
            let x5 = fetch(bases[5], hits[5], ci); left5 = fma(x5, w, left5); right5 = fma(x5, v, right5);
            let x6 = fetch(bases[6], hits[6], ci); left6 = fma(x6, w, left6); right6 = fma(x6, v, right6);
            let x7 = fetch(bases[7], hits[7], ci); left7 = fma(x7, w, left7); right7 = fma(x7, v, right7);
            let x8 = fetch(bases[8], hits[8], ci); left8 = fma(x8, w, left8); right8 = fma(x8, v, right8);
            let x9 = fetch(bases[9], hits[9], ci); left9 = fma(x9, w, left9); right9 = fma(x9, v, right9);
            let x10 = fetch(bases[10], hits[10], ci); left10 = fma(x10, w, left10); right10 = fma(x10, v, right10);
            let x11 = fetch(bases[11], hits[11], ci); left11 = fma(x11, w, left11); right11 = fma(x11, v, right11);
            let x12 = fetch(bases[12], hits[12], ci); left12 = fma(x12, w, left12); right12 = fma(x12, v, right12);
            let x13 = fetch(bases[13], hits[13], ci); left13 = fma(x13, w, left13); right13 = fma(x13, v, right13);
            let x14 = fetch(bases[14], hits[14], ci); left14 = fma(x14, w, left14); right14 = fma(x14, v, right14);
            let x15 = fetch(bases[15], hits[15], ci); left15 = fma(x15, w, left15); right15 = fma(x15, v, right15);
            at += quads;
          }
        }
        tapStart += paddedInput * quads;
      }
    }
  }

  let lefts = array<vec4f, 16>(
    left0, left1, left2, left3, left4, left5, left6, left7,
    left8, left9, left10, left11, left12, left13, left14, left15,
  );
  let rights = array<vec4f, 16>(
    right0, right1, right2, right3, right4, right5, right6, right7,
    right8, right9, right10, right11, right12, right13, right14, right15,
  );
  for (var p = 0u; p < count; p++) {
    let place = places[p];
    let pixel = ((place.x * params.outputTime + place.y) * params.outputHeight + place.z) * params.outputWidth + place.w;
    store(pixel, leftChannel, lefts[p]);
    store(pixel, rightChannel, rights[p]);
  }
}
