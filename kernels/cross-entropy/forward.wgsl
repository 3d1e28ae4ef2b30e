// Softmax cross-entropy of one row of logits a workgroup, in one reading: each thread keeps a running maximum and a sum
// of exponentials rescaled to it, the workgroup merges the pairs in a fixed tree.
// Grid: one workgroup a row, spread over x and y. Tile: WORKGROUP_SIZE x 4 logits a turn.
// Workgroup memory: 8 * WORKGROUP_SIZE bytes. Bytes moved: rows * (vocabulary * sizeof(Scalar) + 12). Flops: 5 a logit.

override WORKGROUP_SIZE: u32 = 128;

struct Params {
  rows: u32,
  vocabulary: u32,
}

@group(0) @binding(0) var<storage, read> logits: array<Scalar>;
@group(0) @binding(1) var<storage, read> targets: array<i32>;
@group(0) @binding(2) var<storage, read_write> loss: array<f32>;
@group(0) @binding(3) var<storage, read_write> logSumExp: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

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
  let start = row * params.vocabulary;
  let end = start + params.vocabulary;
  var maximum = FAR_BELOW;
  var sum = 0.0;
  var i = start + lane;
  // Four logits share one rescaling of the sum, so that a logit costs 1.25 exponentials and not 2.
  while (i + 3u * WORKGROUP_SIZE < end) {
    let a = f32(logits[i]);
    let b = f32(logits[i + WORKGROUP_SIZE]);
    let c = f32(logits[i + 2u * WORKGROUP_SIZE]);
    let d = f32(logits[i + 3u * WORKGROUP_SIZE]);
    let larger = max(maximum, max(max(a, b), max(c, d)));
    sum = sum * exp(maximum - larger) + (exp(a - larger) + exp(b - larger)) + (exp(c - larger) + exp(d - larger));
    maximum = larger;
    i += 4u * WORKGROUP_SIZE;
  }
  while (i < end) {
    let a = f32(logits[i]);
    let larger = max(maximum, a);
    sum = sum * exp(maximum - larger) + exp(a - larger);
    maximum = larger;
    i += WORKGROUP_SIZE;
  }
  maxima[lane] = maximum;
  sums[lane] = sum;
  workgroupBarrier();
  for (var stride = WORKGROUP_SIZE / 2u; stride > 0u; stride /= 2u) {
    if (lane < stride) {
      let mine = maxima[lane];
      let other = maxima[lane + stride];
      let larger = max(mine, other);
      sums[lane] = sums[lane] * exp(mine - larger) + sums[lane + stride] * exp(other - larger);
      maxima[lane] = larger;
    }
    workgroupBarrier();
  }
  if (lane == 0u) {
    let total = maxima[0] + log(sums[0]);
    let wanted = targets[row];
    var rowLoss = 0.0;
    if (wanted >= 0) {
      // An id outside the vocabulary has no logit: the loss says so loudly instead of reading a neighbour's.
      var logit = FAR_BELOW;
      if (u32(wanted) < params.vocabulary) {
        logit = f32(logits[start + u32(wanted)]);
      }
      rowLoss = total - logit;
    }
    loss[row] = rowLoss;
    logSumExp[row] = total;
  }
}
