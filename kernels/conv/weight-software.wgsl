// Weight gradient of a convolution for software adapters whose subgroups have 8 lanes or more.
//
//   partial[split, tap, row, lane] = sum over the output pixels of a split of rowOperand[pixel', row] * laneOperand[pixel'', lane]
//
// One operand is the input x, read at (t * strideTime + dt - padTime, ..) for output pixel (t, y, x), the other is the
// gradient of the output, read at the pixel itself; shiftedRows says which is which. A tap over the border adds nothing.
//
// Grid:  x = tiles of 4 * LANES lane channels, y = tiles of 16 row channels times taps, z = splits.
// Tile:  16 rows by 4 neighbouring lane channels a lane, in registers. A split is a run of picture rows.
// Workgroup memory: 0 bytes. Bytes: both operands once, partials once. Flops: 2 * pixels * taps * rows * lanes.
//
// A load costs as much as eight fused multiply-adds, whatever its address: the lanes load 8 row channels of a pixel
// together and hand them round by broadcasts; four pixels a step keep the accumulators in registers for longer.

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
@group(0) @binding(1) var<storage, read> lanes: array<vec4<LaneScalar>>;
@group(0) @binding(2) var<storage, read_write> partial: array<vec4f>;
@group(0) @binding(3) var<uniform> params: Params;

// Four pixels at four neighbouring lane channels.
struct Quads { p0: vec4f, p1: vec4f, p2: vec4f, p3: vec4f }

