// The simple RNN; equations in src/cell/rnn.rs.
const NUM_GATES = 1u;
const NUM_STATES = 1u;

fn cell_update(gx: array<f32, NUM_GATES>, gh: array<f32, NUM_GATES>, state: array<f32, NUM_STATES>) -> array<f32, NUM_STATES> {
    return array<f32, NUM_STATES>(candidate_activation(gx[0] + gh[0]));
}
