//! For a page: a line per workload, a column per peer.

use super::{Measured, Report, digits, label, ratio_text};
use crate::{
    peers::Name,
    turns::{Row, Timed},
};

/// A time of those that were measured.
type Figure = fn(&Timed) -> Option<f64>;

pub(crate) fn markdown(report: &Report) -> String {
    let mut out = vec![format!("{}, {}.", report.machine, report.date)];
    out.extend(report.adapter.iter().map(|adapter| format!("Adapter: {adapter}.")));
    let versions: Vec<String> = report.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
    out.push(format!("Versions: {}.", versions.join(", ")));
    out.extend(report.missing.iter().map(|missing| format!("Missing: {}, {}.", missing.name.text(), missing.why)));
    let mut parts = vec![out.join("\n"), format!("```sh\n{}\n```", report.command)];
    const IN_BRACKETS: &str = "the median; in brackets how many times as long as wgpu-rnn on the same kind of device.";
    let whole: Vec<&Measured> = report.results.iter().filter(|measured| !measured.workload.stream).collect();
    let streams: Vec<&Measured> = report.results.iter().filter(|measured| measured.workload.stream).collect();
    let figures: [(String, &[&Measured], Figure, bool); 4] = [
        (format!("Milliseconds from host to host, {IN_BRACKETS}"), &whole, Timed::median, true),
        ("Input and output stay on the device:".to_owned(), &whole, Timed::resident, false),
        ("By the device's clock, without transfers:".to_owned(), &whole, Timed::on_device, false),
        (
            format!("Microseconds for a timestep, one in each call, the states carried, {IN_BRACKETS}"),
            &streams,
            Timed::median,
            true,
        ),
    ];
    for (title, results, figure, with_ratios) in figures {
        if let Some(table) = table(results, figure, with_ratios) {
            parts.extend([title, table]);
        }
    }
    let failed: Vec<String> = report.results.iter().flat_map(failures).collect();
    if !failed.is_empty() {
        parts.push(failed.join("\n"));
    }
    parts.join("\n\n") + "\n"
}

fn failures(measured: &Measured) -> Vec<String> {
    let failed = measured.rows.iter().filter(|row| row.timed().is_none());
    failed.map(|row| format!("- {}, {}: failed", measured.title(), row.label())).collect()
}

/// The columns for which `figure` gives something; nothing without any.
fn table(results: &[&Measured], figure: Figure, with_ratios: bool) -> Option<String> {
    let of = |row: &Row| row.timed().and_then(figure);
    let mut columns: Vec<(Name, Option<usize>)> = Vec::new();
    for row in results.iter().flat_map(|measured| &measured.rows) {
        let column = (row.name, row.threads);
        if of(row).is_some() && !columns.contains(&column) {
            columns.push(column);
        }
    }
    if columns.is_empty() {
        return None;
    }
    let head = ["layer", "batch", "T"].into_iter().map(str::to_owned);
    let head: Vec<String> = head.chain(columns.iter().map(|&(name, threads)| label(name, threads))).collect();
    let line = |cells: &[String]| format!("| {} |", cells.join(" | "));
    let rule = (0..head.len()).map(|column| if column == 0 { "---" } else { "---:" }.to_owned());
    let mut lines = vec![line(&head), line(&rule.collect::<Vec<_>>())];
    for measured in results {
        let workload = measured.workload;
        let mut cells = vec![workload.name(), workload.batch.to_string(), workload.seq_len.to_string()];
        for column in &columns {
            let row = measured.rows.iter().find(|row| (row.name, row.threads) == *column);
            let Some((row, figure)) = row.and_then(|row| Some((row, of(row)?))) else {
                cells.push("-".to_owned());
                continue;
            };
            let ratio = measured.ratio(row).filter(|_| with_ratios);
            let ratio = ratio.map_or_else(String::new, |ratio| format!(" ({})", ratio_text(ratio.median())));
            cells.push(format!("{}{ratio}", digits(measured.us_per_timestep(figure).unwrap_or(figure))));
        }
        lines.push(line(&cells));
    }
    Some(lines.join("\n"))
}
