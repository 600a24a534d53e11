//! `profile`: what each kernel of a model does on a GPU, how long it takes, and which way each recurrence went.

use crate::{args::ProfileArgs, failure::Outcome};

#[cfg(not(feature = "gpu"))]
pub(crate) fn profile(_: &ProfileArgs) -> Outcome<()> {
    Err(wgpu_rnn::Error::NoAdapter {
        reason: "this program was built without the feature `gpu`".to_owned(),
        hint: "build it with the feature".to_owned(),
    }
    .into())
}

#[cfg(feature = "gpu")]
pub(crate) fn profile(args: &ProfileArgs) -> Outcome<()> {
    use serde_json::json;
    use wgpu_rnn::{Device, Inputs, Session};

    use crate::{files::print, progress::busy, setup, timing, verify};

    let model = setup::model(&args.model)?;
    let inputs = verify::inputs(&model, &args.inputs, args.batch, (args.seq_len, 100), args.seed)?;
    let shapes = timing::shapes(&model, &inputs);
    let session = Session::new(&model, setup::options(Device::Gpu(args.adapter.clone()), &args.how))?;
    let working = busy(format!("running on {}", setup::device_text(&session)));
    session.warm_up(&shapes)?;
    // Once for the buffers, once for the way it runs, once kept apart.
    timing::run(&session, &inputs)?;
    let (total, _) = timing::run(&session, &inputs)?;
    let (_, stats) = session.profile(Inputs::from_iter(inputs))?;
    let strategies = session.strategies(&shapes)?;
    drop(working);
    if args.json.on {
        let kernels: Vec<_> = stats
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
        let strategies: Vec<_> = strategies
            .iter()
            .map(
                |(layer, strategy, reason)| json!({"layer": layer, "strategy": strategy.to_string(), "reason": reason}),
            )
            .collect();
        return Ok(print(
            &json!({
                "schema": 1,
                "adapter": session.device().adapter,
                "total_ms": ms(total),
                "submissions": stats.submissions,
                "kernels": kernels,
                "recurrences": strategies,
            })
            .to_string(),
        )?);
    }
    print(&text(&session, total, &stats, &strategies))?;
    Ok(())
}

#[cfg(feature = "gpu")]
fn ms(time: std::time::Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(feature = "gpu")]
fn text(
    session: &wgpu_rnn::Session,
    total: std::time::Duration,
    stats: &wgpu_rnn::stats::RunStats,
    strategies: &[(String, wgpu_rnn::gpu::Strategy, String)],
) -> String {
    use crate::{
        setup,
        table::{ms_text, table},
    };

    let sum: Option<std::time::Duration> = stats.kernels.iter().map(|kernel| kernel.time).sum();
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let mut kernels: Vec<_> = stats.kernels.iter().collect();
    kernels.sort_by_key(|kernel| std::cmp::Reverse(kernel.time));
    let rows: Vec<_> = kernels
        .into_iter()
        .map(|kernel| {
            let seconds = kernel.time.map(|time| time.as_secs_f64().max(1e-12));
            let share = seconds.zip(sum).map(|(seconds, sum)| seconds / sum.as_secs_f64().max(1e-12) * 100.0);
            vec![
                kernel.kernel.to_owned(),
                kernel.dispatches.to_string(),
                or_dash(kernel.time.map(|time| ms_text(ms(time)))),
                or_dash(share.map(|share| format!("{share:.0} %"))),
                format!("{:.2}", kernel.multiply_adds * 2.0 / 1e6),
                or_dash(seconds.map(|seconds| format!("{:.2}", kernel.multiply_adds * 2.0 / seconds / 1e9))),
                format!("{:.2}", kernel.bytes / 1e6),
                or_dash(seconds.map(|seconds| format!("{:.2}", kernel.bytes / seconds / 1e9))),
            ]
        })
        .collect();
    let header = ["kernel", "dispatches", "time", "share", "MFLOP", "GFLOP/s", "MB", "GB/s"];
    let kernels = table(&header, &[1, 2, 3, 4, 5, 6, 7], &rows);
    let rows: Vec<_> = strategies.iter().map(|(layer, _, reason)| vec![layer.clone(), reason.clone()]).collect();
    let recurrences =
        if rows.is_empty() { String::new() } else { format!("\n\n{}", table(&["recurrence", "way"], &[], &rows)) };
    let clock = match sum {
        Some(sum) => format!("{} in kernels", ms_text(ms(sum))),
        None => "the device has no clock".to_owned(),
    };
    let device = setup::device_text(session);
    format!(
        "{device}: a run takes {}, {clock}, {} submissions\n\n{kernels}{recurrences}",
        ms_text(ms(total)),
        stats.submissions
    )
}
