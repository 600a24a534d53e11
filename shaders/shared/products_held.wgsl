// Recurrent products whose weights every invocation holds for the whole slice of timesteps: of one unit and all its
// gates, those of HELD_GROUPS groups of four hidden units. What is held has a name each, and the products are written
// out (src/gpu/kernels/held.rs): an array would not stay in registers.

// Beyond the hidden size the weights are zero, as the tile is.
fn load_held(direction: u32, k4: u32, gate: u32, unit: u32) -> vec4<f32> {
    let groups = (params.hidden + 3u) / 4u;
    let at = weight_index(direction, params.hidden, NUM_GATES, min(k4, groups - 1u), unit) + gate * params.units;
    return select(vec4<f32>(0.0), load_weight(at), k4 < groups);
}

const SLICE_PITCH = 4u * HELD_GROUPS + SLICE_PAD;

// Where the tile has a unit.
fn tile_place(unit: u32) -> u32 {
    return unit / (4u * HELD_GROUPS) * SLICE_PITCH + unit % (4u * HELD_GROUPS);
}
