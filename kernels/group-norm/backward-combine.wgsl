// Adds the chunks of backward-sums in order: channelSums[frame, k, channel] = sum over chunks of partial[frame, chunk, k, channel].
// Grid: x = 2 * channels / LANES, y and z = frames. Workgroup memory: 0 bytes.
// Bytes: partials once, sums once. Flops: one a partial.

struct Params {
  frames: u32,
  chunks: u32,
  width: u32,
}

override LANES: u32 = 32;

@group(0) @binding(0) var<storage, read> partial: array<f32>;
@group(0) @binding(1) var<storage, read_write> channelSums: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let column = group.x * LANES + lane;
  let frame = group.y + group.z * groups.y;
  if (column >= params.width || frame >= params.frames) { return; }
  var at = frame * params.chunks * params.width + column;
  var sum = 0.0;
  for (var chunk = 0u; chunk < params.chunks; chunk++) {
    sum += partial[at];
    at += params.width;
  }
  channelSums[frame * params.width + column] = sum;
}
