// out = aScale * a + bScale * b for two single numbers: the weighted sum of two losses, and its gradient.
// Grid: one thread. Workgroup memory: none. Bytes moved: 12. Flops: 3.

struct Params {
  aScale: f32,
  bScale: f32,
}

@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(1)
fn main() {
  out[0] = params.aScale * a[0] + params.bScale * b[0];
}
