// mean = sum(weights * values) / denominator, with the denominator the sum of weights, the number of rows whose weight is
// not zero, or a number found in a buffer. A denominator of 0 gives the mean 0.
// Grid: one workgroup, each thread a strided share of the rows, then a fixed tree.
// Workgroup memory: 12 * WORKGROUP_SIZE bytes. Bytes moved: 8 a row. Flops: 4 a row.

override WORKGROUP_SIZE: u32 = 128;

const BY_WEIGHT_SUM = 0u;
const BY_COUNT = 1u;

struct Params {
  rows: u32,
  mode: u32,
}

@group(0) @binding(0) var<storage, read> values: array<f32>;
@group(0) @binding(1) var<storage, read> weights: array<f32>;
@group(0) @binding(2) var<storage, read> given: array<f32>;
@group(0) @binding(3) var<storage, read_write> mean: array<f32>;
@group(0) @binding(4) var<storage, read_write> denominator: array<f32>;
@group(0) @binding(5) var<uniform> params: Params;

var<workgroup> products: array<f32, WORKGROUP_SIZE>;
var<workgroup> weightSums: array<f32, WORKGROUP_SIZE>;
var<workgroup> counts: array<u32, WORKGROUP_SIZE>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(local_invocation_index) lane: u32) {
  var product = 0.0;
  var weightSum = 0.0;
  var count = 0u;
  for (var row = lane; row < params.rows; row += WORKGROUP_SIZE) {
    let weight = weights[row];
    product += weight * values[row];
    weightSum += weight;
    count += select(0u, 1u, weight != 0.0);
  }
  products[lane] = product;
  weightSums[lane] = weightSum;
  counts[lane] = count;
  workgroupBarrier();
  for (var stride = WORKGROUP_SIZE / 2u; stride > 0u; stride /= 2u) {
    if (lane < stride) {
      products[lane] += products[lane + stride];
      weightSums[lane] += weightSums[lane + stride];
      counts[lane] += counts[lane + stride];
    }
    workgroupBarrier();
  }
  if (lane == 0u) {
    var divisor = given[0];
    if (params.mode == BY_WEIGHT_SUM) {
      divisor = weightSums[0];
    }
    if (params.mode == BY_COUNT) {
      divisor = f32(counts[0]);
    }
    var result = 0.0;
    if (divisor != 0.0) {
      result = products[0] / divisor;
    }
    mean[0] = result;
    denominator[0] = divisor;
  }
}
