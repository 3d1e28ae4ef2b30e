// Weight gradient of a convolution for GPUs: a matrix product over the output pixels, tiled through workgroup memory.
//
//   partial[split, tap, row, lane] = sum over the output pixels of a split of rowOperand[pixel', row] * laneOperand[pixel'', lane]
//
// One operand is the input x, read at (t * strideTime + dt - padTime, ..) for output pixel (t, y, x), the other is the
// gradient of the output, read at the pixel itself; shiftedRows says which is which. A tap over the border adds nothing.
//
// Grid:  x = tiles of 64 lane channels, y = tiles of 64 row channels times taps, z = splits.
// Tile:  16 x 16 threads, each 4 rows by 4 lane channels in registers; 16 pixels a step. A split is a run of picture rows.
// Workgroup memory: 8,320 bytes. Bytes: both operands once, partials once. Flops: 2 * pixels * taps * rows * lanes.

struct Params {
  batch: u32,
  inputTime: u32, inputHeight: u32, inputWidth: u32,
  outputTime: u32, outputHeight: u32, outputWidth: u32,
  rowChannels: u32, laneChannels: u32,
  kernelTime: u32, kernelHeight: u32, kernelWidth: u32,
  strideTime: u32, strideHeight: u32, strideWidth: u32,
  padTime: u32, padHeight: u32, padWidth: u32,
  shiftedRows: u32,
  pictureRows: u32, rowsPerSplit: u32,
}

@group(0) @binding(0) var<storage, read> rows: array<RowScalar>;
@group(0) @binding(1) var<storage, read> lanes: array<LaneScalar>;
@group(0) @binding(2) var<storage, read_write> partial: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

const MISS = 0xffffffffu;

var<workgroup> tileRows: array<f32, 16 * 64>;
var<workgroup> tileLanes: array<f32, 16 * 64>;
// Input pixel under each output pixel of the step, or MISS.
var<workgroup> inputs: array<u32, 16>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let taps = params.kernelTime * params.kernelHeight * params.kernelWidth;
  let tap = group.y % taps;
  let dx = tap % params.kernelWidth;
  let dy = tap / params.kernelWidth % params.kernelHeight;
  let dt = tap / (params.kernelWidth * params.kernelHeight);
  let firstRow = group.y / taps * 64u;
  let firstLane = group.x * 64u;
  let row = thread / 16u * 4u;
  let lane = thread % 16u * 4u;
  let firstPixel = group.z * params.rowsPerSplit * params.outputWidth;
  let lastPixel = min((group.z + 1u) * params.rowsPerSplit, params.pictureRows) * params.outputWidth;

  var sums: array<vec4f, 4>;
  for (var step = firstPixel; step < lastPixel; step += 16u) {
    workgroupBarrier();
    if (thread < 16u) {
      var input = MISS;
      let pixel = step + thread;
      if (pixel < lastPixel) {
        let x = pixel % params.outputWidth;
        let y = pixel / params.outputWidth % params.outputHeight;
        let t = pixel / (params.outputWidth * params.outputHeight) % params.outputTime;
        let b = pixel / (params.outputWidth * params.outputHeight * params.outputTime);
        let it = t * params.strideTime + dt - params.padTime;
        let iy = y * params.strideHeight + dy - params.padHeight;
        let ix = x * params.strideWidth + dx - params.padWidth;
        // A coordinate before the border wraps to a huge number.
        if (it < params.inputTime && iy < params.inputHeight && ix < params.inputWidth) {
          input = ((b * params.inputTime + it) * params.inputHeight + iy) * params.inputWidth + ix;
        }
      }
      inputs[thread] = input;
    }
    workgroupBarrier();
    for (var element = thread; element < 1024u; element += 256u) {
      let input = inputs[element / 64u];
      let output = step + element / 64u;
      let rowChannel = firstRow + element % 64u;
      let laneChannel = firstLane + element % 64u;
      let shifted = params.shiftedRows != 0u;
      let rowHit = input != MISS && rowChannel < params.rowChannels;
      let laneHit = input != MISS && laneChannel < params.laneChannels;
      let rowIndex = select(output, input, shifted) * params.rowChannels + rowChannel;
      let laneIndex = select(input, output, shifted) * params.laneChannels + laneChannel;
      tileRows[element] = select(0.0, f32(rows[select(0u, rowIndex, rowHit)]), rowHit);
      tileLanes[element] = select(0.0, f32(lanes[select(0u, laneIndex, laneHit)]), laneHit);
    }
    workgroupBarrier();
    for (var k = 0u; k < 16u; k++) {
      let a = k * 64u + row;
      let b = k * 64u + lane;
      let values = vec4f(tileLanes[b], tileLanes[b + 1u], tileLanes[b + 2u], tileLanes[b + 3u]);
      sums[0] = fma(vec4f(tileRows[a]), values, sums[0]);
      sums[1] = fma(vec4f(tileRows[a + 1u]), values, sums[1]);
      sums[2] = fma(vec4f(tileRows[a + 2u]), values, sums[2]);
      sums[3] = fma(vec4f(tileRows[a + 3u]), values, sums[3]);
    }
  }

  for (var i = 0u; i < 4u; i++) {
    for (var j = 0u; j < 4u; j++) {
      let r = firstRow + row + i;
      let l = firstLane + lane + j;
      if (r < params.rowChannels && l < params.laneChannels) {
        partial[((group.z * taps + tap) * params.rowChannels + r) * params.laneChannels + l] = sums[i][j];
      }
    }
  }
}
