// Gradient of the row losses of softmax cross-entropy: dlogits = rowGradient * (softmax(logits) - onehot(target)).
// Grid: ceil(vocabulary / (WORKGROUP_SIZE * 4)) workgroups a row, rows after one another, spread over x and y.
// Tile: WORKGROUP_SIZE * 4 logits. Workgroup memory: none.
// Bytes moved: rows * (vocabulary * (sizeof(Scalar) + 4) + 12). Flops: 4 a logit.

override WORKGROUP_SIZE: u32 = 64;

const LOGITS_PER_THREAD = 4u;

struct Params {
  rows: u32,
  vocabulary: u32,
  chunksPerRow: u32,
}

@group(0) @binding(0) var<storage, read> logits: array<Scalar>;
@group(0) @binding(1) var<storage, read> targets: array<i32>;
@group(0) @binding(2) var<storage, read> logSumExp: array<f32>;
@group(0) @binding(3) var<storage, read> rowGradient: array<f32>;
@group(0) @binding(4) var<storage, read_write> logitsGradient: array<f32>;
@group(0) @binding(5) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
  @builtin(workgroup_id) workgroupId: vec3<u32>,
  @builtin(num_workgroups) workgroupCount: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let chunk = workgroupId.x + workgroupId.y * workgroupCount.x;
  let row = chunk / params.chunksPerRow;
  if (row >= params.rows) {
    return;
  }
  let first = (chunk % params.chunksPerRow) * WORKGROUP_SIZE * LOGITS_PER_THREAD + lane;
  let start = row * params.vocabulary;
  let wanted = targets[row];
  var scale = rowGradient[row];
  if (wanted < 0) {
    scale = 0.0;
  }
  let total = logSumExp[row];
  for (var j = 0u; j < LOGITS_PER_THREAD; j++) {
    let id = first + j * WORKGROUP_SIZE;
    if (id < params.vocabulary) {
      let probability = exp(f32(logits[start + id]) - total);
      logitsGradient[start + id] = scale * (probability - select(0.0, 1.0, i32(id) == wanted));
    }
  }
}
