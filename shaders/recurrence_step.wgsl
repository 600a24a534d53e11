// One timestep of any hidden size, all gates and directions: product with the recurrent weights, bias,
// cell, masks and outputs. A workgroup has ROWS rows; its slices stage as much of the state as they multiply next.

const TILE = 16u; // units of a slice staged at a time
const PITCH = TILE + SLICE_PAD;
const WORKGROUP = 256u;

// Adds the products of `gates` (bits) with the state in `slot`. Ends without a barrier.
fn multiply(slot: u32, parity: u32, direction: u32, row: u32, gates: u32, index: u32, unit: u32) {
    let inputs = slot_units(slot);
    let groups = (inputs + 3u) / 4u;
    let each = slice_inputs(inputs);
    let slice = index / UNITS;
    for (var start = 0u; start < each; start += TILE) {
        workgroupBarrier();
        for (var i = index; i < SLICES * TILE; i += WORKGROUP) {
            let k = i / TILE * each + start + i % TILE;
            var h = Rows(0.0);
            if (k < inputs) {
                h = load_state(slot, parity, direction, row, k);
            }
            shared_tile[i / TILE * PITCH + i % TILE] = h;
        }
        workgroupBarrier();
        let first = (slice * each + start) / 4u;
        let end = min(first + TILE / 4u, groups);
        for (var k4 = first; k4 < end; k4++) {
            let at = slice * PITCH + 4u * (k4 - first);
            add_products(gates, weight_index(direction, inputs, stacked_gates(), k4, unit),
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
    let direction = params.first_direction + workgroup / (unit_blocks * row_blocks);
    let slice = index / UNITS;
    let local_unit = workgroup % unit_blocks * UNITS + index % UNITS;
    let unit = min(local_unit, params.units - 1u);
    let step = first_step(direction);
    let parity = step % 2u;

    clear_sums();
    multiply(plain_slot(), plain_parity(parity), direction, row, plain_gates(), index, unit);
    if (reset_gates() != 0u) {
        multiply(SPARE_SLOT, parity, direction, row, reset_gates(), index, unit);
    }
    reduce_sums(plain_gates() | reset_gates(), slice, index % UNITS);
    if (slice == 0u && local_unit < params.units) {
        end_stage(direction, row, step, unit);
    }
}
