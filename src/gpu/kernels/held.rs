//! The text of the recurrent products whose weights are held: it goes with `products_held.wgsl`.

use std::fmt::Write;

use crate::gpu::kernel::Products;

const HELPERS: &str = include_str!("../../../shaders/shared/products_held.wgsl");

/// How many groups of weights an invocation may hold. lavapipe's compiler takes 1 s for the most.
pub(crate) const HELD: [usize; 5] = [1, 2, 4, 8, 16];

/// The most groups of weights that an invocation may hold.
pub(crate) const MAX_HELD: usize = HELD[HELD.len() - 1];

/// The most of them in a workgroup that shares its units with others: its tile has room for no more.
pub(crate) const COOPERATIVE_GROUPS: usize = 8;

/// The smallest of [`HELD`] that is enough.
pub(crate) fn held_class(groups: usize) -> Option<usize> {
    HELD.into_iter().find(|class| *class >= groups)
}

/// All ways to come by the weights.
pub(crate) fn all_products() -> impl Iterator<Item = Products> {
    let handed = HELD.into_iter().filter(|groups| groups.is_multiple_of(2)).map(Products::Handed);
    std::iter::once(Products::Streamed).chain(HELD.map(Products::Held)).chain(handed)
}

/// Names, loads and products of `groups` groups of four hidden units, for `gates` gates. With `handed` (and an even
/// number of groups) eight lanes of a subgroup, all of one slice, read eight hidden units and hand them to the others:
/// a slice has groups on end. Without, everyone reads for itself, and slices take groups in turn.
pub(crate) fn held_products(gates: usize, groups: usize, handed: bool) -> String {
    let (mut names, mut loads, mut products) = (String::new(), String::new(), String::new());
    for group in 0..groups {
        let k4 = if handed { format!("slice * HELD_GROUPS + {group}u") } else { format!("{group}u * SLICES + slice") };
        for gate in 0..gates {
            let _ = writeln!(names, "var<private> held_{group}_{gate}: vec4<f32>;");
            let _ = writeln!(loads, "    held_{group}_{gate} = load_held(direction, {k4}, {gate}u, unit);");
        }
    }
    let together = if handed { 2 } else { 1 };
    for first in (0..groups).step_by(together) {
        products.push_str("    {\n");
        if handed {
            let _ = writeln!(
                products,
                "        let h = hidden_tile[4u * (slice * HELD_GROUPS + {first}u) + (index & 7u)];"
            );
        } else {
            let _ = writeln!(products, "        let at = 4u * ({first}u * SLICES + slice);");
        }
        for i in 0..4 * together {
            let value = if handed { format!("subgroupBroadcast(h, {i}u)") } else { format!("hidden_tile[at + {i}u]") };
            let _ = writeln!(products, "        let h{i} = {value};");
        }
        for gate in 0..gates {
            let mut sum = format!("sum{gate}");
            for (i, group) in (first..first + together).enumerate() {
                let [a, b, c, d] = [0, 1, 2, 3].map(|k| 4 * i + k);
                sum = format!("multiply_add({sum}, held_{group}_{gate}, h{a}, h{b}, h{c}, h{d})");
            }
            let _ = writeln!(products, "        if ((gates & {}u) != 0u) {{ sum{gate} = {sum}; }}", 1u32 << gate);
        }
        products.push_str("    }\n");
    }
    format!(
        "{HELPERS}\n\
         const HELD_GROUPS = {groups}u; // groups of four hidden units whose weights an invocation holds\n\n\
         {names}\n\
         fn hold_weights(direction: u32, slice: u32, unit: u32) {{\n{loads}}}\n\n\
         // Adds the products of `gates` (bits) with the tile.\n\
         fn multiply(direction: u32, gates: u32, slice: u32, unit: u32, index: u32) {{\n{products}}}\n"
    )
}
