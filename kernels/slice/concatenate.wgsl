// out = a followed by b.
// Grid: one invocation an element of out. Workgroup memory: none. Bytes: out twice. Flops: 0.

override WORKGROUP_SIZE: u32 = 64;

struct Params {
  length: u32,
  first: u32,
}

@group(0) @binding(0) var<storage, read> a: array<Scalar>;
@group(0) @binding(1) var<storage, read> b: array<Scalar>;
@group(0) @binding(2) var<storage, read_write> out: array<Scalar>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let index = id.x + id.y * groups.x * WORKGROUP_SIZE;
  if (index >= params.length) {
    return;
  }
  if (index < params.first) {
    out[index] = a[index];
  } else {
    out[index] = b[index - params.first];
  }
}
