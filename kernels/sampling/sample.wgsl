// One token a row: grammar range, top-k, top-p, then the Gumbel maximum argmax(logit / temperature + noise(seed, position,
// id)), which is a draw from the softmax. The id goes to the row's place in `ids` and to the next step's inputs, and the
// row's position and step advance, so that a recorded step can be replayed without the host.
//
// Top-k and top-p are exact selections of the largest by (logit, lower id first): a radix select on the bits of the logits,
// 8 bits a pass, and of the ids where equal logits straddle the limit. Top-k counts candidates; top-p adds up their
// probabilities in units of 2^-31 as whole numbers, so the sums do not depend on the order of the threads.
//
// Grid: one workgroup a row. Workgroup memory: 1156 + 8 * WORKGROUP_SIZE bytes; WORKGROUP_SIZE is a multiple of 16.
// Bytes moved: at most 19 readings of the row's range (2 to 4 without top-k and top-p). Flops: about 30 a candidate.

override WORKGROUP_SIZE: u32 = 64;

// Indices into a row's state, as kernels/sampling/state.ts names them.
const STATE_LENGTH = 8u;
const SEED = 0u;
const POSITION = 1u;
const STEP = 2u;
const TOP_K = 3u;
const TEMPERATURE = 4u;
const TOP_P = 5u;

struct Params {
  rows: u32,
  // Logits of a row, and the id of the first.
  count: u32,
  firstId: u32,
  // Allowed ranges of a row; steps beyond the last use the last.
  rangesPerRow: u32,
  // Rows that share a row of ranges.
  rowsPerRanges: u32,
  idsPerRow: u32,
  // Rows that share a row of ids.
  rowsPerIds: u32,
  inputsPerRow: u32,
}

@group(0) @binding(0) var<storage, read> logits: array<Scalar>;
@group(0) @binding(1) var<storage, read> ranges: array<u32>;
@group(0) @binding(2) var<storage, read_write> state: array<u32>;
@group(0) @binding(3) var<storage, read_write> ids: array<u32>;
@group(0) @binding(4) var<storage, read_write> nextInputs: array<u32>;
@group(0) @binding(5) var<uniform> params: Params;

const FAR_BELOW: f32 = -1e30;
const EVERY_ID = 0xffffffffu;

struct Settings {
  seed: u32,
  position: u32,
  step: u32,
  topK: u32,
  temperature: f32,
  topP: f32,
  // The allowed ids, and the part of them that has logits, as indices into the row.
  lowest: u32,
  allowed: u32,
  first: u32,
  end: u32,
}

// The candidates with a key above `key`, and of those with just that key the ids up to `id`.
struct Limit {
  key: u32,
  id: u32,
}

// Where the radix select stands. Stages 0..3 find the 8-bit digits of a limit's key for top-k and 4..7 those of its id,
// 8..15 the same for top-p.
struct Search {
  stage: u32,
  // Digits found so far, of the key and then of the id.
  prefix: u32,
  key: u32,
  // Weight still to be taken below the digits found.
  remaining: u32,
  // Candidates are weighed by their probability times this, or counted where it is 0.
  scale: f32,
  // The limit of the selection before this one.
  outer: Limit,
}

const TOP_P_STAGES = 8u;
const NO_STAGE = 16u;

var<workgroup> sharedSettings: Settings;
var<workgroup> search: Search;
var<workgroup> histogram: array<atomic<u32>, 256>;
var<workgroup> groupSums: array<u32, 16>;
var<workgroup> bestValue: array<f32, WORKGROUP_SIZE>;
var<workgroup> bestIndex: array<u32, WORKGROUP_SIZE>;

// The bits of a float in an order of whole numbers; both zeros are one key, as they are equal numbers.
fn orderedKey(value: f32) -> u32 {
  let bits = bitcast<u32>(value);
  if (bits == 0x80000000u) {
    return 0x80000000u;
  }
  return select(bits | 0x80000000u, ~bits, bits >= 0x80000000u);
}

fn within(limit: Limit, key: u32, id: u32) -> bool {
  return key > limit.key || (key == limit.key && id <= limit.id);
}

fn multiplyHigh(a: u32, b: u32) -> u32 {
  let low = (a & 0xffffu) * (b & 0xffffu);
  let cross = (a & 0xffffu) * (b >> 16u);
  let cross2 = (a >> 16u) * (b & 0xffffu);
  let carry = (low >> 16u) + (cross & 0xffffu) + (cross2 & 0xffffu);
  return (a >> 16u) * (b >> 16u) + (cross >> 16u) + (cross2 >> 16u) + (carry >> 16u);
}

// Philox 2x32 of 10 rounds (Salmon et al. 2011), key: seed, counter: (id, position); its first word.
fn randomBits(seed: u32, position: u32, id: u32) -> u32 {
  var x = id;
  var y = position;
  var key = seed;
  for (var i = 0u; i < 10u; i++) {
    let high = multiplyHigh(0xd256d193u, x);
    let low = 0xd256d193u * x;
    x = high ^ key ^ y;
    y = low;
    key += 0x9e3779b9u;
  }
  return x;
}

