// Reorders hub weights [Co, Ci, taps] for the convolution kernels.
//   forward:       packed[tap, ci, co]             = weight[co, ci, tap]
//   data gradient: packed[taps - 1 - tap, co, ci]  = weight[co, ci, tap]
// rows (the middle axis) and columns (the last) are padded to multiples of 4, with zeros.
// Grid: x = padded columns / WORKGROUP_SIZE, y = padded rows. Workgroup memory: 0 bytes.
// Bytes: weights read once, packed written once. Flops: 0.

struct Params {
  taps: u32,
  rows: u32,
  columns: u32,
  rowStride: u32,
  columnStride: u32,
  reversed: u32,
}

override WORKGROUP_SIZE: u32 = 64;

@group(0) @binding(0) var<storage, read> weight: array<Weight>;
@group(0) @binding(1) var<storage, read_write> packed: array<Weight>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let column = id.x;
  let row = id.y;
  let paddedRows = (params.rows + 3u) / 4u * 4u;
  let paddedColumns = (params.columns + 3u) / 4u * 4u;
  if (column >= paddedColumns || row >= paddedRows) { return; }
  let real = row < params.rows && column < params.columns;
  let origin = select(0u, row * params.rowStride + column * params.columnStride, real);
  for (var tap = 0u; tap < params.taps; tap++) {
    let place = select(tap, params.taps - 1u - tap, params.reversed != 0u);
    packed[(place * paddedRows + row) * paddedColumns + column] = select(Weight(), weight[origin + tap], real);
  }
}
