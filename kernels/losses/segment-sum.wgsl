// sums[s] = scale * sum of the rowsPerSegment consecutive values of segment s.
// Grid: one workgroup a segment, spread over x and y; a strided share a thread, then a fixed tree.
// Workgroup memory: 4 * WORKGROUP_SIZE bytes. Bytes moved: 4 a value and 4 a segment. Flops: 1 a value.

override WORKGROUP_SIZE: u32 = 64;

struct Params {
  segments: u32,
  rowsPerSegment: u32,
  scale: f32,
}

@group(0) @binding(0) var<storage, read> values: array<f32>;
@group(0) @binding(1) var<storage, read_write> sums: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

var<workgroup> partial: array<f32, WORKGROUP_SIZE>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
  @builtin(workgroup_id) workgroupId: vec3<u32>,
  @builtin(num_workgroups) workgroupCount: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let segment = workgroupId.x + workgroupId.y * workgroupCount.x;
  if (segment >= params.segments) {
    return;
  }
  var sum = 0.0;
  for (var row = lane; row < params.rowsPerSegment; row += WORKGROUP_SIZE) {
    sum += values[segment * params.rowsPerSegment + row];
  }
  partial[lane] = sum;
  workgroupBarrier();
  for (var stride = WORKGROUP_SIZE / 2u; stride > 0u; stride /= 2u) {
    if (lane < stride) {
      partial[lane] += partial[lane + stride];
    }
    workgroupBarrier();
  }
  if (lane == 0u) {
    sums[segment] = params.scale * partial[0];
  }
}
