// What the recurrence kernels share in which SLICES invocations have the sums of one unit, each over a part of the
// hidden state. Slices are added in order.

// Units per workgroup and invocations per unit; their product is the workgroup's size.
override UNITS: u32 = 8u;
override SLICES: u32 = 32u;

var<workgroup> shared_tile: array<Rows, ROOM>; // [slice, unit of the hidden state], or sums [gate, slice, unit]

// Adds the products of `gates` (bits) with four hidden units.
fn add_products(gates: u32, weight: u32, h0: Rows, h1: Rows, h2: Rows, h3: Rows) {
    if ((gates & 1u) != 0u) { sum0 = multiply_add(sum0, load_weight(weight), h0, h1, h2, h3); }
    if ((gates & 2u) != 0u) { sum1 = multiply_add(sum1, load_weight(weight + params.units), h0, h1, h2, h3); }
    if ((gates & 4u) != 0u) { sum2 = multiply_add(sum2, load_weight(weight + 2u * params.units), h0, h1, h2, h3); }
    if ((gates & 8u) != 0u) { sum3 = multiply_add(sum3, load_weight(weight + 3u * params.units), h0, h1, h2, h3); }
}

// Adds the slices' sums of `gates` (bits), as many gates at once as there is room for; slice 0 holds the result.
fn reduce_sums(gates: u32, slice: u32, unit: u32) {
    let others = (SLICES - 1u) * UNITS;
    let at_once = select(select(1u, 2u, 2u * others <= ROOM), 4u, 4u * others <= ROOM);
    for (var first = 0u; first < NUM_GATES && SLICES > 1u; first += at_once) {
        let now = gates & (((1u << at_once) - 1u) << first);
        workgroupBarrier();
        if (slice > 0u) {
            let at = (slice - 1u) * UNITS + unit;
            if ((now & 1u) != 0u) { shared_tile[at] = sum0; }
            if ((now & 2u) != 0u) { shared_tile[(1u - first) * others + at] = sum1; }
            if ((now & 4u) != 0u) { shared_tile[(2u - first) * others + at] = sum2; }
            if ((now & 8u) != 0u) { shared_tile[(3u - first) * others + at] = sum3; }
        }
        workgroupBarrier();
        for (var at = unit; slice == 0u && at < others; at += UNITS) {
            if ((now & 1u) != 0u) { sum0 += shared_tile[at]; }
            if ((now & 2u) != 0u) { sum1 += shared_tile[(1u - first) * others + at]; }
            if ((now & 4u) != 0u) { sum2 += shared_tile[(2u - first) * others + at]; }
            if ((now & 8u) != 0u) { sum3 += shared_tile[(3u - first) * others + at]; }
        }
    }
}
