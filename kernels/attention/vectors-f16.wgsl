// As vectors-plain.wgsl says, in f16: two pairs to four elements, packed so that no adapter needs f16. Magnitudes above the
// largest half become that one.
// Rounded to the nearest half by hand, ties to even: compilers that see a packed value unpacked again keep the unrounded one.

const SCALES: u32 = 0;
const LARGEST: f32 = 65504;
const LEAST_NORMAL: f32 = 6.103515625e-5;
// Subnormal halves in 1.
const SUBNORMALS: f32 = 16777216;
alias Four = vec2<KeyValue>;

fn widen(four: Four) -> vec4<f32> {
  return vec4(unpack2x16float(four.x), unpack2x16float(four.y));
}

fn scale_of(four: Four) -> f32 {
  return 1.0;
}

fn scale_for(largest: f32) -> f32 {
  return 1.0;
}

fn narrow(values: vec4<f32>, scale: f32) -> Four {
  let kept = clamp(values, vec4(-LARGEST), vec4(LARGEST));
  let bits = bitcast<vec4<u32>>(kept);
  let normal = bitcast<vec4<f32>>((bits + vec4(0xfffu) + ((bits >> vec4(13u)) & vec4(1u))) & vec4(0xffffe000u));
  let subnormal = round(kept * SUBNORMALS) / SUBNORMALS;
  let rounded = select(subnormal, normal, abs(kept) >= vec4(LEAST_NORMAL));
  return vec2(pack2x16float(rounded.xy), pack2x16float(rounded.zw));
}

fn narrow_scale(scale: f32) -> Four {
  return vec2(0u);
}
