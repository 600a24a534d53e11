//! `profile`: what each kernel of a model does on a GPU, how long it takes, and which way each recurrence went.

use crate::{args::ProfileArgs, failure::Outcome};

#[cfg(not(feature = "gpu"))]
pub(crate) fn profile(_: &ProfileArgs) -> Outcome<()> {
    Err(crate::setup::without_gpu().into())
}

#[cfg(feature = "gpu")]
pub(crate) use with_gpu::profile;

#[cfg(feature = "gpu")]
mod with_gpu {
    use std::time::Duration;

    use serde_json::{Value, json};
    use wgpu_rnn::{
        Device, Error, Inputs, Session, SessionOptions,
        gpu::Strategy,
        stats::{KernelStats, RunStats},
    };

    use super::{Outcome, ProfileArgs};
    use crate::{
        calibrate,
        case::{self, Case},
        files::{note, print},
        peaks::{Peaks, rate_text},
        progress::busy,
        setup,
        table::{ms_text, table},
        timing,
    };

    pub(crate) fn profile(args: &ProfileArgs) -> Outcome<()> {
        let mut options = setup::options(Device::Gpu(args.adapter.clone()), &args.how);
        if args.calibrate {
            calibrate::before(&mut options);
        }
        let mut profiles = Vec::new();
        case::each(&args.case, |case| {
            profiles.push(Profile::of(case, &mut options)?);
            Ok(())
        })?;
        let text = if args.json.on {
            json_text(&profiles)
        } else {
            profiles.iter().map(Profile::text).collect::<Vec<_>>().join("\n\n\n")
        };
        Ok(print(&text)?)
    }

    /// A run, kernel by kernel.
    struct Profile {
        name: String,
        batch: usize,
        seq_len: usize,
        /// For people, and for programs.
        device: String,
        adapter: String,
        peaks: Option<Peaks>,
        /// Of a run whose kernels are not kept apart.
        total: Duration,
        stats: RunStats,
        strategies: Vec<(String, Strategy, String)>,
    }

    impl Profile {
        fn of(case: &Case, options: &mut SessionOptions) -> Result<Self, Error> {
            let shapes = timing::shapes(&case.model, &case.inputs);
            let session = Session::new(&case.model, options.clone())?;
            let _busy = busy(format!("running {} on {}", case.name, setup::device_text(session.device())));
            session.warm_up(&shapes)?;
            // Once for the buffers, once for the way it runs, once kept apart.
            timing::run(&session, &case.inputs)?;
            let (total, _) = timing::run(&session, &case.inputs)?;
            let (_, stats) = session.profile(Inputs::from_iter(case.inputs.clone()))?;
            if stats.gave_up {
                note("warning: workgroups waited in vain for each other: the run was made again step by step");
            }
            setup::keep(&session, Some(options));
            Ok(Self {
                name: case.name.clone(),
                batch: case.batch,
                seq_len: case.seq_len,
                device: setup::device_text(session.device()),
                adapter: session.device().adapter.clone(),
                peaks: Peaks::of(&session),
                total,
                stats,
                strategies: session.strategies(&shapes)?,
            })
        }

        fn json(&self) -> Value {
            let kernels: Vec<_> = self
                .stats
                .kernels
                .iter()
                .map(|kernel| {
                    json!({
                        "kernel": kernel.kernel,
                        "dispatches": kernel.dispatches,
                        "ms": kernel.time.map(ms),
                        "multiply_adds": kernel.multiply_adds,
                        "bytes": kernel.bytes,
                    })
                })
                .collect();
            let strategies = self.strategies.iter().map(
                |(layer, strategy, reason)| json!({"layer": layer, "strategy": strategy.to_string(), "reason": reason}),
            );
            json!({
                "model": self.name,
                "batch": self.batch,
                "seq_len": self.seq_len,
                "adapter": self.adapter,
                "total_ms": ms(self.total),
                "submissions": self.stats.submissions,
                "gave_up": self.stats.gave_up,
                "kernels": kernels,
                "recurrences": strategies.collect::<Vec<_>>(),
                "peak_gflops": self.peaks.map(|peaks| peaks.gflops),
                "peak_gb_per_s": self.peaks.map(|peaks| peaks.gb_per_s),
                "peak_cache_gb_per_s": self.peaks.map(|peaks| peaks.cache_gb_per_s),
            })
        }

        fn text(&self) -> String {
            let sum: Option<Duration> = self.stats.kernels.iter().map(|kernel| kernel.time).sum();
            let mut kernels: Vec<_> = self.stats.kernels.iter().collect();
            kernels.sort_by_key(|kernel| std::cmp::Reverse(kernel.time));
            let rows: Vec<_> = kernels.into_iter().map(|kernel| self.row(kernel, sum)).collect();
            let header = ["kernel", "dispatches", "time", "share", "MFLOP", "GFLOP/s", "MB", "GB/s"];
            let kernels = table(&header, &[1, 2, 3, 4, 5, 6, 7], &rows);
            let rows: Vec<_> =
                self.strategies.iter().map(|(layer, _, reason)| vec![layer.clone(), reason.clone()]).collect();
            let recurrences = if rows.is_empty() {
                String::new()
            } else {
                format!("\n\n{}", table(&["recurrence", "way"], &[], &rows))
            };
            let clock = match sum {
                Some(sum) => format!("{} in kernels", ms_text(ms(sum))),
                None => "the device has no clock".to_owned(),
            };
            let (name, batch, seq_len) = (&self.name, self.batch, self.seq_len);
            let peaks = self.peaks.map_or_else(String::new, |peaks| format!("\n{}", peaks.text()));
            format!(
                "{name}: batch {batch}, seq_len {seq_len}\n{}: a run takes {}, {clock}, {} submissions{peaks}\n\n{kernels}{recurrences}",
                self.device,
                ms_text(ms(self.total)),
                self.stats.submissions
            )
        }

        /// A kernel, of which all take `sum`.
        fn row(&self, kernel: &KernelStats, sum: Option<Duration>) -> Vec<String> {
            let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
            let seconds = kernel.time.map(|time| time.as_secs_f64().max(1e-12));
            let share = seconds.zip(sum).map(|(seconds, sum)| seconds / sum.as_secs_f64().max(1e-12) * 100.0);
            let rate = |count: f64, peak: Option<f64>| {
                or_dash(seconds.map(|seconds| rate_text(count / seconds / 1e9, peak.filter(|_| count > 0.0))))
            };
            let operations = kernel.multiply_adds * 2.0;
            vec![
                kernel.kernel.to_owned(),
                kernel.dispatches.to_string(),
                or_dash(kernel.time.map(|time| ms_text(ms(time)))),
                or_dash(share.map(|share| format!("{share:.0} %"))),
                format!("{:.2}", operations / 1e6),
                rate(operations, self.peaks.map(|peaks| peaks.gflops)),
                format!("{:.2}", kernel.bytes / 1e6),
                rate(kernel.bytes, self.peaks.map(|peaks| peaks.gb_per_s)),
            ]
        }
    }

    /// All of them under `results`; what a single one says stands outside, too.
    fn json_text(profiles: &[Profile]) -> String {
        let results: Vec<Value> = profiles.iter().map(Profile::json).collect();
        let mut all = match results.as_slice() {
            [Value::Object(only)] => only.clone(),
            _ => serde_json::Map::new(),
        };
        all.insert("schema".to_owned(), json!(1));
        all.insert("results".to_owned(), json!(results));
        Value::Object(all).to_string()
    }

    fn ms(time: Duration) -> f64 {
        time.as_secs_f64() * 1e3
    }
}
