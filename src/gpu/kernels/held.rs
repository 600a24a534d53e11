//! The text of products whose weights are held in names of their own, since an array would not stay in registers: of
//! recurrent ones it goes with `products_held.wgsl`, of others with `linear_handed.wgsl`.

use std::fmt::Write;

use crate::gpu::kernel::Products;

const HELPERS: &str = include_str!("../../../shaders/shared/products_held.wgsl");

/// How many groups of weights an invocation may hold. lavapipe's compiler takes 1 s for 16 and 2 s for 32.
pub(crate) const HELD: [usize; 6] = [1, 2, 4, 8, 16, 32];

/// The most groups of weights that an invocation may hold.
pub(crate) const MAX_HELD: usize = HELD[HELD.len() - 1];

/// How many of them in a workgroup that shares its units with others: as many as sums of a single timestep have on end
/// (`slice_inputs` of recurrence.wgsl), up to what its tile has room for.
pub(crate) const COOPERATIVE_HELD: [usize; 2] = [4, 8];

/// All ways to come by the weights.
pub(crate) fn all_products() -> impl Iterator<Item = Products> {
    let handed = HELD.into_iter().filter(|groups| groups.is_multiple_of(2)).map(Products::Handed);
    std::iter::once(Products::Streamed).chain(HELD.map(Products::Held)).chain(handed)
}

/// Names, loads and products of `groups` groups of four hidden units, for `gates` gates. With `handed` (and an even
/// number of groups) eight lanes of a subgroup, all of one slice, read eight hidden units and hand them to the others.
/// Without, everyone reads for itself.
pub(crate) fn held_products(gates: usize, groups: usize, handed: bool) -> String {
    let (mut names, mut loads, mut products) = (String::new(), String::new(), String::new());
    for group in 0..groups {
        let k4 = format!("slice * HELD_GROUPS + {group}u");
        for gate in 0..gates {
            let _ = writeln!(names, "var<private> held_{group}_{gate}: vec4<f32>;");
            let _ = writeln!(loads, "    held_{group}_{gate} = load_held(direction, {k4}, {gate}u, unit);");
        }
    }
    let together = if handed { 2 } else { 1 };
    for first in (0..groups).step_by(together) {
        products.push_str("    {\n");
        let _ = writeln!(products, "        let at = slice * SLICE_PITCH + {}u;", 4 * first);
        if handed {
            products.push_str("        let h = hidden_tile[at + (index & 7u)];\n");
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
         const HELD_GROUPS = {groups}u; // groups of four hidden units on end whose weights an invocation holds\n\n\
         {names}\n\
         fn hold_weights(direction: u32, slice: u32, unit: u32) {{\n{loads}}}\n\n\
         // Adds the products of `gates` (bits) with the tile.\n\
         fn multiply(direction: u32, gates: u32, slice: u32, unit: u32, index: u32) {{\n{products}}}\n"
    )
}

/// Outputs of an invocation of `linear_handed.wgsl`, and groups of four inputs of a chunk.
const HANDED: [usize; 2] = [4, 16];

/// Names, loads and products of the weights that an invocation of `linear_handed.wgsl` holds.
pub(crate) fn handed_linear() -> String {
    let [outputs, groups] = HANDED;
    let (mut names, mut loads, mut products) = (String::new(), String::new(), String::new());
    for output in 0..outputs {
        let _ = writeln!(names, "var<private> sum{output}: Rows;");
        let _ = writeln!(products, "    sum{output} = Rows(0.0);");
        for group in 0..groups {
            let _ = writeln!(names, "var<private> held_{group}_{output}: vec4<f32>;");
            let at = format!("first + {group}u, column + {output}u * LANES");
            let _ = writeln!(loads, "    held_{group}_{output} = load_handed({at});");
        }
    }
    for first in (0..groups).step_by(2) {
        let _ = writeln!(products, "    {{\n        let x = load_input(at, chunk + {}u + lane);", 4 * first);
        for i in 0..8 {
            let _ = writeln!(products, "        let x{i} = subgroupBroadcast(x, {i}u);");
        }
        for output in 0..outputs {
            let next = first + 1;
            let sum = format!("multiply_add(sum{output}, held_{first}_{output}, x0, x1, x2, x3)");
            let _ =
                writeln!(products, "        sum{output} = multiply_add({sum}, held_{next}_{output}, x4, x5, x6, x7);");
        }
        products.push_str("    }\n");
    }
    format!(
        "{names}\n\
         // The weights of four outputs from group `first` of four inputs on.\n\
         fn hold_weights(first: u32, column: u32) {{\n{loads}}}\n\n\
         // The sums of a chunk of the row at `at`.\n\
         fn multiply(at: u32, chunk: u32, lane: u32) {{\n{products}}}\n"
    )
}
