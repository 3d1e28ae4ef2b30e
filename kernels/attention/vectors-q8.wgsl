// As vectors-plain.wgsl says, in 8 bits: an f32 scale, then levels -127..127 as signed bytes, element i in byte i % 4.
// The scale is the vector's largest magnitude / 127, so each element is within half a scale of what it was.

const SCALES: u32 = 1;
const LARGEST_LEVEL: f32 = 127;
// Below it the inverse of a scale might be no number; such vectors count as 0.
const LEAST_SCALE: f32 = 1e-37;
alias Four = KeyValue;

fn widen(four: Four) -> vec4<f32> {
  // To the top of the word and back down, which spreads the sign.
  return vec4<f32>(bitcast<vec4<i32>>(vec4(four) << vec4(24u, 16u, 8u, 0u)) >> vec4(24u));
}

fn scale_of(four: Four) -> f32 {
  return bitcast<f32>(four);
}

fn scale_for(largest: f32) -> f32 {
  let scale = largest / LARGEST_LEVEL;
  return select(0.0, scale, scale >= LEAST_SCALE);
}

fn narrow(values: vec4<f32>, scale: f32) -> Four {
  let inverse = select(0.0, 1.0 / scale, scale > 0.0);
  let levels = bitcast<vec4<u32>>(vec4<i32>(round(values * inverse)));
  let bytes = (levels & vec4(255u)) << vec4(0u, 8u, 16u, 24u);
  return bytes.x | bytes.y | bytes.z | bytes.w;
}

fn narrow_scale(scale: f32) -> Four {
  return bitcast<u32>(scale);
}
