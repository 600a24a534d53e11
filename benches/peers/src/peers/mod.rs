//! Who runs a layer: this crate, and the others.

mod burn;
mod own;
mod worker;

use std::path::Path;

use anyhow::{Result, bail};
use clap::ValueEnum;
use wgpu_rnn::gpu::{AdapterInfo, AdapterKind, Gpu, GpuOptions};

use crate::{args::Args, case::Case};

/// A peer, without its number of threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Name {
    /// This crate on the adapter
    Gpu,
    /// This crate on the CPU
    Cpu,
    /// burn on wgpu, with fusion and autotune
    BurnWgpu,
    /// burn on the CPU (its backend Flex)
    BurnFlex,
    /// PyTorch on the CPU
    TorchCpu,
    /// PyTorch with cuDNN, TF32 off
    TorchCuda,
    /// ONNX Runtime on the CPU
    OrtCpu,
    /// ONNX Runtime on the CPU, called from Rust through its C API
    OrtC,
    /// ONNX Runtime with its WebGPU provider
    OrtWebgpu,
    /// tract, by its ONNX importer
    Tract,
    /// rten
    Rten,
    /// candle on the CPU
    Candle,
}

impl Name {
    /// For people.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Gpu => "wgpu-rnn GPU",
            Self::Cpu => "wgpu-rnn CPU",
            Self::BurnWgpu => "burn wgpu",
            Self::BurnFlex => "burn CPU (Flex)",
            Self::TorchCpu => "PyTorch CPU",
            Self::TorchCuda => "PyTorch cuDNN",
            Self::OrtCpu => "ONNX Runtime CPU",
            Self::OrtC => "ONNX Runtime C API",
            Self::OrtWebgpu => "ONNX Runtime WebGPU",
            Self::Tract => "tract",
            Self::Rten => "rten",
            Self::Candle => "candle CPU",
        }
    }

    /// As `--peers` takes it.
    pub(crate) fn option(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Which of this crate's devices it is compared with.
    pub(crate) fn baseline(self) -> Self {
        if self.has_threads() { Self::Cpu } else { Self::Gpu }
    }

    /// Whether it computes on the CPU, with a number of threads that can be chosen.
    pub(crate) fn has_threads(self) -> bool {
        self.streams() || matches!(self, Self::TorchCpu | Self::OrtCpu)
    }

    /// Whether it has runs of a timestep in each call, whose states it carries. On a GPU each would wait for it, and
    /// Python would have a share in each.
    pub(crate) fn streams(self) -> bool {
        matches!(self, Self::Cpu | Self::BurnFlex | Self::OrtC | Self::Tract | Self::Rten | Self::Candle)
    }
}

/// What runs a layer.
pub(crate) trait Peer {
    /// Makes the layer of `case`; the one before goes.
    fn open(&mut self, case: &Case) -> Result<()>;

    /// Seconds of each of `runs` runs, from an array on the host to an array on the host.
    fn run(&mut self, runs: usize) -> Result<Vec<f64>>;

    /// What the last run gave: `[batch, seq_len, hidden_size]`.
    fn output(&mut self) -> Result<Vec<f32>>;

    /// Seconds of runs whose input and output stay on the device; none where there is no such run.
    fn resident(&mut self, _runs: usize) -> Result<Option<Vec<f64>>> {
        Ok(None)
    }

    /// Seconds of runs by the device's own clock, without transfers; none where there is no such clock.
    fn on_device(&mut self, _runs: usize) -> Result<Option<Vec<f64>>> {
        Ok(None)
    }

    /// Names and versions of what it is made of.
    fn versions(&self) -> Vec<(String, String)>;

    /// How it runs the layer, if there is more than one way.
    fn strategy(&self) -> Option<String> {
        None
    }
}

/// A peer that cannot run here.
#[derive(Clone, Debug)]
pub(crate) struct Missing {
    pub(crate) name: Name,
    pub(crate) why: String,
    /// What to do about it.
    pub(crate) how: String,
}

impl Missing {
    fn without_streams(name: Name) -> Self {
        let streams = Name::value_variants().iter().filter(|name| name.streams()).map(|name| name.option());
        let how = format!("ask for {}", streams.collect::<Vec<_>>().join(", "));
        Self { name, why: "it runs whole sequences here, no streams".to_owned(), how }
    }
}

