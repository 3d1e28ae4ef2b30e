// out[i0,i1,i2,i3,i4] = x at i0*stride0 + .. + i4*stride4: any transposition of up to 5 dimensions.
// Grid: (elements / (WORKGROUP_SIZE * 4), spread over x and y); neighbouring threads write neighbouring elements.
// Workgroup memory: none. Bytes: x and out once. Flops: 0.
override WORKGROUP_SIZE: u32 = 64u;

struct Params {
  count: u32,
  size1: u32,
  size2: u32,
  size3: u32,
  size4: u32,
  stride0: u32,
  stride1: u32,
  stride2: u32,
  stride3: u32,
  stride4: u32,
}

@group(0) @binding(0) var<storage, read> x: array<TypeIn>;
@group(0) @binding(1) var<storage, read_write> out: array<TypeOut>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
  @builtin(workgroup_id) workgroupId: vec3u,
  @builtin(num_workgroups) workgroupCount: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let start = (workgroupId.x + workgroupId.y * workgroupCount.x) * WORKGROUP_SIZE * 4u + thread;
  for (var j = 0u; j < 4u; j++) {
    let index = start + j * WORKGROUP_SIZE;
    if (index >= params.count) { return; }
    var rest = index;
    var source = rest % params.size4 * params.stride4;
    rest /= params.size4;
    source += rest % params.size3 * params.stride3;
    rest /= params.size3;
    source += rest % params.size2 * params.stride2;
    rest /= params.size2;
    source += rest % params.size1 * params.stride1;
    source += rest / params.size1 * params.stride0;
    out[index] = TypeOut(x[source]);
  }
}
