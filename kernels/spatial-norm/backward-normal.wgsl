// Gradient of the conditioned norm with respect to the normalised values: g * scale, where g is the gradient of the
// output, taken back through SiLU if the forward pass applied it.
// Grid: x = channels / LANES, y and z = rows of the picture (f, y). A thread walks along its row.
// Workgroup memory: 0 bytes. Bytes: normal (with SiLU), outGradient, normalGradient once. Flops: 1 an element, 11 more for SiLU.

struct Params {
  rows: u32,
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
@group(0) @binding(4) var<storage, read_write> normalGradient: array<f32>;
@group(0) @binding(5) var<uniform> params: Params;

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
  let row = group.y + group.z * groups.y;
  let channel = group.x * LANES + lane;
  if (row >= params.rows || channel >= params.channels) { return; }
  let smallRow = row / params.height * params.smallHeight + row % params.height * params.smallHeight / params.height;
  let small = smallRow * params.smallWidth * params.channels + channel;
  var at = row * params.width * params.channels + channel;
  var x = 0u;
  for (var column = 0u; column < params.smallWidth; column++) {
    let factor = f32(scale[small + column * params.channels]);
    let term = f32(shift[small + column * params.channels]);
    for (let end = firstCopy(column + 1u, params.smallWidth, params.width); x < end; x++) {
      var gradient = outGradient[at];
      if (params.silu != 0u) {
        let value = fma(f32(normal[at]), factor, term);
        let sigmoid = 1.0 / (1.0 + exp(-value));
        gradient *= sigmoid * fma(value, 1.0 - sigmoid, 1.0);
      }
      normalGradient[at] = gradient * factor;
      at += params.channels;
    }
  }
}
