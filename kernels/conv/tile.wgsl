// Convolution for GPUs: implicit matrix product of pixels by output channels, tiled through workgroup memory.
//
//   out[b, t, y, x, co] = bias[co] + sum over taps (dt, dy, dx) and ci of x[b, it, iy, ix, ci] * weight[tap, ci, co]
//   it = (t * stepTime + dt - padTime) / divideTime, and likewise iy, ix
//
// where a tap counts only if the division leaves no rest and the input pixel exists. A forward convolution has
// step = stride, divide = 1; a data gradient has step = 1, divide = stride and its taps reversed.
// weight is packed: input channels and output channels padded to multiples of 4, with zeros.
//
// Grid:  x = tiles of 4 * CHANNEL_THREADS output channels, y and z = tiles of 4 * PIXEL_THREADS output pixels.
// Tile:  256 threads, each 4 pixels by 4 channels in registers; 16 input channels of one tap a step.
// Workgroup memory: 64 * (4 * PIXEL_THREADS + 4) + 256 * CHANNEL_THREADS + 16 * PIXEL_THREADS bytes: 9,728 for 16 x 16
// threads, 11,008 for 32 x 8.
// Bytes: every operand once (x is read again for every channel tile). Flops: 2 * pixels * taps * Ci * Co.
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

const MISS = 0xffffffffu;

@group(0) @binding(0) var<storage, read> x: array<Scalar>;
@group(0) @binding(1) var<storage, read> weight: array<Weight>;
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

const TILE_PIXELS = 4u * PIXEL_THREADS;
const TILE_CHANNELS = 4u * CHANNEL_THREADS;
const DEPTH = 16u;
// Four more words a row spread the transposed stores over the banks.
const PIXEL_STRIDE = TILE_PIXELS + 4u;

var<workgroup> tileX: array<f32, DEPTH * PIXEL_STRIDE>;
var<workgroup> tileWeight: array<f32, DEPTH * TILE_CHANNELS>;
var<workgroup> bases: array<u32, TILE_PIXELS>;

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let first = (group.y + group.z * groups.y) * TILE_PIXELS;
  if (first >= params.pixels) { return; }
  let channels = params.outputChannels;
  let paddedChannels = (channels + 3u) / 4u * 4u;
  let paddedInput = (params.inputChannels + 3u) / 4u * 4u;
  let firstChannel = group.x * TILE_CHANNELS;
  let pixel = thread / CHANNEL_THREADS * 4u;
  let channel = thread % CHANNEL_THREADS * 4u;
  let place = locate(first + thread);

  var sums: array<vec4f, 4>;
  var tapStart = 0u;
  for (var dt = 0u; dt < params.kernelTime; dt++) {
    for (var dy = 0u; dy < params.kernelHeight; dy++) {
      for (var dx = 0u; dx < params.kernelWidth; dx++) {
        workgroupBarrier();
        if (thread < TILE_PIXELS) { bases[thread] = address(place, dt, dy, dx); }
        for (var depth = 0u; depth < params.inputChannels; depth += DEPTH) {
          workgroupBarrier();
          for (var element = thread; element < TILE_PIXELS * DEPTH; element += 256u) {
            let row = element / DEPTH;
            let ci = depth + element % DEPTH;
            let base = bases[row];
            let hit = base != MISS && ci < params.inputChannels;
            tileX[element % DEPTH * PIXEL_STRIDE + row] = select(0.0, f32(x[select(0u, base + ci, hit)]), hit);
          }
          for (var element = thread; element < TILE_CHANNELS * DEPTH; element += 256u) {
            let ci = depth + element / TILE_CHANNELS;
            let co = firstChannel + element % TILE_CHANNELS;
            let hit = ci < params.inputChannels && co < channels;
            let index = tapStart + ci * paddedChannels + co;
            tileWeight[element] = select(0.0, f32(weight[select(0u, index, hit)]), hit);
          }
          workgroupBarrier();
          for (var k = 0u; k < DEPTH; k++) {
            let a = k * PIXEL_STRIDE + pixel;
            let b = k * TILE_CHANNELS + channel;
            let w = vec4f(tileWeight[b], tileWeight[b + 1u], tileWeight[b + 2u], tileWeight[b + 3u]);
            sums[0] = fma(vec4f(tileX[a]), w, sums[0]);
            sums[1] = fma(vec4f(tileX[a + 1u]), w, sums[1]);
            sums[2] = fma(vec4f(tileX[a + 2u]), w, sums[2]);
            sums[3] = fma(vec4f(tileX[a + 3u]), w, sums[3]);
          }
        }
        tapStart += paddedInput * paddedChannels;
      }
    }
  }

  for (var p = 0u; p < 4u; p++) {
    if (first + pixel + p >= params.pixels) { break; }
    let at = locate(first + pixel + p);
    let index = ((at.x * params.outputTime + at.y) * params.outputHeight + at.z) * params.outputWidth + at.w;
    for (var j = 0u; j < 4u; j++) {
      let co = firstChannel + channel + j;
      if (co < channels) {
        var value = sums[p][j];
        if (params.hasBias != 0u) { value += f32(bias[co]); }
        out[index * channels + co] = Scalar(value);
      }
    }
  }
}
