// The simple RNN, one unit; equations in src/cell/rnn.rs.
const NUM_GATES = 1u;
const NUM_STATES = 1u;
const RESET_GATE = NO_GATE;
const RESET_TARGET = NO_GATE;

fn cell_update(gx: array<Rows, NUM_GATES>, gh: array<Rows, NUM_GATES>, state: array<Rows, NUM_STATES>, peephole: array<f32, NUM_PEEPHOLES>) -> array<Rows, NUM_STATES> {
    return array<Rows, NUM_STATES>(candidate_activation(gx[0] + gh[0]));
}
