// Stands before a kernel that reads or writes keys and values: how a head's vector of one position lies in memory. Each is
// SCALES Fours of scale, then one Four for every four elements; an element is the widened one times the vector's scale.
// Here as they are.

const SCALES: u32 = 0;
alias Four = vec4<KeyValue>;

fn widen(four: Four) -> vec4<f32> {
  return vec4<f32>(four);
}

fn scale_of(four: Four) -> f32 {
  return 1.0;
}

fn scale_for(largest: f32) -> f32 {
  return 1.0;
}

fn narrow(values: vec4<f32>, scale: f32) -> Four {
  return vec4<KeyValue>(values);
}

fn narrow_scale(scale: f32) -> Four {
  return vec4<KeyValue>(vec4(scale));
}
