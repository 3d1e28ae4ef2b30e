// A residual addition and the RMSNorm behind it, one row per workgroup: sum = x + delta, out = norm(sum).
// Grid: rows workgroups, spread over x and y. Tile: one row; lanes stride along its features.
// Workgroup memory: 4 * WORKGROUP_SIZE bytes. Bytes moved: x, delta, sum and out once (x and delta a second time from cache),
// weight. Flops: 5 per element.
// Every lane adds all partial sums in the same order: one barrier instead of a tree of them, and the same bits.

override WORKGROUP_SIZE: u32 = 64;

struct Params {
  rows: u32,
  features: u32,
  epsilon: f32,
}

@group(0) @binding(0) var<storage, read> x: array<Scalar>;
@group(0) @binding(1) var<storage, read> delta: array<Scalar>;
@group(0) @binding(2) var<storage, read> weight: array<Weight>;
@group(0) @binding(3) var<storage, read_write> sum: array<Scalar>;
@group(0) @binding(4) var<storage, read_write> out: array<Scalar>;
@group(0) @binding(5) var<uniform> params: Params;

var<workgroup> partial: array<f32, WORKGROUP_SIZE>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let row = group.x + group.y * groups.x;
  if (row >= params.rows) {
    return;
  }
  let base = row * params.features;
  var squares = 0.0;
  for (var column = lane; column < params.features; column += WORKGROUP_SIZE) {
    let value = f32(x[base + column]) + f32(delta[base + column]);
    squares += value * value;
    sum[base + column] = Scalar(value);
  }
  partial[lane] = squares;
  workgroupBarrier();
  var total = 0.0;
  for (var other = 0u; other < WORKGROUP_SIZE; other++) {
    total += partial[other];
  }
  let scale = inverseSqrt(total / f32(params.features) + params.epsilon);
  for (var column = lane; column < params.features; column += WORKGROUP_SIZE) {
    let value = f32(x[base + column]) + f32(delta[base + column]);
    out[base + column] = Scalar(value * scale * f32(weight[column]));
  }
}
