// out[n,k] = scale[n, k/32] * level[n,k]: a packed weight [N,K] (see quantize.wgsl) as f32.
// Grid: (vectors of 128 bits of levels / WORKGROUP_SIZE, spread over x and y). A thread unpacks one.
// Workgroup memory: none. Bytes: packed weight once, out once. Flops: N K.
override WORKGROUP_SIZE: u32 = 64u;

struct Params {
  vectors: u32,
  groups: u32,
  scaleWords: u32,
}

@group(0) @binding(0) var<storage, read> data: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> scales: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<vec4<f32>>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
  @builtin(workgroup_id) workgroupId: vec3u,
  @builtin(num_workgroups) workgroupCount: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let index = (workgroupId.x + workgroupId.y * workgroupCount.x) * WORKGROUP_SIZE + thread;
  if (index >= params.vectors) { return; }
  // Group of the whole weight, then of its row.
  let group = index * 4u / BITS;
  let row = group / params.groups;
  let inRow = group % params.groups;
  let pair = unpack2x16float(scales[row * params.scaleWords + inRow / 2u]);
  let scale = select(pair.x, pair.y, (inRow & 1u) == 1u);
  let words = data[index];
  for (var i = 0u; i < 4u; i++) {
    if (BITS == 4u) {
      let levels = vec4i(bitcast<vec4i>((vec4u(words[i]) >> vec4u(0u, 4u, 8u, 12u)) & vec4u(15u))) - vec4i(8);
      let next = vec4i(bitcast<vec4i>((vec4u(words[i]) >> vec4u(16u, 20u, 24u, 28u)) & vec4u(15u))) - vec4i(8);
      out[index * 8u + 2u * i] = scale * vec4f(levels);
      out[index * 8u + 2u * i + 1u] = scale * vec4f(next);
    } else {
      // To the top of the word and back down, which spreads the sign.
      let levels = bitcast<vec4i>(vec4u(words[i]) << vec4u(24u, 16u, 8u, 0u)) >> vec4u(24u);
      out[index * 4u + i] = scale * vec4f(levels);
    }
  }
}
