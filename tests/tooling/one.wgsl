// Writes 3 * i + 1 to out[i]: the smallest shader whose result can be wrong.
@group(0) @binding(0) var<storage, read_write> out: array<u32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x < arrayLength(&out)) {
    out[id.x] = 3u * id.x + 1u;
  }
}
