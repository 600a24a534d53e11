// The GRU that resets the hidden state before the recurrent product, one unit; equations
// in src/cell/gru_reset_before.rs. The driver takes the product of RESET_TARGET with r * h.
const NUM_GATES = 3u;
const NUM_STATES = 1u;
const RESET_GATE = 0u;
const RESET_TARGET = 2u;
const UPDATE = 1u;
const NEW = 2u;

fn cell_update(gx: array<Rows, NUM_GATES>, gh: array<Rows, NUM_GATES>, state: array<Rows, NUM_STATES>, peephole: array<f32, NUM_PEEPHOLES>) -> array<Rows, NUM_STATES> {
    let update = gate_activation(gx[UPDATE] + gh[UPDATE]);
    let new_value = candidate_activation(gx[NEW] + gh[NEW]);
    return array<Rows, NUM_STATES>(fma(update, state[0], (1.0 - update) * new_value));
}
