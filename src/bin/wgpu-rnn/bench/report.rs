//! What was measured, as a table, as JSON and as CSV.

use std::{
    io::{self, Write},
    time::Duration,
};

use serde_json::{Value, json};
use wgpu_rnn::DeviceReport;

use super::measure::Row;
use crate::{
    peaks::rate_text,
    table::{error_text, ms_text, table},
};

impl Row {
    pub(super) fn us_per_timestep(&self) -> f64 {
        self.times.median() * 1e3 / per(self.seq_len)
    }

    /// Billions of operations a second, a multiply-add counted as two.
    pub(super) fn gflops(&self) -> f64 {
        self.multiply_adds * 2.0 / self.times.median() / 1e6
    }

    /// Bytes that kernels read and write, each operand once; none where there are no kernels.
    fn bytes(&self) -> Option<f64> {
        let bytes: f64 = self.stats.kernels.iter().map(|kernel| kernel.bytes).sum();
        Some(bytes).filter(|_| !self.stats.kernels.is_empty())
    }

    fn gb_per_s(&self) -> Option<f64> {
        self.bytes().map(|bytes| bytes / self.kernels_ms.unwrap_or(self.times.median()) / 1e6)
    }

    fn dispatches(&self) -> Option<u64> {
        Some(self.stats.dispatches()).filter(|&count| count > 0)
    }

    /// What is not within the device's kernels: transfers, waiting, the host.
    fn outside_ms(&self) -> Option<f64> {
        self.kernels_ms.map(|kernels| (self.times.median() - kernels).max(0.0))
    }
}

#[allow(clippy::cast_precision_loss)] // a length
fn per(seq_len: usize) -> f64 {
    seq_len.max(1) as f64
}

pub(super) fn json(rows: &[Row]) -> String {
    json!({"schema": 1, "results": rows.iter().map(entry).collect::<Vec<_>>()}).to_string()
}

fn entry(row: &Row) -> Value {
    let [load, opened, pipelines, first] = row.cold_ms;
    let layers = row.workload.map(|workload| {
        let layers = workload.layers;
        json!({
            "cell": layers.cell.spec().name,
            "hidden_size": layers.hidden,
            "input_size": layers.input_size,
            "layers": layers.layers,
            "bidirectional": layers.bidirectional,
        })
    });
    let chosen = row.chosen.as_ref();
    let estimate = |of: fn(&DeviceReport) -> Option<Duration>| chosen.and_then(of).map(|time| time.as_secs_f64() * 1e3);
    json!({
        "model": row.name,
        "layers": layers,
        "device": row.device,
        "adapter": row.adapter,
        "reason": chosen.map(|report| &report.reason),
        "cpu_estimate_ms": estimate(|report| report.cpu_estimate),
        "gpu_estimate_ms": estimate(|report| report.gpu_estimate),
        "threads": row.threads,
        "weights": row.weights,
        "weight_bytes": row.weight_bytes,
        "strategy": row.strategy,
        "batch": row.batch,
        "seq_len": row.seq_len,
        "runs": row.times.count(),
        "total_ms": {
            "median": row.times.median(),
            "min": row.times.min(),
            "p90": row.times.p90(),
            "p99": row.times.p99(),
        },
        "us_per_timestep": row.us_per_timestep(),
        "kernels_ms": row.kernels_ms,
        "outside_ms": row.outside_ms(),
        "dispatches": row.dispatches(),
        "submissions": row.dispatches().map(|_| row.stats.submissions),
        "gave_up": row.dispatches().map(|_| row.stats.gave_up),
        "bytes": row.bytes(),
        "gflops": row.gflops(),
        "gb_per_s": row.gb_per_s(),
        "peak_gflops": row.peaks.map(|peaks| peaks.gflops),
        "peak_gb_per_s": row.peaks.map(|peaks| peaks.gb_per_s),
        "peak_cache_gb_per_s": row.peaks.map(|peaks| peaks.cache_gb_per_s),
        "cold_ms": {"load": load, "open": opened, "pipelines": pipelines, "first_run": first},
        "pipelines_kept": row.pipelines_kept,
        "max_abs_error": row.error,
        "verified": {"rows": row.verified[0], "timesteps": row.verified[1]},
    })
}

