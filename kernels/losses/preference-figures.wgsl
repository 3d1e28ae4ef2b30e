// figures[0..3] += sum of margins, number of pairs with a margin above 0, sum of chosen, sum of rejected log-probabilities.
// Grid: one workgroup, each thread a strided share of the pairs, then a fixed tree.
// Workgroup memory: 16 * WORKGROUP_SIZE bytes. Bytes moved: 12 a pair. Flops: 4 a pair.

override WORKGROUP_SIZE: u32 = 64;

struct Params {
  pairs: u32,
}

@group(0) @binding(0) var<storage, read> margins: array<f32>;
@group(0) @binding(1) var<storage, read> chosen: array<f32>;
@group(0) @binding(2) var<storage, read> rejected: array<f32>;
@group(0) @binding(3) var<storage, read_write> figures: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

var<workgroup> partial: array<vec4<f32>, WORKGROUP_SIZE>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(local_invocation_index) lane: u32) {
  var sum = vec4<f32>(0.0);
  for (var pair = lane; pair < params.pairs; pair += WORKGROUP_SIZE) {
    let margin = margins[pair];
    sum += vec4<f32>(margin, select(0.0, 1.0, margin > 0.0), chosen[pair], rejected[pair]);
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
    let total = partial[0];
    figures[0] += total.x;
    figures[1] += total.y;
    figures[2] += total.z;
    figures[3] += total.w;
  }
}
