// Keeps the codebook alive: a code chosen fewer than minimumCount times becomes a latent drawn by a counter-based
// generator keyed by (seed, code). Counts start from 0 again.
// Grid: one thread a code, spread over x and y. Workgroup memory: none.
// Bytes moved: 8 a code, and 8 * dimension for each code revived.

override WORKGROUP_SIZE: u32 = 64;

struct Params {
  latents: u32,
  codes: u32,
  dimension: u32,
  minimumCount: u32,
}

@group(0) @binding(0) var<storage, read> latents: array<f32>;
// [0] is the seed, a new one for every revival.
@group(0) @binding(1) var<storage, read> state: array<u32>;
@group(0) @binding(2) var<storage, read_write> counts: array<u32>;
@group(0) @binding(3) var<storage, read_write> codebook: array<f32>;
@group(0) @binding(4) var<storage, read_write> revived: array<u32>;
@group(0) @binding(5) var<uniform> params: Params;

// A 32-bit finaliser with full avalanche.
fn mix(value: u32) -> u32 {
  var bits = value;
  bits = (bits ^ (bits >> 16u)) * 0x21f0aaadu;
  bits = (bits ^ (bits >> 15u)) * 0x735a2d97u;
  return bits ^ (bits >> 15u);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
  @builtin(workgroup_id) workgroupId: vec3<u32>,
  @builtin(num_workgroups) workgroupCount: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let code = (workgroupId.x + workgroupId.y * workgroupCount.x) * WORKGROUP_SIZE + lane;
  if (code >= params.codes) {
    return;
  }
  let dead = counts[code] < params.minimumCount;
  counts[code] = 0u;
  revived[code] = select(0u, 1u, dead);
  if (!dead) {
    return;
  }
  let latent = mix(mix(state[0] + 0x9e3779b9u) + code * 0x9e3779b9u) % params.latents;
  for (var j = 0u; j < params.dimension; j++) {
    codebook[code * params.dimension + j] = latents[latent * params.dimension + j];
  }
}
