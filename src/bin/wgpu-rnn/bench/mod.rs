//! `bench`: models or layers on several devices, timed and verified.

mod measure;
mod plot;
mod report;
mod workload;

use std::path::Path;

use wgpu_rnn::{Device, Error, Model, Tensor};

use self::{measure::Case, workload::Workload};
use crate::{
    args::{BenchArgs, DeviceName},
    devices,
    failure::{Failure, Outcome, one_line},
    files::{note, print, write_file},
    setup,
    table::error_text,
    verify,
};

/// The length of random inputs where nothing says one.
const SEQ_LEN: usize = 100;

pub(crate) fn bench(args: &BenchArgs) -> Outcome<()> {
    let outputs = [&args.csv, &args.plot];
    outputs.into_iter().flatten().try_for_each(|path| crate::files::check_writable(path))?;
    let devices = devices(args)?;
    let mut worst = Ok(());
    let mut rows = Vec::new();
    let mut run = |case: &Case| {
        for (device, label) in &devices {
            match measure::row(case, device.clone(), label, args) {
                Ok(row) => rows.push(row),
                // One that fails does not hide the others.
                Err(error) => {
                    note(&format!("{label}: {}", one_line(&error.to_string())));
                    worst = Err(Failure::from(error));
                }
            }
        }
    };
    match &args.path {
        Some(path) => of_model(path, args, &mut run)?,
        None => {
            let sets = args.set.iter().flat_map(|&set| workload::set(set));
            for workload in sets.chain(workload::sweep(&args.sweep, &args.batch, &args.seq_len)) {
                run(&of_layers(&workload, args)?);
            }
        }
    }
    if let Some(path) = &args.csv {
        write_file(path, |out| report::csv(out, &rows))?;
    }
    if let Some(path) = &args.plot {
        let drawing = plot::svg(&rows)?;
        write_file(path, |out| std::io::Write::write_all(out, drawing.as_bytes()))?;
    }
    print(&if args.json.on { report::json(&rows) } else { report::text(&rows) })?;
    if let Some(row) = rows.iter().find(|row| !row.passed) {
        let (label, error) = (&row.label, error_text(row.error));
        return Err(Failure::new(
            Failure::NOT_VERIFIED,
            format!("{label}: not within the tolerance (worst error {error})"),
        ));
    }
    worst
}

/// A model at every batch size and length asked for.
fn of_model(path: &Path, args: &BenchArgs, run: &mut impl FnMut(&Case)) -> Outcome<()> {
    let started = std::time::Instant::now();
    let model = setup::model_at(path, &args.load)?;
    let load_ms = Some(started.elapsed().as_secs_f64() * 1e3);
    let batches = if args.batch.is_empty() { vec![1] } else { args.batch.clone() };
    let lengths = if args.seq_len.is_empty() { vec![None] } else { args.seq_len.iter().copied().map(Some).collect() };
    for &batch in &batches {
        for &seq_len in &lengths {
            let inputs = verify::inputs(&model, &args.inputs, batch, (seq_len, SEQ_LEN), args.seed)?;
            run(&Case::new(model.name().to_owned(), model.clone(), inputs, None, load_ms));
        }
    }
    Ok(())
}

fn of_layers(workload: &Workload, args: &BenchArgs) -> Outcome<Case> {
    let model: Model = workload.layers.model(args.seed)?;
    let inputs: Vec<(String, Tensor)> =
        wgpu_rnn::verify::random_inputs(&model, workload.batch, workload.seq_len, args.seed)?;
    Ok(Case::new(workload.layers.name(), model, inputs, Some(*workload), None))
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
