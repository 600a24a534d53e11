//! `bench`: one model on several devices, timed and verified.

use std::time::Duration;

use serde_json::json;
use wgpu_rnn::{Device, Error, Model, Tensor};

use crate::{
    args::{BenchArgs, DeviceName, WeightsName},
    devices,
    failure::{Failure, Outcome, one_line},
    files::{note, print},
    progress::busy,
    setup,
    table::{error_text, ms_text, table},
    timing::{self, Effort, Timed},
    verify,
};

/// A device that was timed.
struct Row {
    label: String,
    device: &'static str,
    adapter: Option<String>,
    threads: Option<usize>,
    strategy: Option<String>,
    /// Median, least, nine of ten.
    ms: [f64; 3],
    error: f64,
    passed: bool,
}

pub(crate) fn bench(args: &BenchArgs) -> Outcome<()> {
    let model = setup::model(&args.model)?;
    let inputs = verify::inputs(&model, &args.inputs, args.batch, (args.seq_len, 100), args.seed)?;
    let shapes = timing::shapes(&model, &inputs);
    let batch = shapes.first().and_then(|shape| shape.first()).copied().unwrap_or(0);
    let seq_len = seq_len(&model, &shapes);
    let devices = devices(args)?;
    let working = busy("running the reference");
    let expected = timing::expected(&model, &args.how, &inputs)?;
    drop(working);

    let effort = Effort { runs: args.runs, time: Duration::from_secs(2), most: 50 };
    let mut rows = Vec::new();
    let mut worst = Ok(());
    for (device, label) in devices {
        let _busy = busy(format!("timing {label}"));
        let timed = timing::time(&model, device, &args.how, &inputs, effort);
        match timed.and_then(|timed| row(label.clone(), &timed, args, &model, &inputs, timed.verification(&expected)?))
        {
            Ok(row) => rows.push(row),
            // One that fails does not hide the others.
            Err(error) => {
                note(&format!("{label}: {}", one_line(&error.to_string())));
                worst = Err(Failure::from(error));
            }
        }
    }
    let weights = match args.how.weights {
        WeightsName::F32 => "f32",
        WeightsName::F16 => "f16",
    };
    print(&if args.json.on {
        json_text(&rows, weights, batch, seq_len)
    } else {
        text(&rows, weights, batch, seq_len)
    })?;
    if let Some(row) = rows.iter().find(|row| !row.passed) {
        let (label, error) = (&row.label, error_text(row.error));
        return Err(Failure::new(
            Failure::NOT_VERIFIED,
            format!("{label}: not within the tolerance (worst error {error})"),
        ));
    }
    worst
}

/// The devices to time, and what to call them. Without any asked for: the CPU and every adapter.
fn devices(args: &BenchArgs) -> Result<Vec<(Device, String)>, Error> {
    let named = |name: &DeviceName| (setup::device(*name, args.adapter.clone()), format!("{name:?}").to_lowercase());
    if !args.devices.is_empty() {
        return Ok(args.devices.iter().map(named).collect());
    }
    if args.adapter.is_some() {
        return Ok(vec![named(&DeviceName::Gpu)]);
    }
    let adapters = devices::adapters_or_remark()?;
    let gpus = adapters.into_iter().map(|adapter| (Device::Gpu(Some(adapter.name.clone())), adapter.name));
    Ok([named(&DeviceName::Cpu)].into_iter().chain(gpus).collect())
}

fn row(
    label: String,
    timed: &Timed,
    args: &BenchArgs,
    model: &Model,
    inputs: &[(String, Tensor)],
    verification: wgpu_rnn::verify::Verification,
) -> Result<Row, Error> {
    let report = timed.session.device();
    let rows = timing::shapes(model, inputs).first().and_then(|shape| shape.first()).copied().unwrap_or(1);
    if report.is_software {
        note(&format!("warning: {} computes on the CPU: its time says nothing about a GPU", report.adapter));
    }
    Ok(Row {
        // What `auto` took.
        label: if label == "auto" { report.kind.to_owned() } else { label },
        device: report.kind,
        adapter: setup::adapter(&timed.session).map(str::to_owned),
        threads: match report.kind {
            // Threads share out rows.
            "cpu" => Some(setup::threads(&args.how).min(rows.max(1))),
            "reference" => Some(1),
            _ => None,
        },
        strategy: strategy(timed, model, inputs)?,
        ms: [timed.times.median(), timed.times.min(), timed.times.p90()],
        error: verification.max_abs_error(),
        passed: verification.passed(),
    })
}

/// How recurrences run on a GPU, each way once.
#[cfg(feature = "gpu")]
fn strategy(timed: &Timed, model: &Model, inputs: &[(String, Tensor)]) -> Result<Option<String>, Error> {
    let mut ways: Vec<String> = Vec::new();
    for (_, strategy, _) in timed.session.strategies(&timing::shapes(model, inputs))? {
        let way = strategy.to_string();
        if !ways.contains(&way) {
            ways.push(way);
        }
    }
    Ok(Some(ways.join(", ")).filter(|ways| !ways.is_empty()))
}

#[cfg(not(feature = "gpu"))]
#[allow(clippy::unnecessary_wraps)] // as with the feature
fn strategy(_: &Timed, _: &Model, _: &[(String, Tensor)]) -> Result<Option<String>, Error> {
    Ok(None)
}

#[allow(clippy::cast_precision_loss)] // a length
/// The length of the first input that is a sequence: one whose length the run decides, or with features.
fn seq_len(model: &Model, shapes: &[Vec<usize>]) -> usize {
    let open = |shape: &[Option<usize>]| shape.get(1).is_some_and(Option::is_none);
    let inputs = model.inputs();
    let sequence = inputs.iter().zip(shapes).find(|(input, shape)| shape.len() > 2 || open(&input.shape));
    sequence.and_then(|(_, shape)| shape.get(1)).copied().unwrap_or(1)
}

fn us_per_timestep(row: &Row, seq_len: usize) -> f64 {
    row.ms[0] * 1e3 / seq_len.max(1) as f64
}

fn json_text(rows: &[Row], weights: &str, batch: usize, seq_len: usize) -> String {
    let results: Vec<_> = rows
        .iter()
        .map(|row| {
            let [median, min, p90] = row.ms;
            json!({
                "device": row.device,
                "adapter": row.adapter,
                "threads": row.threads,
                "weights": weights,
                "strategy": row.strategy,
                "batch": batch,
                "seq_len": seq_len,
                "total_ms": {"median": median, "min": min, "p90": p90},
                "us_per_timestep": us_per_timestep(row, seq_len),
                "max_abs_error": row.error,
            })
        })
        .collect();
    json!({"schema": 1, "results": results}).to_string()
}

fn text(rows: &[Row], weights: &str, batch: usize, seq_len: usize) -> String {
    let cells: Vec<_> = rows
        .iter()
        .map(|row| {
            let threads = row.threads.map_or("-".to_owned(), |threads| threads.to_string());
            let strategy = row.strategy.clone().unwrap_or_else(|| "-".to_owned());
            let mut cells = vec![row.label.clone(), threads, strategy];
            cells.extend(row.ms.iter().map(|&ms| ms_text(ms)));
            cells.push(format!("{:.2} us", us_per_timestep(row, seq_len)));
            cells.push(error_text(row.error));
            cells
        })
        .collect();
    let header = ["device", "threads", "strategy", "median", "min", "p90", "per timestep", "worst error"];
    format!("batch {batch}, seq_len {seq_len}, weights {weights}\n\n{}", table(&header, &[1, 3, 4, 5, 6, 7], &cells))
}
