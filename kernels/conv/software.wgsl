// Convolution for software adapters whose subgroups have 8 lanes or more: no workgroup memory, no barriers.
//
//   out[b, t, y, x, co] = bias[co] + sum over taps (dt, dy, dx) and ci of x[b, it, iy, ix, ci] * weight[tap, ci, co]
//   it = (t * stepTime + dt - padTime) / divideTime, and likewise iy, ix
//
// where a tap counts only if the division leaves no rest and the input pixel exists. A forward convolution has
// step = stride, divide = 1; a data gradient has step = 1, divide = stride and its taps reversed.
// weight is packed: input channels and output channels padded to multiples of 4, with zeros.
//
// Grid:  x = tiles of 4 * LANES output channels, y and z = tiles of 16 output pixels.
// Tile:  16 pixels by 4 neighbouring channels a lane, in registers.
// Workgroup memory: 0 bytes. Bytes: every operand once. Flops: 2 * pixels * taps * Ci * Co (taps over the border included).
//
// On a software adapter a load costs as much as eight fused multiply-adds, whatever its address. So each of 8 lanes keeps
// the addresses of two of the pixels, loads four input channels of each, and hands them round by broadcasts from constant
// lanes. With divide > 1 most taps miss: pixels are numbered by phase (all even x, then all odd x) where the size allows,
// so that whole tiles miss together and skip the tap.

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

// Four neighbouring channels of the lane's pixel. Channels past the last one repeat it: their weights are zeros.
fn fetch(base: u32, channel: u32) -> vec4f {
  let last = params.inputChannels - 1u;
  let hit = base != MISS;
  let at = select(0u, base, hit);
  let values = vec4f(
    f32(x[at + channel]),
    f32(x[at + min(channel + 1u, last)]),
    f32(x[at + min(channel + 2u, last)]),
    f32(x[at + min(channel + 3u, last)]),
  );
  return select(vec4f(), values, hit);
}

struct Weights { w0: vec4f, w1: vec4f, w2: vec4f, w3: vec4f }

fn accumulate(sum: vec4f, v: vec4f, w: Weights) -> vec4f {
  return fma(vec4f(v.w), w.w3, fma(vec4f(v.z), w.w2, fma(vec4f(v.y), w.w1, fma(vec4f(v.x), w.w0, sum))));
}

fn store(pixel: u32, at: u32, channel: u32, sum: vec4f) {
  let channels = params.outputChannels;
  if (pixel >= params.pixels || channel >= channels) { return; }
  let index = at * channels + channel;
  out[index] = Scalar(sum.x);
  if (channel + 1u < channels) { out[index + 1u] = Scalar(sum.y); }
  if (channel + 2u < channels) { out[index + 2u] = Scalar(sum.z); }
  if (channel + 3u < channels) { out[index + 3u] = Scalar(sum.w); }
}