/// The figures of [`json`], a line per row.
pub(super) fn csv(out: &mut impl Write, rows: &[Row]) -> io::Result<()> {
    const LAYERS: [&str; 5] = ["cell", "hidden_size", "input_size", "layers", "bidirectional"];
    let mut header = false;
    for row in rows {
        let entry = entry(row);
        let mut columns: Vec<(String, String)> = Vec::new();
        for (key, value) in entry.as_object().into_iter().flatten() {
            match value {
                Value::Object(inner) => {
                    columns.extend(inner.iter().map(|(name, value)| (format!("{key}.{name}"), cell(value))));
                }
                // A file's layers are not known.
                Value::Null if key == "layers" => {
                    columns.extend(LAYERS.map(|name| (format!("{key}.{name}"), String::new())));
                }
                value => columns.push((key.clone(), cell(value))),
            }
        }
        columns.sort();
        if !header {
            writeln!(out, "{}", columns.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(","))?;
            header = true;
        }
        writeln!(out, "{}", columns.iter().map(|(_, value)| value.as_str()).collect::<Vec<_>>().join(","))?;
    }
    Ok(())
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) if text.contains([',', '"', '\n']) => format!("\"{}\"", text.replace('"', "\"\"")),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

pub(super) fn text(rows: &[Row]) -> String {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let mut parts: Vec<String> = Vec::new();
    for group in rows.chunk_by(|a, b| (&a.name, a.batch, a.seq_len) == (&b.name, b.batch, b.seq_len)) {
        let Some(first) = group.first() else { continue };
        let cells: Vec<_> = group
            .iter()
            .map(|row| {
                vec![
                    row.label.clone(),
                    or_dash(row.threads.map(|threads| threads.to_string())),
                    or_dash(row.strategy.clone()),
                    ms_text(row.times.median()),
                    ms_text(row.times.min()),
                    ms_text(row.times.p90()),
                    format!("{:.2} us", row.us_per_timestep()),
                    or_dash(row.kernels_ms.map(ms_text)),
                    or_dash(row.dispatches().map(|count| count.to_string())),
                    rate_text(row.gflops(), row.peaks.map(|peaks| peaks.gflops)),
                    or_dash(row.gb_per_s().map(|rate| rate_text(rate, row.peaks.map(|peaks| peaks.gb_per_s)))),
                    error_text(row.error),
                ]
            })
            .collect();
        let header = [
            "device",
            "threads",
            "strategy",
            "median",
            "min",
            "p90",
            "per timestep",
            "kernels",
            "dispatches",
            "GFLOP/s",
            "GB/s",
            "worst error",
        ];
        let checked = if first.verified == [first.batch, first.seq_len] {
            String::new()
        } else {
            let [rows, timesteps] = first.verified;
            format!(", errors of the first {rows} rows and {timesteps} timesteps")
        };
        let (name, batch, seq_len, weights) = (&first.name, first.batch, first.seq_len, first.weights);
        let chosen = group.iter().filter_map(|row| row.chosen.as_ref());
        let chosen: String = chosen.map(|report| format!("\n\nauto: {}: {}", report.kind, report.reason)).collect();
        parts.push(format!(
            "{name}: batch {batch}, seq_len {seq_len}, weights {weights}{checked}\n\n{}{chosen}",
            table(&header, &[1, 3, 4, 5, 6, 7, 8, 9, 10, 11], &cells)
        ));
    }
    let mut cold: Vec<Vec<String>> = Vec::new();
    let mut adapters: Vec<String> = Vec::new();
    for row in rows {
        let mut cells = vec![row.name.clone(), row.label.clone()];
        cells.extend(row.cold_ms.iter().map(|ms| or_dash(ms.map(ms_text))));
        let kept = row.pipelines_kept.map(|kept| if kept { "kept from earlier" } else { "new" }.to_owned());
        cells.push(or_dash(kept));
        cells.push(or_dash(row.weight_bytes.map(|bytes| bytes.to_string())));
        if cold.iter().all(|known| known[..2] != cells[..2]) {
            cold.push(cells);
        }
        let peaks = row.peaks.as_ref().map_or_else(String::new, |peaks| format!(": {}", peaks.text()));
        let adapter = row.adapter.as_ref().map(|adapter| format!("{adapter}{peaks}"));
        adapters.extend(adapter.filter(|adapter| !adapters.contains(adapter)));
    }
    let header = ["cold start", "device", "load", "open", "pipelines", "first run", "compiled", "weight bytes"];
    parts.push(table(&header, &[2, 3, 4, 5, 7], &cold));
    if !adapters.is_empty() {
        parts.push(adapters.join("\n"));
    }
    parts.join("\n\n")
}
