//! burn's own LSTM and GRU, on wgpu and on the CPU.

use std::{
    panic::{self, AssertUnwindSafe},
    time::Instant,
};

use anyhow::{Context, Result, anyhow};
use burn::{
    module::Param,
    nn::{GateController, Gru, GruConfig, Linear, Lstm, LstmConfig},
    tensor::{
        Device, DeviceKind, ProfileOptions, Tensor, TensorData, TimingMethod,
        wgpu::{
            WgpuBackend,
            wgpu::{self, DeviceType, Instance, InstanceDescriptor},
        },
    },
};
use rayon::{ThreadPool, ThreadPoolBuilder};
use wgpu_rnn::gpu::{AdapterInfo, AdapterKind};

use super::{Peer, Start};
use crate::{args::CellName, case::Case, machine, order::swapped, workload::Workload};

pub(super) struct Burn {
    device: Device,
    /// Where its CPU backend computes.
    pool: Option<ThreadPool>,
    opened: Option<Opened>,
}

struct Opened {
    layer: Layer,
    workload: Workload,
    /// What each call takes: the whole sequence, or a timestep of a stream.
    x: Vec<TensorData>,
    /// What each call gave.
    y: Vec<TensorData>,
    device_x: Tensor<3>,
}

#[derive(Clone)]
enum Layer {
    Lstm(Box<Lstm>),
    Gru(Box<Gru>),
}

impl Layer {
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Lstm(layer) => layer.forward(x, None).0,
            Self::Gru(layer) => layer.forward(x, None),
        }
    }

    /// Calls, one after the other, each of which starts from the states after the one before.
    fn stream(&self, x: Vec<TensorData>, device: &Device) -> Result<Vec<TensorData>> {
        let (mut lstm, mut gru) = (None, None);
        let call = |x| {
            let x = Tensor::from_data(x, device);
            let y = match self {
                Self::Lstm(layer) => {
                    let (y, state) = layer.forward(x, lstm.take());
                    lstm = Some(state);
                    y
                }
                Self::Gru(layer) => {
                    let y = layer.forward(x, gru.take());
                    // Of its one timestep.
                    gru = Some(y.clone().squeeze_dim::<2>(1));
                    y
                }
            };
            Ok(y.try_into_data()?)
        };
        x.into_iter().map(call).collect()
    }
}

impl Burn {
    /// On the very adapter that this crate has.
    pub(super) fn on_wgpu(adapter: &AdapterInfo) -> Start<Self> {
        if cfg!(feature = "spirv") && adapter.kind == AdapterKind::Software {
            let why = "its SPIR-V crashes software adapters";
            return Err((why.to_owned(), "build without the feature `spirv`".to_owned()));
        }
        let opened = guarded(|| device(adapter));
        let device = opened.map_err(|error| (format!("{error:#}"), "try another --adapter".to_owned()))?;
        Ok(Self { device, pool: None, opened: None })
    }

    pub(super) fn on_flex(threads: usize) -> Start<Self> {
        let pool = ThreadPoolBuilder::new().num_threads(threads).build();
        let pool = pool.map_err(|error| (error.to_string(), "ask for fewer --threads".to_owned()))?;
        Ok(Self { device: Device::flex(), pool: Some(pool), opened: None })
    }

    /// Does `work` on the opened layer, with its threads, and its panics as errors.
    fn with<T: Send>(&mut self, work: impl FnOnce(&mut Opened, &Device) -> Result<T> + Send) -> Result<T> {
        let (device, pool) = (&self.device, &self.pool);
        let opened = self.opened.as_mut().context("run before open")?;
        let work = || work(opened, device);
        guarded(|| match pool {
            Some(pool) => pool.install(work),
            None => work(),
        })
    }
}

