// What both recurrence kernels share: parameters, bindings, and the two ends of a timestep. Knows no
// cell. A workgroup takes four rows (the components of a vec4) of one direction; SLICES invocations
// share the product of one unit, each taking every SLICES-th group of four hidden units.

struct Params {
    workgroups: u32,    // workgroups with work; the dispatch may hold more
    hidden: u32,        // units of the cell
    outputs: u32,       // units of the hidden state: as many, unless it is projected
    rows: u32,          // rows of this batch tile
    first_row: u32,     // batch row of the tile's first row
    row_capacity: u32,  // rows that `state` has room for
    seq_len: u32,
    first_step: u32,    // first timestep of this dispatch, in processing order
    steps: u32,         // timesteps of this dispatch
    slice_start: u32,   // first timestep of the slice that `gates_x` holds, in processing order
    slice_len: u32,
    directions: u32,
    first_unit: u32,    // the window of units that `weights` holds
    units: u32,
    flags: u32,
}

const REVERSE = 1u;         // bit of direction 0, next bit direction 1
const FLIPPED = 4u;         // likewise
const HAS_MASK = 16u;
const HAS_BIAS = 32u;
const HAS_SEQUENCE = 64u;
const DEAD_REPEAT_STATE = 128u;
const DEAD_ZERO = 256u;

// Units per workgroup and invocations per unit; their product is the workgroup's size.
override UNITS: u32 = 8u;
override SLICES: u32 = 32u;

const NO_GATE = 255u;
const NUM_PEEPHOLES = 3u;
const OUTPUT_SLOT = NUM_STATES;     // the last output
const SPARE_SLOT = NUM_STATES + 1u; // r * h of a cell with a reset stage; what is projected

@group(0) @binding(0) var<uniform> params: Params;
// @binding(1) weights: [directions, ceil(inputs / 4), gates, units] of vec4 over inputs
@group(0) @binding(2) var<storage, read> bias: array<f32>; // [directions, gates, hidden]
@group(0) @binding(3) var<storage, read> gates_x: array<f32>; // [directions, rows, slice_len, gates, hidden]
@group(0) @binding(4) var<storage, read> mask: array<f32>; // [batch, seq_len]
@group(0) @binding(5) var<storage, read_write> state: array<f32>; // [slot, parity, directions, row_capacity * hidden]
@group(0) @binding(6) var<storage, read_write> sequence: array<f32>; // [batch, seq_len, directions * outputs]
@group(0) @binding(7) var<storage, read> peephole_weights: array<f32>; // [directions, peepholes, hidden]

var<workgroup> shared_tile: array<vec4<f32>, 512>; // [k] of four rows, or partial sums [gate, 128]

// Sums of the unit's gates, four rows each. Named one by one so that they stay in registers.
var<private> sum0: vec4<f32>;
var<private> sum1: vec4<f32>;
var<private> sum2: vec4<f32>;
var<private> sum3: vec4<f32>;

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
    sum0 = vec4<f32>(0.0);
    sum1 = vec4<f32>(0.0);
    sum2 = vec4<f32>(0.0);
    sum3 = vec4<f32>(0.0);
}

// Adds the products of `gates` (bits) with four hidden units of four rows each.
fn add_products(gates: u32, weight: u32, h0: vec4<f32>, h1: vec4<f32>, h2: vec4<f32>, h3: vec4<f32>) {
    if ((gates & 1u) != 0u) { sum0 = multiply_add(sum0, load_weight(weight), h0, h1, h2, h3); }
    if ((gates & 2u) != 0u) { sum1 = multiply_add(sum1, load_weight(weight + params.units), h0, h1, h2, h3); }
    if ((gates & 4u) != 0u) { sum2 = multiply_add(sum2, load_weight(weight + 2u * params.units), h0, h1, h2, h3); }
    if ((gates & 8u) != 0u) { sum3 = multiply_add(sum3, load_weight(weight + 3u * params.units), h0, h1, h2, h3); }
}

