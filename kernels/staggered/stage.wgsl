// The beginning of a step that writes several lines of a picture at once (after ZipAR, He et al. 2024, arXiv 2412.04062): each
// lane gets the place that the schedule has for it, reads the token before that place, and draws the token at it.
// schedule[sequence, step] = (tokens read before this step, place of each lane or NO_PLACE).
// Grid: one thread a lane of a sequence. Workgroup memory: none. Bytes moved: about 60 a lane.

override WORKGROUP_SIZE: u32 = 8;

// Indices into a lane's sampler state, as kernels/sampling/state.ts names them.
const STATE_LENGTH = 8u;
const POSITION = 1u;
const STEP = 2u;
const NO_PLACE = 0xffffffffu;

struct Params {
  sequences: u32,
  lanes: u32,
  // Rows of the transformer for each sequence: 2 with guidance.
  copies: u32,
  steps: u32,
  idsPerRow: u32,
}

@group(0) @binding(0) var<storage, read> schedule: array<u32>;
@group(0) @binding(1) var<storage, read> counter: array<u32>;
@group(0) @binding(2) var<storage, read> ids: array<u32>;
// For each row: id and position of the last token of its prompt.
@group(0) @binding(3) var<storage, read> ends: array<vec2<u32>>;
@group(0) @binding(4) var<storage, read_write> inputs: array<u32>;
@group(0) @binding(5) var<storage, read_write> positions: array<u32>;
@group(0) @binding(6) var<storage, read_write> rowPositions: array<u32>;
@group(0) @binding(7) var<storage, read_write> state: array<u32>;
@group(0) @binding(8) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) invocation: vec3<u32>) {
  if (invocation.x >= params.sequences * params.lanes) {
    return;
  }
  let sequence = invocation.x / params.lanes;
  let lane = invocation.x % params.lanes;
  let step = counter[0];
  let line = (sequence * params.steps + min(step, params.steps - 1u)) * (params.lanes + 1u);
  let place = select(NO_PLACE, schedule[line + 1u + lane], step < params.steps);
  // A lane without a place leaves what no query sees, behind the others in the cache.
  let used = place != NO_PLACE;
  for (var copy = 0u; copy < params.copies; copy++) {
    let row = copy * params.sequences + sequence;
    let at = row * params.lanes + lane;
    let end = ends[row];
    let before = ids[sequence * params.idsPerRow + select(0u, place - 1u, used && place > 0u)];
    inputs[at] = select(select(before, end.x, place == 0u), 0u, !used);
    positions[at] = select(0u, end.y + place, used);
    if (lane == 0u) {
      rowPositions[row] = end.y + schedule[line];
    }
  }
  // The noise of a draw belongs to its place, so a sequence written line by line and one written token by token draw alike.
  let own = invocation.x * STATE_LENGTH;
  state[own + POSITION] = ends[sequence].y + 1u + select(0u, place, used);
  state[own + STEP] = place;
}
