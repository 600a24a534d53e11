// One timestep of any hidden size, all gates and directions: product with the recurrent weights, bias,
// cell, masks and outputs. Reads the state of one parity and writes the other. A cell with a reset
// stage needs a dispatch with RESET_STAGE = 1 before it, which leaves r * h in the reset slot.

override RESET_STAGE: u32 = 0u;

const TILE = 512u; // hidden units staged at a time
const WORKGROUP = 256u;

// Adds the products of `gates` (bits) with the state in `slot`. Ends without a barrier.
fn multiply(slot: u32, parity: u32, direction: u32, row: u32, gates: u32, index: u32, unit: u32) {
    let groups = (params.hidden + 3u) / 4u;
    for (var start = 0u; start < params.hidden; start += TILE) {
        workgroupBarrier();
        for (var i = index; i < TILE; i += WORKGROUP) {
            var h = vec4<f32>(0.0);
            if (start + i < params.hidden) {
                h = load_state(slot, parity, direction, row, start + i);
            }
            shared_tile[i] = h;
        }
        workgroupBarrier();
        let first = start / 4u;
        let end = min(groups - first, TILE / 4u);
        for (var k4 = index / UNITS; k4 < end; k4 += SLICES) {
            let at = 4u * k4;
            add_products(gates, weight_index(direction, first + k4, unit),
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
    let row_blocks = (params.rows + 3u) / 4u;
    let row = (workgroup / unit_blocks) % row_blocks * 4u;
    let direction = workgroup / (unit_blocks * row_blocks);
    let slice = index / UNITS;
    let local_unit = workgroup % unit_blocks * UNITS + index % UNITS;
    let window_unit = min(local_unit, params.units - 1u);
    let unit = params.first_unit + window_unit;
    let step = params.first_step;
    let parity = step % 2u;

    clear_sums();
    if (RESET_GATE == NO_GATE) {
        multiply(0u, parity, direction, row, all_gates(), index, window_unit);
    } else if (RESET_STAGE == 1u) {
        multiply(0u, parity, direction, row, gate_bit(RESET_GATE), index, window_unit);
    } else {
        multiply(0u, parity, direction, row, all_gates() & ~(gate_bit(RESET_GATE) | gate_bit(RESET_TARGET)), index, window_unit);
        multiply(RESET_SLOT, parity, direction, row, gate_bit(RESET_TARGET), index, window_unit);
    }
    reduce_sums(all_gates(), slice, index % UNITS);
    if (slice != 0u || local_unit >= params.units) {
        return;
    }

    if (RESET_STAGE == 1u) {
        let h = load_state(0u, parity, direction, row, unit);
        store_state(RESET_SLOT, parity, direction, row, unit, reset_hidden(direction, row, step, unit, h));
        return;
    }
    var old: array<vec4<f32>, NUM_STATES>;
    for (var slot = 0u; slot < NUM_STATES; slot++) {
        old[slot] = load_state(slot, parity, direction, row, unit);
    }
    let updated = cell_update(gate_x(direction, row, step, unit), gate_h(direction, unit), old);
    let live = live_rows(direction, row, step);
    for (var slot = 0u; slot < NUM_STATES; slot++) {
        store_state(slot, 1u - parity, direction, row, unit, select(old[slot], updated[slot], live));
    }
    let last_output = load_state(OUTPUT_SLOT, parity, direction, row, unit);
    let output = output_of(live, select(old[0], updated[0], live), last_output);
    store_state(OUTPUT_SLOT, 1u - parity, direction, row, unit, output);
    store_sequence(direction, row, step, unit, output);
}
