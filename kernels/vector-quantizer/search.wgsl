// Nearest codebook row of each latent within one of the codebook's splits, by squared distance summed directly as
// sum((z - e)^2): no expansion, so that ties and cell borders come out right. A later row must be strictly nearer, so
// the first index wins a tie.
// Grid: ceil(latents / (4 * WORKGROUP_SIZE)) workgroups, spread over x and y; z = splits of the codebook.
// Tile: four latents a thread, WORKGROUP_SIZE apart, the components of vec4s in registers; the address of the code is the
// same for the whole workgroup, so that one load serves 4 * WORKGROUP_SIZE latents.
// Workgroup memory: none. Bytes moved: latents * DIMENSION * sizeof(Scalar) + codes * DIMENSION * 4 + 8 a latent and split.
// Flops: 3 * latents * codes * DIMENSION.

override WORKGROUP_SIZE: u32 = 64;

struct Params {
  latents: u32,
  codes: u32,
  codesPerSplit: u32,
}

@group(0) @binding(0) var<storage, read> latents: array<Scalar>;
@group(0) @binding(1) var<storage, read> codebook: array<f32>;
@group(0) @binding(2) var<storage, read_write> splitDistance: array<f32>;
@group(0) @binding(3) var<storage, read_write> splitCode: array<u32>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
  @builtin(workgroup_id) workgroupId: vec3<u32>,
  @builtin(num_workgroups) workgroupCount: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let firstLatent = (workgroupId.x + workgroupId.y * workgroupCount.x) * 4u * WORKGROUP_SIZE + lane;
  // Latents past the end repeat the last one and are not written.
  let latent = firstLatent + WORKGROUP_SIZE * vec4<u32>(0u, 1u, 2u, 3u);
  let start = min(latent, vec4<u32>(params.latents - 1u)) * DIMENSION;
  var z: array<vec4<f32>, DIMENSION>;
  for (var j = 0u; j < DIMENSION; j++) {
    z[j] = vec4<f32>(
      f32(latents[start.x + j]),
      f32(latents[start.y + j]),
      f32(latents[start.z + j]),
      f32(latents[start.w + j]),
    );
  }
  let first = workgroupId.z * params.codesPerSplit;
  let end = min(first + params.codesPerSplit, params.codes);
  var nearest = vec4<f32>(3e38);
  var nearestCode = vec4<u32>(first);
  for (var code = first; code < end; code++) {
    var distance = vec4<f32>(0.0);
    for (var j = 0u; j < DIMENSION; j++) {
      let difference = z[j] - codebook[code * DIMENSION + j];
      distance += difference * difference;
    }
    let nearer = distance < nearest;
    nearest = select(nearest, distance, nearer);
    nearestCode = select(nearestCode, vec4<u32>(code), nearer);
  }
  for (var i = 0u; i < 4u; i++) {
    if (latent[i] < params.latents) {
      splitDistance[workgroupId.z * params.latents + latent[i]] = nearest[i];
      splitCode[workgroupId.z * params.latents + latent[i]] = nearestCode[i];
    }
  }
}