// -log(-log(u)) for a uniform u = 1 - v, v = (bits + 1/2) / 2^32. Where v is small -log(1 - v) is computed as
// 2 artanh(v / (2 - v)), since 1 - v would have lost its digits.
fn gumbel(bits: u32) -> f32 {
  var exponential: f32;
  if (bits < 0x80000000u) {
    let v = (f32(bits) + 0.5) * 2.3283064365386963e-10;
    let s = v / (2.0 - v);
    let s2 = s * s;
    exponential = 2.0 * s * (1.0 + s2 * (1.0 / 3.0 + s2 * (1.0 / 5.0 + s2 * (1.0 / 7.0 + s2 * (1.0 / 9.0
      + s2 * (1.0 / 11.0 + s2 * (1.0 / 13.0 + s2 * (1.0 / 15.0))))))));
  } else {
    exponential = -log((f32(~bits) + 0.5) * 2.3283064365386963e-10);
  }
  return -log(exponential);
}

// Reductions go by 16 groups of lanes and not by halves: a barrier in an unrolled tree makes software adapters compile long.
// Index of the largest value over the workgroup, the lowest index on ties.
fn largest(lane: u32, value: f32, index: u32) -> u32 {
  bestValue[lane] = value;
  bestIndex[lane] = index;
  workgroupBarrier();
  if (lane < 16u) {
    keepLargest(lane, lane + 16u, WORKGROUP_SIZE, 16u);
  }
  workgroupBarrier();
  if (lane == 0u) {
    keepLargest(0u, 1u, 16u, 1u);
  }
  return workgroupUniformLoad(&bestIndex[0]);
}

fn keepLargest(into: u32, first: u32, end: u32, stride: u32) {
  var value = bestValue[into];
  var index = bestIndex[into];
  for (var i = first; i < end; i += stride) {
    if (bestValue[i] > value || (bestValue[i] == value && bestIndex[i] < index)) {
      value = bestValue[i];
      index = bestIndex[i];
    }
  }
  bestValue[into] = value;
  bestIndex[into] = index;
}

fn sumOverWorkgroup(lane: u32, value: f32) -> f32 {
  bestValue[lane] = value;
  workgroupBarrier();
  if (lane < 16u) {
    var sum = 0.0;
    for (var i = lane; i < WORKGROUP_SIZE; i += 16u) {
      sum += bestValue[i];
    }
    bestValue[lane] = sum;
  }
  workgroupBarrier();
  if (lane == 0u) {
    for (var i = 1u; i < 16u; i++) {
      bestValue[0] += bestValue[i];
    }
  }
  return workgroupUniformLoad(&bestValue[0]);
}

// The digit whose bin, from the top, makes the weights reach what remains; then on to the next stage. One thread runs it.
fn advanceSearch(settings: Settings) {
  let stage = search.stage;
  if (stage == TOP_P_STAGES) {
    var total = 0u;
    for (var group = 0u; group < 16u; group++) {
      total += groupSums[group];
    }
    search.remaining = clamp(u32(ceil(f32(total) * settings.topP)), 1u, max(total, 1u));
  }
  var remaining = search.remaining;
  var group = 15u;
  while (group > 0u && groupSums[group] < remaining) {
    remaining -= groupSums[group];
    group--;
  }
  var bin = group * 16u + 15u;
  var weight = atomicLoad(&histogram[bin]);
  while (bin > group * 16u && weight < remaining) {
    remaining -= weight;
    bin--;
    weight = atomicLoad(&histogram[bin]);
  }
  search.remaining = remaining;
  search.prefix = (search.prefix << 8u) | bin;
  search.stage = stage + 1u;
  if (stage % 8u == 3u) {
    search.key = search.prefix;
    search.prefix = 0u;
  }
  // Ids matter only where equal logits straddle the limit; their complements, so that the lowest are taken.
  let wholeBin = stage % 8u == 3u && weight <= remaining;
  if (wholeBin || stage % 8u == 7u) {
    search.outer = Limit(search.key, select(~search.prefix, EVERY_ID, wholeBin));
    search.prefix = 0u;
    search.stage = select(NO_STAGE, TOP_P_STAGES, stage < TOP_P_STAGES && settings.topP < 1.0);
  }
}

