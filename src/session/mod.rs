//! [`Session`]: what an application holds. A model planned for a device, and the states that it
//! carries from run to run.

mod answers;
#[cfg(feature = "gpu")]
mod choice;
mod device;
#[cfg(feature = "gpu")]
mod either;
mod io;
mod late;
mod padded;
mod ports;
mod program;
mod ragged;
mod state;
mod stream;

use std::sync::{Arc, OnceLock};

use futures_intrusive::sync::Mutex;

pub use device::{Device, DeviceReport};
pub use io::{Inputs, Outputs};
pub use state::State;
pub use stream::Stream;

#[cfg(feature = "gpu")]
use self::program::Engine;
use self::{
    device::Opened,
    program::{Context, Program, wanted},
};
#[cfg_attr(not(feature = "gpu"), allow(unused_imports))] // documents what calls give
use crate::error::Error;
use crate::{
    cpu,
    error::Result,
    model::Model,
    plan::{Bound, Carry, Plan, Precision},
    tensor::Tensor,
};
#[cfg(feature = "gpu")]
use crate::{
    gpu::{Gpu, GpuOptions, GpuProgram, MemoryNeed, Strategy},
    stats::RunStats,
};

/// How a session runs its model.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct SessionOptions {
    /// Where it runs.
    pub device: Device,
    /// How matrices are stored. Every device computes with the rounded values.
    pub weights: Precision,
    /// Threads on the CPU; 0 and 1: the caller's own. Others are the session's. On Linux they may use the processors that the
    /// caller may, but for the one that it runs on as a run begins, if there are enough.
    pub threads: usize,
    /// Which layers carry their states from run to run.
    pub carry: Carry,
    /// Whether inputs with a NaN or an infinity are refused. Else they pass through.
    pub refuse_non_finite: bool,
    /// Whether the session lets go of the weights on the host once the device has them. It then holds
    /// them once (beside the caller's [`Model`], while there is one), but cannot be
    /// [rebuilt](Session::rebuilt) or [verified](crate::verify::Reference::of) without loading the model again. Where runs
    /// may be made by either of two devices, both get the weights first.
    pub release_weights: bool,
    /// The most bytes that one value of a run may take, in f32; 0: [`Self::MAX_VALUE_BYTES`]. A few bytes of a file
    /// can ask for terabytes (a constant that is repeated, a vector that is): no room is made for more.
    pub max_value_bytes: u64,
    /// Whether the CPU makes products with int8 weights of integers ([`CpuOptions::integer_arithmetic`](cpu::CpuOptions::integer_arithmetic)): faster where
    /// weights are read from memory most of the time. It is refused where weights are stored otherwise, and on other devices.
    pub integer_arithmetic: bool,
    /// What the CPU can do, where it was measured before ([`cpu::Calibration::measure`]). Only looked at where runs may be
    /// made by the CPU or by a GPU ([`Device::Auto`]).
    pub cpu_calibration: Option<cpu::Calibration>,
    /// Whether a model's known answers are left unchecked when a session starts.
    pub skip_known_answers: bool,
    /// One way to run recurrences on the GPU, whatever the batch; else each chooses its own.
    #[cfg(feature = "gpu")]
    pub strategy: Option<Strategy>,
    /// Whether workgroups of a GPU may wait for each other, [`Strategy::Cooperative`].
    #[cfg(feature = "gpu")]
    pub cooperative: bool,
    /// Whether recurrent layers that could run together on a GPU run one after the other
    /// ([`ProgramOptions::layer_by_layer`](crate::gpu::ProgramOptions::layer_by_layer)).
    #[cfg(feature = "gpu")]
    pub layer_by_layer: bool,
    /// Whether a GPU makes products with f16 weights in f16 ([`ProgramOptions::half_arithmetic`](crate::gpu::ProgramOptions::half_arithmetic)). It is refused where
    /// weights are stored otherwise, on other devices, and on a GPU that has none.
    #[cfg(feature = "gpu")]
    pub half_arithmetic: bool,
    /// How a GPU is opened, where `device` does not give one that is open; which one is up to `device`.
    #[cfg(feature = "gpu")]
    pub gpu: GpuOptions,
}

impl SessionOptions {
    /// The most bytes that one value of a run may take, where [`max_value_bytes`](Self::max_value_bytes) is 0.
    pub const MAX_VALUE_BYTES: u64 = 8 << 30;

