//! For programs.

use serde_json::{Value, json};

use super::{Measured, Report};
use crate::{
    stats::Times,
    turns::{Outcome, Row},
};

pub(crate) fn json(report: &Report) -> String {
    let adapter = report.adapter.as_ref().map(|adapter| {
        json!({
            "name": adapter.name,
            "kind": adapter.kind.name(),
            "backend": adapter.backend,
            "driver": adapter.driver,
        })
    });
    let versions: serde_json::Map<String, Value> =
        report.versions.iter().map(|(name, version)| (name.clone(), json!(version))).collect();
    let missing = report
        .missing
        .iter()
        .map(|missing| json!({"peer": missing.name.option(), "because": missing.why, "to_have_it": missing.how}));
    json!({
        "schema": 1,
        "machine": report.machine,
        "adapter": adapter,
        "date": report.date,
        "command": report.command,
        "versions": versions,
        "missing": missing.collect::<Vec<_>>(),
        "results": report.results.iter().map(measured).collect::<Vec<_>>(),
    })
    .to_string()
}

fn measured(measured: &Measured) -> Value {
    let workload = measured.workload;
    json!({
        "cell": workload.cell_name(),
        "hidden_size": workload.hidden,
        "input_size": workload.input_size,
        "batch": workload.batch,
        "seq_len": workload.seq_len,
        "stream": workload.stream,
        "multiply_adds": workload.multiply_adds(),
        "verified": {"rows": measured.verified[0], "timesteps": measured.verified[1]},
        "rounds": measured.rounds(),
        "peers": measured.rows.iter().map(|row| entry(measured, row)).collect::<Vec<_>>(),
    })
}

fn entry(measured: &Measured, row: &Row) -> Value {
    let figures =
        |times: Times| json!({"runs": times.count(), "median": times.median(), "min": times.min(), "p90": times.p90()});
    let mut entry = json!({"peer": row.name.option(), "threads": row.threads, "strategy": row.strategy});
    let more = match &row.outcome {
        Outcome::Timed(timed) => json!({
            "total_ms": figures(timed.times()),
            "turns_ms": timed.turns,
            "us_per_timestep": measured.us_per_timestep(timed.times().median()),
            "of_wgpu_rnn": measured.ratio(row).map(|ratio| {
                json!({"median": ratio.median(), "min": ratio.min(), "max": ratio.max()})
            }),
            "resident_ms": timed.resident().map(|_| figures(timed.resident.iter().copied().collect())),
            "on_device_ms": timed.on_device(),
            "max_abs_error": timed.error,
        }),
        Outcome::Failed(why) => json!({"failed": why}),
    };
    if let (Value::Object(entry), Value::Object(more)) = (&mut entry, more) {
        entry.extend(more);
    }
    entry
}
