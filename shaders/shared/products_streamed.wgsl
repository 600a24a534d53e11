// Recurrent products whose weights are read from memory at every timestep.

// Where the tile has a unit.
fn tile_place(unit: u32) -> u32 {
    return unit;
}

fn hold_weights(direction: u32, slice: u32, unit: u32) {}

// Adds the products of `gates` (bits) with the tile.
fn multiply(direction: u32, gates: u32, slice: u32, unit: u32, index: u32) {
    let groups = (params.hidden + 3u) / 4u;
    for (var k4 = slice; k4 < groups; k4 += SLICES) {
        let at = 4u * k4;
        add_products(gates, weight_index(direction, params.hidden, NUM_GATES, k4, unit),
            hidden_tile[at], hidden_tile[at + 1u], hidden_tile[at + 2u], hidden_tile[at + 3u]);
    }
}
