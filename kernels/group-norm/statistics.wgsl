// Mean and sum of squared differences of every channel over a chunk of pixels; x is [frames, pixels, channels].
// Two passes over the chunk (the second from cache): no difference of large sums is ever formed.
// Grid: x = channels / LANES, y = chunks, z = frames. Workgroup memory: 0 bytes.
// Bytes: x once, partials once. Flops: 4 an element.

struct Params {
  pixels: u32,
  channels: u32,
  chunks: u32,
  pixelsPerChunk: u32,
}

override LANES: u32 = 32;

@group(0) @binding(0) var<storage, read> x: array<Scalar>;
// [frames, chunks, 2, channels]: means, then sums of squared differences.
@group(0) @binding(1) var<storage, read_write> partial: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let channel = group.x * LANES + lane;
  if (channel >= params.channels) { return; }
  let begin = group.y * params.pixelsPerChunk;
  let end = min(begin + params.pixelsPerChunk, params.pixels);
  let first = (group.z * params.pixels + begin) * params.channels + channel;

  var sum = 0.0;
  var at = first;
  for (var pixel = begin; pixel < end; pixel++) {
    sum += f32(x[at]);
    at += params.channels;
  }
  let mean = sum / f32(end - begin);
  var squares = 0.0;
  at = first;
  for (var pixel = begin; pixel < end; pixel++) {
    let difference = f32(x[at]) - mean;
    squares = fma(difference, difference, squares);
    at += params.channels;
  }
  let to = (group.z * params.chunks + group.y) * 2u * params.channels + channel;
  partial[to] = mean;
  partial[to + params.channels] = squares;
}