impl Peer for Burn {
    fn open(&mut self, case: &Case) -> Result<()> {
        self.opened = None;
        let device = &self.device;
        self.opened = Some(guarded(|| {
            let workload = case.workload;
            let Workload { batch, seq_len, input_size, .. } = workload;
            let values = case.x.to_f32();
            let whole = TensorData::new(values.to_vec(), case.x.shape().to_vec());
            let device_x = Tensor::from_data(whole.clone(), device);
            let x = if workload.stream {
                let timestep = |x: &[f32]| TensorData::new(x.to_vec(), vec![batch, 1, input_size]);
                swapped(&values, batch, seq_len).chunks_exact(batch * input_size).map(timestep).collect()
            } else {
                vec![whole]
            };
            Ok(Opened { layer: layer(case, device), workload, x, y: Vec::new(), device_x })
        })?);
        Ok(())
    }

    fn run(&mut self, runs: usize) -> Result<Vec<f64>> {
        self.with(|opened, device| {
            let mut seconds = Vec::new();
            for _ in 0..runs {
                let x = opened.x.clone();
                let started = Instant::now();
                let y = if opened.workload.stream {
                    opened.layer.stream(x, device)?
                } else {
                    let call = |x| opened.layer.forward(Tensor::from_data(x, device)).try_into_data();
                    x.into_iter().map(call).collect::<Result<_, _>>()?
                };
                seconds.push(started.elapsed().as_secs_f64());
                opened.y = y;
            }
            Ok(seconds)
        })
    }

    fn output(&mut self) -> Result<Vec<f32>> {
        self.with(|opened, _| {
            let mut values = Vec::new();
            for y in &opened.y {
                values.extend_from_slice(y.as_slice::<f32>().map_err(|error| anyhow!("{error:?}"))?);
            }
            let Workload { batch, seq_len, stream, .. } = opened.workload;
            Ok(if stream { swapped(&values, seq_len, batch) } else { values })
        })
    }

    fn resident(&mut self, runs: usize) -> Result<Option<Vec<f64>>> {
        if self.pool.is_some() {
            return Ok(None);
        }
        self.with(|opened, device| {
            let mut seconds = Vec::new();
            for _ in 0..runs {
                let started = Instant::now();
                let y = opened.layer.forward(opened.device_x.clone());
                device.sync()?;
                seconds.push(started.elapsed().as_secs_f64());
                drop(y);
            }
            Ok(Some(seconds))
        })
    }

    /// From the start of its first kernel to the end of its last one.
    fn on_device(&mut self, runs: usize) -> Result<Option<Vec<f64>>> {
        if self.pool.is_some() {
            return Ok(None);
        }
        self.with(|opened, device| {
            let mut seconds = Vec::new();
            for _ in 0..runs {
                device.sync()?;
                let (layer, x) = (opened.layer.clone(), opened.device_x.clone());
                let (y, window) = device.profile_with(ProfileOptions::default().flush(), move || layer.forward(x))?;
                if !matches!(window.timing_method(), TimingMethod::Device) {
                    return Ok(None);
                }
                let Some(ticks) = pollster::block_on(window.resolve()) else { return Ok(None) };
                seconds.push(ticks.duration().as_secs_f64());
                drop(y);
            }
            Ok(Some(seconds))
        })
    }

    fn versions(&self) -> Vec<(String, String)> {
        let how = match (&self.pool, cfg!(feature = "spirv")) {
            (Some(_), _) => return vec![("burn".to_owned(), machine::locked("burn"))],
            (None, false) => "fusion, autotune, WGSL",
            (None, true) => "fusion, autotune, SPIR-V where the adapter has it",
        };
        vec![
            ("burn".to_owned(), machine::locked("burn")),
            ("burn's wgpu".to_owned(), format!("{} ({how})", machine::locked("wgpu"))),
        ]
    }
}

