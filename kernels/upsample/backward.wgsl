// Gradient of the nearest resize: every element of x sums the gradients of its copies, in the order of their addresses.
//   xGradient[b, t, y, x, c] = sum of outGradient[b, t', y', x', c] over t' with t' * T / T' = t (rounded down), y', x' likewise
// Grid: x = channels / LANES, y and z = rows of x (b, t, y). A thread walks along its row.
// Workgroup memory: 0 bytes. Bytes: outGradient once, xGradient once. Flops: one addition an element of outGradient.

struct Params {
  rows: u32,
  inputTime: u32, inputHeight: u32, inputWidth: u32,
  outputTime: u32, outputHeight: u32, outputWidth: u32,
  channels: u32,
}

override LANES: u32 = 32;

@group(0) @binding(0) var<storage, read> outGradient: array<f32>;
@group(0) @binding(1) var<storage, read_write> xGradient: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

// First output coordinate that shows input coordinate `position`.
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
  let y = row % params.inputHeight;
  let t = row / params.inputHeight % params.inputTime;
  let b = row / (params.inputHeight * params.inputTime);
  let yBegin = firstCopy(y, params.inputHeight, params.outputHeight);
  let yEnd = firstCopy(y + 1u, params.inputHeight, params.outputHeight);
  let tBegin = firstCopy(t, params.inputTime, params.outputTime);
  let tEnd = firstCopy(t + 1u, params.inputTime, params.outputTime);
  var at = row * params.inputWidth * params.channels + channel;
  var xBegin = 0u;
  for (var column = 0u; column < params.inputWidth; column++) {
    let xEnd = firstCopy(column + 1u, params.inputWidth, params.outputWidth);
    var sum = 0.0;
    for (var ot = tBegin; ot < tEnd; ot++) {
      for (var oy = yBegin; oy < yEnd; oy++) {
        let line = ((b * params.outputTime + ot) * params.outputHeight + oy) * params.outputWidth;
        for (var ox = xBegin; ox < xEnd; ox++) {
          sum += outGradient[(line + ox) * params.channels + channel];
        }
      }
    }
    xGradient[at] = sum;
    at += params.channels;
    xBegin = xEnd;
  }
}