// Index of the first gate's weights for the inputs 4 * k4 .. 4 * k4 + 3 of `inputs`.
fn weight_index(direction: u32, inputs: u32, gates: u32, k4: u32, unit: u32) -> u32 {
    let groups = (inputs + 3u) / 4u;
    return (direction * groups + k4) * (gates * params.units) + unit;
}

// Adds the slices' sums of `gates` (bits) in a fixed tree; slice 0 holds the result.
fn reduce_sums(gates: u32, slice: u32, unit: u32) {
    for (var half = SLICES / 2u; half > 0u; half = half / 2u) {
        workgroupBarrier();
        if (slice >= half && slice < 2u * half) {
            let at = (slice - half) * UNITS + unit;
            if ((gates & 1u) != 0u) { shared_tile[at] = sum0; }
            if ((gates & 2u) != 0u) { shared_tile[128u + at] = sum1; }
            if ((gates & 4u) != 0u) { shared_tile[256u + at] = sum2; }
            if ((gates & 8u) != 0u) { shared_tile[384u + at] = sum3; }
        }
        workgroupBarrier();
        if (slice < half) {
            let at = slice * UNITS + unit;
            if ((gates & 1u) != 0u) { sum0 += shared_tile[at]; }
            if ((gates & 2u) != 0u) { sum1 += shared_tile[128u + at]; }
            if ((gates & 4u) != 0u) { sum2 += shared_tile[256u + at]; }
            if ((gates & 8u) != 0u) { sum3 += shared_tile[384u + at]; }
        }
    }
}

// Whether each of the four rows from `row` is one of the tile.
fn rows_present(row: u32) -> vec4<bool> {
    return vec4<u32>(row, row + 1u, row + 2u, row + 3u) < vec4<u32>(params.rows);
}

// Units of what a slot holds.
fn slot_units(slot: u32) -> u32 {
    return select(params.hidden, params.outputs, slot == 0u || slot == OUTPUT_SLOT);
}

fn state_index(slot: u32, parity: u32, direction: u32, row: u32, unit: u32) -> u32 {
    let place = (slot * 2u + parity) * params.directions + direction;
    return place * (params.row_capacity * params.hidden) + row * slot_units(slot) + unit;
}

// Four rows of one unit; rows that are not there read as zero.
fn load_state(slot: u32, parity: u32, direction: u32, row: u32, unit: u32) -> vec4<f32> {
    let at = state_index(slot, parity, direction, row, unit);
    let stride = slot_units(slot);
    let present = rows_present(row);
    var value = vec4<f32>(0.0);
    if (present.x) { value.x = state[at]; }
    if (present.y) { value.y = state[at + stride]; }
    if (present.z) { value.z = state[at + 2u * stride]; }
    if (present.w) { value.w = state[at + 3u * stride]; }
    return value;
}

fn store_state(slot: u32, parity: u32, direction: u32, row: u32, unit: u32, value: vec4<f32>) {
    let at = state_index(slot, parity, direction, row, unit);
    let stride = slot_units(slot);
    let present = rows_present(row);
    if (present.x) { state[at] = value.x; }
    if (present.y) { state[at + stride] = value.y; }
    if (present.z) { state[at + 2u * stride] = value.z; }
    if (present.w) { state[at + 3u * stride] = value.w; }
}

fn is_reverse(direction: u32) -> bool {
    return has(REVERSE << direction);
}

fn time_of(direction: u32, step: u32) -> u32 {
    return select(step, params.seq_len - 1u - step, is_reverse(direction));
}

// Pre-activation from the input, four rows of one unit and gate.
fn load_gate_x(direction: u32, row: u32, step: u32, gate: u32, unit: u32) -> vec4<f32> {
    let local = step - params.slice_start;
    let place = select(local, params.slice_len - 1u - local, is_reverse(direction));
    let stride = params.slice_len * NUM_GATES * params.hidden;
    let at = (((direction * params.rows + row) * params.slice_len + place) * NUM_GATES + gate) * params.hidden + unit;
    let present = rows_present(row);
    var value = vec4<f32>(0.0);
    if (present.x) { value.x = gates_x[at]; }
    if (present.y) { value.y = gates_x[at + stride]; }
    if (present.z) { value.z = gates_x[at + 2u * stride]; }
    if (present.w) { value.w = gates_x[at + 3u * stride]; }
    return value;
}

