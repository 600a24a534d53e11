//! For the terminal.

use super::{Measured, Report, ratio_text, table::table};
use crate::turns::Outcome;

pub(crate) fn text(report: &Report) -> String {
    let mut parts: Vec<String> = report.results.iter().map(measured).collect();
    let missing: Vec<Vec<String>> = report
        .missing
        .iter()
        .map(|missing| vec![missing.name.option(), missing.why.clone(), missing.how.clone()])
        .collect();
    if !missing.is_empty() {
        parts.push(table(&["missing", "because", "to have it"], &[], &missing));
    }
    let versions: Vec<String> = report.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
    let adapter = report.adapter.iter().map(ToString::to_string);
    let about = [report.machine.clone()].into_iter().chain(adapter).chain([versions.join(", ")]);
    parts.push(about.collect::<Vec<_>>().join("\n"));
    parts.join("\n\n")
}

fn measured(measured: &Measured) -> String {
    let header = [
        "peer",
        "threads",
        "median",
        "min",
        "p90",
        "of wgpu-rnn's",
        "(within)",
        "resident",
        "on the device",
        "worst error",
    ];
    let time = |ms| measured.time_text(ms);
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let mut failures = Vec::new();
    let mut cells = Vec::new();
    for row in &measured.rows {
        let mut line = vec![row.name.text().to_owned(), or_dash(row.threads.map(|threads| threads.to_string()))];
        match &row.outcome {
            Outcome::Timed(timed) => {
                let times = timed.times();
                let ratio = measured.ratio(row);
                line.extend([times.median(), times.min(), times.p90()].map(time));
                line.push(or_dash(ratio.as_ref().map(|ratio| ratio_text(ratio.median()))));
                let within = ratio.map(|ratio| format!("{}-{}", ratio_text(ratio.min()), ratio_text(ratio.max())));
                line.push(or_dash(within));
                line.push(or_dash(timed.resident().map(time)));
                line.push(or_dash(timed.on_device().map(time)));
                line.push(format!("{:.1e}", timed.error));
            }
            Outcome::Failed(why) => {
                line.push("failed".to_owned());
                line.resize(header.len(), "-".to_owned());
                failures.push(format!("{}: {why}", row.label()));
            }
        }
        cells.push(line);
    }
    let [rows, timesteps] = measured.verified;
    let strategy: Vec<String> = measured.rows.iter().filter_map(|row| row.strategy.clone()).collect();
    let strategy = strategy.first().map_or_else(String::new, |way| format!(", wgpu-rnn's strategy {way}"));
    let mut parts = vec![
        format!(
            "{}, {} rounds, errors of {rows} rows and {timesteps} timesteps{strategy}\n",
            measured.title(),
            measured.rounds()
        ),
        table(&header, &[1, 2, 3, 4, 5, 6, 7, 8, 9], &cells),
    ];
    parts.extend(failures);
    parts.join("\n")
}
