// Statistics of running averages, in the layout of group statistics: mean, 1 / sqrt(variance + epsilon), variance.
// Grid: x = channels / WORKGROUP_SIZE. Workgroup memory: 0 bytes. Bytes: 20 a channel. Flops: 3 a channel.

struct Params {
  channels: u32,
  epsilon: f32,
}

override WORKGROUP_SIZE: u32 = 64;

@group(0) @binding(0) var<storage, read> runningMean: array<f32>;
@group(0) @binding(1) var<storage, read> runningVariance: array<f32>;
@group(0) @binding(2) var<storage, read_write> statistics: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let channel = id.x;
  if (channel >= params.channels) { return; }
  statistics[channel] = runningMean[channel];
  statistics[params.channels + channel] = inverseSqrt(runningVariance[channel] + params.epsilon);
  statistics[2u * params.channels + channel] = runningVariance[channel];
}
