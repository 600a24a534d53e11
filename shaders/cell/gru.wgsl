// The GRU that resets after the recurrent product; equations in src/cell/gru.rs.
const NUM_GATES = 3u;
const NUM_STATES = 1u;
const RESET = 0u;
const UPDATE = 1u;
const NEW = 2u;

fn cell_update(gx: array<f32, NUM_GATES>, gh: array<f32, NUM_GATES>, state: array<f32, NUM_STATES>) -> array<f32, NUM_STATES> {
    let reset = gate_activation(gx[RESET] + gh[RESET]);
    let update = gate_activation(gx[UPDATE] + gh[UPDATE]);
    let new_value = candidate_activation(gx[NEW] + reset * gh[NEW]);
    return array<f32, NUM_STATES>(update * state[0] + (1.0 - update) * new_value);
}
