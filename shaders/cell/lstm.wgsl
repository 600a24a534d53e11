// Long short-term memory, one unit; equations in src/cell/lstm.rs.
const NUM_GATES = 4u;
const NUM_STATES = 2u;
const RESET_GATE = NO_GATE;
const RESET_TARGET = NO_GATE;
const INPUT = 0u;
const FORGET = 1u;
const CELL = 2u;
const OUTPUT = 3u;
const PEEPHOLE_INPUT = 0u;
const PEEPHOLE_FORGET = 1u;
const PEEPHOLE_OUTPUT = 2u;

fn cell_update(gx: array<Rows, NUM_GATES>, gh: array<Rows, NUM_GATES>, state: array<Rows, NUM_STATES>, peephole: array<f32, NUM_PEEPHOLES>) -> array<Rows, NUM_STATES> {
    let input = gate_activation(with_peephole(gx[INPUT] + gh[INPUT], peephole[PEEPHOLE_INPUT], state[1]));
    var forget_gate = 1.0 - input;
    if (coupled == 0u) {
        forget_gate = gate_activation(with_peephole(gx[FORGET] + gh[FORGET], peephole[PEEPHOLE_FORGET], state[1]));
    }
    let candidate = candidate_activation(gx[CELL] + gh[CELL]);
    let cell_state = fma(forget_gate, state[1], input * candidate);
    let output = gate_activation(with_peephole(gx[OUTPUT] + gh[OUTPUT], peephole[PEEPHOLE_OUTPUT], cell_state));
    return array<Rows, NUM_STATES>(output * output_activation(cell_state), cell_state);
}
