// A slice of timesteps in one dispatch, one workgroup per ROWS rows and direction. The hidden state
// stays in workgroup memory, the other states in registers; `state` is read at the slice's start and
// written at its end, so that slices chain exactly. UNITS is hidden_size, rounded up to a power of two.
// How it multiplies, one of two texts says: products_streamed.wgsl or products_held.wgsl.

var<workgroup> hidden_tile: array<Rows, TILE_UNITS>; // [hidden]

@compute @workgroup_size(UNITS * SLICES)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let workgroup = workgroup_index(id, count);
    if (workgroup >= params.workgroups) {
        return;
    }
    let row_blocks = (params.rows + ROWS - 1u) / ROWS;
    let row = workgroup % row_blocks * ROWS;
    let direction = params.first_direction + workgroup / row_blocks;
    let first = first_step(direction);
    let steps = num_steps(direction);
    let slice = index / UNITS;
    let local_unit = index % UNITS;
    let unit = min(local_unit, params.hidden - 1u);
    // The invocation that holds the unit's states.
    let holds = slice == 0u && local_unit < params.hidden;

    let peephole = load_peephole(direction, unit);
    let own_scale = load_scales(direction, unit);
    let own_bias = load_bias(direction, unit);
    var old: array<Rows, NUM_STATES>;
    var output = Rows(0.0);
    if (holds) {
        let parity = first % 2u;
        for (var slot = 0u; slot < NUM_STATES; slot++) {
            old[slot] = load_state(slot, parity, direction, row, unit);
        }
        output = load_state(OUTPUT_SLOT, parity, direction, row, unit);
    }
    hold_weights(direction, slice, unit);
    if (slice == 0u) {
        hidden_tile[tile_place(local_unit)] = select(Rows(0.0), old[0], RowFlags(holds));
    }
    workgroupBarrier();

    for (var i = 0u; i < steps; i++) {
        let step = first + i;
        // Asked for before the products, so that they come while those are made.
        var gx: array<Rows, NUM_GATES>;
        if (holds) {
            gx = gate_x(direction, row, step, unit);
        }
        clear_sums();
        if (RESET_GATE == NO_GATE) {
            multiply(direction, all_gates(), slice, unit, index);
            reduce_sums(all_gates(), slice, local_unit);
        } else {
            let plain = all_gates() & ~gate_bit(RESET_TARGET);
            multiply(direction, plain, slice, unit, index);
            reduce_sums(plain, slice, local_unit);
            workgroupBarrier();
            if (holds) {
                hidden_tile[tile_place(unit)] = reset_hidden(gx, own_scale, own_bias, old[0]);
            }
            workgroupBarrier();
            multiply(direction, gate_bit(RESET_TARGET), slice, unit, index);
            reduce_sums(gate_bit(RESET_TARGET), slice, local_unit);
        }
        workgroupBarrier();
        if (holds) {
            let updated = cell_update(gx, gate_h(own_scale, own_bias), old, peephole);
            let live = live_rows(direction, row, step);
            for (var slot = 0u; slot < NUM_STATES; slot++) {
                old[slot] = select(old[slot], updated[slot], live);
            }
            output = output_of(live, old[0], output);
            hidden_tile[tile_place(unit)] = old[0];
            store_sequence(direction, row, step, unit, output);
        }
        workgroupBarrier();
    }

    if (holds) {
        let parity = (first + steps) % 2u;
        for (var slot = 0u; slot < NUM_STATES; slot++) {
            store_state(slot, parity, direction, row, unit, old[slot]);
        }
        store_state(OUTPUT_SLOT, parity, direction, row, unit, output);
    }
}
