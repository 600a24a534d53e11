//! The text of products whose sums are held in names of their own, of several rows and columns each, since an array would
//! not stay in registers: it goes with `linear.wgsl` and `recurrence_tiled.wgsl`, which fill the tiles.

use std::fmt::Write;

/// Rows of a workgroup for each group of four that an invocation has: eight invocations side by side.
pub(crate) const GROUP_ROWS: usize = 32;
/// How many groups of four rows an invocation may have.
pub(crate) const TILE_GROUPS: [usize; 2] = [1, 2];
/// Columns of a workgroup for each that an invocation has.
const LANES: usize = 8;
/// Columns of an invocation, at most.
const COLUMNS: usize = 8;

/// What an invocation has: groups of four rows, and of each gate so many columns.
#[derive(Clone, Copy)]
struct Tile {
    groups: usize,
    gates: usize,
    columns: usize,
}

/// Units of a workgroup that takes `groups` groups of rows of a cell with so many gates.
pub(crate) fn tile_units(gates: usize, groups: usize) -> usize {
    LANES * Tile::new(gates, groups).columns
}

/// With `end_tile(row, column)`, which hands each sum to `store_rows`.
pub(crate) fn linear_tile() -> String {
    let tile = Tile::new(1, 2);
    let mut ends = String::new();
    for (group, column) in tile.places() {
        let [row, at] = [group * GROUP_ROWS, column * LANES];
        let _ = writeln!(ends, "    store_rows(row + {row}u, column + {at}u, total_{group}_0_{column});");
    }
    format!("{}\nfn end_tile(row: u32, column: u32) {{\n{ends}}}\n", tile.text())
}

/// With `end_tile(direction, step, row, unit)`, which hands the sums of each unit to `end_stage`.
pub(crate) fn recurrent_tile(gates: usize, groups: usize) -> String {
    let tile = Tile::new(gates, groups);
    let (mut cases, mut places) = (String::new(), 0);
    for (group, column) in tile.places() {
        let sums = (0..gates).map(|gate| format!("sum{gate} = total_{group}_{gate}_{column};"));
        let _ = writeln!(cases, "            case {places}u: {{ {} }}", sums.collect::<Vec<_>>().join(" "));
        places += 1;
    }
    format!(
        "{}\n\
         fn end_tile(direction: u32, step: u32, first_row: u32, first_unit: u32) {{\n    \
             // One at a time, as the text of a cell is long.\n    \
             for (var place = 0u; place < {places}u; place++) {{\n        \
                 let row = first_row + place / {columns}u * {GROUP_ROWS}u;\n        \
                 let unit = first_unit + place % {columns}u * {LANES}u;\n        \
                 switch place {{\n{cases}            default: {{}}\n        }}\n        \
                 if (row < params.rows && unit < params.units) {{\n            \
                     end_stage(direction, row, step, unit);\n        \
                 }}\n    \
             }}\n\
         }}\n",
        tile.text(),
        columns = tile.columns,
    )
}

impl Tile {
    fn new(gates: usize, groups: usize) -> Self {
        // Half as many where rows are few, so that there are more workgroups.
        let columns = if groups > 1 { COLUMNS } else { COLUMNS / 2 };
        Self { groups, gates, columns: (columns / gates.max(1)).max(1) }
    }

    /// Groups and columns.
    fn places(self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.groups).flat_map(move |group| (0..self.columns).map(move |column| (group, column)))
    }

    /// Names and products.
    fn text(self) -> String {
        let Self { groups, gates, columns } = self;
        let [mut names, mut zero_totals, mut zero_sums, mut joins, mut products] = [const { String::new() }; 5];
        let sums = self.places().flat_map(|(group, column)| (0..gates).map(move |gate| (group, gate, column)));
        for (group, gate, column) in sums {
            let sum = format!("{group}_{gate}_{column}");
            let _ = writeln!(names, "var<private> total_{sum}: Rows;\nvar<private> sum_{sum}: Rows;");
            let _ = writeln!(zero_totals, "    total_{sum} = Rows(0.0);");
            let _ = writeln!(zero_sums, "    sum_{sum} = Rows(0.0);");
            let _ = writeln!(joins, "    total_{sum} += sum_{sum};");
        }
        for group in 0..groups {
            for k in 0..4 {
                let _ =
                    writeln!(products, "        let x{group}_{k} = x_tile[at + {k}u * PITCH + {}u];", group * LANES);
            }
        }
        for gate in 0..gates {
            let _ = writeln!(products, "        if ((gates & {}u) != 0u) {{", 1u32 << gate);
            for column in 0..columns {
                let place = (gate * columns + column) * LANES;
                let _ = writeln!(products, "            let w{column} = w_tile[j * COLUMNS + tx + {place}u];");
                for group in 0..groups {
                    let sum = format!("sum_{group}_{gate}_{column}");
                    let x = [0, 1, 2, 3].map(|k| format!("x{group}_{k}")).join(", ");
                    let _ = writeln!(products, "            {sum} = multiply_add({sum}, w{column}, {x});");
                }
            }
            products.push_str("        }\n");
        }
        let (rows, width) = (groups * GROUP_ROWS, gates * columns * LANES);
        format!(
            "const TILE_ROWS = {rows}u; // of a workgroup\n\
             const COLUMNS = {width}u;\n\
             const GATE_COLUMNS = {}u; // of one gate\n\
             const TILE = 16u; // inputs staged at a time\n\
             const PITCH = {}u; // of x_tile, odd so that the staging writes spread over the banks\n\
             const WORKGROUP = 64u;\n\n\
             var<workgroup> x_tile: array<Rows, 272>; // [TILE, PITCH]\n\
             var<workgroup> w_tile: array<vec4<f32>, 256>; // [TILE / 4, COLUMNS] of four inputs\n\n\
             {names}\n\
             fn clear_totals() {{\n{zero_totals}}}\n\n\
             fn clear_chunk() {{\n{zero_sums}}}\n\n\
             fn add_chunk() {{\n{joins}}}\n\n\
             // Adds the products of the tiles, of `gates` (bits): of the columns tx + 8 i and the groups of rows ty + 8 i.\n\
             fn multiply_tile(gates: u32, index: u32) {{\n    \
                 let tx = index % 8u;\n    \
                 for (var j = 0u; j < TILE / 4u; j++) {{\n        \
                     let at = 4u * j * PITCH + index / 8u;\n\
             {products}    }}\n}}\n",
            columns * LANES,
            groups * LANES + 1,
        )
    }
}
