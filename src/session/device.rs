//! Which device a session runs on, and why.

use std::time::Duration;

use super::SessionOptions;
#[cfg(feature = "gpu")]
use super::either::{Either, Permitted};
use crate::error::Result;
#[cfg(feature = "gpu")]
use crate::{
    error::{Error, ErrorKind},
    gpu::{self, AdapterKind, Gpu, GpuOptions},
};

/// Which device a session should run on.
///
/// # Two devices
///
/// With [`Auto`](Self::Auto), where there is a hardware GPU or an adapter is named, and with [`Either`](Self::Either) each
/// run is made by the CPU or by the GPU, whichever is estimated to be faster for the sizes of that run: a single stream of
/// small layers is done on the CPU before a GPU has heard of it, and a large batch is not. [`Session::device_for`](crate::Session::device_for)
/// tells which it is and why, [`Outputs::device`](crate::Outputs::device) which it was. States move between both as they
/// are. Results of the two differ in their last bits, like those of any two devices, so the bits of a row may then depend
/// on the batch and on how a sequence is cut; name a device where that matters.
///
/// The estimate is made of what the model asks for (multiply-adds, bytes of weights, timesteps, dispatches, transfers) and of
/// what both devices can do. The CPU is measured when the session opens, in some 50 milliseconds, unless
/// [`SessionOptions::cpu_calibration`] has the figures; of a GPU without
/// [figures](crate::gpu::GpuOptions::calibration) those of a slow one of its kind are assumed, and the reason says so. It is
/// of a run like one before: compiling kernels, as the first run on a GPU does, does not count.
///
/// Weights are made ready for each device when a run first takes it (then the model's known answers are checked there, too),
/// or for both at once where the session is to [release](SessionOptions::release_weights) them. Options that only one of
/// both devices has leave only that one: [`half_arithmetic`](SessionOptions::half_arithmetic) the GPU,
/// [`integer_arithmetic`](SessionOptions::integer_arithmetic) the CPU; both together are refused.
/// [`strategy`](SessionOptions::strategy), [`cooperative`](SessionOptions::cooperative) and
/// [`layer_by_layer`](SessionOptions::layer_by_layer) say how the GPU makes the runs that it gets, as
/// [`threads`](SessionOptions::threads) does of the CPU, and are part of the estimate. What does not fit the GPU, or a
/// strategy that was asked for, is run by the CPU. A [stream](crate::Session::stream) is always the CPU's.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Device {
    /// The CPU or a GPU, whichever is estimated to be faster for each run. Without a text a hardware GPU, never a software
    /// adapter, and the CPU where there is none; else the adapter whose name contains the text (in any case), of whatever
    /// kind, which must be there.
    Auto(Option<String>),
    /// A GPU: the adapter whose name contains the text (in any case), or the fastest kind there is,
    /// software adapters last. Fails where there is none.
    Gpu(Option<String>),
    /// A device that is open already; sessions on it share weights.
    #[cfg(feature = "gpu")]
    Opened(Gpu),
    /// The CPU or a GPU that is open already, of whatever kind, whichever is estimated to be faster for each run.
    #[cfg(feature = "gpu")]
    Either(Gpu),
    /// The CPU.
    Cpu,
    /// The CPU in f64, with plain loops: the specification. Slow.
    Reference,
}

impl Default for Device {
    fn default() -> Self {
        Self::Auto(None)
    }
}

impl Device {
    /// How its GPU is opened, otherwise as `options` say; `None` where there is none to open.
    #[cfg(feature = "gpu")]
    #[must_use]
    pub fn to_open(&self, options: &GpuOptions) -> Option<GpuOptions> {
        let (name, allow_software) = match self {
            Self::Auto(name) => (name, name.is_some()),
            Self::Gpu(name) => (name, true),
            Self::Opened(_) | Self::Either(_) | Self::Cpu | Self::Reference => return None,
        };
        Some(GpuOptions { adapter: name.clone(), allow_software, ..options.clone() })
    }
}

/// The device that a session or a run takes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceReport {
    /// `gpu`, `cpu` or `reference`; `auto` of a session that leaves the choice to each run.
    pub kind: &'static str,
    /// The adapter's name, kind, backend and driver; empty for the CPU.
    pub adapter: String,
    /// Whether the adapter computes on the CPU.
    pub is_software: bool,
    /// Why this device was taken.
    pub reason: String,
    /// How long the run was estimated to take on the CPU, where there was a choice.
    pub cpu_estimate: Option<Duration>,
    /// How long the run was estimated to take on the GPU, where there was a choice.
    pub gpu_estimate: Option<Duration>,
}

impl DeviceReport {
    /// A device without an adapter.
    pub(super) fn of(kind: &'static str, reason: impl Into<String>) -> Self {
        Self {
            kind,
            adapter: String::new(),
            is_software: false,
            reason: reason.into(),
            cpu_estimate: None,
            gpu_estimate: None,
        }
    }

