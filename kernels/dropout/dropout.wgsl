// Inverted dropout: out = kept ? x / (1 - rate) : 0. The backward pass is the same dispatch on the gradient.
// Element i is kept when word i % 4 of pcg4d(seed, step, site, i / 4) is at least `threshold` = rate * 2^32. The hash is
// pcg4d of Jarzynski and Olano 2020 ("Hash Functions for GPU Rendering", JCGT 9(3)): any element's word is computed
// on its own, so forward, backward and recomputed passes agree without storing a mask.
// Grid: blocks of WORKGROUP_SIZE * 4 elements, spread over x and y. Tile: 4 consecutive elements a lane, one hash.
// Workgroup memory: none. Bytes moved: x and out once. Flops: 1 per element.

override WORKGROUP_SIZE: u32 = 64;

struct Params {
  count: u32,
  site: u32,
  threshold: u32,
  scale: f32,
}

@group(0) @binding(0) var<storage, read> x: array<Scalar>;
// seed, step
@group(0) @binding(1) var<storage, read> state: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<Scalar>;
@group(0) @binding(3) var<uniform> params: Params;

fn pcg4d(key: vec4<u32>) -> vec4<u32> {
  var v = key * 1664525u + 1013904223u;
  v.x += v.y * v.w;
  v.y += v.z * v.x;
  v.z += v.x * v.y;
  v.w += v.y * v.z;
  v ^= v >> vec4(16u);
  v.x += v.y * v.w;
  v.y += v.z * v.x;
  v.z += v.x * v.y;
  v.w += v.y * v.z;
  return v;
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let quad = (group.x + group.y * groups.x) * WORKGROUP_SIZE + lane;
  let words = pcg4d(vec4(state[0], state[1], params.site, quad));
  for (var part = 0u; part < 4u; part++) {
    let index = quad * 4u + part;
    if (index < params.count) {
      out[index] = Scalar(select(0.0, f32(x[index]) * params.scale, words[part] >= params.threshold));
    }
  }
}
