// quantized[p] = codebook[codes[p]]; a code beyond the codebook gives zeros.
// Grid: one thread an element, spread over x and y. Workgroup memory: none. Bytes moved: 8 an element and 4 a latent.

override WORKGROUP_SIZE: u32 = 64;

struct Params {
  count: u32,
  dimension: u32,
  codes: u32,
}

@group(0) @binding(0) var<storage, read> codes: array<u32>;
@group(0) @binding(1) var<storage, read> codebook: array<f32>;
@group(0) @binding(2) var<storage, read_write> quantized: array<Scalar>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
  @builtin(workgroup_id) workgroupId: vec3<u32>,
  @builtin(num_workgroups) workgroupCount: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = (workgroupId.x + workgroupId.y * workgroupCount.x) * WORKGROUP_SIZE + lane;
  if (i >= params.count) {
    return;
  }
  let code = codes[i / params.dimension];
  var value = 0.0;
  if (code < params.codes) {
    value = codebook[code * params.dimension + i % params.dimension];
  }
  quantized[i] = Scalar(value);
}
