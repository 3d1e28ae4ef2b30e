// Cost of a dispatch: one workgroup of one invocation that does nothing.
// Grid: [1]. Workgroup memory: none. Bytes: none. Flops: none.
@group(0) @binding(0) var<storage, read_write> untouched: array<u32>;

@compute @workgroup_size(1)
fn main() {
}
