// Second stage of decoding attention: merges the splits of each (token, head) in ascending order.
// Grid: blocks of WORKGROUP_SIZE vec4s of out, spread over x and y. Tile: one vec4 a lane. Workgroup memory: none.
// Bytes moved: the partial sums and out once. Flops: 2 per partial element.

override WORKGROUP_SIZE: u32 = 64;

struct Params {
  // tokens * heads * head dimension / 4.
  count: u32,
  vectors: u32,
  splits: u32,
}

// As decode.wgsl leaves them.
@group(0) @binding(0) var<storage, read> partials: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> out: array<vec4<Scalar>>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = (group.x + group.y * groups.x) * WORKGROUP_SIZE + lane;
  if (index >= params.count) {
    return;
  }
  let first = index / params.vectors * params.splits;
  let stride = 1u + params.vectors;
  var largest = -1e30;
  for (var split = 0u; split < params.splits; split++) {
    largest = max(largest, partials[(first + split) * stride].x);
  }
  var total = 0.0;
  var sum = vec4(0.0);
  for (var split = 0u; split < params.splits; split++) {
    let at = (first + split) * stride;
    let statistic = partials[at];
    let weight = exp(statistic.x - largest);
    total += weight * statistic.y;
    sum += weight * partials[at + 1u + index % params.vectors];
  }
  out[index] = vec4<Scalar>(sum * select(0.0, 1.0 / total, total > 0.0));
}
