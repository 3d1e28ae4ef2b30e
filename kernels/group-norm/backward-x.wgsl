// Gradient with respect to x. With g as in backward-sums, n values in the group, and sums over the group:
//   xGradient = inverseDeviation * (weight * g - (sum of weight * g + normal * sum of weight * g * normal) / n)
// With fixed statistics (those of a running average) the two sums are left out.
// Grid: x = channels / LANES, y = chunks of pixels, z = frames. Workgroup memory: 0 bytes.
// Bytes: x, outGradient and xGradient once. Flops: 7 an element, 9 more for SiLU.

struct Params {
  pixels: u32,
  channels: u32,
  pixelsPerChunk: u32,
  groupSize: u32,
  // Frames * groups, the length of each section of the statistics.
  count: u32,
  silu: u32,
  fixedStatistics: u32,
}

override LANES: u32 = 32;

@group(0) @binding(0) var<storage, read> x: array<Scalar>;
@group(0) @binding(1) var<storage, read> outGradient: array<f32>;
@group(0) @binding(2) var<storage, read> statistics: array<f32>;
@group(0) @binding(3) var<storage, read> weight: array<Weight>;
@group(0) @binding(4) var<storage, read> bias: array<Weight>;
// [frames, 2, channels]: sums of g, then of g * normal.
@group(0) @binding(5) var<storage, read> channelSums: array<f32>;
@group(0) @binding(6) var<storage, read_write> xGradient: array<f32>;
@group(0) @binding(7) var<uniform> params: Params;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let channel = group.x * LANES + lane;
  if (channel >= params.channels) { return; }
  let begin = group.y * params.pixelsPerChunk;
  let end = min(begin + params.pixelsPerChunk, params.pixels);
  let statistic = (group.z * params.channels + channel) / params.groupSize;
  let mean = statistics[statistic];
  let inverseDeviation = statistics[params.count + statistic];
  let scale = f32(weight[channel]);
  let shift = f32(bias[channel]);

  var sum = 0.0;
  var product = 0.0;
  if (params.fixedStatistics == 0u) {
    let firstChannel = channel / params.groupSize * params.groupSize;
    let sums = group.z * 2u * params.channels;
    for (var other = firstChannel; other < firstChannel + params.groupSize; other++) {
      let otherScale = f32(weight[other]);
      sum = fma(otherScale, channelSums[sums + other], sum);
      product = fma(otherScale, channelSums[sums + params.channels + other], product);
    }
    let values = f32(params.pixels) * f32(params.groupSize);
    sum /= values;
    product /= values;
  }

  var at = (group.z * params.pixels + begin) * params.channels + channel;
  for (var pixel = begin; pixel < end; pixel++) {
    let normal = (f32(x[at]) - mean) * inverseDeviation;
    var gradient = outGradient[at];
    if (params.silu != 0u) {
      let value = fma(normal, scale, shift);
      let sigmoid = 1.0 / (1.0 + exp(-value));
      gradient *= sigmoid * fma(value, 1.0 - sigmoid, 1.0);
    }
    xGradient[at] = inverseDeviation * (fma(scale, gradient, -sum) - normal * product);
    at += params.channels;
  }
}
