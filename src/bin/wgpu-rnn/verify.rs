//! `verify`: a device beside the f64 reference.

use std::fmt::Write;

use serde_json::json;
use wgpu_rnn::{
    DeviceReport, Inputs, Model, Tensor,
    compare::Tolerance,
    verify::{Verification, random_inputs, verify_padded},
};

use crate::{
    args::VerifyArgs,
    binding,
    failure::{Failure, Outcome},
    files::{note, print},
    lengths,
    progress::busy,
    setup,
    table::{error_text, table},
};

/// Rows of the table of errors over time.
const TIME_ROWS: usize = 12;

pub(crate) fn verify(args: &VerifyArgs) -> Outcome<()> {
    let default = setup::tolerance(&args.device.how);
    let tolerance =
        Tolerance { absolute: args.atol.unwrap_or(default.absolute), relative: args.rtol.unwrap_or(default.relative) };
    let model = setup::model(&args.model)?;
    let lengths = lengths::read(&args.lengths)?;
    let (batch, longest) = match &lengths {
        Some(lengths) => (lengths.len().max(1), lengths.iter().copied().max().unwrap_or(0).max(1)),
        None => (args.batch, 32),
    };
    let inputs = inputs(&model, &args.inputs, batch, (args.seq_len, longest), args.seed)?;
    let session = setup::session(&model, &args.device)?;
    let working = busy(format!("running on {} and on the reference", setup::device_text(session.device())));
    let shapes = inputs.iter().map(|(name, tensor)| format!("'{name}' {:?}", tensor.shape())).collect::<Vec<_>>();
    let inputs = Inputs::from_iter(inputs);
    let verification = match &lengths {
        Some(lengths) => verify_padded(&session, inputs, lengths, tolerance)?,
        None => wgpu_rnn::verify::verify(&session, inputs, tolerance)?,
    };
    drop(working);
    let device = verification.device.as_ref().unwrap_or(session.device());
    setup::tell(&session, device);
    setup::keep(&session, None);
    if args.json.on {
        print(&json_text(device, &verification, tolerance))?;
    } else {
        let source = if args.inputs.is_empty() { format!("random, seed {}", args.seed) } else { "given".to_owned() };
        let head = format!(
            "{} against the f64 reference\ninputs: {} ({source})",
            setup::device_text(device),
            shapes.join(", ")
        );
        print(&format!("{head}\n\n{}", text(&verification, tolerance)))?;
    }
    if verification.passed() {
        return Ok(());
    }
    let worst = error_text(verification.max_abs_error());
    Err(Failure::new(Failure::NOT_VERIFIED, format!("the outputs are not within the tolerance (worst error {worst})")))
}

/// The inputs that were given, or random ones; `seq_len` is what was asked for, and the default.
pub(crate) fn inputs(
    model: &Model,
    specs: &[String],
    batch: usize,
    (seq_len, default): (Option<usize>, usize),
    seed: u64,
) -> Outcome<Vec<(String, Tensor)>> {
    if !specs.is_empty() {
        return Ok(binding::read(model, specs)?);
    }
    let _busy = busy("making inputs");
    let open = |input: &wgpu_rnn::model::Signature| {
        input.shape.iter().enumerate().any(|(axis, size)| size.is_none() && input.batch_axis != Some(axis))
    };
    if seq_len.is_some() && !model.inputs().iter().any(open) {
        note("the shapes of the model's inputs are fixed: --seq-len does not apply");
    }
    let own = model.required_batch();
    if let Some(own) = own.filter(|&own| own != batch) {
        note(&format!("the model is built for {own} rows: running these"));
    }
    Ok(random_inputs(model, own.unwrap_or(batch), seq_len.unwrap_or(default), seed)?)
}

