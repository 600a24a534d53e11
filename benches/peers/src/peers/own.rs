//! This crate.

use std::time::Instant;

use anyhow::{Context, Result};
use wgpu_rnn::{Device, Session, SessionOptions, Stream, Tensor, gpu::Gpu, plan::Carry};

use super::Peer;
use crate::{case::Case, machine, order::swapped, workload::Workload};

pub(super) struct Own {
    device: Device,
    threads: usize,
    opened: Option<Opened>,
}

struct Opened {
    session: Session,
    work: Work,
    strategy: Option<String>,
}

enum Work {
    Whole {
        x: Tensor,
        y: Option<Tensor>,
    },
    /// Arrays of `[seq_len, batch, features]`; a step takes a timestep.
    Stream {
        stream: Box<Stream>,
        workload: Workload,
        x: Vec<f32>,
        y: Vec<f32>,
    },
}

impl Own {
    pub(super) fn on_gpu(gpu: &Gpu) -> Self {
        Self { device: Device::Opened(gpu.clone()), threads: 0, opened: None }
    }

    pub(super) fn on_cpu(threads: usize) -> Self {
        Self { device: Device::Cpu, threads, opened: None }
    }

    fn opened(&mut self) -> Result<&mut Opened> {
        self.opened.as_mut().context("run before open")
    }
}

impl Peer for Own {
    fn open(&mut self, case: &Case) -> Result<()> {
        // What the layer before held makes room first.
        self.opened = None;
        let mut options = SessionOptions::on(self.device.clone());
        options.threads = self.threads;
        let workload = case.workload;
        let Workload { batch, seq_len, input_size, hidden, .. } = workload;
        if workload.stream {
            options.carry = Carry::All;
        }
        let session = Session::new(&case.model, options)?;
        let shapes = [vec![batch, if workload.stream { 1 } else { seq_len }, input_size]];
        session.warm_up(&shapes)?;
        let strategy = session.strategies(&shapes)?.first().map(|(_, strategy, _)| strategy.to_string());
        let work = if workload.stream {
            let x = swapped(&case.x.to_f32(), batch, seq_len);
            let (stream, y) = (Box::new(session.stream(&shapes)?), vec![0.0; seq_len * batch * hidden]);
            Work::Stream { stream, workload, x, y }
        } else {
            Work::Whole { x: case.x.clone(), y: None }
        };
        self.opened = Some(Opened { session, work, strategy });
        Ok(())
    }

    fn run(&mut self, runs: usize) -> Result<Vec<f64>> {
        let opened = self.opened()?;
        let mut seconds = Vec::new();
        for _ in 0..runs {
            match &mut opened.work {
                Work::Whole { x, y } => {
                    let x = x.clone();
                    let started = Instant::now();
                    let outputs = opened.session.run(x)?;
                    seconds.push(started.elapsed().as_secs_f64());
                    *y = outputs.into_vec().pop().map(|(_, y)| y);
                }
                Work::Stream { stream, workload, x, y } => {
                    let Workload { batch, input_size, hidden, .. } = *workload;
                    let started = Instant::now();
                    stream.reset_state()?;
                    for (x, y) in x.chunks_exact(batch * input_size).zip(y.chunks_exact_mut(batch * hidden)) {
                        stream.step(&[x], &mut [y])?;
                    }
                    seconds.push(started.elapsed().as_secs_f64());
                }
            }
        }
        Ok(seconds)
    }

    fn output(&mut self) -> Result<Vec<f32>> {
        match &self.opened()?.work {
            Work::Whole { y, .. } => Ok(y.as_ref().context("no run yet")?.to_f32().into_owned()),
            Work::Stream { workload, y, .. } => Ok(swapped(y, workload.seq_len, workload.batch)),
        }
    }

    /// The sum over its kernels.
    fn on_device(&mut self, runs: usize) -> Result<Option<Vec<f64>>> {
        if matches!(self.device, Device::Cpu) {
            return Ok(None);
        }
        let opened = self.opened()?;
        let Work::Whole { x, .. } = &opened.work else { return Ok(None) };
        let mut seconds = Vec::new();
        for _ in 0..runs {
            let (_, stats) = opened.session.profile(x.clone())?;
            let times: Option<Vec<f64>> =
                stats.kernels.iter().map(|kernel| kernel.time.map(|time| time.as_secs_f64())).collect();
            match times {
                Some(times) => seconds.push(times.iter().sum()),
                None => return Ok(None),
            }
        }
        Ok(Some(seconds))
    }

    fn versions(&self) -> Vec<(String, String)> {
        let mut versions = vec![("wgpu-rnn".to_owned(), machine::locked("wgpu-rnn"))];
        if !matches!(self.device, Device::Cpu) {
            versions.push(("wgpu".to_owned(), machine::locked("wgpu")));
        }
        versions
    }

    fn strategy(&self) -> Option<String> {
        self.opened.as_ref().and_then(|opened| opened.strategy.clone())
    }
}
