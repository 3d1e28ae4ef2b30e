// First stage of the embedding gradient: chains the rows that share an id, in ascending order.
//   head[id] = first row with this id;  next[row] = next row with the same id, or `rows` at the end of the chain.
// `head` is a sparse set (Briggs and Torczon 1993): entries of ids that do not occur stay whatever they were, and the
// reader tells them by ids[head[id]] != id. So nothing of the size of the vocabulary has to be cleared.
// Grid: blocks of WORKGROUP_SIZE rows. Tile: one row a lane, all ids scanned at addresses uniform in the workgroup.
// Workgroup memory: none. Bytes moved: ids, next and at most `rows` entries of head. Integer operations: rows^2.

override WORKGROUP_SIZE: u32 = 64;

struct Params {
  rows: u32,
  vocabulary: u32,
}

@group(0) @binding(0) var<storage, read> ids: array<u32>;
@group(0) @binding(1) var<storage, read_write> head: array<u32>;
@group(0) @binding(2) var<storage, read_write> next: array<u32>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) invocation: vec3<u32>) {
  let row = invocation.x;
  let id = ids[min(row, params.rows - 1u)];
  var earlier = 0u;
  var following = params.rows;
  for (var other = 0u; other < params.rows; other++) {
    let same = ids[other] == id;
    earlier += select(0u, 1u, same && other < row);
    following = min(following, select(params.rows, other, same && other > row));
  }
  if (row < params.rows) {
    next[row] = following;
    if (earlier == 0u && id < params.vocabulary) {
      head[id] = row;
    }
  }
}