/// Opens `adapter` for burn, which counts the adapters of each kind.
fn device(adapter: &AdapterInfo) -> Result<Device> {
    let (backend, api) = match adapter.backend.as_str() {
        "vulkan" => (wgpu::Backend::Vulkan, WgpuBackend::Vulkan),
        "metal" => (wgpu::Backend::Metal, WgpuBackend::Metal),
        "dx12" => (wgpu::Backend::Dx12, WgpuBackend::Dx12),
        other => return Err(anyhow!("burn has no name for the graphics interface {other}")),
    };
    let kind = match adapter.kind {
        AdapterKind::Discrete => DeviceType::DiscreteGpu,
        AdapterKind::Integrated => DeviceType::IntegratedGpu,
        AdapterKind::Virtual => DeviceType::VirtualGpu,
        AdapterKind::Software => DeviceType::Cpu,
        _ => return Err(anyhow!("burn cannot be told to take an adapter of unknown kind")),
    };
    let instance = Instance::new(InstanceDescriptor {
        backends: backend.into(),
        ..InstanceDescriptor::new_without_display_handle()
    });
    let is_ours = |info: &wgpu::AdapterInfo| info.name == adapter.name && info.device_pci_bus_id == adapter.bus;
    let all = pollster::block_on(instance.enumerate_adapters(backend.into()));
    let mut of_kind = all.iter().map(wgpu::Adapter::get_info).filter(|info| info.device_type == kind);
    let index = of_kind.position(|info| is_ours(&info)).context("burn's wgpu does not list the adapter")?;
    let kind = match kind {
        DeviceType::DiscreteGpu => DeviceKind::DiscreteGpu(index),
        DeviceType::IntegratedGpu => DeviceKind::IntegratedGpu(index),
        DeviceType::VirtualGpu => DeviceKind::VirtualGpu(index),
        _ => DeviceKind::Cpu,
    };
    let (device, setup) = Device::wgpu_options().device_kind(kind).graphics_api(api).init_with_setup()?;
    let taken = setup.adapter.get_info();
    if !is_ours(&taken) {
        return Err(anyhow!("burn took another adapter, {}", taken.name));
    }
    Ok(device)
}

/// burn's layer with the weights of `case`: a matrix `[input, hidden]` and a bias per gate and side.
fn layer(case: &Case, device: &Device) -> Layer {
    let workload = case.workload;
    let (hidden, input_size) = (workload.hidden, workload.input_size);
    let weights = &case.weights;
    let linear = |weight: &[f32], bias: &[f32], gate: usize, features: usize| {
        let rows = &weight[gate * hidden * features..(gate + 1) * hidden * features];
        let transposed: Vec<f32> =
            (0..features * hidden).map(|at| rows[at % hidden * features + at / hidden]).collect();
        let bias = bias[gate * hidden..(gate + 1) * hidden].to_vec();
        Linear {
            weight: Param::from_data(TensorData::new(transposed, [features, hidden]), device),
            bias: Some(Param::from_data(TensorData::new(bias, [hidden]), device)),
        }
    };
    let (weight_ih, weight_hh) = (weights.weight_ih.to_f32(), weights.weight_hh.to_f32());
    let (bias_ih, bias_hh) = (weights.bias_ih.to_f32(), weights.bias_hh.to_f32());
    let set = |to: &mut GateController, gate| {
        to.input_transform = linear(&weight_ih, &bias_ih, gate, input_size);
        to.hidden_transform = linear(&weight_hh, &bias_hh, gate, hidden);
    };
    match workload.cell {
        CellName::Lstm => {
            let mut lstm = LstmConfig::new(input_size, hidden, true).init(device);
            // Gates in PyTorch's order: input, forget, cell, output.
            set(&mut lstm.input_gate, 0);
            lstm.forget_gate.as_mut().into_iter().for_each(|forget| set(forget, 1));
            set(&mut lstm.cell_gate, 2);
            set(&mut lstm.output_gate, 3);
            Layer::Lstm(Box::new(lstm))
        }
        CellName::Gru => {
            let mut gru = GruConfig::new(input_size, hidden, true).with_reset_after(true).init(device);
            // Reset, update, new.
            set(&mut gru.reset_gate, 0);
            set(&mut gru.update_gate, 1);
            set(&mut gru.new_gate, 2);
            Layer::Gru(Box::new(gru))
        }
    }
}

/// The result of `work`; burn's panics as errors.
fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        Err(anyhow!("burn panicked: {}", text.unwrap_or("without a word")))
    })
}