    /// The default options on `device`.
    #[must_use]
    pub fn on(device: Device) -> Self {
        Self { device, ..Self::default() }
    }
}

/// A model on a device.
///
/// A session may be shared by threads. Runs of a model without states are independent of each
/// other: on the CPU each happens on its caller's thread, on a GPU they queue for the device. Runs
/// of a model with states happen one after the other, each starting from the states of the one
/// before; which of two concurrent calls comes first is up to the threads.
///
/// ```no_run
/// use wgpu_rnn::{Device, Model, Session, SessionOptions, Tensor};
/// let model = Model::load("model.keras")?;
/// let session = Session::new(&model, SessionOptions::on(Device::Auto(None)))?;
/// let outputs = session.run(Tensor::new([1, 3, 2], vec![0.1, 0.2, 0.3, 0.4, 0.5, 0.6])?)?;
/// println!("{:?}", outputs.single()?.to_f32());
/// # Ok::<(), wgpu_rnn::Error>(())
/// ```
#[derive(Debug)]
pub struct Session {
    model: Model,
    options: SessionOptions,
    device: Arc<DeviceReport>,
    opened: Opened,
    program: Program,
    ragged: OnceLock<Program>,
    state: Mutex<Option<State>>,
    /// The session that runs the model with the weights that were given last.
    late: Mutex<Option<late::Completed>>,
}

impl Session {
    /// Plans `model` for a device and uploads its weights; with [two devices](Device#two-devices) they follow later.
    ///
    /// # Errors
    /// [`Error::NoAdapter`] or [`Error::Unknown`] if the device is not there, [`Error::Unsupported`]
    /// if a layer cannot do what is asked, [`Error::Limit`] and [`Error::OutOfDeviceMemory`] if the
    /// weights do not fit, [`Error::WrongAnswer`] if the device does not give the model's known answers.
    pub fn new(model: &Model, options: SessionOptions) -> Result<Self> {
        pollster::block_on(Self::new_async(model, options))
    }

