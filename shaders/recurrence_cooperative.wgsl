// A slice of timesteps in one dispatch of many workgroups, each of which owns UNITS units and holds their weights.
// After every timestep a workgroup tells its hidden units in `exchange`, and waits there for those of the others. A
// word has half of a value and, beside it, the timestep that it is of, so that of writes to different words no order is
// relied on. What is: that writes to one word are seen in their order, that a workgroup has read the first states
// before others, who heard from it, write over them a step later, and that all workgroups are under way at once. Waiting
// is bounded. Who gives up says so, everyone ends, and the host runs it all again with recurrence_step.wgsl, whose
// sums have the same order.

@group(0) @binding(8) var<storage, read_write> exchange: array<atomic<u32>>; // [gave up, tickets, .., [stage, parity, directions, rows, hidden, half]]

override REREADS: u32 = 0u; // whether a load within a loop reads anew each time

const GAVE_UP = 0u;
const TICKETS = 1u;
const HALVES = 64u;
const WORKGROUP = 256u;
const STAGE_HIDDEN = 0u;
const STAGE_RESET = 1u; // r * h

var<workgroup> hidden_tile: array<Rows, TILE_UNITS>; // [hidden], zero beyond
var<workgroup> ticket: u32;
var<workgroup> late: atomic<u32>; // 1: someone gave up

fn half_index(stage: u32, parity: u32, direction: u32, row: u32, unit: u32) -> u32 {
    let place = (stage * 2u + parity) * params.directions + direction;
    return HALVES + 2u * ((place * params.rows + row) * params.hidden + unit);
}

fn tell(at: u32, tag: u32, value: f32) {
    let bits = bitcast<u32>(value);
    atomicStore(&exchange[at], (bits & 0xffff0000u) | tag);
    atomicStore(&exchange[at + 1u], (bits << 16u) | tag);
}

// A word as it is now. Compilers for the CPU take a load for one that cannot change within a loop, and lavapipe ends
// loops after 65535 rounds in all: so there, several looks a round.
fn look(at: u32) -> u32 {
    if (REREADS == 1u) {
        return atomicLoad(&exchange[at]);
    }
    var word = 0u;
    word = atomicOr(&exchange[at], 0u);
    word = atomicOr(&exchange[at], 0u);
    word = atomicOr(&exchange[at], 0u);
    word = atomicOr(&exchange[at], 0u);
    word = atomicOr(&exchange[at], 0u);
    word = atomicOr(&exchange[at], 0u);
    word = atomicOr(&exchange[at], 0u);
    word = atomicOr(&exchange[at], 0u);
    word = atomicOr(&exchange[at], 0u);
    word = atomicOr(&exchange[at], 0u);
    word = atomicOr(&exchange[at], 0u);
    word = atomicOr(&exchange[at], 0u);
    word = atomicOr(&exchange[at], 0u);
    word = atomicOr(&exchange[at], 0u);
    word = atomicOr(&exchange[at], 0u);
    word = atomicOr(&exchange[at], 0u);
    return word;
}

// The word at `at` once it is of timestep `tag`, which is not 0. Who has no tries gives up at once.
fn hear(at: u32, tag: u32) -> u32 {
    var word = 0u;
    for (var tries = 0u; tries < params.tries && (word & 0xffffu) != tag; tries++) {
        if ((tries & 255u) == 255u && look(GAVE_UP) != 0u) {
            break;
        }
        word = look(at);
    }
    if ((word & 0xffffu) != tag) {
        atomicStore(&late, 1u);
        atomicStore(&exchange[GAVE_UP], 1u);
    }
    return word & 0xffff0000u;
}

