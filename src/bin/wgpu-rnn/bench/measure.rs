//! One workload on one device.

use std::time::{Duration, Instant};

use wgpu_rnn::{
    Data, DeviceReport, Error, Outputs, Session, SessionOptions, Tensor, stats::RunStats, verify::Verification,
};

use crate::{
    args::BenchArgs,
    case::Case,
    files::note,
    peaks::Peaks,
    progress::busy,
    setup,
    timing::{self, Effort, Times},
    workload::Workload,
};

/// A workload on a device.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) workload: Option<Workload>,
    pub(crate) batch: usize,
    pub(crate) seq_len: usize,
    pub(crate) label: String,
    pub(crate) device: &'static str,
    /// Name, kind, backend and driver.
    pub(crate) adapter: Option<String>,
    /// Of two devices, which one, why, and what was estimated.
    pub(crate) chosen: Option<DeviceReport>,
    pub(crate) weights: &'static str,
    /// Bytes of the weights on a GPU.
    pub(crate) weight_bytes: Option<u64>,
    pub(crate) threads: Option<usize>,
    pub(crate) strategy: Option<String>,
    pub(crate) times: Times,
    /// By the device's clock, where it has one: all kernels, without transfers.
    pub(crate) kernels_ms: Option<f64>,
    pub(crate) stats: RunStats,
    pub(crate) multiply_adds: f64,
    /// Loading the file; weights and device; pipelines; the first run.
    pub(crate) cold_ms: [Option<f64>; 4],
    /// Whether the driver began with what it compiled in an earlier process; none where it cannot.
    pub(crate) pipelines_kept: Option<bool>,
    /// What the device can do, where that was measured.
    pub(crate) peaks: Option<Peaks>,
    pub(crate) error: f64,
    pub(crate) passed: bool,
    /// Rows and timesteps that were compared with the reference.
    pub(crate) verified: [usize; 2],
}

/// Multiply-adds that the reference computes for a comparison, at most.
const VERIFIED: f64 = 3e8;

/// Times `case` on a device: opens it, compiles pipelines, warms up, then the runs that count, one with the
/// device's clock, and a comparison of the outputs of the last run that counted. What the driver compiled is
/// there for the next case, too.
pub(crate) fn row(case: &Case, options: &mut SessionOptions, label: &str, args: &BenchArgs) -> Result<Row, Error> {
    let _busy = busy(format!("timing {} on {label}", case.name));
    let ms = |started: Instant| Some(started.elapsed().as_secs_f64() * 1e3);
    let shapes = timing::shapes(&case.model, &case.inputs);
    let started = Instant::now();
    let session = Session::new(&case.model, options.clone())?;
    let opened = ms(started);
    let started = Instant::now();
    session.warm_up(&shapes)?;
    let pipelines = ms(started);
    let started = Instant::now();
    timing::run(&session, &case.inputs)?;
    let first = ms(started);
    let effort = Effort { runs: args.runs, time: Duration::from_secs(2), most: 50 };
    let (times, outputs) = timing::times(&session, &case.inputs, effort)?;
    let report = outputs.device().unwrap_or(session.device());
    let on_gpu = report.kind == "gpu";
    let stats = if on_gpu { profile(&session, &case.inputs)? } else { RunStats::default() };
    if stats.gave_up {
        note("warning: workgroups waited in vain for each other: runs were made again step by step");
    }
    let multiply_adds = session.multiply_adds(&shapes)?;
    let (verification, verified) = verify(case, &outputs, multiply_adds, args)?;
    setup::keep(&session, Some(options));
    if report.is_software {
        note(&format!("warning: {} computes on the CPU: its time says nothing about a GPU", report.adapter));
    }
    let times_of_kernels: Option<Duration> = stats.kernels.iter().map(|kernel| kernel.time).sum();
    Ok(Row {
        name: case.name.clone(),
        workload: case.workload,
        batch: case.batch,
        seq_len: case.seq_len,
        // What `auto` took.
        label: if label == "auto" { report.kind.to_owned() } else { label.to_owned() },
        device: report.kind,
        adapter: setup::adapter(report).map(str::to_owned),
        chosen: Some(report.clone()).filter(|_| session.device().kind == setup::TWO_DEVICES),
        weights: args.how.weights.name(),
        weight_bytes: weight_bytes(&session, &shapes)?,
        threads: match report.kind {
            // At most: a run of little work takes fewer.
            "cpu" => Some(setup::threads(&args.how)),
            "reference" => Some(1),
            _ => None,
        },
        strategy: strategy(&session, &shapes)?,
        times,
        kernels_ms: times_of_kernels.filter(|_| !stats.kernels.is_empty()).map(|time| time.as_secs_f64() * 1e3),
        stats,
        multiply_adds,
        cold_ms: [case.load_ms, opened, pipelines, first],
        pipelines_kept: setup::pipelines_kept(&session),
        peaks: Peaks::of(&session).filter(|_| on_gpu),
        error: verification.max_abs_error(),
        passed: verification.passed(),
        verified,
    })
}

