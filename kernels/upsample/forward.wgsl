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

// First coordinate of the output that shows coordinate `position` of the input.
fn firstCopy(position: u32, inputSize: u32, outputSize: u32) -> u32 {
  return (position * outputSize + inputSize - 1u) / inputSize;
}

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
  var position = 0u;
  for (var column = 0u; column < params.inputWidth; column++) {
    let value = x[source + column * params.channels];
    for (let end = firstCopy(column + 1u, params.inputWidth, params.outputWidth); position < end; position++) {
      out[at] = value;
      at += params.channels;
    }
  }
}
