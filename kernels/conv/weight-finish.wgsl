// Second stage of the weight gradient: adds the splits in order and puts the result into hub layout [Co, Ci, taps].
//
//   gradient[row * rowStride + lane * laneStride + tap] = sum over splits of partial[split, tap, row, lane]
//
// Grid: x = lanes / WORKGROUP_SIZE, y = rows. Workgroup memory: 0 bytes.
// Bytes: partials read once, gradient written once. Flops: splits * weights.

struct Params {
  splits: u32,
  taps: u32,
  rows: u32,
  lanes: u32,
  rowStride: u32,
  laneStride: u32,
}

override WORKGROUP_SIZE: u32 = 64;

@group(0) @binding(0) var<storage, read> partial: array<f32>;
@group(0) @binding(1) var<storage, read_write> gradient: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let lane = id.x;
  let row = id.y;
  if (lane >= params.lanes) { return; }
  let size = params.taps * params.rows * params.lanes;
  for (var tap = 0u; tap < params.taps; tap++) {
    var at = (tap * params.rows + row) * params.lanes + lane;
    var sum = 0.0;
    for (var split = 0u; split < params.splits; split++) {
      sum += partial[at];
      at += size;
    }
    gradient[row * params.rowStride + lane * params.laneStride + tap] = sum;
  }
}
