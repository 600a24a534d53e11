// One timestep of any hidden size, all gates and directions: product with the recurrent weights, bias,
// cell, masks and outputs. Reads the state of one parity and writes the other. A cell with a reset
// stage needs a dispatch of STAGE_RESET before it, which leaves r * h in the spare slot. Where the hidden
// state is PROJECTED, the cell leaves what it gives there, and a dispatch of STAGE_PROJECT, whose weights
// are the projection's, makes the hidden state and the output of it.

const STAGE_UPDATE = 0u;
const STAGE_RESET = 1u;
const STAGE_PROJECT = 2u;
override STAGE: u32 = 0u;
override PROJECTED: u32 = 0u;

const TILE = 512u; // units staged at a time
const WORKGROUP = 256u;

// Adds the products of `gates` (bits) with the state in `slot`. Ends without a barrier.
fn multiply(slot: u32, parity: u32, direction: u32, row: u32, gates: u32, index: u32, unit: u32) {
    let inputs = slot_units(slot);
    let groups = (inputs + 3u) / 4u;
    let stacked = select(NUM_GATES, 1u, STAGE == STAGE_PROJECT);
    for (var start = 0u; start < inputs; start += TILE) {
        workgroupBarrier();
        for (var i = index; i < TILE; i += WORKGROUP) {
            var h = Rows(0.0);
            if (start + i < inputs) {
                h = load_state(slot, parity, direction, row, start + i);
            }
            shared_tile[i] = h;
        }
        workgroupBarrier();
        let first = start / 4u;
        let end = min(groups - first, TILE / 4u);
        for (var k4 = index / UNITS; k4 < end; k4 += SLICES) {
            let at = 4u * k4;
            add_products(gates, weight_index(direction, inputs, stacked, first + k4, unit),
                shared_tile[at], shared_tile[at + 1u], shared_tile[at + 2u], shared_tile[at + 3u]);
        }
    }
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let workgroup = workgroup_index(id, count);
    if (workgroup >= params.workgroups) {
        return;
    }
    let unit_blocks = (params.units + UNITS - 1u) / UNITS;
    let row_blocks = (params.rows + ROWS - 1u) / ROWS;
    let row = (workgroup / unit_blocks) % row_blocks * ROWS;
    let direction = workgroup / (unit_blocks * row_blocks);
    let slice = index / UNITS;
    let local_unit = workgroup % unit_blocks * UNITS + index % UNITS;
    let window_unit = min(local_unit, params.units - 1u);
    let unit = params.first_unit + window_unit;
    let step = params.first_step;
    let parity = step % 2u;

    clear_sums();
    if (STAGE == STAGE_PROJECT) {
        multiply(SPARE_SLOT, 1u - parity, direction, row, 1u, index, window_unit);
    } else if (RESET_GATE == NO_GATE) {
        multiply(0u, parity, direction, row, all_gates(), index, window_unit);
    } else if (STAGE == STAGE_RESET) {
        multiply(0u, parity, direction, row, gate_bit(RESET_GATE), index, window_unit);
    } else {
        multiply(0u, parity, direction, row, all_gates() & ~(gate_bit(RESET_GATE) | gate_bit(RESET_TARGET)), index, window_unit);
        multiply(SPARE_SLOT, parity, direction, row, gate_bit(RESET_TARGET), index, window_unit);
    }
    reduce_sums(all_gates(), slice, index % UNITS);
    if (slice != 0u || local_unit >= params.units) {
        return;
    }

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
