// Joins the chunk statistics of the channels of a group (Chan, Golub and LeVeque 1979: two sets with means m1, m2 and
// sums of squared differences s1, s2 have s1 + s2 + (m1 - m2)^2 n1 n2 / (n1 + n2)), here against the common mean.
// Grid: x and y = frames * groups / WORKGROUP_SIZE, one thread a group. Workgroup memory: 0 bytes.
// Bytes: partials twice, statistics once. Flops: 6 a partial.

struct Params {
  pixels: u32,
  channels: u32,
  chunks: u32,
  pixelsPerChunk: u32,
  groupSize: u32,
  count: u32,
  epsilon: f32,
}

override WORKGROUP_SIZE: u32 = 64;

@group(0) @binding(0) var<storage, read> partial: array<f32>;
// [3, frames, groups]: mean, 1 / sqrt(variance + epsilon), variance (biased).
@group(0) @binding(1) var<storage, read_write> statistics: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

fn pixelsOf(chunk: u32) -> f32 {
  return f32(min(params.pixelsPerChunk, params.pixels - chunk * params.pixelsPerChunk));
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
  @builtin(workgroup_id) workgroupId: vec3u,
  @builtin(num_workgroups) workgroupCount: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let index = (workgroupId.x + workgroupId.y * workgroupCount.x) * WORKGROUP_SIZE + thread;
  if (index >= params.count) { return; }
  let groups = params.channels / params.groupSize;
  let frame = index / groups;
  let first = frame * params.chunks * 2u * params.channels + index % groups * params.groupSize;
  let total = f32(params.pixels) * f32(params.groupSize);

  var mean = 0.0;
  for (var chunk = 0u; chunk < params.chunks; chunk++) {
    let share = pixelsOf(chunk) / total;
    let at = first + chunk * 2u * params.channels;
    for (var channel = 0u; channel < params.groupSize; channel++) { mean = fma(partial[at + channel], share, mean); }
  }
  var squares = 0.0;
  for (var chunk = 0u; chunk < params.chunks; chunk++) {
    let pixels = pixelsOf(chunk);
    let at = first + chunk * 2u * params.channels;
    for (var channel = 0u; channel < params.groupSize; channel++) {
      let difference = partial[at + channel] - mean;
      squares += fma(difference * difference, pixels, partial[at + params.channels + channel]);
    }
  }
  let variance = squares / total;
  statistics[index] = mean;
  statistics[params.count + index] = inverseSqrt(variance + params.epsilon);
  statistics[2u * params.count + index] = variance;
}