/// What the kernels do; nothing where there are none.
#[cfg(feature = "gpu")]
fn profile(session: &Session, inputs: &[(String, Tensor)]) -> Result<RunStats, Error> {
    if !session.model().needs_weights().is_empty() {
        return Ok(RunStats::default());
    }
    session.profile(wgpu_rnn::Inputs::from_iter(inputs.to_vec())).map(|(_, stats)| stats)
}

#[cfg(not(feature = "gpu"))]
#[allow(clippy::unnecessary_wraps)] // as with the feature
fn profile(_: &Session, _: &[(String, Tensor)]) -> Result<RunStats, Error> {
    Ok(RunStats::default())
}

#[cfg(feature = "gpu")]
fn weight_bytes(session: &Session, shapes: &[Vec<usize>]) -> Result<Option<u64>, Error> {
    if !session.model().needs_weights().is_empty() {
        return Ok(None);
    }
    Ok(session.memory_need(shapes)?.map(|need| need.weights))
}

#[cfg(not(feature = "gpu"))]
#[allow(clippy::unnecessary_wraps)] // as with the feature
fn weight_bytes(_: &Session, _: &[Vec<usize>]) -> Result<Option<u64>, Error> {
    Ok(None)
}

/// How recurrences run on a GPU, each way once.
#[cfg(feature = "gpu")]
fn strategy(session: &Session, shapes: &[Vec<usize>]) -> Result<Option<String>, Error> {
    let mut ways: Vec<String> = Vec::new();
    for (_, strategy, _) in session.strategies(shapes)? {
        let way = strategy.to_string();
        if !ways.contains(&way) {
            ways.push(way);
        }
    }
    Ok(Some(ways.join(", ")).filter(|ways| !ways.is_empty()))
}

#[cfg(not(feature = "gpu"))]
#[allow(clippy::unnecessary_wraps)] // as with the feature
fn strategy(_: &Session, _: &[Vec<usize>]) -> Result<Option<String>, Error> {
    Ok(None)
}

/// The outputs of the run that was timed beside the reference's: all of them, or where that would take long,
/// of layers that only look back, their first rows and timesteps.
fn verify(
    case: &Case,
    outputs: &Outputs,
    multiply_adds: f64,
    args: &BenchArgs,
) -> Result<(Verification, [usize; 2]), Error> {
    let [rows, timesteps] = match case.workload {
        Some(workload) if multiply_adds > VERIFIED => prefix(&workload, multiply_adds),
        _ => [case.batch, case.seq_len],
    };
    let whole = [rows, timesteps] == [case.batch, case.seq_len];
    let cut = |(name, tensor): (&str, &Tensor)| -> Result<(String, Tensor), Error> {
        let tensor = if whole { tensor.clone() } else { first(tensor, rows, timesteps)? };
        Ok((name.to_owned(), tensor))
    };
    if case.expected.get().is_none() {
        let inputs = case.inputs.iter().map(|(name, tensor)| cut((name, tensor)));
        let inputs: Vec<_> = inputs.collect::<Result<_, Error>>()?;
        let _ = case.expected.set(timing::expected(&case.model, &args.how, &inputs)?);
    }
    let Some(expected) = case.expected.get() else {
        return Err(Error::Internal { what: "a case without expected outputs".to_owned() });
    };
    let actual = Outputs::from_iter(outputs.iter().map(cut).collect::<Result<Vec<_>, Error>>()?);
    Ok((Verification::new(expected, &actual, setup::tolerance(&args.how))?, [rows, timesteps]))
}

/// Rows and timesteps of `workload` that can be compared without a long wait.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // sizes, as shares
fn prefix(workload: &Workload, multiply_adds: f64) -> [usize; 2] {
    let step = multiply_adds / (workload.batch * workload.seq_len).max(1) as f64;
    let affordable = (VERIFIED / step).max(1.0);
    let some = |most: usize, of: f64| most.min((of as usize).max(1));
    if workload.layers.bidirectional {
        return [some(workload.batch, affordable / workload.seq_len as f64), workload.seq_len];
    }
    let timesteps = some(workload.seq_len, affordable / workload.batch.min(2) as f64);
    [some(workload.batch, affordable / timesteps as f64), timesteps]
}

/// The first rows and timesteps of `[batch, seq_len, features]`.
fn first(tensor: &Tensor, rows: usize, timesteps: usize) -> Result<Tensor, Error> {
    let &[_, seq_len, features] = tensor.shape() else {
        return Err(Error::Internal { what: "a sequence of another rank".to_owned() });
    };
    let values = tensor.to_f32();
    let rows_of = values.chunks(seq_len * features).take(rows);
    let cut: Vec<f32> = rows_of.flat_map(|row| row.iter().take(timesteps * features)).copied().collect();
    Tensor::new([rows, timesteps, features], Data::from(cut))
}
