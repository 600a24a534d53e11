//! Fixed work on the CPU, for counting its instructions: `scripts/instructions` runs each of these under callgrind and
//! compares the counts with those in `instructions.txt`. Counts are not times, but they are the same on a noisy machine.
//!
//! Without a name this lists the names; with one and a number it makes so many steps of that stream; with `time` it times all.
#![allow(clippy::unwrap_used)] // whoever calls this is a script

use std::{env, sync::Arc, time::Instant};

use wgpu_rnn::{
    Device, Model, Session, SessionOptions, Tensor,
    cell::{Cell, CellParams, DeadTimesteps},
    model::{LayerKind, Recurrent},
    plan::Precision,
};

/// A layer, and the timesteps of a step.
struct Work {
    name: &'static str,
    cell: Cell,
    hidden_size: usize,
    input_size: usize,
    batch: usize,
    seq_len: usize,
    weights: Precision,
}

const fn work(name: &'static str, cell: Cell, hidden_size: usize, batch: usize, seq_len: usize) -> Work {
    Work { name, cell, hidden_size, input_size: hidden_size, batch, seq_len, weights: Precision::F32 }
}

const ALL: [Work; 13] = [
    work("lstm-8", Cell::Lstm, 8, 1, 1),
    work("gru-8", Cell::Gru, 8, 1, 1),
    work("lstm-64", Cell::Lstm, 64, 1, 1),
    work("gru-64", Cell::Gru, 64, 1, 1),
    work("rnn-64", Cell::Rnn, 64, 1, 1),
    work("gru-reset-before-64", Cell::GruResetBefore, 64, 1, 1),
    work("lstm-256", Cell::Lstm, 256, 1, 1),
    Work { weights: Precision::F16, ..work("lstm-256-f16", Cell::Lstm, 256, 1, 1) },
    Work { weights: Precision::Bf16, ..work("lstm-256-bf16", Cell::Lstm, 256, 1, 1) },
    Work { weights: Precision::I8, ..work("lstm-256-i8", Cell::Lstm, 256, 1, 1) },
    work("lstm-8-block-64", Cell::Lstm, 8, 1, 64),
    work("gru-128-batch-4", Cell::Gru, 128, 4, 4),
    Work { input_size: 32, ..work("lstm-128-batch-16", Cell::Lstm, 128, 16, 4) },
];

/// The same numbers every time.
fn tensor(shape: &[usize], scale: f32) -> Arc<Tensor> {
    let value = |index: usize| ((index * 7919 + 104_729) % 2003) as f32 / 1001.5 - 1.0;
    let values: Vec<f32> = (0..shape.iter().product()).map(|index| value(index) * scale).collect();
    Arc::new(Tensor::new(shape, values).unwrap())
}

/// Makes so many steps, in each of some turns. Gives the microseconds of a timestep in the fastest turn.
fn run(work: &Work, steps: usize, turns: usize) -> f64 {
    let (rows, scale) = (work.cell.spec().gates.len() * work.hidden_size, 1.0 / (work.hidden_size as f32).sqrt());
    let layer = Recurrent {
        cell: work.cell,
        params: CellParams::default(),
        weight_ih: tensor(&[rows, work.input_size], scale),
        weight_hh: tensor(&[rows, work.hidden_size], scale),
        weight_hr: None,
        peephole: None,
        bias_ih: Some(tensor(&[rows], scale)),
        bias_hh: Some(tensor(&[rows], scale)),
        return_sequences: true,
        return_state: false,
        go_backwards: false,
        stateful: true,
        dead: DeadTimesteps::RepeatOutput,
        passes_mask: false,
    };
    let mut model = Model::builder(work.name);
    let x = model.input("x", &[None, Some(work.input_size)]).unwrap();
    let y = model.add("layer", LayerKind::Recurrent(layer), &[x]).unwrap();
    model.output("y", y).unwrap();
    let mut options = SessionOptions::on(Device::Cpu);
    options.weights = work.weights;
    let session = Session::new(&model.build().unwrap(), options).unwrap();
    let shape = vec![work.batch, work.seq_len, work.input_size];
    let x = tensor(&shape, 1.0).to_f32().into_owned();
    let mut stream = session.stream(&[shape]).unwrap();
    let mut y = vec![0.0; work.batch * work.seq_len * work.hidden_size];
    let mut least = f64::INFINITY;
    for _ in 0..turns {
        let start = Instant::now();
        for _ in 0..steps {
            stream.step(&[&x], &mut [&mut y]).unwrap();
        }
        least = least.min(start.elapsed().as_secs_f64() * 1e6 / (steps * work.seq_len) as f64);
    }
    least
}

fn main() {
    let args: Vec<String> = env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    match (args.first(), args.get(1).and_then(|steps| steps.parse().ok())) {
        (Some(name), Some(steps)) => {
            run(ALL.iter().find(|work| work.name == name).unwrap(), steps, 1);
        }
        (Some(name), None) if name == "time" => {
            for work in &ALL {
                println!("{:24} {:8.3} us for a timestep", work.name, run(work, 500, 100));
            }
        }
        _ => ALL.iter().for_each(|work| println!("{}", work.name)),
    }
}
