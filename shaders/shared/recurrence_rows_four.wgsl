// Four rows of the recurrence's buffers. `at` is the element of the first, `stride` what lies between two.

const ROOM = 512u;       // values that slices share
const SLICE_PAD = 0u;     // values between the units of two slices: none, a vector is read by its own
const TILE_UNITS = 288u; // hidden units that a tile has room for

fn rows_present(row: u32) -> RowFlags {
    return vec4<u32>(row, row + 1u, row + 2u, row + 3u) < vec4<u32>(params.rows);
}

fn read_state(row: u32, at: u32, stride: u32) -> Rows {
    let present = rows_present(row);
    var value = Rows(0.0);
    if (present.x) { value.x = state[at]; }
    if (present.y) { value.y = state[at + stride]; }
    if (present.z) { value.z = state[at + 2u * stride]; }
    if (present.w) { value.w = state[at + 3u * stride]; }
    return value;
}

fn write_state(row: u32, at: u32, stride: u32, value: Rows) {
    let present = rows_present(row);
    if (present.x) { state[at] = value.x; }
    if (present.y) { state[at + stride] = value.y; }
    if (present.z) { state[at + 2u * stride] = value.z; }
    if (present.w) { state[at + 3u * stride] = value.w; }
}

fn read_gates_x(row: u32, at: u32, stride: u32) -> Rows {
    let present = rows_present(row);
    var value = Rows(0.0);
    if (present.x) { value.x = gates_x[at]; }
    if (present.y) { value.y = gates_x[at + stride]; }
    if (present.z) { value.z = gates_x[at + 2u * stride]; }
    if (present.w) { value.w = gates_x[at + 3u * stride]; }
    return value;
}

fn read_mask(row: u32, at: u32, stride: u32) -> RowFlags {
    let present = rows_present(row);
    var value = Rows(0.0);
    if (present.x) { value.x = mask[at]; }
    if (present.y) { value.y = mask[at + stride]; }
    if (present.z) { value.z = mask[at + 2u * stride]; }
    if (present.w) { value.w = mask[at + 3u * stride]; }
    return value != Rows(0.0);
}

fn write_sequence(row: u32, at: u32, stride: u32, value: Rows) {
    let present = rows_present(row);
    if (present.x) { sequence[at] = value.x; }
    if (present.y) { sequence[at + stride] = value.y; }
    if (present.z) { sequence[at + 2u * stride] = value.z; }
    if (present.w) { sequence[at + 3u * stride] = value.w; }
}
