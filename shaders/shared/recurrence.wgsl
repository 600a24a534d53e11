// What the recurrence kernels share: parameters, bindings, and the two ends of a timestep. Knows no
// cell. A value has ROWS rows of one direction.

struct Params {
    workgroups: u32,    // workgroups with work; the dispatch may hold more
    hidden: u32,        // units of the cell
    outputs: u32,       // units of the hidden state: as many, unless it is projected
    rows: u32,          // rows of this batch tile
    first_row: u32,     // batch row of the tile's first row
    row_capacity: u32,  // rows that `state` has room for
    seq_len: u32,
    first_step: u32,    // first timestep of this dispatch, in processing order, of direction 0
    steps: u32,         // timesteps of this dispatch, at most
    slice_start: u32,   // first timestep of the slice that `gates_x` holds, in processing order, of direction 0
    slice_len: u32,     // its timesteps, at most
    lag: u32,           // timesteps that a direction is behind the one before: layers of a stack are
    first_direction: u32, // of those that this dispatch has timesteps of
    stored_before: u32, // directions whose weights lie before those of direction 0
    directions: u32,
    first_unit: u32,    // the window of units that `weights` holds
    units: u32,
    flags: u32,
    reverse: u32,       // directions (bits) that go from the last timestep to the first,
    flipped: u32,       // and those whose outputs stand in the opposite order
    rows_each: u32,     // recurrence_cooperative: rows that a workgroup takes in turn,
    tries: u32,         // and how often it looks for what the others tell
}

const HAS_MASK = 1u;
const HAS_BIAS = 2u;
const HAS_SEQUENCE = 4u;
const DEAD_REPEAT_STATE = 8u;
const DEAD_ZERO = 16u;

const NO_GATE = 255u;
const NUM_PEEPHOLES = 3u;
const OUTPUT_SLOT = NUM_STATES;     // the last output
const SPARE_SLOT = NUM_STATES + 1u; // r * h of a cell with a reset stage; what is projected

@group(0) @binding(0) var<uniform> params: Params;
// @binding(1) weights: [directions, ceil(inputs / 4) and one of scales, gates, units] of vec4 over inputs
@group(0) @binding(2) var<storage, read> bias: array<f32>; // [directions, gates, hidden]
@group(0) @binding(3) var<storage, read> gates_x: array<f32>; // [directions, rows, timesteps of the slice, gates, hidden]
@group(0) @binding(4) var<storage, read> mask: array<f32>; // [batch, seq_len]
@group(0) @binding(5) var<storage, read_write> state: array<f32>; // [slot, parity, directions, row_capacity * hidden]
@group(0) @binding(6) var<storage, read_write> sequence: array<f32>; // [batch, seq_len, directions * outputs]
@group(0) @binding(7) var<storage, read> peephole_weights: array<f32>; // [directions, peepholes, hidden]

// Sums of the unit's gates. Named one by one so that they stay in registers.
var<private> sum0: Rows;
var<private> sum1: Rows;
var<private> sum2: Rows;
var<private> sum3: Rows;

fn gate_bit(gate: u32) -> u32 {
    return select(0u, 1u << (gate & 31u), gate < NUM_GATES);
}

fn all_gates() -> u32 {
    return (1u << NUM_GATES) - 1u;
}

fn has(flag: u32) -> bool {
    return (params.flags & flag) != 0u;
}

fn clear_sums() {
    sum0 = Rows(0.0);
    sum1 = Rows(0.0);
    sum2 = Rows(0.0);
    sum3 = Rows(0.0);
}

// Index of the first gate's weights for the inputs 4 * k4 .. 4 * k4 + 3 of `inputs`; beyond the last of these, of
// its scale. `unit` counts within the window.
fn weight_index(direction: u32, inputs: u32, gates: u32, k4: u32, unit: u32) -> u32 {
    let groups = (inputs + 3u) / 4u;
    let stored = params.stored_before + direction;
    return (stored * (groups + SCALE_GROUPS) + k4) * (gates * params.units) + unit;
}

// Sums over `inputs` values are those of so many on end each, added in order, in every kernel that takes single
// timesteps: a multiple of 16, so that there are at most 32.
fn slice_inputs(inputs: u32) -> u32 {
    return (inputs + 511u) / 512u * 16u;
}

// Units of what a slot holds.
fn slot_units(slot: u32) -> u32 {
    return select(params.hidden, params.outputs, slot == 0u || slot == OUTPUT_SLOT);
}

fn state_index(slot: u32, parity: u32, direction: u32, row: u32, unit: u32) -> u32 {
    let place = (slot * 2u + parity) * params.directions + direction;
    return place * (params.row_capacity * params.hidden) + row * slot_units(slot) + unit;
}

fn load_state(slot: u32, parity: u32, direction: u32, row: u32, unit: u32) -> Rows {
    return read_state(row, state_index(slot, parity, direction, row, unit), slot_units(slot));
}

fn store_state(slot: u32, parity: u32, direction: u32, row: u32, unit: u32, value: Rows) {
    write_state(row, state_index(slot, parity, direction, row, unit), slot_units(slot), value);
}

fn is_reverse(direction: u32) -> bool {
    return ((params.reverse >> direction) & 1u) != 0u;
}

// The first timestep of a direction in this dispatch, and how many.
fn first_step(direction: u32) -> u32 {
    return params.first_step - direction * params.lag;
}

fn num_steps(direction: u32) -> u32 {
    return min(params.steps, params.seq_len - first_step(direction));
}

fn time_of(direction: u32, step: u32) -> u32 {
    return select(step, params.seq_len - 1u - step, is_reverse(direction));
}

