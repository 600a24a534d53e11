//! Whole runs of recurrent layers, as a program sees them: input and output included.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use wgpu_rnn::{Device, Inputs, Result, Session, SessionOptions, cell::Cell, verify::random_inputs};
use wgpu_rnn_benches::{criterion, gpu, model, recurrent};

/// Cell, hidden size, input size, batch, sequence length: a stream, batches, and more units than one workgroup has.
const RUNS: [(&str, Cell, usize, usize, usize, usize); 8] = [
    ("lstm", Cell::Lstm, 16, 1, 1, 256),
    ("lstm", Cell::Lstm, 128, 32, 1, 100),
    ("lstm", Cell::Lstm, 128, 32, 16, 20),
    ("lstm", Cell::Lstm, 512, 64, 1, 10),
    ("gru", Cell::Gru, 64, 32, 1, 100),
    ("gru", Cell::Gru, 64, 32, 16, 20),
    ("gru reset before", Cell::GruResetBefore, 64, 32, 1, 50),
    ("rnn", Cell::Rnn, 64, 32, 4, 100),
];

fn sequences(c: &mut Criterion) {
    let devices: Vec<(&str, Device)> = [("cpu", Some(Device::Cpu)), ("gpu", gpu())]
        .into_iter()
        .filter_map(|(name, device)| Some((name, device?)))
        .collect();
    for run in RUNS {
        if let Err(error) = sequence(c, run, &devices) {
            println!("{} {}: {error}", run.0, run.2);
        }
    }
}

fn sequence(
    c: &mut Criterion,
    (name, cell, hidden, input_size, batch, seq_len): (&str, Cell, usize, usize, usize, usize),
    devices: &[(&str, Device)],
) -> Result<()> {
    let layers = model(name, &[None, Some(input_size)], vec![recurrent(cell, hidden, input_size)?])?;
    let inputs = random_inputs(&layers, batch, seq_len, 0)?;
    let mut group = c.benchmark_group(format!("{name} {hidden}, input {input_size}"));
    group.throughput(Throughput::Elements((batch * seq_len) as u64));
    for (device, opened) in devices {
        let session = Session::new(&layers, SessionOptions::on(opened.clone()))?;
        let run = || session.run(Inputs::from_iter(inputs.clone()));
        // Compiles, and says what is wrong.
        run()?;
        group.bench_function(BenchmarkId::new(*device, format!("batch {batch}, seq_len {seq_len}")), |b| b.iter(run));
    }
    group.finish();
    Ok(())
}

criterion_group! { name = benches; config = criterion(); targets = sequences }
criterion_main!(benches);
