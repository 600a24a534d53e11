// Recurrent products whose weights every invocation holds for the whole slice of timesteps: of one unit and all its
// gates, those of HELD_GROUPS groups of four hidden units. Eight hidden units at a time are read by eight lanes
// and handed to the others of the subgroup, which must have at least eight lanes, all of one slice.

var<private> held: array<vec4<f32>, HELD_GROUPS * NUM_GATES>; // [group, gate] of four hidden units

fn hold_weights(direction: u32, slice: u32, unit: u32) {
    let groups = (params.hidden + 3u) / 4u;
    for (var group = 0u; group < HELD_GROUPS; group++) {
        let k4 = slice * HELD_GROUPS + group;
        for (var gate = 0u; gate < NUM_GATES; gate++) {
            var weight = vec4<f32>(0.0);
            if (k4 < groups) {
                weight = load_weight(weight_index(direction, params.hidden, NUM_GATES, k4, unit) + gate * params.units);
            }
            held[group * NUM_GATES + gate] = weight;
        }
    }
}

// Adds the products of `gates` (bits) with four hidden units of four rows each.
fn add_held(gates: u32, at: u32, h0: vec4<f32>, h1: vec4<f32>, h2: vec4<f32>, h3: vec4<f32>) {
    if (NUM_GATES > 0u && (gates & 1u) != 0u) { sum0 = multiply_add(sum0, held[at], h0, h1, h2, h3); }
    if (NUM_GATES > 1u && (gates & 2u) != 0u) { sum1 = multiply_add(sum1, held[at + min(1u, NUM_GATES - 1u)], h0, h1, h2, h3); }
    if (NUM_GATES > 2u && (gates & 4u) != 0u) { sum2 = multiply_add(sum2, held[at + min(2u, NUM_GATES - 1u)], h0, h1, h2, h3); }
    if (NUM_GATES > 3u && (gates & 8u) != 0u) { sum3 = multiply_add(sum3, held[at + min(3u, NUM_GATES - 1u)], h0, h1, h2, h3); }
}

// Adds the products of `gates` (bits) with the tile. Beyond the hidden size the weights and the tile are zero: a
// slice that has fewer groups than others goes on with them, since WGSL wants broadcasts where all invocations of a
// workgroup go the same way.
fn multiply(direction: u32, gates: u32, slice: u32, unit: u32, index: u32) {
    let first = slice * HELD_GROUPS;
    let groups = (params.hidden + 3u) / 4u;
    for (var group = 0u; group < HELD_GROUPS; group += 2u) {
        if (group >= groups) {
            break;
        }
        let h = hidden_tile[4u * (first + group) + (index & 7u)];
        add_held(gates, group * NUM_GATES, subgroupBroadcast(h, 0u), subgroupBroadcast(h, 1u), subgroupBroadcast(h, 2u), subgroupBroadcast(h, 3u));
        add_held(gates, (group + 1u) * NUM_GATES, subgroupBroadcast(h, 4u), subgroupBroadcast(h, 5u), subgroupBroadcast(h, 6u), subgroupBroadcast(h, 7u));
    }
}
