// logSumExp[r] = log(sum of exp(logits[r])) of one row a workgroup, in one reading.
// Grid: one workgroup a row, spread over x and y. Tile: WORKGROUP_SIZE logits a turn.
// Workgroup memory: 8 * WORKGROUP_SIZE bytes. Bytes moved: rows * (vocabulary * sizeof(Scalar) + 4). Flops: 5 a logit.

override WORKGROUP_SIZE: u32 = 128;

struct Params {
  rows: u32,
  vocabulary: u32,
}

@group(0) @binding(0) var<storage, read> logits: array<Scalar>;
@group(0) @binding(1) var<storage, read_write> logSumExp: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

// Below every logit, yet finite: WGSL may assume that infinities do not occur.
const FAR_BELOW: f32 = -1e30;

var<workgroup> maxima: array<f32, WORKGROUP_SIZE>;
var<workgroup> sums: array<f32, WORKGROUP_SIZE>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
  @builtin(workgroup_id) workgroupId: vec3<u32>,
  @builtin(num_workgroups) workgroupCount: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let row = workgroupId.x + workgroupId.y * workgroupCount.x;
  if (row >= params.rows) {
    return;
  }
  var maximum = FAR_BELOW;
  var sum = 0.0;
  for (var id = lane; id < params.vocabulary; id += WORKGROUP_SIZE) {
    let logit = f32(logits[row * params.vocabulary + id]);
    let larger = max(maximum, logit);
    sum = sum * exp(maximum - larger) + exp(logit - larger);
    maximum = larger;
  }
  maxima[lane] = maximum;
  sums[lane] = sum;
  workgroupBarrier();
  for (var stride = WORKGROUP_SIZE / 2u; stride > 0u; stride /= 2u) {
    if (lane < stride) {
      let larger = max(maxima[lane], maxima[lane + stride]);
      sums[lane] =
        sums[lane] * exp(maxima[lane] - larger) + sums[lane + stride] * exp(maxima[lane + stride] - larger);
      maxima[lane] = larger;
    }
    workgroupBarrier();
  }
  if (lane == 0u) {
    logSumExp[row] = maxima[0] + log(sums[0]);
  }
}
