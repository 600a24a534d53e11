//! `calibrate`: measures what the CPU and a GPU can do, and keeps it for later runs.

use std::{path::PathBuf, time::Instant};

use serde_json::{Value, json};
use wgpu_rnn::{Error, cpu};

use crate::{
    args::CalibrateArgs,
    cache,
    failure::{Outcome, one_line},
    files::{note, print},
    progress::busy,
    table::table,
};

/// A device that was measured.
struct Measured {
    /// For people, and for programs.
    name: String,
    /// Key and value of each figure; each for people, and what it is of.
    json: Value,
    rows: Vec<[String; 3]>,
    seconds: f64,
    kept: Option<PathBuf>,
}

pub(crate) fn calibrate(args: &CalibrateArgs) -> Outcome<()> {
    let cpu = measured_cpu()?;
    let gpu = match measured_gpu(args) {
        // There is still the CPU, unless an adapter was named.
        Err(error @ Error::NoAdapter { .. }) if args.adapter.is_none() => {
            note(&one_line(&error.to_string()));
            None
        }
        other => Some(other?),
    };
    if args.json.on {
        let kept = |of: &Measured| of.kept.as_ref().map(|path| path.display().to_string());
        let all = json!({
            "schema": 1,
            "adapter": gpu.as_ref().map(|gpu| &gpu.name),
            "calibration": gpu.as_ref().map(|gpu| &gpu.json),
            "seconds": gpu.as_ref().map(|gpu| gpu.seconds),
            "kept": gpu.as_ref().and_then(kept),
            "cpu": {"calibration": cpu.json, "seconds": cpu.seconds, "kept": kept(&cpu)},
        });
        return Ok(print(&all.to_string())?);
    }
    let text: Vec<String> = [Some(cpu), gpu].into_iter().flatten().map(|of| of.text()).collect();
    Ok(print(&text.join("\n\n"))?)
}

impl Measured {
    fn text(&self) -> String {
        let kept = match &self.kept {
            Some(path) => format!("kept in {}", path.display()),
            None => "not kept".to_owned(),
        };
        let rows: Vec<_> = self.rows.iter().map(|row| row.to_vec()).collect();
        let figures = table(&["figure", "measured", "of"], &[1], &rows);
        format!("{}\n\n{figures}\n\nmeasured in {:.2} s, {kept}", self.name, self.seconds)
    }
}

/// A row of a table.
fn row(name: &str, value: String, what: &str) -> [String; 3] {
    [name.to_owned(), value, what.to_owned()]
}

#[allow(clippy::cast_precision_loss)] // a size, for people
fn measured_cpu() -> Result<Measured, Error> {
    let _busy = busy("measuring the CPU");
    let started = Instant::now();
    let found = cpu::Calibration::measure()?;
    Ok(Measured {
        name: "the CPU".to_owned(),
        json: json!({
            "multiply_adds_per_s": found.multiply_adds,
            "cache_bytes_per_s": found.cache_bandwidth,
            "memory_bytes_per_s": found.memory_bandwidth,
            "cache_bytes": found.cache_bytes,
            "hand_over_s": found.hand_over,
        }),
        rows: vec![
            row(
                "arithmetic",
                format!("{:.2} GFLOP/s", 2.0 * found.multiply_adds / 1e9),
                "a thread, products of many rows",
            ),
            row(
                "cache",
                format!("{:.2} GB/s", found.cache_bandwidth / 1e9),
                "a thread, weights for one row, 256 KiB of them",
            ),
            row(
                "memory",
                format!("{:.2} GB/s", found.memory_bandwidth / 1e9),
                "a thread, weights for one row, 32 MiB of them",
            ),
            row(
                "cached",
                format!("{:.2} MB", found.cache_bytes as f64 / 1e6),
                "weights that are read about as fast as from a cache",
            ),
            row(
                "hand-over",
                format!("{:.3} us", found.hand_over * 1e6),
                "two threads that tell each other what they computed",
            ),
        ],
        seconds: started.elapsed().as_secs_f64(),
        kept: cache::keep_cpu(&found),
    })
}

#[cfg(not(feature = "gpu"))]
fn measured_gpu(_: &CalibrateArgs) -> Result<Measured, Error> {
    Err(crate::setup::without_gpu())
}

#[cfg(feature = "gpu")]
fn measured_gpu(args: &CalibrateArgs) -> Result<Measured, Error> {
    let mut options = wgpu_rnn::gpu::GpuOptions::default();
    options.adapter.clone_from(&args.adapter);
    let started = Instant::now();
    let (info, found) = measured(options)?;
    let seconds = started.elapsed().as_secs_f64();
    if info.kind == wgpu_rnn::gpu::AdapterKind::Software {
        note(&format!("warning: {info} computes on the CPU: its speed says nothing about a GPU"));
    }
    Ok(Measured {
        name: info.to_string(),
        json: json!({
            "round_trip_s": found.round_trip,
            "dispatch_s": found.dispatch,
            "memory_bytes_per_s": found.memory_bandwidth,
            "cache_bytes_per_s": found.cache_bandwidth,
            "multiply_adds_per_s": found.multiply_adds,
            "resident_workgroups": found.resident_workgroups,
        }),
        rows: vec![
            row("round trip", format!("{:.1} us", found.round_trip * 1e6), "a copy of a few bytes, and reading them"),
            row("dispatch", format!("{:.2} us", found.dispatch * 1e6), "one more within a submission"),
            row("memory", format!("{:.2} GB/s", found.memory_bandwidth / 1e9), "read, from more than caches hold"),
            row("cache", format!("{:.2} GB/s", found.cache_bandwidth / 1e9), "read, 1 MiB again and again"),
            row("arithmetic", format!("{:.2} GFLOP/s", 2.0 * found.multiply_adds / 1e9), "f32 multiply-adds, two each"),
            row("workgroups", found.resident_workgroups.to_string(), "of 256 invocations that run at once"),
        ],
        seconds,
        kept: cache::keep_calibration(&info, &found),
    })
}

/// Opens a device and measures it.
#[cfg(feature = "gpu")]
fn measured(
    options: wgpu_rnn::gpu::GpuOptions,
) -> Result<(wgpu_rnn::gpu::AdapterInfo, wgpu_rnn::gpu::Calibration), Error> {
    let _busy = busy("measuring the device");
    let gpu = pollster::block_on(wgpu_rnn::gpu::Gpu::open(options))?;
    let found = pollster::block_on(gpu.calibrate())?;
    Ok((gpu.info().clone(), found))
}

/// Measures the GPU that a session with `options` opens, if any, and the CPU where runs choose between them, and lets the
/// session know. It is kept, too.
#[cfg(feature = "gpu")]
pub(crate) fn before(options: &mut wgpu_rnn::SessionOptions) {
    let Some(gpu) = options.device.to_open(&options.gpu) else { return };
    // The session says what a failure means for it.
    let failed = |error: Error| note(&format!("not measured: {}", one_line(&error.to_string())));
    match measured(gpu) {
        Ok((info, found)) => {
            cache::keep_calibration(&info, &found);
            options.gpu.calibration = Some(found);
        }
        Err(error) => return failed(error),
    }
    if matches!(options.device, wgpu_rnn::Device::Auto(_)) {
        match cpu::Calibration::measure() {
            Ok(found) => {
                cache::keep_cpu(&found);
                options.cpu_calibration = Some(found);
            }
            Err(error) => failed(error),
        }
    }
}

/// There is nothing to choose, so nothing to measure.
#[cfg(not(feature = "gpu"))]
pub(crate) fn before(_: &mut wgpu_rnn::SessionOptions) {}
