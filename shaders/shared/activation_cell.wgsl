// The functions of a cell, fixed when its pipeline is made: the others are dead code there.
override gate_kind: u32 = 1u;
override gate_a: f32 = 0.0;
override gate_b: f32 = 0.0;
override gate_c: f32 = 0.0;
override candidate_kind: u32 = 2u;
override candidate_a: f32 = 0.0;
override candidate_b: f32 = 0.0;
override candidate_c: f32 = 0.0;
override output_kind: u32 = 2u;
override output_a: f32 = 0.0;
override output_b: f32 = 0.0;
override output_c: f32 = 0.0;

fn gate_activation(x: vec4<f32>) -> vec4<f32> {
    return activate(gate_kind, gate_a, gate_b, gate_c, x);
}

fn candidate_activation(x: vec4<f32>) -> vec4<f32> {
    return activate(candidate_kind, candidate_a, candidate_b, candidate_c, x);
}

fn output_activation(x: vec4<f32>) -> vec4<f32> {
    return activate(output_kind, output_a, output_b, output_c, x);
}