    /// [`new`](Self::new) without blocking the thread.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub async fn new_async(model: &Model, options: SessionOptions) -> Result<Self> {
        let (opened, device) = device::open(&options).await?;
        Self::with_device(model, options, opened, Arc::new(device)).await
    }

    async fn with_device(
        model: &Model,
        options: SessionOptions,
        opened: Opened,
        device: Arc<DeviceReport>,
    ) -> Result<Self> {
        let context = Context { model, options: &options, opened: &opened, device: Arc::clone(&device) };
        let program = match &model.late {
            None => Program::new(&context, None).await?,
            Some(_) => Program::none(),
        };
        let releases = options.release_weights && !matches!(opened, Opened::Reference) && model.late.is_none();
        let (program, ragged) = if releases {
            // Neither can be made later. A model that cannot run ragged says why when it is asked to.
            let ragged = match Program::new(&context, Some(&program)).await {
                Ok(ragged) => ragged.released(&context, Some(&program)).await.ok(),
                Err(_) => None,
            };
            (program.released(&context, None).await?, ragged)
        } else {
            (program, None)
        };
        let model = if releases { model.clone().without_values() } else { model.clone() };
        Ok(Self {
            model,
            options,
            device,
            opened,
            program,
            ragged: ragged.map_or_else(OnceLock::new, OnceLock::from),
            state: Mutex::new(None, true),
            late: Mutex::new(None, true),
        })
    }

    fn context(&self) -> Context<'_> {
        let Self { model, options, opened, device, .. } = self;
        Context { model, options, opened, device: Arc::clone(device) }
    }

    /// The program that makes a run with the sizes that `bound` gives, and what it runs in.
    async fn chosen<'s>(&'s self, bound: impl FnOnce() -> Result<Bound>) -> Result<(&'s Program, Context<'s>)> {
        self.program.chosen(self.context(), bound, None).await
    }

    /// The same session on a device opened anew, after [`Error::DeviceLost`] or [`Error::Timeout`].
    /// It starts from the states that this one has.
    ///
    /// # Errors
    /// As [`new`](Self::new); [`Error::Unsupported`] if this one has released its weights.
    pub fn rebuilt(&self) -> Result<Self> {
        pollster::block_on(async {
            let options = self.opened.anew(&self.options).await?;
            let rebuilt = Self::new_async(&self.model, options).await?;
            *rebuilt.state.lock().await = self.state.lock().await.clone();
            Ok(rebuilt)
        })
    }

    /// The model.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// How it runs.
    #[must_use]
    pub fn options(&self) -> &SessionOptions {
        &self.options
    }

    /// The device that was taken, and why; with two of them, [`device_for`](Self::device_for) has that of a run.
    #[must_use]
    pub fn device(&self) -> &DeviceReport {
        &self.device
    }

    /// The device that a run with inputs of `shapes`, one per input, takes, and why. Nothing is made ready for it yet.
    ///
    /// # Errors
    /// As [`run`](Self::run), for the shapes; [`Error::Unsupported`] where there are two devices and weights come with the
    /// inputs.
    pub fn device_for(&self, shapes: &[Vec<usize>]) -> Result<DeviceReport> {
        let bound = self.bind(shapes)?;
        Ok(self.program.device_for(&self.context(), &bound)?.as_ref().clone())
    }

    /// The open device, where it is a GPU or one of two is.
    #[cfg(feature = "gpu")]
    #[must_use]
    pub fn gpu(&self) -> Option<&Gpu> {
        match &self.opened {
            Opened::Gpu(gpu) => Some(gpu),
            Opened::Either(either) => Some(&either.gpu),
            Opened::Cpu | Opened::Reference => None,
        }
    }

    /// What is done in a run.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.program.plan
    }

    /// Runs the model.
    ///
    /// # Errors
    /// [`Error::Mismatch`], [`Error::Unknown`], [`Error::TokenOutOfRange`] or [`Error::NonFinite`]
    /// for inputs that do not fit, [`Error::Limit`] for sizes beyond the device, and the device's own; those of
    /// [`new`](Self::new) where it is the first run that one of two devices makes.
    pub fn run(&self, inputs: impl Into<Inputs>) -> Result<Outputs> {
        pollster::block_on(self.run_async(inputs))
    }

    /// [`run`](Self::run) without blocking the thread on a GPU; on the CPU it computes where it is polled.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub async fn run_async(&self, inputs: impl Into<Inputs>) -> Result<Outputs> {
        let inputs = inputs.into();
        if let Some(late) = &self.model.late {
            return self.run_late(late, inputs).await;
        }
        let plan = &self.program.plan;
        let tensors = inputs.bind(&wanted(plan))?;
        let (program, context) = self.chosen(|| self.bind_given(&shapes_of(&tensors))).await?;
        if plan.states.is_empty() {
            let (outputs, ..) = program.run(&context, false, tensors, None).await?;
            return Ok(outputs);
        }
        let mut state = self.state.lock().await;
        let (outputs, next, _) = program.run(&context, false, tensors, state.as_ref()).await?;
        *state = Some(next);
        Ok(outputs)
    }

    /// Runs the model once with each kernel timed by the device's own clock, from zero states, which stay as
    /// they were. Such a run takes longer in all than [`run`](Self::run).
    ///
    /// # Errors
    /// [`Error::Unsupported`] on the CPU, or where weights come with the inputs; else as [`run`](Self::run).
    #[cfg(feature = "gpu")]
    pub fn profile(&self, inputs: impl Into<Inputs>) -> Result<(Outputs, RunStats)> {
        let refused = |what: &str, instead: &str| Err(Error::unsupported("a profile", what, instead));
        if self.model.late.is_some() {
            return refused("a model whose weights are inputs", "give it its weights with Model::with_weights");
        }
        let tensors = inputs.into().bind(&wanted(&self.program.plan))?;
        let (program, context) = pollster::block_on(self.chosen(|| self.bind_given(&shapes_of(&tensors))))?;
        if !matches!(program.engine, Engine::Gpu(_)) {
            return refused("a device without kernels", "use a GPU");
        }
        let (outputs, _, stats) = pollster::block_on(program.run(&context, true, tensors, None))?;
        Ok((outputs, stats))
    }

    /// The states after the last run; `None` before the first one or without states.
    #[must_use]
    pub fn state(&self) -> Option<State> {
        pollster::block_on(self.state.lock()).clone()
    }

    /// Makes the next run start from `state`.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if it belongs to another model, or to a session that carries other states of it.
    pub fn set_state(&self, state: State) -> Result<()> {
        state.check(&self.program.plan, self.program.fingerprint)?;
        *pollster::block_on(self.state.lock()) = Some(state);
        Ok(())
    }

    /// Makes the next run start from zeros.
    pub fn reset_state(&self) {
        *pollster::block_on(self.state.lock()) = None;
    }

    /// A state from saved tensors and the fingerprint saved with them.
    ///
    /// # Errors
    /// [`Error::Mismatch`] or [`Error::Unknown`] if they do not belong to this model.
    pub fn restore_state(&self, tensors: Vec<(String, Tensor)>, fingerprint: u64) -> Result<State> {
        State::restored(&self.program.plan, self.program.fingerprint, tensors, fingerprint)
    }

    /// The sizes of a run with inputs of `shapes`, in the caller's order.
    fn bind(&self, shapes: &[Vec<usize>]) -> Result<Bound> {
        self.bind_given(&shapes.iter().map(|shape| Some(shape.as_slice())).collect::<Vec<_>>())
    }

    /// [`bind`](Self::bind) where some may be missing.
    fn bind_given(&self, shapes: &[Option<&[usize]>]) -> Result<Bound> {
        let plan = &self.program.plan;
        let unbatched = ports::is_unbatched(self.model.accepts_unbatched, plan, shapes);
        let inside = plan.inputs.iter().zip(shapes);
        let inside = inside
            .map(|(port, shape)| shape.map(|shape| ports::canonical_shape(plan, port, shape, unbatched)).transpose());
        let inside = inside.collect::<Result<Vec<_>>>()?;
        plan.bind_given(&inside.iter().map(Option::as_deref).collect::<Vec<_>>())
    }

    /// The multiply-adds of all products of a run with inputs of `shapes`.
    ///
    /// # Errors
    /// As [`run`](Self::run), for the shapes.
    pub fn multiply_adds(&self, shapes: &[Vec<usize>]) -> Result<f64> {
        Ok(self.program.plan.multiply_adds(&self.bind(shapes)?))
    }

    /// Takes the creation of pipelines out of the first run with inputs of `shapes`, one per input.
    ///
    /// # Errors
    /// [`Error::KnownAnswer`] if a kernel computes wrongly on this device, and as [`run`](Self::run).
    pub fn warm_up(&self, shapes: &[Vec<usize>]) -> Result<()> {
        #[cfg(feature = "gpu")]
        return self.on_gpu(shapes, |program, bound| pollster::block_on(program.warm_up(bound))).map(|_| ());
        #[cfg(not(feature = "gpu"))]
        self.bind(shapes).map(|_| ())
    }

    /// The memory that a run with inputs of `shapes` needs on the GPU; `None` where the CPU makes it. None is taken to know.
    ///
    /// # Errors
    /// [`Error::Limit`] if it can never run there, and there is no other device.
    #[cfg(feature = "gpu")]
    pub fn memory_need(&self, shapes: &[Vec<usize>]) -> Result<Option<MemoryNeed>> {
        self.program.memory_need(&self.context(), &self.bind(shapes)?)
    }

    /// How each recurrence runs on the GPU with inputs of `shapes`, and why; empty for the CPU.
    ///
    /// # Errors
    /// As [`run`](Self::run), for the shapes.
    #[cfg(feature = "gpu")]
    pub fn strategies(&self, shapes: &[Vec<usize>]) -> Result<Vec<(String, Strategy, String)>> {
        Ok(self.on_gpu(shapes, GpuProgram::strategies)?.unwrap_or_default())
    }

    /// What `ask` says of a run with inputs of `shapes`, if a GPU makes it.
    #[cfg(feature = "gpu")]
    fn on_gpu<T>(
        &self,
        shapes: &[Vec<usize>],
        ask: impl FnOnce(&GpuProgram, &Bound) -> Result<T>,
    ) -> Result<Option<T>> {
        let bound = self.bind(shapes)?;
        let (program, _) = pollster::block_on(self.chosen(|| Ok(bound.clone())))?;
        match &program.engine {
            Engine::Gpu(program) => ask(program, &bound).map(Some),
            _ => Ok(None),
        }
    }
}

/// The shapes of those that are there.
fn shapes_of(tensors: &[Option<Tensor>]) -> Vec<Option<&[usize]>> {
    tensors.iter().map(|tensor| tensor.as_ref().map(Tensor::shape)).collect()
}
