// The end of a step of Jacobi decoding: a window of drafted tokens has been read at once, and each place has drawn the
// token behind it. What was drawn behind tokens that turned out right is kept, and the window moves behind it; what was
// drawn beyond becomes the next drafts (speculative Jacobi decoding, Teng et al. 2024, arXiv 2410.01699). The noise of a
// draw is keyed by its place, so a token that is drawn again from the same prefix comes out the same.
// Grid: one thread a sequence. Workgroup memory: none. Bytes moved: about 40 a place of the windows.

override WORKGROUP_SIZE: u32 = 8;

// Indices into a place's sampler state, as kernels/sampling/state.ts names them.
const STATE_LENGTH = 8u;
const POSITION = 1u;
const STEP = 2u;
// Head of a row of `accepted`, as kernels/jacobi/index.ts lays it out.
const DONE = 0u;
const LIMIT = 1u;
const PERIOD = 2u;
const HEAD = 3u;

struct Params {
  sequences: u32,
  window: u32,
  // Rows of the transformer for each sequence: 2 with guidance.
  copies: u32,
  rangesPerRow: u32,
  // Words of a row of `accepted`.
  stride: u32,
}

@group(0) @binding(0) var<storage, read> drawn: array<u32>;
@group(0) @binding(1) var<storage, read> ranges: array<u32>;
@group(0) @binding(2) var<storage, read_write> inputs: array<u32>;
@group(0) @binding(3) var<storage, read_write> positions: array<u32>;
@group(0) @binding(4) var<storage, read_write> rowPositions: array<u32>;
@group(0) @binding(5) var<storage, read_write> state: array<u32>;
@group(0) @binding(6) var<storage, read_write> accepted: array<u32>;
@group(0) @binding(7) var<uniform> params: Params;

// A guess at the token of a step before anything was drawn for it: the only one allowed, what came a period before (in a
// picture the token above), or the one before it.
fn guess(sequence: u32, step: u32, done: u32, before: u32) -> u32 {
  let place = (sequence * params.rangesPerRow + min(step, params.rangesPerRow - 1u)) * 2u;
  let head = sequence * params.stride;
  let period = accepted[head + PERIOD];
  var id = before;
  if (period > 0u && step >= period && step - period < done) {
    id = accepted[head + HEAD + step - period];
  }
  let lowest = ranges[place];
  return select(id, lowest, id < lowest || id >= ranges[place + 1u]);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) invocation: vec3<u32>) {
  let sequence = invocation.x;
  if (sequence >= params.sequences) {
    return;
  }
  let window = params.window;
  let head = sequence * params.stride;
  let done = accepted[head + DONE];
  let limit = accepted[head + LIMIT];
  if (done >= limit) {
    return;
  }
  let first = sequence * window;
  var kept = 1u;
  while (kept < window && inputs[first + kept] == drawn[first + kept - 1u]) {
    kept++;
  }
  kept = min(kept, limit - done);
  for (var i = 0u; i < kept; i++) {
    accepted[head + HEAD + done + i] = drawn[first + i];
  }
  let now = done + kept;
  accepted[head + DONE] = now;

  var before = drawn[first + kept - 1u];
  for (var i = 0u; i < window; i++) {
    if (i > 0u) {
      let place = kept - 1u + i;
      if (place < window) {
        before = drawn[first + place];
      } else {
        before = guess(sequence, now + i - 1u, now, before);
      }
    }
    for (var copy = 0u; copy < params.copies; copy++) {
      let at = (copy * params.sequences + sequence) * window + i;
      inputs[at] = before;
      positions[at] += kept;
    }
    // The draw has moved both on by one already.
    let own = (first + i) * STATE_LENGTH;
    state[own + POSITION] += kept - 1u;
    state[own + STEP] += kept - 1u;
  }
  for (var copy = 0u; copy < params.copies; copy++) {
    rowPositions[copy * params.sequences + sequence] += kept;
  }
}
