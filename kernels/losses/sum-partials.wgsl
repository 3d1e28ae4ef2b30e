// Second stage of a sum: total = scale * sum(partial).
// Grid: one workgroup, each thread a strided share, then a fixed tree.
// Workgroup memory: 4 * WORKGROUP_SIZE bytes. Bytes moved: 4 a number. Flops: 1 a number.

override WORKGROUP_SIZE: u32 = 64;

struct Params {
  count: u32,
  scale: f32,
}

@group(0) @binding(0) var<storage, read> partial: array<f32>;
@group(0) @binding(1) var<storage, read_write> total: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

var<workgroup> sums: array<f32, WORKGROUP_SIZE>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(local_invocation_index) lane: u32) {
  var sum = 0.0;
  for (var i = lane; i < params.count; i += WORKGROUP_SIZE) {
    sum += partial[i];
  }
  sums[lane] = sum;
  workgroupBarrier();
  for (var stride = WORKGROUP_SIZE / 2u; stride > 0u; stride /= 2u) {
    if (lane < stride) {
      sums[lane] += sums[lane + stride];
    }
    workgroupBarrier();
  }
  if (lane == 0u) {
    total[0] = params.scale * sums[0];
  }
}
