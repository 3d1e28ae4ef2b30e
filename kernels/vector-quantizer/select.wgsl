// The nearest of the splits' nearest codes (the first split wins a tie, as its codes come first), and its codebook row.
// Grid: one thread a latent, spread over x and y. Workgroup memory: none.
// Bytes moved: latents * (8 * splits + 4 + 8 * dimension). Flops: none.

override WORKGROUP_SIZE: u32 = 64;

struct Params {
  latents: u32,
  splits: u32,
  dimension: u32,
}

@group(0) @binding(0) var<storage, read> splitDistance: array<f32>;
@group(0) @binding(1) var<storage, read> splitCode: array<u32>;
@group(0) @binding(2) var<storage, read> codebook: array<f32>;
@group(0) @binding(3) var<storage, read_write> codes: array<u32>;
@group(0) @binding(4) var<storage, read_write> quantized: array<f32>;
@group(0) @binding(5) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
  @builtin(workgroup_id) workgroupId: vec3<u32>,
  @builtin(num_workgroups) workgroupCount: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let latent = (workgroupId.x + workgroupId.y * workgroupCount.x) * WORKGROUP_SIZE + lane;
  if (latent >= params.latents) {
    return;
  }
  var nearest = splitDistance[latent];
  var code = splitCode[latent];
  for (var split = 1u; split < params.splits; split++) {
    let distance = splitDistance[split * params.latents + latent];
    if (distance < nearest) {
      nearest = distance;
      code = splitCode[split * params.latents + latent];
    }
  }
  codes[latent] = code;
  for (var j = 0u; j < params.dimension; j++) {
    quantized[latent * params.dimension + j] = codebook[code * params.dimension + j];
  }
}
