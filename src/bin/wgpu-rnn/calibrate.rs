//! `calibrate`: measures what a GPU can do, and keeps it for later runs.

use crate::{args::CalibrateArgs, failure::Outcome};

#[cfg(not(feature = "gpu"))]
pub(crate) fn calibrate(_: &CalibrateArgs) -> Outcome<()> {
    Err(crate::setup::without_gpu().into())
}

#[cfg(feature = "gpu")]
pub(crate) fn calibrate(args: &CalibrateArgs) -> Outcome<()> {
    use std::time::Instant;

    use serde_json::json;
    use wgpu_rnn::gpu::GpuOptions;

    use crate::{
        cache,
        files::{note, print},
        table::table,
    };

    let mut options = GpuOptions::default();
    options.adapter.clone_from(&args.adapter);
    let started = Instant::now();
    let (info, found) = measured(options)?;
    let seconds = started.elapsed().as_secs_f64();
    if info.kind == wgpu_rnn::gpu::AdapterKind::Software {
        note(&format!("warning: {info} computes on the CPU: its speed says nothing about a GPU"));
    }
    let kept = cache::keep_calibration(&info, &found);
    if args.json.on {
        let figures = json!({
            "round_trip_s": found.round_trip,
            "dispatch_s": found.dispatch,
            "memory_bytes_per_s": found.memory_bandwidth,
            "cache_bytes_per_s": found.cache_bandwidth,
            "multiply_adds_per_s": found.multiply_adds,
            "resident_workgroups": found.resident_workgroups,
        });
        let kept = kept.map(|path| path.display().to_string());
        let adapter = info.to_string();
        let all = json!({"schema": 1, "adapter": adapter, "calibration": figures, "seconds": seconds, "kept": kept});
        return Ok(print(&all.to_string())?);
    }
    let row = |name: &str, value: String, what: &str| vec![name.to_owned(), value, what.to_owned()];
    let rows = [
        row("round trip", format!("{:.1} us", found.round_trip * 1e6), "a copy of a few bytes, and reading them"),
        row("dispatch", format!("{:.2} us", found.dispatch * 1e6), "one more within a submission"),
        row("memory", format!("{:.2} GB/s", found.memory_bandwidth / 1e9), "read, from more than caches hold"),
        row("cache", format!("{:.2} GB/s", found.cache_bandwidth / 1e9), "read, 1 MiB again and again"),
        row("arithmetic", format!("{:.2} GFLOP/s", 2.0 * found.multiply_adds / 1e9), "f32 multiply-adds, two each"),
        row("workgroups", found.resident_workgroups.to_string(), "of 256 invocations that run at once"),
    ];
    let kept = match kept {
        Some(path) => format!("kept in {}", path.display()),
        None => "not kept".to_owned(),
    };
    let figures = table(&["figure", "measured", "of"], &[1], &rows);
    Ok(print(&format!("{info}\n\n{figures}\n\nmeasured in {seconds:.1} s, {kept}"))?)
}

/// Opens a device and measures it.
#[cfg(feature = "gpu")]
fn measured(
    options: wgpu_rnn::gpu::GpuOptions,
) -> Result<(wgpu_rnn::gpu::AdapterInfo, wgpu_rnn::gpu::Calibration), wgpu_rnn::Error> {
    let _busy = crate::progress::busy("measuring the device");
    let gpu = pollster::block_on(wgpu_rnn::gpu::Gpu::open(options))?;
    let found = pollster::block_on(gpu.calibrate())?;
    Ok((gpu.info().clone(), found))
}

/// Measures the GPU that a session with `options` opens, if any, and lets the session know. It is kept, too.
#[cfg(feature = "gpu")]
pub(crate) fn before(options: &mut wgpu_rnn::SessionOptions) {
    let mut gpu = options.gpu.clone();
    match &options.device {
        wgpu_rnn::Device::Gpu(name) => gpu.adapter.clone_from(name),
        wgpu_rnn::Device::Auto => gpu.allow_software = false,
        _ => return,
    }
    match measured(gpu) {
        Ok((info, found)) => {
            crate::cache::keep_calibration(&info, &found);
            options.gpu.calibration = Some(found);
        }
        // The session says what this means for it.
        Err(error) => crate::files::note(&format!("not measured: {}", crate::failure::one_line(&error.to_string()))),
    }
}

/// There is nothing to measure.
#[cfg(not(feature = "gpu"))]
pub(crate) fn before(_: &mut wgpu_rnn::SessionOptions) {}
