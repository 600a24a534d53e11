//! Which device a session runs on, and why.

use super::SessionOptions;
use crate::error::Result;
#[cfg(feature = "gpu")]
use crate::{
    error::ErrorKind,
    gpu::{AdapterKind, Gpu, GpuOptions},
};

/// Which device a session should run on.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Device {
    /// A hardware GPU if there is one, else the CPU. Never a software adapter.
    #[default]
    Auto,
    /// A GPU: the adapter whose name contains the text (in any case), or the fastest kind there is,
    /// software adapters last. Fails where there is none.
    Gpu(Option<String>),
    /// A device that is open already; sessions on it share weights.
    #[cfg(feature = "gpu")]
    Opened(Gpu),
    /// The CPU.
    Cpu,
    /// The CPU in f64, with plain loops: the specification. Slow.
    Reference,
}

/// The device that a session runs on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceReport {
    /// `gpu`, `cpu` or `reference`.
    pub kind: &'static str,
    /// The adapter's name, kind, backend and driver; empty for the CPU.
    pub adapter: String,
    /// Whether the adapter computes on the CPU.
    pub is_software: bool,
    /// Why this device was taken.
    pub reason: String,
}

/// A device, ready to run programs.
#[derive(Clone)]
pub(super) enum Opened {
    #[cfg(feature = "gpu")]
    Gpu(Gpu),
    Cpu,
    Reference,
}

pub(super) async fn open(options: &SessionOptions) -> Result<(Opened, DeviceReport)> {
    let report = |kind, reason: &str| DeviceReport {
        kind,
        adapter: String::new(),
        is_software: false,
        reason: reason.to_owned(),
    };
    match &options.device {
        Device::Cpu => Ok((Opened::Cpu, report("cpu", "asked for"))),
        Device::Reference => Ok((Opened::Reference, report("reference", "asked for"))),
        #[cfg(feature = "gpu")]
        Device::Auto => {
            let options = GpuOptions { adapter: None, allow_software: false, ..options.gpu.clone() };
            match Gpu::open(options).await {
                Ok(gpu) => {
                    let report = on_gpu(&gpu, "the fastest kind of hardware GPU");
                    Ok((Opened::Gpu(gpu), report))
                }
                // An option that is wrong is wrong on every adapter.
                Err(error) if error.kind() == ErrorKind::Input => Err(error),
                Err(error) => Ok((Opened::Cpu, report("cpu", &error.to_string()))),
            }
        }
        #[cfg(feature = "gpu")]
        Device::Gpu(name) => {
            let options = GpuOptions { adapter: name.clone(), allow_software: true, ..options.gpu.clone() };
            let gpu = Gpu::open(options).await?;
            let report = on_gpu(&gpu, "asked for");
            Ok((Opened::Gpu(gpu), report))
        }
        #[cfg(feature = "gpu")]
        Device::Opened(gpu) => Ok((Opened::Gpu(gpu.clone()), on_gpu(gpu, "asked for"))),
        #[cfg(not(feature = "gpu"))]
        Device::Auto => Ok((Opened::Cpu, report("cpu", "built without the feature `gpu`"))),
        #[cfg(not(feature = "gpu"))]
        Device::Gpu(_) => Err(crate::error::Error::NoAdapter {
            reason: "this program was built without the feature `gpu`".to_owned(),
            hint: "build it with the feature, or use the device `cpu`".to_owned(),
        }),
    }
}

#[cfg(feature = "gpu")]
fn on_gpu(gpu: &Gpu, reason: &str) -> DeviceReport {
    DeviceReport {
        kind: "gpu",
        adapter: gpu.info().to_string(),
        is_software: gpu.info().kind == AdapterKind::Software,
        reason: reason.to_owned(),
    }
}
