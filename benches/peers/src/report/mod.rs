//! What was measured: [`text`] for the terminal, [`json`] for programs, [`markdown`] for a page.

mod json;
mod markdown;
mod table;
mod text;

pub(crate) use json::json;
pub(crate) use markdown::markdown;
pub(crate) use text::text;

use wgpu_rnn::gpu::AdapterInfo;

use crate::{
    case::Case,
    peers::{Missing, Name},
    stats::{Times, ratios},
    turns::{Outcome, Row, Timed},
    workload::Workload,
};

/// All of it.
pub(crate) struct Report {
    pub(crate) machine: String,
    pub(crate) date: String,
    pub(crate) command: String,
    pub(crate) adapter: Option<AdapterInfo>,
    pub(crate) versions: Vec<(String, String)>,
    pub(crate) missing: Vec<Missing>,
    pub(crate) results: Vec<Measured>,
}

/// A workload, and what each entrant did on it.
pub(crate) struct Measured {
    pub(crate) workload: Workload,
    /// Rows and timesteps that were compared with the reference.
    pub(crate) verified: [usize; 2],
    pub(crate) rows: Vec<Row>,
}

impl Measured {
    pub(crate) fn new(case: &Case, rows: Vec<Row>) -> Self {
        Self { workload: case.workload, verified: case.verified(), rows }
    }

    /// `LSTM 128, input 32: batch 16, seq_len 100`
    fn title(&self) -> String {
        let Workload { batch, seq_len, stream, .. } = self.workload;
        let stream = if stream { ", a timestep at a time" } else { "" };
        format!("{}: batch {batch}, seq_len {seq_len}{stream}", self.workload.name())
    }

    /// What is said of a run of `ms`: that, or what a timestep of a stream takes.
    fn time_text(&self, ms: f64) -> String {
        match self.us_per_timestep(ms) {
            Some(us) => format!("{} us", digits(us)),
            None => format!("{} ms", digits(ms)),
        }
    }

    /// Of a run of `ms`, if it is a stream.
    #[allow(clippy::cast_precision_loss)] // a size
    fn us_per_timestep(&self, ms: f64) -> Option<f64> {
        self.workload.stream.then(|| ms * 1e3 / self.workload.seq_len as f64)
    }

    fn rounds(&self) -> usize {
        self.rows.iter().filter_map(Row::timed).map(|timed| timed.turns.len()).max().unwrap_or(0)
    }

    /// How many times as long as this crate on the same kind of device: nothing for this crate itself.
    fn ratio(&self, row: &Row) -> Option<Times> {
        if row.name == row.name.baseline() {
            return None;
        }
        let is_base = |base: &&Row| base.name == row.name.baseline() && base.threads == row.threads;
        let base = self.rows.iter().find(is_base)?.timed()?;
        Some(ratios(&row.timed()?.turns, &base.turns))
    }
}

impl Row {
    fn timed(&self) -> Option<&Timed> {
        match &self.outcome {
            Outcome::Timed(timed) => Some(timed),
            Outcome::Failed(_) => None,
        }
    }

    /// `PyTorch CPU, 2 threads`
    fn label(&self) -> String {
        label(self.name, self.threads)
    }
}

fn label(name: Name, threads: Option<usize>) -> String {
    match threads {
        None => name.text().to_owned(),
        Some(1) => format!("{}, 1 thread", name.text()),
        Some(count) => format!("{}, {count} threads", name.text()),
    }
}

impl Timed {
    /// From host to host.
    fn times(&self) -> Times {
        self.turns.iter().flatten().copied().collect()
    }

    fn median(&self) -> Option<f64> {
        Some(self.times().median())
    }

    fn resident(&self) -> Option<f64> {
        some(&self.resident)
    }

    fn on_device(&self) -> Option<f64> {
        some(&self.on_device)
    }
}

/// The median, if there are any.
fn some(times: &[f64]) -> Option<f64> {
    Some(times.iter().copied().collect::<Times>().median()).filter(|_| !times.is_empty())
}

/// A time, in three digits or so.
fn digits(time: f64) -> String {
    match time {
        time if time < 1.0 => format!("{time:.3}"),
        time if time < 100.0 => format!("{time:.2}"),
        time => format!("{time:.0}"),
    }
}

/// A quotient, in three digits or so.
fn ratio_text(ratio: f64) -> String {
    match ratio {
        ratio if ratio < 10.0 => format!("{ratio:.2}"),
        ratio if ratio < 100.0 => format!("{ratio:.1}"),
        ratio => format!("{ratio:.0}"),
    }
}