// Adds row value v[i] of pixel i times its lane channels.
fn accumulate(sum: vec4f, v: vec4f, q: Quads) -> vec4f {
  return fma(vec4f(v.w), q.p3, fma(vec4f(v.z), q.p2, fma(vec4f(v.y), q.p1, fma(vec4f(v.x), q.p0, sum))));
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) invocation: u32) {
  let lane = invocation & 7u;
  let taps = params.kernelTime * params.kernelHeight * params.kernelWidth;
  let tap = group.y % taps;
  let firstRow = group.y / taps * 16u;
  let dx = tap % params.kernelWidth;
  let dy = tap / params.kernelWidth % params.kernelHeight;
  let dt = tap / (params.kernelWidth * params.kernelHeight);
  let quads = params.laneChannels / 4u;
  let quad = group.x * LANES + invocation;
  let column = min(quad, quads - 1u);
  // Rows past the last one repeat it and are not stored.
  let lower = min(firstRow + lane, params.rowChannels - 1u);
  let upper = min(firstRow + 8u + lane, params.rowChannels - 1u);

  // Output columns whose input pixel exists: begin <= x < end.
  let begin = (max(params.padWidth, dx) - dx + params.strideWidth - 1u) / params.strideWidth;
  let end = min(params.outputWidth, (max(params.inputWidth + params.padWidth, dx) - dx + params.strideWidth - 1u) / params.strideWidth);

  let rowStep = params.rowChannels * select(1u, params.strideWidth, params.shiftedRows != 0u);
  let laneStep = quads * select(params.strideWidth, 1u, params.shiftedRows != 0u);

  let pictureRow = group.z * params.rowsPerSplit;
  let lastPictureRow = min(pictureRow + params.rowsPerSplit, params.pictureRows);
  var y = pictureRow % params.outputHeight;
  var t = pictureRow / params.outputHeight % params.outputTime;
  var b = pictureRow / (params.outputHeight * params.outputTime);

  var s0 = vec4f(); var s1 = vec4f(); var s2 = vec4f(); var s3 = vec4f();
  var s4 = vec4f(); var s5 = vec4f(); var s6 = vec4f(); var s7 = vec4f();
  var s8 = vec4f(); var s9 = vec4f(); var s10 = vec4f(); var s11 = vec4f();
  var s12 = vec4f(); var s13 = vec4f(); var s14 = vec4f(); var s15 = vec4f();

  for (var index = pictureRow; index < lastPictureRow; index++) {
    let it = t * params.strideTime + dt - params.padTime;
    let iy = y * params.strideHeight + dy - params.padHeight;
    // A coordinate before the border wraps to a huge number.
    if (it < params.inputTime && iy < params.inputHeight) {
      let inputPixel = ((b * params.inputTime + it) * params.inputHeight + iy) * params.inputWidth
        + begin * params.strideWidth + dx - params.padWidth;
      let outputPixel = index * params.outputWidth + begin;
      var rowAt = select(outputPixel, inputPixel, params.shiftedRows != 0u) * params.rowChannels;
      var laneAt = select(inputPixel, outputPixel, params.shiftedRows != 0u) * quads + column;
      for (var x = begin; x < end; x += 4u) {
        // Steps past the end of the run stay on its last pixel and count nothing.
        let in1 = x + 1u < end;
        let in2 = x + 2u < end;
        let in3 = x + 3u < end;
        let row1 = rowAt + select(0u, rowStep, in1);
        let row2 = row1 + select(0u, rowStep, in2);
        let row3 = row2 + select(0u, rowStep, in3);
        let lane1 = laneAt + select(0u, laneStep, in1);
        let lane2 = lane1 + select(0u, laneStep, in2);
        let lane3 = lane2 + select(0u, laneStep, in3);
        let counts = vec4f(1.0, select(0.0, 1.0, in1), select(0.0, 1.0, in2), select(0.0, 1.0, in3));
        let a = counts * vec4f(f32(rows[rowAt + lower]), f32(rows[row1 + lower]), f32(rows[row2 + lower]), f32(rows[row3 + lower]));
        let c = counts * vec4f(f32(rows[rowAt + upper]), f32(rows[row1 + upper]), f32(rows[row2 + upper]), f32(rows[row3 + upper]));
        let q = Quads(vec4f(lanes[laneAt]), vec4f(lanes[lane1]), vec4f(lanes[lane2]), vec4f(lanes[lane3]));
        s0 = accumulate(s0, subgroupBroadcast(a, 0u), q);
        s1 = accumulate(s1, subgroupBroadcast(a, 1u), q);
        s2 = accumulate(s2, subgroupBroadcast(a, 2u), q);
        s3 = accumulate(s3, subgroupBroadcast(a, 3u), q);
        s4 = accumulate(s4, subgroupBroadcast(a, 4u), q);
        s5 = accumulate(s5, subgroupBroadcast(a, 5u), q);
        s6 = accumulate(s6, subgroupBroadcast(a, 6u), q);
        s7 = accumulate(s7, subgroupBroadcast(a, 7u), q);
        s8 = accumulate(s8, subgroupBroadcast(c, 0u), q);
        s9 = accumulate(s9, subgroupBroadcast(c, 1u), q);
        s10 = accumulate(s10, subgroupBroadcast(c, 2u), q);
        s11 = accumulate(s11, subgroupBroadcast(c, 3u), q);
        s12 = accumulate(s12, subgroupBroadcast(c, 4u), q);
        s13 = accumulate(s13, subgroupBroadcast(c, 5u), q);
        s14 = accumulate(s14, subgroupBroadcast(c, 6u), q);
        s15 = accumulate(s15, subgroupBroadcast(c, 7u), q);
        rowAt += 4u * rowStep;
        laneAt += 4u * laneStep;
      }
    }
    y += 1u;
    if (y == params.outputHeight) { y = 0u; t += 1u; }
    if (t == params.outputTime) { t = 0u; b += 1u; }
  }

  if (quad >= quads) { return; }
  let sums = array<vec4f, 16>(s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11, s12, s13, s14, s15);
  let base = (group.z * taps + tap) * params.rowChannels;
  for (var row = 0u; row < 16u; row++) {
    if (firstRow + row >= params.rowChannels) { break; }
    partial[(base + firstRow + row) * quads + quad] = sums[row];
  }
}
