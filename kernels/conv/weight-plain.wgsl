// Weight gradient of a convolution for any software adapter and any number of channels.
//
//   partial[split, tap, row, lane] = sum over the output pixels of a split of rowOperand[pixel', row] * laneOperand[pixel'', lane]
//
// One operand is the input x, read at (t * strideTime + dt - padTime, ..) for output pixel (t, y, x), the other is the
// gradient of the output, read at the pixel itself; shiftedRows says which is which. A tap over the border adds nothing.
//
// Grid:  x = tiles of LANES lane channels, y = tiles of 8 row channels times taps, z = splits.
// Tile:  8 rows by one lane channel a lane, in registers. A split is a run of picture rows.
// Workgroup memory: 0 bytes. Bytes: both operands once, partials once. Flops: 2 * pixels * taps * rows * lanes.

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

override LANES: u32 = 8;

@group(0) @binding(0) var<storage, read> rows: array<RowScalar>;
@group(0) @binding(1) var<storage, read> lanes: array<LaneScalar>;
@group(0) @binding(2) var<storage, read_write> partial: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let taps = params.kernelTime * params.kernelHeight * params.kernelWidth;
  let tap = group.y % taps;
  let firstRow = group.y / taps * 8u;
  let dx = tap % params.kernelWidth;
  let dy = tap / params.kernelWidth % params.kernelHeight;
  let dt = tap / (params.kernelWidth * params.kernelHeight);
  let column = group.x * LANES + lane;
  if (column >= params.laneChannels) { return; }
  // Rows past the last one repeat it and are not stored.
  var offsets: array<u32, 8>;
  for (var row = 0u; row < 8u; row++) { offsets[row] = min(firstRow + row, params.rowChannels - 1u); }

  // Output columns whose input pixel exists: begin <= x < end.
  let begin = (max(params.padWidth, dx) - dx + params.strideWidth - 1u) / params.strideWidth;
  let end = min(params.outputWidth, (max(params.inputWidth + params.padWidth, dx) - dx + params.strideWidth - 1u) / params.strideWidth);
  let rowStep = params.rowChannels * select(1u, params.strideWidth, params.shiftedRows != 0u);
  let laneStep = params.laneChannels * select(params.strideWidth, 1u, params.shiftedRows != 0u);

  let pictureRow = group.z * params.rowsPerSplit;
  let lastPictureRow = min(pictureRow + params.rowsPerSplit, params.pictureRows);
  var sums: array<f32, 8>;
  for (var index = pictureRow; index < lastPictureRow; index++) {
    let y = index % params.outputHeight;
    let t = index / params.outputHeight % params.outputTime;
    let b = index / (params.outputHeight * params.outputTime);
    let it = t * params.strideTime + dt - params.padTime;
    let iy = y * params.strideHeight + dy - params.padHeight;
    // A coordinate before the border wraps to a huge number.
    if (it >= params.inputTime || iy >= params.inputHeight) { continue; }
    let inputPixel = ((b * params.inputTime + it) * params.inputHeight + iy) * params.inputWidth
      + begin * params.strideWidth + dx - params.padWidth;
    let outputPixel = index * params.outputWidth + begin;
    var rowAt = select(outputPixel, inputPixel, params.shiftedRows != 0u) * params.rowChannels;
    var laneAt = select(inputPixel, outputPixel, params.shiftedRows != 0u) * params.laneChannels + column;
    for (var x = begin; x < end; x++) {
      let value = f32(lanes[laneAt]);
      for (var row = 0u; row < 8u; row++) { sums[row] = fma(f32(rows[rowAt + offsets[row]]), value, sums[row]); }
      rowAt += rowStep;
      laneAt += laneStep;
    }
  }
  let base = (group.z * taps + tap) * params.rowChannels;
  for (var row = 0u; row < 8u; row++) {
    if (firstRow + row < params.rowChannels) {
      partial[(base + firstRow + row) * params.laneChannels + column] = sums[row];
    }
  }
}
