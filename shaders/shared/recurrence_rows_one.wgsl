// One row of the recurrence's buffers; it is there.

const ROOM = 2048u;       // values that slices share
const SLICE_PAD = 4u;      // values between the units of two slices, so that their reads spread over the banks
const TILE_UNITS = 1152u; // hidden units that a tile has room for, with what lies between slices

fn read_state(row: u32, at: u32, stride: u32) -> Rows {
    return state[at];
}

fn write_state(row: u32, at: u32, stride: u32, value: Rows) {
    state[at] = value;
}

fn read_gates_x(row: u32, at: u32, stride: u32) -> Rows {
    return gates_x[at];
}

fn read_mask(row: u32, at: u32, stride: u32) -> RowFlags {
    return mask[at] != 0.0;
}

fn write_sequence(row: u32, at: u32, stride: u32, value: Rows) {
    sequence[at] = value;
}
