// Gradients of bias and weight: the channel sums added over the frames in order.
// Grid: x = channels / LANES. Workgroup memory: 0 bytes. Bytes: sums once, gradients once. Flops: one a sum.

struct Params {
  frames: u32,
  channels: u32,
}

override LANES: u32 = 32;

// [frames, 2, channels]: sums of g, then of g * normal.
@group(0) @binding(0) var<storage, read> channelSums: array<f32>;
@group(0) @binding(1) var<storage, read_write> weightGradient: array<f32>;
@group(0) @binding(2) var<storage, read_write> biasGradient: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(LANES)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let channel = id.x;
  if (channel >= params.channels) { return; }
  var sum = 0.0;
  var product = 0.0;
  var at = channel;
  for (var frame = 0u; frame < params.frames; frame++) {
    sum += channelSums[at];
    product += channelSums[at + params.channels];
    at += 2u * params.channels;
  }
  biasGradient[channel] = sum;
  weightGradient[channel] = product;
}
