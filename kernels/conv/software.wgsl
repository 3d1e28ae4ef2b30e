// Convolution for software adapters whose subgroups have 8 lanes or more: no workgroup memory, no barriers.
//
//   out[b, t, y, x, co] = bias[co] + sum over taps (dt, dy, dx) and ci of x[b, it, iy, ix, ci] * weight[tap, ci, co]
//   it = (t * stepTime + dt - padTime) / divideTime, and likewise iy, ix
//
// where a tap counts only if the division leaves no rest and the input pixel exists. A forward convolution has
// step = stride, divide = 1; a data gradient has step = 1, divide = stride and its taps reversed.
// weight is packed: input channels padded to a multiple of 8 and output channels to a multiple of 4, with zeros.
//
// Grid:  x = tiles of 4 * LANES output channels, y and z = tiles of 16 output pixels.
// Tile:  16 pixels by 4 neighbouring channels a lane, in registers.
// Workgroup memory: 0 bytes. Bytes: every operand once. Flops: 2 * pixels * taps * Ci * Co (taps over the border included).
//
// On a software adapter a load costs as much as eight fused multiply-adds, whatever its address. So the lanes load 8
// input channels of a pixel together and hand them round by broadcasts of constant lanes, and each lane also works out
// the addresses of two pixels of the tile for all. With divide > 1 most taps miss: pixels are numbered by phase (all
// even x, then all odd x) where the size allows, so that whole tiles miss together and skip the tap.

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

fn fetch(base: u32, channel: u32) -> f32 {
  let hit = base != MISS;
  return select(0.0, f32(x[select(0u, base, hit) + channel]), hit);
}

struct Weights { w0: vec4f, w1: vec4f, w2: vec4f, w3: vec4f, w4: vec4f, w5: vec4f, w6: vec4f, w7: vec4f }

@diagnostic(off, subgroup_uniformity)
fn accumulate(sum: vec4f, value: f32, w: Weights) -> vec4f {
  var result = fma(vec4f(subgroupBroadcast(value, 0u)), w.w0, sum);
  result = fma(vec4f(subgroupBroadcast(value, 1u)), w.w1, result);
  result = fma(vec4f(subgroupBroadcast(value, 2u)), w.w2, result);
  result = fma(vec4f(subgroupBroadcast(value, 3u)), w.w3, result);
  result = fma(vec4f(subgroupBroadcast(value, 4u)), w.w4, result);
  result = fma(vec4f(subgroupBroadcast(value, 5u)), w.w5, result);
  result = fma(vec4f(subgroupBroadcast(value, 6u)), w.w6, result);
  return fma(vec4f(subgroupBroadcast(value, 7u)), w.w7, result);
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
  let slabs = (params.inputChannels + 7u) / 8u;
  let lastChannel = params.inputChannels - 1u;

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
          at += slabs * 8u * quads;
          continue;
        }
        for (var slab = 0u; slab < slabs; slab++) {
          // Channels past the last one repeat it: their weights are zeros.
          let inputChannel = min(slab * 8u + lane, lastChannel);
          let w = Weights(
            vec4f(weight[at]), vec4f(weight[at + quads]), vec4f(weight[at + 2u * quads]), vec4f(weight[at + 3u * quads]),
            vec4f(weight[at + 4u * quads]), vec4f(weight[at + 5u * quads]), vec4f(weight[at + 6u * quads]), vec4f(weight[at + 7u * quads]),
          );
          let x0 = fetch(subgroupBroadcast(lowerBase, 0u), inputChannel);
          let x1 = fetch(subgroupBroadcast(lowerBase, 1u), inputChannel);
          let x2 = fetch(subgroupBroadcast(lowerBase, 2u), inputChannel);
          let x3 = fetch(subgroupBroadcast(lowerBase, 3u), inputChannel);
          let x4 = fetch(subgroupBroadcast(lowerBase, 4u), inputChannel);
          let x5 = fetch(subgroupBroadcast(lowerBase, 5u), inputChannel);
          let x6 = fetch(subgroupBroadcast(lowerBase, 6u), inputChannel);
          let x7 = fetch(subgroupBroadcast(lowerBase, 7u), inputChannel);
          let x8 = fetch(subgroupBroadcast(upperBase, 0u), inputChannel);
          let x9 = fetch(subgroupBroadcast(upperBase, 1u), inputChannel);
          let x10 = fetch(subgroupBroadcast(upperBase, 2u), inputChannel);
          let x11 = fetch(subgroupBroadcast(upperBase, 3u), inputChannel);
          let x12 = fetch(subgroupBroadcast(upperBase, 4u), inputChannel);
          let x13 = fetch(subgroupBroadcast(upperBase, 5u), inputChannel);
          let x14 = fetch(subgroupBroadcast(upperBase, 6u), inputChannel);
          let x15 = fetch(subgroupBroadcast(upperBase, 7u), inputChannel);
          s0 = accumulate(s0, x0, w);
          s1 = accumulate(s1, x1, w);
          s2 = accumulate(s2, x2, w);
          s3 = accumulate(s3, x3, w);
          s4 = accumulate(s4, x4, w);
          s5 = accumulate(s5, x5, w);
          s6 = accumulate(s6, x6, w);
          s7 = accumulate(s7, x7, w);
          s8 = accumulate(s8, x8, w);
          s9 = accumulate(s9, x9, w);
          s10 = accumulate(s10, x10, w);
          s11 = accumulate(s11, x11, w);
          s12 = accumulate(s12, x12, w);
          s13 = accumulate(s13, x13, w);
          s14 = accumulate(s14, x14, w);
          s15 = accumulate(s15, x15, w);
          at += 8u * quads;
        }
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
