// Gradients of the conditioned norm with respect to scale and shift: every element of the small picture sums over the
// pixels that show it, row by row; g * normal for scale and g for shift, with g as in backward-normal.
// Grid: x = channels / LANES, y and z = pixels of the small picture (f, sy, sx).
// Workgroup memory: 0 bytes. Bytes: normal and outGradient once, the small pictures once. Flops: 3 an element, 11 more for SiLU.

struct Params {
  pixels: u32,
  height: u32, width: u32,
  smallHeight: u32, smallWidth: u32,
  channels: u32,
  silu: u32,
}

override LANES: u32 = 32;

@group(0) @binding(0) var<storage, read> normal: array<Scalar>;
@group(0) @binding(1) var<storage, read> scale: array<Scalar>;
@group(0) @binding(2) var<storage, read> shift: array<Scalar>;
@group(0) @binding(3) var<storage, read> outGradient: array<f32>;
@group(0) @binding(4) var<storage, read_write> scaleGradient: array<f32>;
@group(0) @binding(5) var<storage, read_write> shiftGradient: array<f32>;
@group(0) @binding(6) var<uniform> params: Params;

// First coordinate of the picture that shows coordinate `position` of the small one.
fn firstCopy(position: u32, smallSize: u32, size: u32) -> u32 {
  return (position * size + smallSize - 1u) / smallSize;
}

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let pixel = group.y + group.z * groups.y;
  let channel = group.x * LANES + lane;
  if (pixel >= params.pixels || channel >= params.channels) { return; }
  let sx = pixel % params.smallWidth;
  let sy = pixel / params.smallWidth % params.smallHeight;
  let frame = pixel / (params.smallWidth * params.smallHeight);
  let xBegin = firstCopy(sx, params.smallWidth, params.width);
  let xEnd = firstCopy(sx + 1u, params.smallWidth, params.width);
  let yBegin = firstCopy(sy, params.smallHeight, params.height);
  let yEnd = firstCopy(sy + 1u, params.smallHeight, params.height);
  let small = pixel * params.channels + channel;
  let factor = f32(scale[small]);
  let term = f32(shift[small]);
  var sum = 0.0;
  var product = 0.0;
  for (var y = yBegin; y < yEnd; y++) {
    var at = ((frame * params.height + y) * params.width + xBegin) * params.channels + channel;
    for (var x = xBegin; x < xEnd; x++) {
      let value = f32(normal[at]);
      var gradient = outGradient[at];
      if (params.silu != 0u) {
        let conditioned = fma(value, factor, term);
        let sigmoid = 1.0 / (1.0 + exp(-conditioned));
        gradient *= sigmoid * fma(conditioned, 1.0 - sigmoid, 1.0);
      }
      sum += gradient;
      product = fma(gradient, value, product);
      at += params.channels;
    }
  }
  scaleGradient[small] = product;
  shiftGradient[small] = sum;
}
