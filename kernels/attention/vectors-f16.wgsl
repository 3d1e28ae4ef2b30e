// As vectors-plain.wgsl says, in f16: two pairs to four elements, packed so that no adapter needs f16. Magnitudes above the
// largest half become that one.

const SCALES: u32 = 0;
const LARGEST: f32 = 65504;
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
  return vec2(pack2x16float(kept.xy), pack2x16float(kept.zw));
}

fn narrow_scale(scale: f32) -> Four {
  return vec2(0u);
}
