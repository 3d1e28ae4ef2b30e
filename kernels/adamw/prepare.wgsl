// Second stage of the global gradient norm, and the numbers of this step: advances the step counter, sets the learning
// rate by the schedule, the bias corrections and the clip scale, all in the state buffer, so that a recorded step can be
// replayed. A norm that is not finite advances nothing and raises the skip flag for the update kernel.
// Grid: one workgroup, each thread a strided share of the partial sums, then a fixed tree.
// Workgroup memory: 4 * WORKGROUP_SIZE bytes. Bytes moved: 4 a partial sum. Flops: 1 a partial sum.

override WORKGROUP_SIZE: u32 = 128;

// Indices into the state buffer, as kernels/adamw/state.ts names them.
const STEP = 0u;
const LEARNING_RATE = 1u;
const GRADIENT_SCALE = 2u;
const GRADIENT_NORM = 3u;
const SKIP = 4u;
const SKIPPED_STEPS = 5u;
const FIRST_CORRECTION = 6u;
const SECOND_CORRECTION = 7u;
const PEAK_LEARNING_RATE = 8u;
const FINAL_LEARNING_RATE = 9u;
const WARMUP_STEPS = 10u;
const TOTAL_STEPS = 11u;
const SCHEDULE = 12u;
const MAXIMUM_NORM = 13u;
const ACCUMULATION_SCALE = 14u;
const HOLD_STEPS = 15u;

const CONSTANT = 0.0;
const COSINE = 1.0;

struct Params {
  count: u32,
  firstDecay: f32,
  firstGain: f32,
  secondDecay: f32,
  secondGain: f32,
}

@group(0) @binding(0) var<storage, read> partial: array<f32>;
@group(0) @binding(1) var<storage, read_write> state: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

var<workgroup> sums: array<f32, WORKGROUP_SIZE>;

// cos(pi * x) for x in 0..1 as a polynomial (error 6e-8): the built-in is only good to 5e-4 and differs by adapter.
fn cosineOfHalfTurns(x: f32) -> f32 {
  let y = 3.14159265 * (0.5 - x);
  let y2 = y * y;
  return y * (1.0 + y2 * (-1.0 / 6.0 + y2 * (1.0 / 120.0 + y2 * (-1.0 / 5040.0
    + y2 * (1.0 / 362880.0 + y2 * (-1.0 / 39916800.0))))));
}

fn scheduled(step: f32) -> f32 {
  let peak = state[PEAK_LEARNING_RATE];
  let warmup = state[WARMUP_STEPS];
  if (step < warmup) {
    return peak * step / warmup;
  }
  if (state[SCHEDULE] == CONSTANT) {
    return peak;
  }
  let decayFrom = warmup + state[HOLD_STEPS];
  let progress = clamp((step - decayFrom) / max(state[TOTAL_STEPS] - decayFrom, 1.0), 0.0, 1.0);
  let last = state[FINAL_LEARNING_RATE];
  if (state[SCHEDULE] == COSINE) {
    return last + (peak - last) * 0.5 * (1.0 + cosineOfHalfTurns(progress));
  }
  return last + (peak - last) * (1.0 - progress);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(local_invocation_index) lane: u32) {
  var sum = 0.0;
  for (var i = lane; i < params.count; i += WORKGROUP_SIZE) {
    sum += partial[i];
  }
  sums[lane] = sum;
  workgroupBarrier();
  for (var stride = WORKGROUP_SIZE / 2u; stride > 0u; stride /= 2u) {
    if (lane < stride) {
      sums[lane] += sums[lane + stride];
    }
    workgroupBarrier();
  }
  if (lane != 0u) {
    return;
  }
  // The exponent bits tell infinities and NaN apart where the compiler may assume that neither occurs.
  let bits = bitcast<u32>(sums[0]);
  if ((bits & 0x7f800000u) == 0x7f800000u) {
    state[SKIP] = 1.0;
    state[SKIPPED_STEPS] += 1.0;
    state[GRADIENT_NORM] = sums[0];
    return;
  }
  let norm = sqrt(sums[0]) * state[ACCUMULATION_SCALE];
  var scale = state[ACCUMULATION_SCALE];
  if (norm > state[MAXIMUM_NORM]) {
    scale *= state[MAXIMUM_NORM] / (norm + 1e-6);
  }
  let step = state[STEP] + 1.0;
  state[STEP] = step;
  state[LEARNING_RATE] = scheduled(step);
  state[GRADIENT_SCALE] = scale;
  state[GRADIENT_NORM] = norm;
  state[SKIP] = 0.0;
  // 1 - beta^step by recurrence on the complement, which keeps its digits where a power of beta would cancel them.
  state[FIRST_CORRECTION] = params.firstDecay * state[FIRST_CORRECTION] + params.firstGain;
  state[SECOND_CORRECTION] = params.secondDecay * state[SECOND_CORRECTION] + params.secondGain;
}
