// Sums over a chunk of pixels of what arrives at every channel of the normalised values: g and g * normal, where g is
// the gradient of the output, taken back through SiLU if the forward pass applied it.
// Grid: x = channels / LANES, y = chunks, z = frames. Workgroup memory: 0 bytes.
// Bytes: x and outGradient once, partials once. Flops: 5 an element, 9 more for SiLU.

struct Params {
  pixels: u32,
  channels: u32,
  chunks: u32,
  pixelsPerChunk: u32,
  groupSize: u32,
  // Frames * groups, the length of each section of the statistics.
  count: u32,
  silu: u32,
}

override LANES: u32 = 32;

@group(0) @binding(0) var<storage, read> x: array<Scalar>;
@group(0) @binding(1) var<storage, read> outGradient: array<f32>;
@group(0) @binding(2) var<storage, read> statistics: array<f32>;
@group(0) @binding(3) var<storage, read> weight: array<Weight>;
@group(0) @binding(4) var<storage, read> bias: array<Weight>;
// [frames, chunks, 2, channels]: sums of g, then of g * normal.
@group(0) @binding(5) var<storage, read_write> partial: array<f32>;
@group(0) @binding(6) var<uniform> params: Params;

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
  var at = (group.z * params.pixels + begin) * params.channels + channel;
  for (var pixel = begin; pixel < end; pixel++) {
    let normal = (f32(x[at]) - mean) * inverseDeviation;
    var gradient = outGradient[at];
    if (params.silu != 0u) {
      let value = fma(normal, scale, shift);
      let sigmoid = 1.0 / (1.0 + exp(-value));
      gradient *= sigmoid * fma(value, 1.0 - sigmoid, 1.0);
    }
    sum += gradient;
    product = fma(gradient, normal, product);
    at += params.channels;
  }
  let to = (group.z * params.chunks + group.y) * 2u * params.channels + channel;
  partial[to] = sum;
  partial[to + params.channels] = product;
}