// The tile of one row as all workgroups told it.
fn hear_tile(stage: u32, parity: u32, direction: u32, row: u32, tag: u32, index: u32) {
    for (var unit = index; unit < params.hidden; unit += WORKGROUP) {
        let at = half_index(stage, parity, direction, row, unit);
        let upper = hear(at, tag);
        hidden_tile[tile_place(unit)] = bitcast<f32>(upper | (hear(at + 1u, tag) >> 16u));
    }
}

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) index: u32) {
    // In the order in which they start, so that those which run are the first ones.
    if (index == 0u) {
        ticket = atomicAdd(&exchange[TICKETS], 1u);
        atomicStore(&late, look(GAVE_UP));
    }
    for (var i = index; i < SLICE_PITCH * SLICES; i += WORKGROUP) {
        hidden_tile[i] = 0.0;
    }
    workgroupBarrier();
    if (ticket >= params.workgroups || atomicLoad(&late) != 0u) {
        return;
    }
    let unit_blocks = (params.hidden + UNITS - 1u) / UNITS;
    let row_blocks = (params.rows + params.rows_each - 1u) / params.rows_each;
    let first_row = (ticket / unit_blocks) % row_blocks * params.rows_each;
    let end_row = min(first_row + params.rows_each, params.rows);
    let direction = params.first_direction + ticket / (unit_blocks * row_blocks);
    let first = first_step(direction);
    let steps = num_steps(direction);
    let slice = index / UNITS;
    let local_unit = ticket % unit_blocks * UNITS + index % UNITS;
    let unit = min(local_unit, params.hidden - 1u);
    // The invocation that has the unit's states.
    let owns = slice == 0u && local_unit < params.hidden;
    let own_scale = load_scales(direction, unit);
    let own_bias = load_bias(direction, unit);
    let peephole = load_peephole(direction, unit);
    hold_weights(direction, slice, unit);

    var done = 0u;
    for (var i = 0u; i < steps; i++) {
        let step = first + i;
        let parity = step % 2u;
        // Of the values that the step starts from; 0 would be that of a cleared word.
        let tag = i;
        for (var row = first_row; row < end_row; row++) {
            // Asked for before the wait.
            var gx: array<Rows, NUM_GATES>;
            var old: array<Rows, NUM_STATES>;
            if (owns) {
                gx = gate_x(direction, row, step, unit);
                old = old_states(0u, parity, direction, row, unit);
            }
            if (i == 0u) {
                for (var other = index; other < params.hidden; other += WORKGROUP) {
                    hidden_tile[tile_place(other)] = load_state(0u, parity, direction, row, other);
                }
            } else {
                hear_tile(STAGE_HIDDEN, parity, direction, row, tag, index);
            }
            workgroupBarrier();
            if (atomicLoad(&late) != 0u) {
                return;
            }
            clear_sums();
            let plain = all_gates() & ~gate_bit(RESET_TARGET);
            multiply(direction, plain, slice, unit, index);
            reduce_sums(plain, slice, index % UNITS);
            if (RESET_GATE != NO_GATE) {
                if (owns) {
                    tell(half_index(STAGE_RESET, parity, direction, row, unit), tag + 1u, reset_hidden(gx, own_scale, own_bias, old[0]));
                }
                workgroupBarrier();
                hear_tile(STAGE_RESET, parity, direction, row, tag + 1u, index);
                workgroupBarrier();
                if (atomicLoad(&late) != 0u) {
                    return;
                }
                multiply(direction, gate_bit(RESET_TARGET), slice, unit, index);
                reduce_sums(gate_bit(RESET_TARGET), slice, index % UNITS);
            }
            if (owns) {
                let live = live_rows(direction, row, step);
                let updated = cell_update(gx, gate_h(own_scale, own_bias), old, peephole);
                let hidden_state = select(old[0], updated[0], live);
                tell(half_index(STAGE_HIDDEN, 1u - parity, direction, row, unit), tag + 1u, hidden_state);
                store_states(1u, parity, direction, row, unit, live, old, updated);
                finish(direction, row, step, unit, live, hidden_state);
            }
            done++;
        }
    }
    // A driver may end loops on its own.
    if (done != steps * (end_row - first_row)) {
        atomicStore(&exchange[GAVE_UP], 1u);
    }
}