// Pre-activation from the input, rows of one unit and gate.
fn load_gate_x(direction: u32, row: u32, step: u32, gate: u32, unit: u32) -> Rows {
    let start = params.slice_start - direction * params.lag;
    let len = min(params.slice_len, params.seq_len - start);
    let place = select(step - start, len - 1u - (step - start), is_reverse(direction));
    let stride = NUM_GATES * params.hidden;
    let first = direction * params.rows * params.slice_len + row * len + place;
    return read_gates_x(row, first * stride + gate * params.hidden + unit, len * stride);
}

fn load_bias(direction: u32, unit: u32) -> array<f32, NUM_GATES> {
    var value: array<f32, NUM_GATES>;
    if (has(HAS_BIAS)) {
        for (var gate = 0u; gate < NUM_GATES; gate++) {
            value[gate] = bias[((params.stored_before + direction) * NUM_GATES + gate) * params.hidden + unit];
        }
    }
    return value;
}

// Scales of the sums of the unit's gates; `unit` counts within the window.
fn load_scales(direction: u32, unit: u32) -> array<f32, NUM_GATES> {
    let first = weight_index(direction, params.outputs, NUM_GATES, (params.outputs + 3u) / 4u, unit);
    var value: array<f32, NUM_GATES>;
    for (var gate = 0u; gate < NUM_GATES; gate++) {
        value[gate] = load_scale(first + gate * params.units);
    }
    return value;
}

// What the unit's gates see of the cell state, if the cell has peepholes.
fn load_peephole(direction: u32, unit: u32) -> array<f32, NUM_PEEPHOLES> {
    var weight: array<f32, NUM_PEEPHOLES>;
    if (peepholes == 1u) {
        for (var which = 0u; which < NUM_PEEPHOLES; which++) {
            let at = (params.stored_before + direction) * NUM_PEEPHOLES + which;
            weight[which] = peephole_weights[at * params.hidden + unit];
        }
    }
    return weight;
}

fn sum_of(gate: u32) -> Rows {
    return select(select(sum3, sum2, gate == 2u), select(sum1, sum0, gate == 0u), gate < 2u);
}

fn gate_x(direction: u32, row: u32, step: u32, unit: u32) -> array<Rows, NUM_GATES> {
    var gx: array<Rows, NUM_GATES>;
    for (var gate = 0u; gate < NUM_GATES; gate++) {
        gx[gate] = load_gate_x(direction, row, step, gate, unit);
    }
    return gx;
}

fn gate_h(own_scale: array<f32, NUM_GATES>, own_bias: array<f32, NUM_GATES>) -> array<Rows, NUM_GATES> {
    var gh: array<Rows, NUM_GATES>;
    for (var gate = 0u; gate < NUM_GATES; gate++) {
        gh[gate] = scaled(sum_of(gate), own_scale[gate], own_bias[gate]);
    }
    return gh;
}

// r * h of one unit, from the sums of the reset gate.
fn reset_hidden(gx: array<Rows, NUM_GATES>, own_scale: array<f32, NUM_GATES>, own_bias: array<f32, NUM_GATES>, h: Rows) -> Rows {
    let gate = min(RESET_GATE, NUM_GATES - 1u);
    return gate_activation(gx[gate] + scaled(sum_of(gate), own_scale[gate], own_bias[gate])) * h;
}

fn live_rows(direction: u32, row: u32, step: u32) -> RowFlags {
    if (!has(HAS_MASK)) {
        return RowFlags(true);
    }
    let at = (params.first_row + row) * params.seq_len + time_of(direction, step);
    return read_mask(row, at, params.seq_len);
}

// The output of a timestep: at dead timesteps by the layer's rule.
fn output_of(live: RowFlags, hidden_state: Rows, last_output: Rows) -> Rows {
    if (has(DEAD_REPEAT_STATE)) {
        return hidden_state;
    }
    let dead = select(last_output, Rows(0.0), RowFlags(has(DEAD_ZERO)));
    return select(dead, hidden_state, live);
}

fn store_sequence(direction: u32, row: u32, step: u32, unit: u32, value: Rows) {
    if (!has(HAS_SEQUENCE)) {
        return;
    }
    let place = select(step, params.seq_len - 1u - step, ((params.flipped >> direction) & 1u) != 0u);
    let width = params.directions * params.outputs;
    let stride = params.seq_len * width;
    let at = ((params.first_row + row) * params.seq_len + place) * width + direction * params.outputs + unit;
    write_sequence(row, at, stride, value);
}

// The states before a timestep, from slot `first` on.
fn old_states(first: u32, parity: u32, direction: u32, row: u32, unit: u32) -> array<Rows, NUM_STATES> {
    var old: array<Rows, NUM_STATES>;
    for (var slot = first; slot < NUM_STATES; slot++) {
        old[slot] = load_state(slot, parity, direction, row, unit);
    }
    return old;
}

// Stores the states after a timestep, from slot `first` on.
fn store_states(first: u32, parity: u32, direction: u32, row: u32, unit: u32, live: RowFlags, old: array<Rows, NUM_STATES>, updated: array<Rows, NUM_STATES>) {
    var before = old;
    var after = updated;
    for (var slot = first; slot < NUM_STATES; slot++) {
        store_state(slot, 1u - parity, direction, row, unit, select(before[slot], after[slot], live));
    }
}

// Stores the hidden state and the output of a timestep.
fn finish(direction: u32, row: u32, step: u32, unit: u32, live: RowFlags, hidden_state: Rows) {
    let parity = step % 2u;
    store_state(0u, 1u - parity, direction, row, unit, hidden_state);
    let last_output = load_state(OUTPUT_SLOT, parity, direction, row, unit);
    let output = output_of(live, hidden_state, last_output);
    store_state(OUTPUT_SLOT, 1u - parity, direction, row, unit, output);
    store_sequence(direction, row, step, unit, output);
}
