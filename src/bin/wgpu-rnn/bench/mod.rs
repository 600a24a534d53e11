//! `bench`: models or layers on several devices, timed and verified.

mod measure;
mod plot;
mod report;

use wgpu_rnn::{Device, Error, SessionOptions};

use crate::{
    args::{BenchArgs, DeviceName},
    calibrate,
    case::{self, Case},
    devices,
    failure::{Failure, Outcome, one_line},
    files::{note, print, write_file},
    setup,
    table::error_text,
};

pub(crate) fn bench(args: &BenchArgs) -> Outcome<()> {
    let outputs = [&args.csv, &args.plot];
    outputs.into_iter().flatten().try_for_each(|path| crate::files::check_writable(path))?;
    let mut devices = devices(args)?;
    let mut worst = Ok(());
    let mut rows = Vec::new();
    case::each(&args.case, |case: &Case| {
        for (options, label) in &mut devices {
            match measure::row(case, options, label, args) {
                Ok(row) => rows.push(row),
                // One that fails does not hide the others.
                Err(error) => {
                    note(&format!("{label}: {}", one_line(&error.to_string())));
                    worst = Err(Failure::from(error));
                }
            }
        }
        Ok(())
    })?;
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

/// How to open the devices to time, and what to call them. Without any asked for: the CPU and every adapter.
fn devices(args: &BenchArgs) -> Result<Vec<(SessionOptions, String)>, Error> {
    let named = |name: &DeviceName| (setup::device(*name, args.adapter.clone()), format!("{name:?}").to_lowercase());
    let mut devices: Vec<(Device, String)> = args.devices.iter().map(named).collect();
    if devices.is_empty() && args.adapter.is_some() {
        devices.push(named(&DeviceName::Gpu));
    }
    if devices.is_empty() {
        devices.push(named(&DeviceName::Cpu));
        let adapters = devices::adapters_or_remark()?.into_iter();
        devices.extend(adapters.map(|adapter| (Device::Gpu(Some(adapter.name.clone())), adapter.name)));
    }
    let opened = devices.into_iter().map(|(device, label)| {
        let mut options = setup::options(device, &args.how);
        if args.calibrate {
            calibrate::before(&mut options);
        }
        (options, label)
    });
    Ok(opened.collect())
}
