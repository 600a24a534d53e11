//! This crate.

use std::time::Instant;

use anyhow::{Context, Result};
use wgpu_rnn::{Device, Session, SessionOptions, Tensor, gpu::Gpu};

use super::Peer;
use crate::{case::Case, machine};

pub(super) struct Own {
    device: Device,
    threads: usize,
    opened: Option<Opened>,
}

struct Opened {
    session: Session,
    x: Tensor,
    y: Option<Tensor>,
    strategy: Option<String>,
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
        let session = Session::new(&case.model, options)?;
        let shapes = [case.x.shape().to_vec()];
        session.warm_up(&shapes)?;
        let strategy = session.strategies(&shapes)?.first().map(|(_, strategy, _)| strategy.to_string());
        self.opened = Some(Opened { session, x: case.x.clone(), y: None, strategy });
        Ok(())
    }

    fn run(&mut self, runs: usize) -> Result<Vec<f64>> {
        let opened = self.opened()?;
        let mut seconds = Vec::new();
        for _ in 0..runs {
            let x = opened.x.clone();
            let started = Instant::now();
            let outputs = opened.session.run(x)?;
            seconds.push(started.elapsed().as_secs_f64());
            opened.y = outputs.into_vec().pop().map(|(_, y)| y);
        }
        Ok(seconds)
    }

    fn output(&mut self) -> Result<Vec<f32>> {
        let y = self.opened()?.y.as_ref().context("no run yet")?;
        Ok(y.to_f32().into_owned())
    }

    /// The sum over its kernels.
    fn on_device(&mut self, runs: usize) -> Result<Option<Vec<f64>>> {
        if matches!(self.device, Device::Cpu) {
            return Ok(None);
        }
        let opened = self.opened()?;
        let mut seconds = Vec::new();
        for _ in 0..runs {
            let (_, stats) = opened.session.profile(opened.x.clone())?;
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
