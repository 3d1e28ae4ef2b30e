// Nearest resize of clips, channels last: out[b, t, y, x, c] = x[b, t * T / T', y * H / H', x * W / W', c], rounded down.
// Grid: x = channels / LANES, y and z = rows of out (b, t, y). A thread walks along its row.
// Workgroup memory: 0 bytes. Bytes: out twice (every source element is read for each of its copies). Flops: 0.

struct Params {
  rows: u32,
  inputTime: u32, inputHeight: u32, inputWidth: u32,
  outputTime: u32, outputHeight: u32, outputWidth: u32,
  channels: u32,
}

override LANES: u32 = 32;

@group(0) @binding(0) var<storage, read> x: array<Scalar>;
@group(0) @binding(1) var<storage, read_write> out: array<Scalar>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let row = group.y + group.z * groups.y;
  let channel = group.x * LANES + lane;
  if (row >= params.rows || channel >= params.channels) { return; }
  let y = row % params.outputHeight * params.inputHeight / params.outputHeight;
  let t = row / params.outputHeight % params.outputTime * params.inputTime / params.outputTime;
  let b = row / (params.outputHeight * params.outputTime);
  let source = ((b * params.inputTime + t) * params.inputHeight + y) * params.inputWidth * params.channels + channel;
  var at = row * params.outputWidth * params.channels + channel;
  // Counts in multiples of 1 / outputWidth, so that no division is needed on the way.
  var fraction = 0u;
  var sourceColumn = 0u;
  var value = x[source];
  for (var column = 0u; column < params.outputWidth; column++) {
    out[at] = value;
    at += params.channels;
    fraction += params.inputWidth;
    if (fraction >= params.outputWidth) {
      sourceColumn += fraction / params.outputWidth;
      fraction %= params.outputWidth;
      value = x[source + min(sourceColumn, params.inputWidth - 1u) * params.channels];
    }
  }
}
