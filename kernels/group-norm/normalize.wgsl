// Applies group statistics: out = normal * weight + bias with normal = (x - mean) * inverseDeviation, then SiLU if asked.
// Grid: x = channels / LANES, y = chunks of pixels, z = frames. Workgroup memory: 0 bytes.
// Bytes: x once, out once. Flops: 4 an element, 5 more for SiLU.

struct Params {
  pixels: u32,
  channels: u32,
  pixelsPerChunk: u32,
  groupSize: u32,
  // Frames * groups, the length of each section of the statistics.
  count: u32,
  silu: u32,
}

override LANES: u32 = 32;

@group(0) @binding(0) var<storage, read> x: array<Scalar>;
@group(0) @binding(1) var<storage, read> statistics: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<Weight>;
@group(0) @binding(3) var<storage, read> bias: array<Weight>;
@group(0) @binding(4) var<storage, read_write> out: array<Scalar>;
@group(0) @binding(5) var<uniform> params: Params;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let channel = group.x * LANES + lane;
  if (channel >= params.channels) { return; }
  let begin = group.y * params.pixelsPerChunk;
  let end = min(begin + params.pixelsPerChunk, params.pixels);
  let statistic = (group.z * params.channels + channel) / params.groupSize;
  let mean = statistics[statistic];
  let scale = statistics[params.count + statistic] * f32(weight[channel]);
  let shift = f32(bias[channel]);
  var at = (group.z * params.pixels + begin) * params.channels + channel;
  if (params.silu != 0u) {
    for (var pixel = begin; pixel < end; pixel++) {
      let value = fma(f32(x[at]) - mean, scale, shift);
      out[at] = Scalar(value / (1.0 + exp(-value)));
      at += params.channels;
    }
  } else {
    for (var pixel = begin; pixel < end; pixel++) {
      out[at] = Scalar(fma(f32(x[at]) - mean, scale, shift));
      at += params.channels;
    }
  }
}
