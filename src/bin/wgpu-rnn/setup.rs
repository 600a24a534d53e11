//! From options to a model and a session, and what is said about the device.

use std::{num::NonZero, path::Path};

use wgpu_rnn::{
    Device, DeviceReport, Error, Model, Session, SessionOptions,
    compare::Tolerance,
    formats::{KerasBackend, LoadOptions},
    plan::Precision,
};

#[cfg(feature = "gpu")]
use crate::args::StrategyName;
use crate::{
    args::{DeviceArgs, DeviceName, HowArgs, KerasBackendName, LoadArgs, ModelArgs, WeightsName},
    files::note,
    progress::busy,
};

/// Loads the model. Says on standard error what was taken for granted.
pub(crate) fn model(args: &ModelArgs) -> Result<Model, Error> {
    model_at(&args.path, &args.load)
}

/// [`model`] at `path`.
pub(crate) fn model_at(path: &Path, load: &LoadArgs) -> Result<Model, Error> {
    let working = busy("loading the model");
    let model = Model::load_with(path, &load_options(load))?;
    drop(working);
    model.notes().iter().for_each(|text| note(text));
    Ok(model)
}

/// How the file is read.
pub(crate) fn load_options(args: &LoadArgs) -> LoadOptions {
    let mut options = LoadOptions::default();
    options.config.clone_from(&args.config);
    options.keras_version = args.keras_version;
    options.keras_backend = match args.keras_backend {
        KerasBackendName::Tensorflow => KerasBackend::TensorFlow,
        KerasBackendName::Jax => KerasBackend::Jax,
    };
    options
}

/// A session on the device asked for. Says on standard error what needs saying.
pub(crate) fn session(model: &Model, args: &DeviceArgs) -> Result<Session, Error> {
    let _busy = busy("preparing the device");
    let name = args.device.unwrap_or(DeviceName::Auto);
    let session = Session::new(model, options(device(name, args.adapter.clone()), &args.how))?;
    let report = session.device();
    // Of two devices each run takes one, and says so.
    if name == DeviceName::Auto && report.kind != TWO_DEVICES {
        note(&format!("running on {}: {}", device_text(report), report.reason));
    }
    if report.kind != TWO_DEVICES {
        warn(report);
    }
    Ok(session)
}

/// Says on standard error what a device is no measure of.
fn warn(report: &DeviceReport) {
    if report.is_software {
        note(&format!("warning: {} computes on the CPU: its results count, its speed does not", report.adapter));
    }
}

/// The kind of a session's device where each run chooses between two.
pub(crate) const TWO_DEVICES: &str = "auto";

/// Says on standard error which of two devices made a run, and why.
pub(crate) fn tell(session: &Session, run: &DeviceReport) {
    if session.device().kind == TWO_DEVICES {
        note(&format!("ran on {}: {}", device_text(run), run.reason));
        warn(run);
    }
}

/// The session's options, with what is known of the device.
pub(crate) fn options(device: Device, how: &HowArgs) -> SessionOptions {
    let mut options = SessionOptions::on(device);
    options.weights = precision(how.weights);
    options.threads = threads(how);
    options.integer_arithmetic = how.integer_arithmetic;
    if matches!(options.device, Device::Auto(_)) {
        options.cpu_calibration = crate::cache::known_cpu();
    }
    #[cfg(feature = "gpu")]
    {
        use wgpu_rnn::gpu::Strategy;

        options.strategy = how.strategy.map(|name| match name {
            StrategyName::Step => Strategy::Step,
            StrategyName::Persistent => Strategy::Persistent,
            StrategyName::Held => Strategy::Held,
            StrategyName::Cooperative => Strategy::Cooperative,
        });
        options.cooperative = how.cooperative;
        options.layer_by_layer = how.layer_by_layer;
        options.half_arithmetic = how.half_arithmetic;
        options.gpu = crate::cache::known(&options.device);
    }
    options
}

/// Keeps for later what the session's driver compiled, also for later sessions of this process.
#[cfg(feature = "gpu")]
pub(crate) fn keep(session: &Session, later: Option<&mut SessionOptions>) {
    let kept = crate::cache::keep_pipelines(session);
    if let (Some(kept), Some(later)) = (kept, later) {
        later.gpu.pipeline_cache = Some(kept);
    }
}

/// Nothing was compiled.
#[cfg(not(feature = "gpu"))]
pub(crate) fn keep(_: &Session, _: Option<&mut SessionOptions>) {}

/// Whether the driver began with what it compiled in an earlier process; none where it cannot.
pub(crate) fn pipelines_kept(_session: &Session) -> Option<bool> {
    #[cfg(feature = "gpu")]
    return _session.gpu().and_then(wgpu_rnn::gpu::Gpu::pipeline_cache_used);
    #[cfg(not(feature = "gpu"))]
    None
}

/// Why there is no GPU in a program that was built without.
#[cfg(not(feature = "gpu"))]
pub(crate) fn without_gpu() -> Error {
    Error::NoAdapter {
        reason: "this program was built without the feature `gpu`".to_owned(),
        hint: "build it with the feature, or use the device `cpu`".to_owned(),
    }
}

pub(crate) fn device(name: DeviceName, adapter: Option<String>) -> Device {
    match name {
        DeviceName::Auto => Device::Auto(adapter),
        DeviceName::Gpu => Device::Gpu(adapter),
        DeviceName::Cpu => Device::Cpu,
        DeviceName::Reference => Device::Reference,
    }
}

/// Threads on the CPU: all cores, if nothing was said.
pub(crate) fn threads(how: &HowArgs) -> usize {
    how.threads.unwrap_or_else(all_cores)
}

pub(crate) fn all_cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

/// How near results have to be.
pub(crate) fn tolerance(how: &HowArgs) -> Tolerance {
    #[cfg(feature = "gpu")]
    if how.half_arithmetic {
        return Tolerance::HALF_ARITHMETIC;
    }
    if how.integer_arithmetic {
        return Tolerance::INTEGER_ARITHMETIC;
    }
    Tolerance::FREE_RUNNING
}

pub(crate) fn precision(weights: WeightsName) -> Precision {
    match weights {
        WeightsName::F32 => Precision::F32,
        WeightsName::F16 => Precision::F16,
        WeightsName::Bf16 => Precision::Bf16,
        WeightsName::I8 => Precision::I8,
    }
}

/// A device, for people.
pub(crate) fn device_text(report: &DeviceReport) -> String {
    match report.kind {
        "gpu" => report.adapter.clone(),
        "cpu" => "the CPU".to_owned(),
        TWO_DEVICES => format!("the CPU or {}", report.adapter),
        kind => format!("the {kind}"),
    }
}

/// A device's adapter, for programs: none on the CPU.
pub(crate) fn adapter(report: &DeviceReport) -> Option<&str> {
    Some(report.adapter.as_str()).filter(|adapter| !adapter.is_empty())
}