    /// A GPU, or a choice that it is one of.
    #[cfg(feature = "gpu")]
    pub(super) fn with_adapter(self, info: &crate::gpu::AdapterInfo) -> Self {
        Self { adapter: info.to_string(), is_software: info.kind == AdapterKind::Software, ..self }
    }
}

/// A device, ready to run programs, or two.
#[derive(Clone)]
pub(super) enum Opened {
    #[cfg(feature = "gpu")]
    Gpu(Gpu),
    Cpu,
    Reference,
    #[cfg(feature = "gpu")]
    Either(std::sync::Arc<Either>),
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            #[cfg(feature = "gpu")]
            Self::Gpu(_) => "Gpu",
            Self::Cpu => "Cpu",
            Self::Reference => "Reference",
            #[cfg(feature = "gpu")]
            Self::Either(_) => "Either",
        })
    }
}

impl Opened {
    /// `options` for a session on the same devices, opened anew.
    pub(super) async fn anew(&self, options: &SessionOptions) -> Result<SessionOptions> {
        let options = options.clone();
        Ok(match self {
            #[cfg(feature = "gpu")]
            Self::Gpu(gpu) => SessionOptions { device: Device::Opened(gpu.reopen().await?), ..options },
            #[cfg(feature = "gpu")]
            Self::Either(either) => SessionOptions {
                device: Device::Either(either.gpu.reopen().await?),
                cpu_calibration: Some(either.cpu),
                ..options
            },
            Self::Cpu | Self::Reference => options,
        })
    }
}

pub(super) async fn open(options: &SessionOptions) -> Result<(Opened, DeviceReport)> {
    let on_cpu = |reason: &str| Ok((Opened::Cpu, DeviceReport::of("cpu", reason)));
    #[cfg(feature = "gpu")]
    let how = || options.device.to_open(&options.gpu).ok_or_else(|| Error::internal("a device that is not opened"));
    match &options.device {
        Device::Cpu => on_cpu(ASKED_FOR),
        Device::Reference => Ok((Opened::Reference, DeviceReport::of("reference", ASKED_FOR))),
        #[cfg(feature = "gpu")]
        Device::Auto(name) => {
            let permitted = Permitted::by(options)?;
            if let Permitted::Cpu(reason) = permitted {
                // Whoever names an adapter wants to hear that it is not there.
                if name.is_some() {
                    gpu::find_adapter(name.as_deref(), true)?;
                }
                return on_cpu(reason);
            }
            match Gpu::open(how()?).await {
                Ok(gpu) => either(gpu, permitted, options),
                // An option that is wrong is wrong on every adapter.
                Err(error) if name.is_some() || error.kind() == ErrorKind::Input => Err(error),
                Err(error) if matches!(permitted, Permitted::Gpu(_)) => Err(error),
                Err(error) => on_cpu(&error.to_string()),
            }
        }
        #[cfg(feature = "gpu")]
        Device::Either(gpu) => either(gpu.clone(), Permitted::by(options)?, options),
        #[cfg(feature = "gpu")]
        Device::Gpu(_) => Ok(on_gpu(Gpu::open(how()?).await?, ASKED_FOR)),
        #[cfg(feature = "gpu")]
        Device::Opened(gpu) => Ok(on_gpu(gpu.clone(), ASKED_FOR)),
        #[cfg(not(feature = "gpu"))]
        Device::Auto(None) => on_cpu("built without the feature `gpu`"),
        #[cfg(not(feature = "gpu"))]
        Device::Auto(Some(_)) | Device::Gpu(_) => Err(crate::error::Error::NoAdapter {
            reason: "this program was built without the feature `gpu`".to_owned(),
            hint: "build it with the feature, or use the device `cpu`".to_owned(),
        }),
    }
}

/// The reason for what was named.
const ASKED_FOR: &str = "asked for";

#[cfg(feature = "gpu")]
fn on_gpu(gpu: Gpu, reason: &str) -> (Opened, DeviceReport) {
    let report = DeviceReport::of("gpu", reason).with_adapter(gpu.info());
    (Opened::Gpu(gpu), report)
}

/// The CPU and `gpu`, as far as they are permitted.
#[cfg(feature = "gpu")]
fn either(gpu: Gpu, permitted: Permitted, options: &SessionOptions) -> Result<(Opened, DeviceReport)> {
    match permitted {
        Permitted::Cpu(reason) => Ok((Opened::Cpu, DeviceReport::of("cpu", reason))),
        Permitted::Gpu(reason) => Ok(on_gpu(gpu, reason)),
        Permitted::Both => {
            let reason = "each run is made by the CPU or the GPU, whichever is estimated to be faster for its sizes";
            let report = DeviceReport::of("auto", reason).with_adapter(gpu.info());
            Ok((Opened::Either(Either::new(gpu, options)?.into()), report))
        }
    }
}
