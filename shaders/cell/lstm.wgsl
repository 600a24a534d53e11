// Long short-term memory, one unit of four rows; equations in src/cell/lstm.rs.
const NUM_GATES = 4u;
const NUM_STATES = 2u;
const RESET_GATE = NO_GATE;
const RESET_TARGET = NO_GATE;
const INPUT = 0u;
const FORGET = 1u;
const CELL = 2u;
const OUTPUT = 3u;

fn cell_update(gx: array<vec4<f32>, NUM_GATES>, gh: array<vec4<f32>, NUM_GATES>, state: array<vec4<f32>, NUM_STATES>) -> array<vec4<f32>, NUM_STATES> {
    let input = gate_activation(gx[INPUT] + gh[INPUT]);
    let forget_gate = gate_activation(gx[FORGET] + gh[FORGET]);
    let candidate = candidate_activation(gx[CELL] + gh[CELL]);
    let output = gate_activation(gx[OUTPUT] + gh[OUTPUT]);
    let cell_state = fma(forget_gate, state[1], input * candidate);
    return array<vec4<f32>, NUM_STATES>(output * output_activation(cell_state), cell_state);
}