// The limit top-k and top-p leave of the row's candidates.
fn selectLargest(lane: u32, start: u32, maximum: f32, settings: Settings) -> Limit {
  let first = settings.first;
  let end = settings.end;
  if (lane == 0u) {
    let byCount = settings.topK > 0u && settings.topK < end - first;
    search.stage = select(select(NO_STAGE, TOP_P_STAGES, settings.topP < 1.0), 0u, byCount);
    search.prefix = 0u;
    search.remaining = settings.topK;
    search.scale = 0.0;
    search.outer = Limit(0u, EVERY_ID);
  }
  var now = workgroupUniformLoad(&search);
  while (now.stage != NO_STAGE) {
    if (now.stage == TOP_P_STAGES) {
      var sum = 0.0;
      for (var i = first + lane; i < end; i += WORKGROUP_SIZE) {
        let logit = f32(logits[start + i]);
        if (within(now.outer, orderedKey(logit), i)) {
          sum += exp((logit - maximum) / settings.temperature);
        }
      }
      let scale = 2147483648.0 / sumOverWorkgroup(lane, sum);
      now.scale = scale;
      if (lane == 0u) {
        search.scale = scale;
      }
    }
    for (var bin = lane; bin < 256u; bin += WORKGROUP_SIZE) {
      atomicStore(&histogram[bin], 0u);
    }
    workgroupBarrier();
    let digit = now.stage % 4u;
    let byId = now.stage % 8u >= 4u;
    let shift = 24u - 8u * digit;
    for (var i = first + lane; i < end; i += WORKGROUP_SIZE) {
      let logit = f32(logits[start + i]);
      let own = orderedKey(logit);
      let digits = select(own, ~i, byId);
      let matches = digit == 0u || ((digits >> shift) >> 8u) == now.prefix;
      if (matches && (own == now.key || !byId) && within(now.outer, own, i)) {
        var weight = 1u;
        if (now.scale != 0.0) {
          weight = u32(exp((logit - maximum) / settings.temperature) * now.scale + 0.5);
        }
        atomicAdd(&histogram[(digits >> shift) & 255u], weight);
      }
    }
    workgroupBarrier();
    for (var group = lane; group < 16u; group += WORKGROUP_SIZE) {
      var sum = 0u;
      for (var bin = 0u; bin < 16u; bin++) {
        sum += atomicLoad(&histogram[group * 16u + bin]);
      }
      groupSums[group] = sum;
    }
    workgroupBarrier();
    if (lane == 0u) {
      advanceSearch(settings);
    }
    now = workgroupUniformLoad(&search);
  }
  return now.outer;
}

fn loadSettings(row: u32) -> Settings {
  let base = row * STATE_LENGTH;
  var settings: Settings;
  settings.seed = state[base + SEED];
  settings.position = state[base + POSITION];
  settings.step = state[base + STEP];
  settings.topK = state[base + TOP_K];
  settings.temperature = bitcast<f32>(state[base + TEMPERATURE]);
  settings.topP = bitcast<f32>(state[base + TOP_P]);
  let place = (row / params.rowsPerRanges * params.rangesPerRow + min(settings.step, params.rangesPerRow - 1u)) * 2u;
  let lowest = ranges[place];
  let past = max(ranges[place + 1u], lowest);
  settings.lowest = lowest;
  settings.allowed = past - lowest;
  settings.first = clamp(lowest, params.firstId, params.firstId + params.count) - params.firstId;
  settings.end = clamp(past, params.firstId, params.firstId + params.count) - params.firstId;
  return settings;
}

fn sample(lane: u32, row: u32, settings: Settings) -> u32 {
  let first = settings.first;
  let end = settings.end;
  // A forced id needs no logits, and a range without logits has nothing to choose by.
  if (settings.allowed <= 1u || end <= first) {
    return settings.lowest;
  }
  let start = row * params.count;
  var value = FAR_BELOW;
  var index = end - 1u;
  for (var i = first + lane; i < end; i += WORKGROUP_SIZE) {
    let logit = f32(logits[start + i]);
    if (logit > value) {
      value = logit;
      index = i;
    }
  }
  let top = largest(lane, value, index);
  if (settings.temperature == 0.0) {
    return params.firstId + top;
  }
  let maximum = f32(logits[start + top]);
  let limit = selectLargest(lane, start, maximum, settings);
  var noisy = FAR_BELOW;
  var drawn = end - 1u;
  for (var i = first + lane; i < end; i += WORKGROUP_SIZE) {
    let logit = f32(logits[start + i]);
    if (within(limit, orderedKey(logit), i)) {
      let noise = gumbel(randomBits(settings.seed, settings.position, params.firstId + i));
      let candidate = max((logit - maximum) / settings.temperature, FAR_BELOW * 0.5) + noise;
      if (candidate > noisy) {
        noisy = candidate;
        drawn = i;
      }
    }
  }
  return params.firstId + largest(lane, noisy, drawn);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(workgroup_id) workgroupId: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let row = workgroupId.x;
  if (lane == 0u) {
    sharedSettings = loadSettings(row);
  }
  let settings = workgroupUniformLoad(&sharedSettings);
  let id = sample(lane, row, settings);
  if (lane == 0u) {
    if (settings.step < params.idsPerRow) {
      ids[row / params.rowsPerIds * params.idsPerRow + settings.step] = id;
    }
    for (var copy = 0u; copy < params.inputsPerRow; copy++) {
      nextInputs[copy * params.rows + row] = id;
    }
    state[row * STATE_LENGTH + POSITION] = settings.position + 1u;
    state[row * STATE_LENGTH + STEP] = settings.step + 1u;
  }
}
