//! Single kernels: models of one step, timed by the device's own clock. Without one it is a whole run that is timed.

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use wgpu_rnn::{
    Activation, Device, Inputs, Model, Result, Session, SessionOptions, Tensor,
    cell::Cell,
    gpu::Strategy,
    model::{Dense, Embedding, HeadActivation, LayerKind},
    verify::random_inputs,
};
use wgpu_rnn_benches::{criterion, gpu, model, recurrent, weights};

fn kernels(c: &mut Criterion) {
    let Some(gpu) = gpu() else { return };
    let all = [linear(c, &gpu), recurrences(c, &gpu), others(c, &gpu)];
    for error in all.into_iter().filter_map(Result::err) {
        println!("{error}");
    }
}

/// Few rows and many go to different kernels.
fn linear(c: &mut Criterion, gpu: &Device) -> Result<()> {
    for [outputs, inputs] in [[512, 128], [1024, 512]] {
        for rows in [1, 16, 256] {
            let dense = Dense {
                weight: weights(&[outputs, inputs])?,
                bias: Some(weights(&[outputs])?),
                activation: HeadActivation::Pointwise(Activation::Linear),
            };
            let layers = model("linear", &[Some(inputs)], vec![LayerKind::Dense(dense)])?;
            let name = format!("{outputs} of {inputs}");
            bench(c, ("linear", &name, &format!("{rows} rows")), &layers, [rows, 1], SessionOptions::on(gpu.clone()))?;
        }
    }
    Ok(())
}

/// Each way, without the input projection.
fn recurrences(c: &mut Criterion, gpu: &Device) -> Result<()> {
    for (cell, hidden, batch, seq_len) in [
        (Cell::Lstm, 32, 1, 50),
        (Cell::Lstm, 128, 1, 50),
        (Cell::Lstm, 128, 16, 10),
        (Cell::Gru, 128, 1, 50),
        (Cell::GruResetBefore, 64, 1, 50),
        (Cell::Rnn, 256, 1, 50),
        (Cell::Lstm, 512, 1, 5),
    ] {
        let layers = model("recurrence", &[None, Some(1)], vec![recurrent(cell, hidden, 1)?])?;
        for strategy in Strategy::ALL {
            let mut options = SessionOptions::on(gpu.clone());
            options.strategy = Some(strategy);
            options.cooperative = strategy == Strategy::Cooperative;
            let name = format!("{} {hidden}, {strategy}", cell.spec().name);
            let sizes = format!("batch {batch}, seq_len {seq_len}");
            let done = bench(c, ("recurrence", &name, &sizes), &layers, [batch, seq_len], options);
            // Not every way is open to every size and device.
            if let Err(error) = done {
                println!("recurrence {name}: {error}");
            }
        }
    }
    Ok(())
}

fn others(c: &mut Criterion, gpu: &Device) -> Result<()> {
    let table = Embedding { table: weights(&[10_000, 128])?, mask_zero: false };
    let embedding = model("embedding", &[None], vec![LayerKind::Embedding(table)])?;
    let softmax = LayerKind::Activation(HeadActivation::Softmax);
    let softmax = model("softmax", &[None, Some(1000)], vec![softmax])?;
    let options = || SessionOptions::on(gpu.clone());
    bench(c, ("gather", "10000 of 128", "batch 16, seq_len 50"), &embedding, [16, 50], options())?;
    bench(c, ("softmax", "1000", "16 rows"), &softmax, [1, 16], options())?;
    bench(c, ("softmax", "1000", "512 rows"), &softmax, [16, 32], options())
}

/// Times the kernels whose names begin with `kernel` in runs of `model`.
fn bench(
    c: &mut Criterion,
    (kernel, name, sizes): (&str, &str, &str),
    model: &Model,
    [batch, seq_len]: [usize; 2],
    options: SessionOptions,
) -> Result<()> {
    let inputs = random_inputs(model, batch, seq_len, 0)?;
    let session = Session::new(model, options)?;
    // Compiles, and says what is wrong.
    time(&session, &inputs, kernel)?;
    let mut group = c.benchmark_group(format!("{kernel} {name}"));
    group.bench_function(BenchmarkId::from_parameter(sizes), |b| {
        b.iter_custom(|runs| {
            // What went well once goes well again, or the figure is zero and criterion says so.
            (0..runs).map(|_| time(&session, &inputs, kernel).unwrap_or_default()).sum()
        });
    });
    group.finish();
    Ok(())
}

/// How long the kernels take in a run; the run, where the device has no clock.
fn time(session: &Session, inputs: &[(String, Tensor)], kernel: &str) -> Result<Duration> {
    let started = Instant::now();
    let (_, stats) = session.profile(Inputs::from_iter(inputs.to_vec()))?;
    let elapsed = started.elapsed();
    let times = stats.kernels.iter().filter(|known| known.kernel.starts_with(kernel)).map(|known| known.time);
    let clock: Option<Duration> = times.sum();
    Ok(clock.unwrap_or(elapsed))
}

criterion_group! { name = benches; config = criterion(); targets = kernels }
criterion_main!(benches);
