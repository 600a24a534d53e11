// What the kernels share that take a single timestep: which product a dispatch makes, and what becomes of it. A cell
// with a reset stage needs a dispatch of STAGE_RESET before that of STAGE_UPDATE, which leaves r * h in the spare
// slot. Where the hidden state is PROJECTED, the cell leaves what it gives there, and a dispatch of STAGE_PROJECT,
// whose weights are the projection's, makes the hidden state and the output of it. The state of one parity is read, the
// other written.

const STAGE_UPDATE = 0u;
const STAGE_RESET = 1u;
const STAGE_PROJECT = 2u;
override STAGE: u32 = 0u;
override PROJECTED: u32 = 0u;

// Gates whose weights lie side by side.
fn stacked_gates() -> u32 {
    return select(NUM_GATES, 1u, STAGE == STAGE_PROJECT);
}

// Gates (bits) that are products of the hidden state, or of what is projected.
fn plain_gates() -> u32 {
    if (STAGE == STAGE_PROJECT) {
        return 1u;
    }
    return select(all_gates() & ~(gate_bit(RESET_GATE) | gate_bit(RESET_TARGET)), gate_bit(RESET_GATE), STAGE == STAGE_RESET);
}

// And those that are products of r * h.
fn reset_gates() -> u32 {
    return select(0u, gate_bit(RESET_TARGET), STAGE == STAGE_UPDATE);
}

// Where the plain gates read, and what parity.
fn plain_slot() -> u32 {
    return select(0u, SPARE_SLOT, STAGE == STAGE_PROJECT);
}

fn plain_parity(parity: u32) -> u32 {
    return select(parity, 1u - parity, STAGE == STAGE_PROJECT);
}

// What becomes of the sums of unit `window_unit` of the window.
fn end_stage(direction: u32, row: u32, step: u32, window_unit: u32) {
    let parity = step % 2u;
    let unit = params.first_unit + window_unit;
    let live = live_rows(direction, row, step);
    if (STAGE == STAGE_PROJECT) {
        let scale = load_scale(weight_index(direction, params.hidden, 1u, (params.hidden + 3u) / 4u, window_unit));
        let old_hidden = load_state(0u, parity, direction, row, unit);
        finish(direction, row, step, unit, live, select(old_hidden, scaled(sum0, scale, 0.0), live));
        return;
    }
    let own_scale = load_scales(direction, window_unit);
    let own_bias = load_bias(direction, unit);
    if (STAGE == STAGE_RESET) {
        let h = load_state(0u, parity, direction, row, unit);
        store_state(SPARE_SLOT, parity, direction, row, unit, reset_hidden(gate_x(direction, row, step, unit), own_scale, own_bias, h));
        return;
    }
    let old = old_states(PROJECTED, parity, direction, row, unit);
    let peephole = load_peephole(direction, unit);
    let updated = cell_update(gate_x(direction, row, step, unit), gate_h(own_scale, own_bias), old, peephole);
    store_states(1u, parity, direction, row, unit, live, old, updated);
    if (PROJECTED == 1u) {
        store_state(SPARE_SLOT, 1u - parity, direction, row, unit, updated[0]);
    } else {
        finish(direction, row, step, unit, live, select(old[0], updated[0], live));
    }
}
