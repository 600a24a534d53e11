//! Plain tables: never wrapped, no colours.

use comfy_table::{Cell, CellAlignment, Table, presets};

/// Rows under a header, columns two spaces apart. Columns in `right` are aligned to the right.
pub(super) fn table(header: &[&str], right: &[usize], rows: &[Vec<String>]) -> String {
    let cells = |row: &mut dyn Iterator<Item = &str>| {
        let aligned = |(column, text): (usize, &str)| {
            let side = if right.contains(&column) { CellAlignment::Right } else { CellAlignment::Left };
            Cell::new(text).set_alignment(side)
        };
        row.enumerate().map(aligned).collect::<Vec<_>>()
    };
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(cells(&mut header.iter().copied()));
    for row in rows {
        table.add_row(cells(&mut row.iter().map(String::as_str)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}
