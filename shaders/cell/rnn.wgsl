// The simple RNN, one unit of four rows; equations in src/cell/rnn.rs.
const NUM_GATES = 1u;
const NUM_STATES = 1u;
const RESET_GATE = NO_GATE;
const RESET_TARGET = NO_GATE;

fn cell_update(gx: array<vec4<f32>, NUM_GATES>, gh: array<vec4<f32>, NUM_GATES>, state: array<vec4<f32>, NUM_STATES>, peephole: array<f32, NUM_PEEPHOLES>) -> array<vec4<f32>, NUM_STATES> {
    return array<vec4<f32>, NUM_STATES>(candidate_activation(gx[0] + gh[0]));
}
