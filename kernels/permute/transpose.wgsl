// out[b,c,r] = x[b,r,c] for GPUs.
// Grid: (32 x 32 tiles, spread over x and y; batch in z). 32 x 8 threads, 4 elements each.
// Workgroup memory: 32 * 33 * 4 = 4224 bytes (one column more than the tile, against bank conflicts).
// Bytes: x and out once. Flops: 0.
struct Params {
  rows: u32,
  columns: u32,
}

@group(0) @binding(0) var<storage, read> x: array<TypeIn>;
@group(0) @binding(1) var<storage, read_write> out: array<TypeOut>;
@group(0) @binding(2) var<uniform> params: Params;

var<workgroup> tile: array<f32, 1056>;

@compute @workgroup_size(32, 8)
fn main(
  @builtin(workgroup_id) workgroupId: vec3u,
  @builtin(num_workgroups) workgroupCount: vec3u,
  @builtin(local_invocation_id) thread: vec3u,
) {
  let columnTiles = (params.columns + 31u) / 32u;
  let index = workgroupId.x + workgroupId.y * workgroupCount.x;
  let row = index / columnTiles * 32u;
  if (row >= params.rows) { return; }
  let column = index % columnTiles * 32u;
  let offset = workgroupId.z * params.rows * params.columns;
  let columnIn = column + thread.x;
  let lastRow = min(row + 32u, params.rows);
  if (columnIn < params.columns) {
    for (var r = row + thread.y; r < lastRow; r += 8u) {
      tile[(r - row) * 33u + thread.x] = f32(x[offset + r * params.columns + columnIn]);
    }
  }
  workgroupBarrier();
  let rowIn = row + thread.x;
  let lastColumn = min(column + 32u, params.columns);
  if (rowIn < params.rows) {
    for (var c = column + thread.y; c < lastColumn; c += 8u) {
      out[offset + c * params.rows + rowIn] = TypeOut(tile[thread.x * 33u + c - column]);
    }
  }
}
