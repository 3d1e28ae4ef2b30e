// out[b,c,r] = x[b,r,c] for software adapters.
// Grid: (tiles of LANES rows x 16 columns, spread over x and y; batch in z). Lanes along the rows: each lane reads one
// cache line of x and all lanes together write neighbouring elements of out.
// Workgroup memory: none. Bytes: x and out once. Flops: 0.
override LANES: u32 = 8u;

struct Params {
  rows: u32,
  columns: u32,
}

@group(0) @binding(0) var<storage, read> x: array<TypeIn>;
@group(0) @binding(1) var<storage, read_write> out: array<TypeOut>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) workgroupId: vec3u,
  @builtin(num_workgroups) workgroupCount: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let columnTiles = (params.columns + 15u) / 16u;
  let index = workgroupId.x + workgroupId.y * workgroupCount.x;
  let row = index / columnTiles * LANES + lane;
  if (row >= params.rows) { return; }
  let column = index % columnTiles * 16u;
  let last = min(column + 16u, params.columns);
  let offset = workgroupId.z * params.rows * params.columns;
  for (var c = column; c < last; c++) {
    out[offset + c * params.rows + row] = TypeOut(x[offset + row * params.columns + c]);
  }
}