@compute @workgroup_size(LANES) @diagnostic(off, subgroup_uniformity)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) invocation: u32,
) {
  let first = (group.y + group.z * groups.y) * 16u;
  if (first >= params.pixels) { return; }
  let lane = invocation & 7u;
  let channels = params.outputChannels;
  let quads = (channels + 3u) / 4u;
  let channel = (group.x * LANES + invocation) * 4u;
  let column = min(channel / 4u, quads - 1u);
  let paddedInput = (params.inputChannels + 3u) / 4u * 4u;

  let lower = locate(first + lane);
  let upper = locate(first + 8u + lane);

  var start = vec4f();
  if (params.hasBias != 0u) {
    let last = channels - 1u;
    start = vec4f(f32(bias[min(channel, last)]), f32(bias[min(channel + 1u, last)]),
                  f32(bias[min(channel + 2u, last)]), f32(bias[min(channel + 3u, last)]));
  }
  var s0 = start; var s1 = start; var s2 = start; var s3 = start;
  var s4 = start; var s5 = start; var s6 = start; var s7 = start;
  var s8 = start; var s9 = start; var s10 = start; var s11 = start;
  var s12 = start; var s13 = start; var s14 = start; var s15 = start;

  var at = column;
  for (var dt = 0u; dt < params.kernelTime; dt++) {
    for (var dy = 0u; dy < params.kernelHeight; dy++) {
      for (var dx = 0u; dx < params.kernelWidth; dx++) {
        let lowerBase = address(lower, dt, dy, dx);
        let upperBase = address(upper, dt, dy, dx);
        if (subgroupAll(lowerBase == MISS && upperBase == MISS)) {
          at += paddedInput * quads;
          continue;
        }
        for (var ci = 0u; ci < params.inputChannels; ci += 4u) {
          let lowerX = fetch(lowerBase, ci);
          let upperX = fetch(upperBase, ci);
          let row = at + ci * quads;
          let w = Weights(vec4f(weight[row]), vec4f(weight[row + quads]), vec4f(weight[row + 2u * quads]), vec4f(weight[row + 3u * quads]));
          s0 = accumulate(s0, subgroupBroadcast(lowerX, 0u), w);
          s1 = accumulate(s1, subgroupBroadcast(lowerX, 1u), w);
          s2 = accumulate(s2, subgroupBroadcast(lowerX, 2u), w);
          s3 = accumulate(s3, subgroupBroadcast(lowerX, 3u), w);
          s4 = accumulate(s4, subgroupBroadcast(lowerX, 4u), w);
          s5 = accumulate(s5, subgroupBroadcast(lowerX, 5u), w);
          s6 = accumulate(s6, subgroupBroadcast(lowerX, 6u), w);
          s7 = accumulate(s7, subgroupBroadcast(lowerX, 7u), w);
          s8 = accumulate(s8, subgroupBroadcast(upperX, 0u), w);
          s9 = accumulate(s9, subgroupBroadcast(upperX, 1u), w);
          s10 = accumulate(s10, subgroupBroadcast(upperX, 2u), w);
          s11 = accumulate(s11, subgroupBroadcast(upperX, 3u), w);
          s12 = accumulate(s12, subgroupBroadcast(upperX, 4u), w);
          s13 = accumulate(s13, subgroupBroadcast(upperX, 5u), w);
          s14 = accumulate(s14, subgroupBroadcast(upperX, 6u), w);
          s15 = accumulate(s15, subgroupBroadcast(upperX, 7u), w);
        }
        at += paddedInput * quads;
      }
    }
  }

  let lowerOut = ((lower.x * params.outputTime + lower.y) * params.outputHeight + lower.z) * params.outputWidth + lower.w;
  let upperOut = ((upper.x * params.outputTime + upper.y) * params.outputHeight + upper.z) * params.outputWidth + upper.w;
  store(first, subgroupBroadcast(lowerOut, 0u), channel, s0);
  store(first + 1u, subgroupBroadcast(lowerOut, 1u), channel, s1);
  store(first + 2u, subgroupBroadcast(lowerOut, 2u), channel, s2);
  store(first + 3u, subgroupBroadcast(lowerOut, 3u), channel, s3);
  store(first + 4u, subgroupBroadcast(lowerOut, 4u), channel, s4);
  store(first + 5u, subgroupBroadcast(lowerOut, 5u), channel, s5);
  store(first + 6u, subgroupBroadcast(lowerOut, 6u), channel, s6);
  store(first + 7u, subgroupBroadcast(lowerOut, 7u), channel, s7);
  store(first + 8u, subgroupBroadcast(upperOut, 0u), channel, s8);
  store(first + 9u, subgroupBroadcast(upperOut, 1u), channel, s9);
  store(first + 10u, subgroupBroadcast(upperOut, 2u), channel, s10);
  store(first + 11u, subgroupBroadcast(upperOut, 3u), channel, s11);
  store(first + 12u, subgroupBroadcast(upperOut, 4u), channel, s12);
  store(first + 13u, subgroupBroadcast(upperOut, 5u), channel, s13);
  store(first + 14u, subgroupBroadcast(upperOut, 6u), channel, s14);
  store(first + 15u, subgroupBroadcast(upperOut, 7u), channel, s15);
}
