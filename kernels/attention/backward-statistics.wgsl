// What attention's backward kernels need of each (query, head): vec4(logsumexp, delta, start, 0), where
// delta = sum over the head's elements of out * out_gradient (Dao et al. 2022, arXiv 2205.14135, appendix B.2).
// The first visible key rides along as a float, exact below 2^24, to save the kernels a binding.
// Grid: blocks of WORKGROUP_SIZE (query, head) pairs, spread over x and y. Tile: one pair a lane. Workgroup memory: none.
// Bytes moved: out and its gradient once, 16 bytes a pair. Flops: 2 per element.

override WORKGROUP_SIZE: u32 = 64;

struct Params {
  // Rows of the batch * length * heads.
  pairs: u32,
  heads: u32,
  vectors: u32,
}

@group(0) @binding(0) var<storage, read> out: array<vec4<Scalar>>;
@group(0) @binding(1) var<storage, read> out_gradient: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> logsumexp: array<f32>;
@group(0) @binding(3) var<storage, read> start: array<u32>;
@group(0) @binding(4) var<storage, read_write> statistics: array<vec4<f32>>;
@group(0) @binding(5) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let pair = (group.x + group.y * groups.x) * WORKGROUP_SIZE + lane;
  if (pair >= params.pairs) {
    return;
  }
  var delta = 0.0;
  for (var i = 0u; i < params.vectors; i++) {
    let index = pair * params.vectors + i;
    delta += dot(vec4<f32>(out[index]), out_gradient[index]);
  }
  statistics[pair] = vec4(logsumexp[pair], delta, f32(start[pair / params.heads]), 0.0);
}
