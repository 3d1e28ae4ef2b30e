// Convolution for software adapters without subgroups of 8 lanes: no workgroup memory, no barriers.
//
//   out[b, t, y, x, co] = bias[co] + sum over taps (dt, dy, dx) and ci of x[b, it, iy, ix, ci] * weight[tap, ci, co]
//   it = (t * stepTime + dt - padTime) / divideTime, and likewise iy, ix
//
// where a tap counts only if the division leaves no rest and the input pixel exists. A forward convolution has
// step = stride, divide = 1; a data gradient has step = 1, divide = stride and its taps reversed.
// weight is packed: input channels and output channels padded to multiples of 4, with zeros.
//
// Grid:  x = tiles of 4 * LANES output channels, y and z = tiles of 8 output pixels.
// Tile:  8 pixels (the same in all lanes) by 4 neighbouring channels a lane, in registers.
// Workgroup memory: 0 bytes. Bytes: every operand once. Flops: 2 * pixels * taps * Ci * Co (taps over the border included).
// Pixels are numbered by phase (all even x, then all odd x) where divide > 1, so that whole tiles miss a tap together.

struct Params {
  pixels: u32,
  inputTime: u32, inputHeight: u32, inputWidth: u32, inputChannels: u32,
  outputTime: u32, outputHeight: u32, outputWidth: u32, outputChannels: u32,
  kernelTime: u32, kernelHeight: u32, kernelWidth: u32,
  stepTime: u32, stepHeight: u32, stepWidth: u32,
  divideTime: u32, divideHeight: u32, divideWidth: u32,
  padTime: i32, padHeight: i32, padWidth: i32,
  phasesTime: u32, phasesHeight: u32, phasesWidth: u32,
  hasBias: u32,
}

override LANES: u32 = 8;

const MISS = 0xffffffffu;

@group(0) @binding(0) var<storage, read> x: array<Scalar>;
@group(0) @binding(1) var<storage, read> weight: array<vec4<Weight>>;
@group(0) @binding(2) var<storage, read> bias: array<Weight>;
@group(0) @binding(3) var<storage, read_write> out: array<Scalar>;
@group(0) @binding(4) var<uniform> params: Params;

// Batch index and coordinates (b, t, y, x) of a pixel of the output.
fn locate(pixel: u32) -> vec4u {
  var rest = min(pixel, params.pixels - 1u);
  let x = phased(rest % params.outputWidth, params.outputWidth, params.phasesWidth);
  rest /= params.outputWidth;
  let y = phased(rest % params.outputHeight, params.outputHeight, params.phasesHeight);
  rest /= params.outputHeight;
  let t = phased(rest % params.outputTime, params.outputTime, params.phasesTime);
  return vec4u(rest / params.outputTime, t, y, x);
}

// Renumbers a coordinate so that equal phases are neighbours; a bijection of 0 .. size - 1.
fn phased(position: u32, size: u32, phases: u32) -> u32 {
  if (phases == 1u) { return position; }
  let run = size / phases;
  return (position % run) * phases + position / run;
}

// Coordinate of the input along one axis for a tap, or a number beyond any size where it misses.
fn source(position: u32, tap: u32, step: u32, divide: u32, pad: i32) -> u32 {
  let dilated = u32(i32(position * step + tap) - pad);
  if (divide == 1u || dilated > 0x7fffffffu) { return dilated; }
  let index = dilated / divide;
  return select(MISS, index, index * divide == dilated);
}

// Index of the first channel of the input pixel under a tap, or MISS.
fn address(at: vec4u, dt: u32, dy: u32, dx: u32) -> u32 {
  let t = source(at.y, dt, params.stepTime, params.divideTime, params.padTime);
  let y = source(at.z, dy, params.stepHeight, params.divideHeight, params.padHeight);
  let x = source(at.w, dx, params.stepWidth, params.divideWidth, params.padWidth);
  let hit = t < params.inputTime && y < params.inputHeight && x < params.inputWidth;
  let pixel = ((at.x * params.inputTime + t) * params.inputHeight + y) * params.inputWidth + x;
  return select(MISS, pixel * params.inputChannels, hit);
}

fn fetch(base: u32, channel: u32) -> vec4f {
  let hit = base != MISS;
  return vec4f(select(0.0, f32(x[select(0u, base, hit) + channel]), hit));
}

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let first = (group.y + group.z * groups.y) * 8u;
  if (first >= params.pixels) { return; }
  let channels = params.outputChannels;
  let quads = (channels + 3u) / 4u;
  let channel = (group.x * LANES + lane) * 4u;
  let paddedInput = (params.inputChannels + 3u) / 4u * 4u;

  var places: array<vec4u, 8>;
  for (var p = 0u; p < 8u; p++) { places[p] = locate(first + p); }

  var start = vec4f();
  if (params.hasBias != 0u) {
    let last = channels - 1u;
    start = vec4f(f32(bias[min(channel, last)]), f32(bias[min(channel + 1u, last)]),
                  f32(bias[min(channel + 2u, last)]), f32(bias[min(channel + 3u, last)]));
  }
  var s0 = start; var s1 = start; var s2 = start; var s3 = start;
  var s4 = start; var s5 = start; var s6 = start; var s7 = start;

  var tapStart = min(channel / 4u, quads - 1u);
  for (var dt = 0u; dt < params.kernelTime; dt++) {
    for (var dy = 0u; dy < params.kernelHeight; dy++) {
      for (var dx = 0u; dx < params.kernelWidth; dx++) {
        var bases: array<u32, 8>;
        var nearest = MISS;
        for (var p = 0u; p < 8u; p++) {
          bases[p] = address(places[p], dt, dy, dx);
          nearest = min(nearest, bases[p]);
        }
        if (nearest != MISS) {
          var at = tapStart;
          for (var ci = 0u; ci < params.inputChannels; ci++) {
            let w = vec4f(weight[at]);
            s0 = fma(fetch(bases[0], ci), w, s0);
            s1 = fma(fetch(bases[1], ci), w, s1);
            s2 = fma(fetch(bases[2], ci), w, s2);
            s3 = fma(fetch(bases[3], ci), w, s3);
            s4 = fma(fetch(bases[4], ci), w, s4);
            s5 = fma(fetch(bases[5], ci), w, s5);
            s6 = fma(fetch(bases[6], ci), w, s6);
            s7 = fma(fetch(bases[7], ci), w, s7);
            at += quads;
          }
        }
        tapStart += paddedInput * quads;
      }
    }
  }

  let sums = array<vec4f, 8>(s0, s1, s2, s3, s4, s5, s6, s7);
  for (var p = 0u; p < 8u; p++) {
    if (first + p >= params.pixels) { break; }
    let place = places[p];
    let pixel = ((place.x * params.outputTime + place.y) * params.outputHeight + place.z) * params.outputWidth + place.w;
    for (var j = 0u; j < 4u; j++) {
      if (channel + j < channels) { out[pixel * channels + channel + j] = Scalar(sums[p][j]); }
    }
  }
}
