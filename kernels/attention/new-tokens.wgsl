// Stands before a kernel that attends to new tokens straight out of their projections: the vectors of their heads, queries
// and keys turned by their rotary positions. Such a kernel has these bindings and params, all Fours of a head's vector:
//   projected         vec4<Scalar> [tokens, heads + 2 * key_value_heads, vectors]: queries, keys, values
//   rotary_positions  u32 [tokens]; positions past the table use its last row
//   table             vec4<f32> [table_rows, vectors]: cosines, then sines
// Pair i of a head is (x[i], x[i + half the dimension]), as in kernels/rotary, with its table. The dimension is a multiple
// of 8, so that a Four and its partner lie in different halves.

// Where a head's vector begins; heads count queries, then keys, then values.
fn vector_at(token: u32, head: u32) -> u32 {
  return (token * (params.heads + 2u * params.key_value_heads) + head) * params.vectors;
}

// Where a token's cosines begin.
fn angles_of(token: u32) -> u32 {
  return min(rotary_positions[token], params.table_rows - 1u) * params.vectors;
}

// Four elements of a query or key.
fn turned(vector: u32, angles: u32, four: u32) -> vec4<f32> {
  let half = params.vectors / 2u;
  let second = four >= half;
  let pair = select(four, four - half, second);
  let sine = table[angles + half + pair];
  let own = vec4<f32>(projected[vector + four]);
  let partner = vec4<f32>(projected[vector + select(four + half, pair, second)]);
  return own * table[angles + pair] + partner * select(-sine, sine, second);
}
