//! Plain tables: the same on a terminal and in a pipe, never wrapped, no colours.

use comfy_table::{Cell, CellAlignment, Table, presets};

/// Rows under a header, columns two spaces apart. Columns in `right` are aligned to the right.
pub(crate) fn table(header: &[&str], right: &[usize], rows: &[Vec<String>]) -> String {
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

/// A difference, in two digits.
pub(crate) fn error_text(error: f64) -> String {
    match error {
        0.0 => "0".to_owned(),
        error if error.is_finite() => format!("{error:.1e}"),
        _ => "NaN or infinite on one side".to_owned(),
    }
}

/// Milliseconds, in three digits or so.
pub(crate) fn ms_text(ms: f64) -> String {
    match ms {
        ms if ms < 1.0 => format!("{ms:.3} ms"),
        ms if ms < 100.0 => format!("{ms:.2} ms"),
        ms => format!("{ms:.0} ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_plain() {
        let rows = [vec!["a".to_owned(), "1".to_owned()], vec!["längster Name".to_owned(), "1000".to_owned()]];
        let expected = "name           size\na                 1\nlängster Name  1000";
        assert_eq!(table(&["name", "size"], &[1], &rows), expected);
    }
}
