//! Which device a session runs on, and why.

use crate::error::Result;
#[cfg(feature = "gpu")]
use crate::gpu::{self, AdapterInfo, AdapterKind, Gpu, GpuOptions};

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

pub(super) async fn open(device: &Device) -> Result<(Opened, DeviceReport)> {
    let report = |kind, reason: &str| DeviceReport {
        kind,
        adapter: String::new(),
        is_software: false,
        reason: reason.to_owned(),
    };
    match device {
        Device::Cpu => Ok((Opened::Cpu, report("cpu", "asked for"))),
        Device::Reference => Ok((Opened::Reference, report("reference", "asked for"))),
        #[cfg(feature = "gpu")]
        Device::Auto => match hardware() {
            Ok(adapter) => {
                let name = adapter.to_string();
                let options =
                    GpuOptions { adapter: Some(adapter.name), allow_software: false, ..GpuOptions::default() };
                match Gpu::open(options).await {
                    Ok(gpu) => {
                        let report = on_gpu(&gpu, "the fastest kind of hardware GPU");
                        Ok((Opened::Gpu(gpu), report))
                    }
                    Err(error) => Ok((Opened::Cpu, report("cpu", &format!("{name} cannot be opened: {error}")))),
                }
            }
            Err(why) => Ok((Opened::Cpu, report("cpu", &why))),
        },
        #[cfg(feature = "gpu")]
        Device::Gpu(name) => {
            let gpu = Gpu::open(GpuOptions { adapter: name.clone(), ..GpuOptions::default() }).await?;
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

/// The first adapter that is not software, or why there is none.
#[cfg(feature = "gpu")]
fn hardware() -> std::result::Result<AdapterInfo, String> {
    let adapters = gpu::adapters().map_err(|error| error.to_string())?;
    let found = adapters.iter().find(|adapter| adapter.kind != AdapterKind::Software).cloned();
    found.ok_or_else(|| {
        let names: Vec<String> = adapters.iter().map(ToString::to_string).collect();
        format!("there is no hardware GPU, only {}; a software adapter runs only when asked for", names.join(", "))
    })
}
