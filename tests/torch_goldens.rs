//! What PyTorch computed with state dicts, on the reference, the CPU and the GPU.
#![allow(clippy::unwrap_used, clippy::panic)]
#![cfg(feature = "torch")]

mod common;

use common::{
    nets::devices,
    torch_files::{Call, Case, cases},
};
use wgpu_rnn::{
    Device, Outputs, Session, SessionOptions, Tensor,
    compare::{Tolerance, compare},
};

/// PyTorch computed in f64 from the stored weights, and rounded to f32; f64 weights are rounded here.
const REFERENCE: Tolerance = Tolerance { absolute: 2e-6, relative: 2e-6 };

fn run(session: &Session, case: &Case, call: &Call) -> Outputs {
    let outputs = match &call.lengths {
        Some(lengths) => session.run_padded(case.inputs(call), lengths),
        None => session.run(case.inputs(call)),
    };
    outputs.unwrap_or_else(|error| panic!("{}, call {}: {error}", case.name, call.index))
}

fn check(device: Device, kind: &str, tolerance: Tolerance) {
    let mut worst = (0.0f64, String::new());
    let (mut models, mut compared) = (0, 0);
    let mut failed = Vec::new();
    for case in cases() {
        let model = case.load().unwrap_or_else(|error| panic!("{}: {error}", case.name));
        models += 1;
        assert_eq!(model.notes().is_empty(), case.config.is_some(), "{}", case.name);
        let session = Session::new(&model, SessionOptions::on(device.clone())).unwrap();
        for call in &case.calls {
            let outputs = run(&session, &case, call);
            // A chain of one module gives its states too.
            let names: Vec<&str> = outputs.iter().map(|(name, _)| name).take(call.outputs.len()).collect();
            assert_eq!(names, call.outputs, "{}", case.name);
            for (output, actual) in outputs.iter().take(call.outputs.len()) {
                let expected = case.tensor(call, "out", output);
                let what = format!("{kind}: {}, call {}, {output}", case.name, call.index);
                assert_eq!(actual.shape(), expected.shape(), "{what}");
                let report = compare(&expected.to_f64(), &actual.to_f32(), expected.shape(), tolerance).unwrap();
                if !report.passed() {
                    failed.push(format!("{what}: {report}"));
                }
                if report.worst_ratio() > worst.0 {
                    worst = (report.worst_ratio(), what);
                }
                compared += 1;
            }
        }
    }
    println!("{kind}: {compared} outputs, the worst at {:.3} of the tolerance, in {}", worst.0, worst.1);
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    // docs/formats.md states these.
    assert_eq!((models, compared), (93, 576));
}

#[test]
fn reference() {
    check(Device::Reference, "reference", REFERENCE);
}

#[test]
fn executors() {
    for (name, device) in devices() {
        check(device, name, Tolerance::FREE_RUNNING);
    }
}

/// Rows padded with anything, samples of several lengths together, and each alone: the same bits.
#[test]
fn padded_ragged_and_alone() {
    const LENGTHS: [usize; 4] = [6, 1, 4, 3];
    let model = common::torch_files::golden("lone_lstm").load().unwrap();
    let values = |row: usize, t: usize| (0..3).map(move |i| ((row * 31 + t * 7 + i * 3) % 17) as f32 / 8.0 - 1.0);
    let sample = |row: usize, length: usize| {
        Tensor::new([length, 3], (0..length).flat_map(|t| values(row, t)).collect::<Vec<f32>>()).unwrap()
    };
    // [seq_len, batch, features], NaN behind each end.
    let cells = (0..6).flat_map(|t| (0..4).map(move |row| (t, row)));
    let padded: Vec<f32> =
        cells.flat_map(|(t, row)| values(row, t).map(move |x| if t < LENGTHS[row] { x } else { f32::NAN })).collect();
    let padded = Tensor::new([6, 4, 3], padded).unwrap();
    for (name, device) in devices() {
        let session = Session::new(&model, SessionOptions::on(device)).unwrap();
        let together = session.run_padded(padded.clone(), &LENGTHS).unwrap();
        let samples = LENGTHS.iter().enumerate().map(|(row, &length)| sample(row, length).into()).collect();
        let ragged = session.run_ragged(samples).unwrap();
        let output = together.get("output").unwrap().to_f32().into_owned();
        for (row, &length) in LENGTHS.iter().enumerate() {
            let alone = session.run(sample(row, length)).unwrap();
            assert_eq!(ragged[row], alone, "{name}, row {row}");
            let of_row = |t: usize| output[(t * 4 + row) * 8..][..8].to_vec();
            let live: Vec<f32> = (0..length).flat_map(of_row).collect();
            assert_eq!(live, alone.get("output").unwrap().to_f32().into_owned(), "{name}, row {row}");
            assert!((length..6).flat_map(of_row).all(|x| x == 0.0), "{name}, row {row}");
        }
        let error = session.run_padded(padded.clone(), &[1, 2]).unwrap_err().to_string();
        assert_eq!(error, "lengths: expected 4, one per row, found 2");
        let error = session.run_padded(padded.clone(), &[1, 2, 7, 1]).unwrap_err().to_string();
        assert_eq!(error, "lengths[2]: expected at most the 6 timesteps there are, found 7");
    }
}
