// The GRU that resets after the recurrent product, one unit; equations in src/cell/gru.rs.
const NUM_GATES = 3u;
const NUM_STATES = 1u;
const RESET_GATE = NO_GATE;
const RESET_TARGET = NO_GATE;
const RESET = 0u;
const UPDATE = 1u;
const NEW = 2u;

fn cell_update(gx: array<Rows, NUM_GATES>, gh: array<Rows, NUM_GATES>, state: array<Rows, NUM_STATES>, peephole: array<f32, NUM_PEEPHOLES>) -> array<Rows, NUM_STATES> {
    let reset = gate_activation(gx[RESET] + gh[RESET]);
    let update = gate_activation(gx[UPDATE] + gh[UPDATE]);
    let new_value = candidate_activation(fma(reset, gh[NEW], gx[NEW]));
    return array<Rows, NUM_STATES>(fma(update, state[0], (1.0 - update) * new_value));
}
