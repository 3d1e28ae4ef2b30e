// Stands before a kernel that reads new tokens' projections: the vectors of their heads, queries and keys turned by their
// rotary positions. Such a kernel has these bindings and params:
//   projected         Scalar [tokens, (heads + 2 * key_value_heads) * 2 * half_dimension]: queries, keys, values
//   rotary_positions  u32 [tokens]; positions past the table use its last row
//   table             f32 [table_rows, 2 * half_dimension]: half_dimension cosines, then half_dimension sines
// Pair i of a head is (x[i], x[i + half_dimension]), as in kernels/rotary, with its table. A head's dimension is filled up to
// whole Fours with zeros.

// The turn of four elements, and where they and their partners are in a head.
struct Turn {
  own: vec4<u32>,
  partner: vec4<u32>,
  // False for what fills heads up.
  inside: vec4<bool>,
  cosine: vec4<f32>,
  // Negative for the first elements of pairs.
  sine: vec4<f32>,
}

fn turn_of(token: u32, four: u32) -> Turn {
  let half = params.half_dimension;
  let angles = min(rotary_positions[token], params.table_rows - 1u) * 2u * half;
  let all = vec4(4u * four) + vec4(0u, 1u, 2u, 3u);
  let inside = all < vec4(2u * half);
  let own = min(all, vec4(2u * half - 1u));
  let second = own >= vec4(half);
  let pair = select(own, own - half, second);
  let at = vec4(angles) + pair;
  let cosine = vec4(table[at.x], table[at.y], table[at.z], table[at.w]);
  let sine = vec4(table[at.x + half], table[at.y + half], table[at.z + half], table[at.w + half]);
  return Turn(own, select(own + half, pair, second), inside, cosine, select(-sine, sine, second));
}

fn begin_of(token: u32, head: u32) -> u32 {
  return (token * (params.heads + 2u * params.key_value_heads) + head) * 2u * params.half_dimension;
}

fn four_at(begin: u32, index: vec4<u32>) -> vec4<f32> {
  let at = vec4(begin) + index;
  return vec4(f32(projected[at.x]), f32(projected[at.y]), f32(projected[at.z]), f32(projected[at.w]));
}

// Four elements of a query or a key; heads count queries first.
fn turned(token: u32, head: u32, turn: Turn) -> vec4<f32> {
  let begin = begin_of(token, head);
  let four = four_at(begin, turn.own) * turn.cosine + four_at(begin, turn.partner) * turn.sine;
  return select(vec4(0.0), four, turn.inside);
}

// As it is: four elements of a value.
fn unturned(token: u32, head: u32, turn: Turn) -> vec4<f32> {
  return select(vec4(0.0), four_at(begin_of(token, head), turn.own), turn.inside);
}
