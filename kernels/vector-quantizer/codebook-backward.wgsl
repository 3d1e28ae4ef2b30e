// Gradient of the codebook loss, a scatter without float atomics: each code walks all latents in order and adds up
// lossGradient * scale * (code - latent) over those that chose it, until it has found as many as its count says.
// Grid: one thread a code, spread over x and y; the address of the code being compared is uniform in the workgroup.
// Workgroup memory: none. Bytes moved: latents * (4 + 4 * DIMENSION) + codes * (4 + 8 * DIMENSION).
// Flops: 2 * latents * DIMENSION (and latents * codes comparisons of whole numbers at most).

override WORKGROUP_SIZE: u32 = 64;

struct Params {
  latents: u32,
  codes: u32,
  scale: f32,
}

@group(0) @binding(0) var<storage, read> latents: array<f32>;
@group(0) @binding(1) var<storage, read> codebook: array<f32>;
@group(0) @binding(2) var<storage, read> codes: array<u32>;
@group(0) @binding(3) var<storage, read> counts: array<u32>;
@group(0) @binding(4) var<storage, read> lossGradient: array<f32>;
@group(0) @binding(5) var<storage, read_write> codebookGradient: array<f32>;
@group(0) @binding(6) var<uniform> params: Params;

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
  var sum: array<f32, DIMENSION>;
  for (var j = 0u; j < DIMENSION; j++) {
    sum[j] = 0.0;
  }
  var left = counts[code];
  for (var latent = 0u; latent < params.latents && left > 0u; latent++) {
    if (codes[latent] == code) {
      left--;
      for (var j = 0u; j < DIMENSION; j++) {
        sum[j] += codebook[code * DIMENSION + j] - latents[latent * DIMENSION + j];
      }
    }
  }
  let factor = lossGradient[0] * params.scale;
  for (var j = 0u; j < DIMENSION; j++) {
    codebookGradient[code * DIMENSION + j] = factor * sum[j];
  }
}
