// out[r,c] = x[r,c] + bias[c].
// Grid: (elements / (WORKGROUP_SIZE * ELEMENTS), spread over x and y); neighbouring threads take neighbouring elements.
// Workgroup memory: none. Bytes: x and out once, bias from cache. Flops: 1 an element.
override WORKGROUP_SIZE: u32 = 64u;
override ELEMENTS: u32 = 4u;

struct Params {
  count: u32,
  columns: u32,
}

@group(0) @binding(0) var<storage, read> x: array<TypeX>;
@group(0) @binding(1) var<storage, read> bias: array<TypeBias>;
@group(0) @binding(2) var<storage, read_write> out: array<TypeOut>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
  @builtin(workgroup_id) workgroupId: vec3u,
  @builtin(num_workgroups) workgroupCount: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let start = (workgroupId.x + workgroupId.y * workgroupCount.x) * WORKGROUP_SIZE * ELEMENTS + thread;
  // A division is slow on some adapters: one here instead of one an element.
  let step = WORKGROUP_SIZE % params.columns;
  var column = start % params.columns;
  for (var j = 0u; j < ELEMENTS; j++) {
    let index = start + j * WORKGROUP_SIZE;
    if (index >= params.count) { return; }
    out[index] = TypeOut(f32(x[index]) + f32(bias[column]));
    column += step;
    if (column >= params.columns) { column -= params.columns; }
  }
}
