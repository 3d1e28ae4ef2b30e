// What the first four lanes have, for kernels of few rows on subgroups.
fn ofFour(mine: f32) -> vec4f {
  return vec4f(
    subgroupBroadcast(mine, 0u),
    subgroupBroadcast(mine, 1u),
    subgroupBroadcast(mine, 2u),
    subgroupBroadcast(mine, 3u),
  );
}
