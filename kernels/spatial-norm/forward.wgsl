// Conditions normalised values on a smaller picture: out[f, y, x, c] = normal[f, y, x, c] * scale[f, sy, sx, c] + shift[f, sy, sx, c]
// with sy = y * h / H and sx = x * w / W rounded down (nearest resize), then SiLU if asked.
// Grid: x = channels / LANES, y and z = rows of the picture (f, y). A thread walks along its row.
// Workgroup memory: 0 bytes. Bytes: normal and out once, scale and shift H / h times. Flops: 2 an element, 5 more for SiLU.

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
@group(0) @binding(3) var<storage, read_write> out: array<Scalar>;
@group(0) @binding(4) var<uniform> params: Params;

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
  // Counts in multiples of 1 / width, so that no division is needed on the way.
  var fraction = params.width;
  var next = 0u;
  var factor = 0.0;
  var term = 0.0;
  for (var x = 0u; x < params.width; x++) {
    if (fraction >= params.width) {
      next += fraction / params.width;
      fraction %= params.width;
      factor = f32(scale[small + (next - 1u) * params.channels]);
      term = f32(shift[small + (next - 1u) * params.channels]);
    }
    fraction += params.smallWidth;
    var value = fma(f32(normal[at]), factor, term);
    if (params.silu != 0u) { value /= 1.0 + exp(-value); }
    out[at] = Scalar(value);
    at += params.channels;
  }
}
