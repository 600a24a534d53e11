// One timestep of many rows: what recurrence_step.wgsl does, with sums of the same order, for 32 or 64 rows and some
// units of a workgroup, whose weights and states go through workgroup memory. The sums have names, and what is done with
// them is written out (src/gpu/kernels/tile.rs).

// Adds the products of `gates` (bits) with the state in `slot`; `first_unit` counts within the window. All inputs of a
// slice are added before they join the total.
fn multiply(slot: u32, parity: u32, direction: u32, first_row: u32, first_unit: u32, gates: u32, index: u32) {
    let inputs = slot_units(slot);
    let groups = (inputs + 3u) / 4u;
    let each = slice_inputs(inputs);
    for (var slice = 0u; slice < inputs; slice += each) {
        clear_chunk();
        let end = min(slice + each, inputs);
        for (var start = slice; start < end; start += TILE) {
            workgroupBarrier();
            let k = start + index % TILE;
            for (var group = index / TILE; group < TILE_ROWS / ROWS; group += WORKGROUP / TILE) {
                let row = first_row + ROWS * group;
                var h = Rows(0.0);
                if (k < inputs && row < params.rows) {
                    h = load_state(slot, parity, direction, row, k);
                }
                x_tile[index % TILE * PITCH + group] = h;
            }
            for (var i = index; i < TILE / 4u * COLUMNS; i += WORKGROUP) {
                let k4 = start / 4u + i / COLUMNS;
                let gate = i % COLUMNS / GATE_COLUMNS;
                let unit = first_unit + i % GATE_COLUMNS;
                var w = vec4<f32>(0.0);
                if ((gates & (1u << gate)) != 0u && k4 < groups && unit < params.units) {
                    w = load_weight(weight_index(direction, inputs, stacked_gates(), k4, unit) + gate * params.units);
                }
                w_tile[i] = w;
            }
            workgroupBarrier();
            multiply_tile(gates, index);
        }
        add_chunk();
    }
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let workgroup = workgroup_index(id, count);
    if (workgroup >= params.workgroups) {
        return;
    }
    let unit_blocks = (params.units + GATE_COLUMNS - 1u) / GATE_COLUMNS;
    let row_blocks = (params.rows + TILE_ROWS - 1u) / TILE_ROWS;
    let first_unit = workgroup % unit_blocks * GATE_COLUMNS;
    let first_row = (workgroup / unit_blocks) % row_blocks * TILE_ROWS;
    let direction = params.first_direction + workgroup / (unit_blocks * row_blocks);
    let step = first_step(direction);
    let parity = step % 2u;

    clear_totals();
    multiply(plain_slot(), plain_parity(parity), direction, first_row, first_unit, plain_gates(), index);
    if (reset_gates() != 0u) {
        multiply(SPARE_SLOT, parity, direction, first_row, first_unit, reset_gates(), index);
    }
    end_tile(direction, step, first_row + index / 8u * ROWS, first_unit + index % 8u);
}