fn load_bias(direction: u32, gate: u32, unit: u32) -> f32 {
    if (has(HAS_BIAS)) {
        return bias[(direction * NUM_GATES + gate) * params.hidden + unit];
    }
    return 0.0;
}

// What the unit's gates see of the cell state, if the cell has peepholes.
fn load_peephole(direction: u32, unit: u32) -> array<f32, NUM_PEEPHOLES> {
    var weight: array<f32, NUM_PEEPHOLES>;
    if (peepholes == 1u) {
        for (var which = 0u; which < NUM_PEEPHOLES; which++) {
            weight[which] = peephole_weights[(direction * NUM_PEEPHOLES + which) * params.hidden + unit];
        }
    }
    return weight;
}

fn sum_of(gate: u32) -> vec4<f32> {
    return select(select(sum3, sum2, gate == 2u), select(sum1, sum0, gate == 0u), gate < 2u);
}

fn gate_x(direction: u32, row: u32, step: u32, unit: u32) -> array<vec4<f32>, NUM_GATES> {
    var gx: array<vec4<f32>, NUM_GATES>;
    for (var gate = 0u; gate < NUM_GATES; gate++) {
        gx[gate] = load_gate_x(direction, row, step, gate, unit);
    }
    return gx;
}

fn gate_h(direction: u32, unit: u32) -> array<vec4<f32>, NUM_GATES> {
    var gh: array<vec4<f32>, NUM_GATES>;
    for (var gate = 0u; gate < NUM_GATES; gate++) {
        gh[gate] = sum_of(gate) + load_bias(direction, gate, unit);
    }
    return gh;
}

// r * h of the four rows of one unit, from the sums of the reset gate.
fn reset_hidden(direction: u32, row: u32, step: u32, unit: u32, h: vec4<f32>) -> vec4<f32> {
    let gx = load_gate_x(direction, row, step, RESET_GATE, unit);
    return gate_activation(gx + (sum_of(RESET_GATE) + load_bias(direction, RESET_GATE, unit))) * h;
}

fn live_rows(direction: u32, row: u32, step: u32) -> vec4<bool> {
    if (!has(HAS_MASK)) {
        return vec4<bool>(true);
    }
    let at = (params.first_row + row) * params.seq_len + time_of(direction, step);
    let present = rows_present(row);
    var value = vec4<f32>(0.0);
    if (present.x) { value.x = mask[at]; }
    if (present.y) { value.y = mask[at + params.seq_len]; }
    if (present.z) { value.z = mask[at + 2u * params.seq_len]; }
    if (present.w) { value.w = mask[at + 3u * params.seq_len]; }
    return value != vec4<f32>(0.0);
}

// The output of a timestep: at dead timesteps by the layer's rule.
fn output_of(live: vec4<bool>, hidden_state: vec4<f32>, last_output: vec4<f32>) -> vec4<f32> {
    if (has(DEAD_REPEAT_STATE)) {
        return hidden_state;
    }
    let dead = select(last_output, vec4<f32>(0.0), vec4<bool>(has(DEAD_ZERO)));
    return select(dead, hidden_state, live);
}

fn store_sequence(direction: u32, row: u32, step: u32, unit: u32, value: vec4<f32>) {
    if (!has(HAS_SEQUENCE)) {
        return;
    }
    let place = select(step, params.seq_len - 1u - step, has(FLIPPED << direction));
    let width = params.directions * params.outputs;
    let stride = params.seq_len * width;
    let at = ((params.first_row + row) * params.seq_len + place) * width + direction * params.outputs + unit;
    let present = rows_present(row);
    if (present.x) { sequence[at] = value.x; }
    if (present.y) { sequence[at + stride] = value.y; }
    if (present.z) { sequence[at + 2u * stride] = value.z; }
    if (present.w) { sequence[at + 3u * stride] = value.w; }
}