/// A peer with its number of threads.
pub(crate) struct Entrant {
    pub(crate) name: Name,
    pub(crate) threads: Option<usize>,
    pub(crate) peer: Box<dyn Peer>,
}

/// The peers that were asked for and are here, those that are not, and the adapter.
pub(crate) struct Field {
    pub(crate) entrants: Vec<Entrant>,
    pub(crate) missing: Vec<Missing>,
    pub(crate) adapter: Option<AdapterInfo>,
}

/// Starts what `args` ask for. Arrays for other programs go through `folder`.
pub(crate) fn field(args: &Args, streams_alone: bool, folder: &Path) -> Result<Field> {
    let names = if args.peers.is_empty() { Name::value_variants().to_vec() } else { args.peers.clone() };
    let (names, without): (Vec<Name>, Vec<Name>) = names.into_iter().partition(|name| !streams_alone || name.streams());
    let threads = match args.threads.as_slice() {
        [] if streams_alone => vec![1],
        [] => vec![crate::machine::cores()],
        counts => counts.to_vec(),
    };
    let missing = without.into_iter().map(Missing::without_streams).collect();
    let mut field = Field { entrants: Vec::new(), missing, adapter: None };
    let needs_adapter = names.iter().any(|name| matches!(name, Name::Gpu | Name::BurnWgpu));
    let gpu = if needs_adapter { Some(adapter(args)) } else { None };
    // A machine may have none; one that was named must be there.
    if let (Some(Err(error)), Some(_)) = (&gpu, &args.adapter) {
        bail!("{error}");
    }
    for &name in &names {
        let counts: Vec<Option<usize>> =
            if name.has_threads() { threads.iter().copied().map(Some).collect() } else { vec![None] };
        for threads in counts {
            match start(name, threads, gpu.as_ref(), args, folder) {
                Ok(peer) => field.entrants.push(Entrant { name, threads, peer }),
                Err((why, how)) => {
                    field.missing.push(Missing { name, why, how });
                    break;
                }
            }
        }
    }
    field.adapter = gpu.and_then(Result::ok).map(|gpu| gpu.info().clone());
    Ok(field)
}

/// A peer, or why it is not here and what to do about it.
type Start<T = Box<dyn Peer>> = Result<T, (String, String)>;

fn start(
    name: Name,
    threads: Option<usize>,
    gpu: Option<&Result<Gpu, wgpu_rnn::Error>>,
    args: &Args,
    folder: &Path,
) -> Start {
    let threads_or_one = threads.unwrap_or(1);
    match (name, gpu) {
        (Name::Gpu, Some(Ok(gpu))) => Ok(Box::new(own::Own::on_gpu(gpu))),
        (Name::BurnWgpu, Some(Ok(gpu))) => Ok(Box::new(burn::Burn::on_wgpu(gpu.info())?)),
        (Name::Gpu | Name::BurnWgpu, gpu) => {
            let why = gpu.and_then(|gpu| gpu.as_ref().err()).map_or_else(String::new, ToString::to_string);
            Err((why, "install a driver: `wgpu-rnn devices` says which".to_owned()))
        }
        (Name::Cpu, _) => Ok(Box::new(own::Own::on_cpu(threads_or_one))),
        (Name::BurnFlex, _) => Ok(Box::new(burn::Burn::on_flex(threads_or_one)?)),
        (Name::TorchCpu | Name::TorchCuda | Name::OrtCpu | Name::OrtWebgpu, _) => {
            Ok(Box::new(worker::Worker::in_python(name, threads, &args.python, folder)?))
        }
        (Name::OrtC | Name::Tract | Name::Rten | Name::Candle, _) => {
            Ok(Box::new(worker::Worker::in_rust(name, threads_or_one, &args.python, folder)?))
        }
    }
}

fn adapter(args: &Args) -> Result<Gpu, wgpu_rnn::Error> {
    let mut options = GpuOptions::default();
    options.adapter.clone_from(&args.adapter);
    let gpu = pollster::block_on(Gpu::open(options))?;
    if gpu.info().kind == AdapterKind::Software {
        crate::note(&format!("warning: {} computes on the CPU: its time says nothing about a GPU", gpu.info().name));
    }
    Ok(gpu)
}