fn json_text(device: &DeviceReport, verification: &Verification, tolerance: Tolerance) -> String {
    let largest = verification.largest.as_ref();
    json!({
        "schema": 1,
        "passed": verification.passed(),
        // JSON has no infinity: null where only one side is a NaN or infinite.
        "max_abs_error": verification.max_abs_error(),
        "output": largest.map(|largest| &largest.output),
        "index": largest.map(|largest| &largest.index),
        "first_diverging_timestep": verification.first_diverging_timestep(),
        "device": device.kind,
        "adapter": setup::adapter(device),
        "reason": device.reason,
        "atol": tolerance.absolute,
        "rtol": tolerance.relative,
    })
    .to_string()
}

fn text(verification: &Verification, tolerance: Tolerance) -> String {
    let rows: Vec<_> = verification
        .outputs
        .iter()
        .map(|(name, report)| {
            let count: usize = report.shape.iter().product();
            let verdict =
                if report.passed() { "within".to_owned() } else { format!("{} of {count} outside", report.failures) };
            let worst = report.largest.as_ref();
            let error = worst.map_or("-".to_owned(), |worst| error_text(worst.error));
            let at = worst.map_or("-".to_owned(), |worst| format!("{:?}", worst.index));
            vec![name.clone(), format!("{:?}", report.shape), error, at, verdict]
        })
        .collect();
    let mut text = table(&["output", "shape", "worst error", "at", "tolerance"], &[2], &rows);
    // Writing to a string cannot fail.
    let in_time = verification.outputs.iter().filter(|(_, report)| report.error_over_time.len() > 1);
    if let Some((name, report)) = in_time.max_by(|(_, a), (_, b)| a.worst_ratio().total_cmp(&b.worst_ratio())) {
        let _ = write!(text, "\n\nerror over time, output '{name}'\n{}", over_time(&report.error_over_time));
    }
    let limit = format!("max({:e}, {:e} * |reference|)", tolerance.absolute, tolerance.relative);
    let verdict = if verification.passed() { "passed" } else { "FAILED" };
    let _ = write!(text, "\n\n{verdict}: the tolerance is {limit}");
    if let Some(largest) = &verification.largest {
        let _ = write!(
            text,
            "\nworst error {} in output '{}' at {:?}: {} for {}",
            error_text(largest.error),
            largest.output,
            largest.index,
            largest.actual,
            largest.reference
        );
    }
    if let Some(timestep) = verification.first_diverging_timestep() {
        let _ = write!(text, "\nfirst diverging timestep: {timestep}");
    }
    text
}

/// The largest error of some ranges of timesteps, with a bar of its magnitude.
fn over_time(errors: &[f64]) -> String {
    let step = errors.len().div_ceil(TIME_ROWS).max(1);
    let largest = errors.chunks(step).map(|errors| errors.iter().copied().fold(0.0, f64::max)).collect::<Vec<_>>();
    let top = largest.iter().copied().filter(|error| error.is_finite()).fold(0.0, f64::max);
    let rows: Vec<_> = largest
        .iter()
        .enumerate()
        .map(|(index, &error)| {
            let (first, last) = (index * step, ((index + 1) * step).min(errors.len()) - 1);
            let range = if first == last { first.to_string() } else { format!("{first}-{last}") };
            vec![range, error_text(error), bar(error, top)]
        })
        .collect();
    table(&["timestep", "worst error", ""], &[1], &rows)
}

/// Up to 30 marks for an error beside the largest one.
fn bar(error: f64, top: f64) -> String {
    let share = if error > top { 1.0 } else { error / top };
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // 0 to 30; a NaN gives 0
    let marks = (share * 30.0).round() as usize;
    "#".repeat(marks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_over_time_are_a_table() {
        let expected = "\
timestep  worst error
0              1.0e-7  ###############
1                   0
2              2.0e-7  ##############################";
        assert_eq!(over_time(&[1e-7, 0.0, 2e-7]), expected);
        let long: Vec<f64> = (0..25).map(|t| f64::from(t) * 1e-8).collect();
        let text = over_time(&long);
        assert_eq!(text.lines().count(), 10);
        assert!(text.lines().last().unwrap().starts_with("24"), "{text}");
        assert!(over_time(&[0.0, f64::INFINITY]).ends_with(&"#".repeat(30)));
    }
}
