//! [`Session`]: what an application holds. A model planned for a device, and the states that it
//! carries from run to run.

mod answers;
mod device;
mod io;
mod late;
mod padded;
mod ports;
mod ragged;
mod state;
mod stream;

use std::sync::{Arc, OnceLock};

use futures_intrusive::sync::Mutex;

pub use device::{Device, DeviceReport};
pub use io::{Inputs, Outputs};
pub use state::State;
pub use stream::Stream;

use self::device::Opened;
#[cfg(feature = "gpu")]
use crate::gpu::{Gpu, GpuOptions, GpuProgram, MemoryNeed, ProgramOptions, Strategy};
use crate::{
    cpu::{CpuOptions, CpuProgram},
    error::{Error, Result},
    model::Model,
    plan::{Bound, BufferId, Carry, Plan, PlanOptions, Precision, Rewrites},
    reference,
    stats::RunStats,
    tensor::Tensor,
};

/// How a session runs its model.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct SessionOptions {
    /// Where it runs.
    pub device: Device,
    /// How matrices are stored. Every device computes with the rounded values.
    pub weights: Precision,
    /// Threads on the CPU; 0 and 1: the caller's own.
    pub threads: usize,
    /// Which layers carry their states from run to run.
    pub carry: Carry,
    /// Whether inputs with a NaN or an infinity are refused. Else they pass through.
    pub refuse_non_finite: bool,
    /// Whether the session lets go of the weights on the host once the device has them. It then holds
    /// them once (beside the caller's [`Model`], while there is one), but cannot be
    /// [rebuilt](Session::rebuilt) or [verified](crate::verify::Reference::of) without loading the model again.
    pub release_weights: bool,
    /// The most bytes that one value of a run may take, in f32; 0: [`Self::MAX_VALUE_BYTES`]. A few bytes of a file
    /// can ask for terabytes (a constant that is repeated, a vector that is): no room is made for more.
    pub max_value_bytes: u64,
    /// Whether the CPU makes products with int8 weights of integers ([`CpuOptions::integer_arithmetic`]): faster where
    /// weights are read from memory most of the time. It is refused where weights are stored otherwise, and on other devices.
    pub integer_arithmetic: bool,
    /// Whether a model's known answers are left unchecked when a session starts.
    pub skip_known_answers: bool,
    /// One way to run recurrences on the GPU, whatever the batch; else each chooses its own.
    #[cfg(feature = "gpu")]
    pub strategy: Option<Strategy>,
    /// Whether workgroups of a GPU may wait for each other, [`Strategy::Cooperative`].
    #[cfg(feature = "gpu")]
    pub cooperative: bool,
    /// Whether recurrent layers that could run together on a GPU run one after the other
    /// ([`ProgramOptions::layer_by_layer`]).
    #[cfg(feature = "gpu")]
    pub layer_by_layer: bool,
    /// Whether a GPU makes products with f16 weights in f16 ([`ProgramOptions::half_arithmetic`]). It is refused where
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
/// let session = Session::new(&model, SessionOptions::on(Device::Auto))?;
/// let outputs = session.run(Tensor::new([1, 3, 2], vec![0.1, 0.2, 0.3, 0.4, 0.5, 0.6])?)?;
/// println!("{:?}", outputs.single()?.to_f32());
/// # Ok::<(), wgpu_rnn::Error>(())
/// ```
#[derive(Debug)]
pub struct Session {
    model: Model,
    options: SessionOptions,
    device: DeviceReport,
    opened: Opened,
    program: Program,
    ragged: OnceLock<Program>,
    state: Mutex<Option<State>>,
    /// The session that runs the model with the weights that were given last.
    late: Mutex<Option<late::Completed>>,
}

/// A plan, made ready for a device.
#[derive(Debug)]
struct Program {
    plan: Arc<Plan>,
    engine: Engine,
    /// Marks the states of this model; only where there are any.
    fingerprint: u64,
}

#[derive(Debug)]
enum Engine {
    #[cfg(feature = "gpu")]
    Gpu(GpuProgram),
    Cpu(CpuProgram),
    Reference,
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            #[cfg(feature = "gpu")]
            Self::Gpu(_) => "Gpu",
            Self::Cpu => "Cpu",
            Self::Reference => "Reference",
        })
    }
}

impl Session {
    /// Plans `model` for a device and uploads its weights.
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
        Self::with_device(model, options, opened, device).await
    }

    async fn with_device(model: &Model, options: SessionOptions, opened: Opened, device: DeviceReport) -> Result<Self> {
        let program = match &model.late {
            None => Program::new(model, &options, &opened, None).await?,
            Some(_) => Program { plan: Arc::default(), engine: Engine::Reference, fingerprint: 0 },
        };
        if model.late.is_none() {
            answers::check(model, &options, &program, &device).await?;
        }
        let (mut model, ragged) = (model.clone(), OnceLock::new());
        if options.release_weights && !matches!(opened, Opened::Reference) && model.late.is_none() {
            // It cannot be made later. A model that cannot run ragged says why when it is asked to.
            if let Ok(program) = Program::new(&model, &options, &opened, Some(&program)).await {
                ragged.get_or_init(|| program);
            }
            model = model.without_values();
        }
        Ok(Self {
            model,
            options,
            device,
            opened,
            program,
            ragged,
            state: Mutex::new(None, true),
            late: Mutex::new(None, true),
        })
    }

    /// The same session on a device opened anew, after [`Error::DeviceLost`] or [`Error::Timeout`].
    /// It starts from the states that this one has.
    ///
    /// # Errors
    /// As [`new`](Self::new); [`Error::Unsupported`] if this one has released its weights.
    pub fn rebuilt(&self) -> Result<Self> {
        pollster::block_on(async {
            #[cfg(feature = "gpu")]
            let device = match &self.opened {
                Opened::Gpu(gpu) => Device::Opened(gpu.reopen().await?),
                Opened::Cpu | Opened::Reference => self.options.device.clone(),
            };
            #[cfg(not(feature = "gpu"))]
            let device = self.options.device.clone();
            let options = SessionOptions { device, ..self.options.clone() };
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

    /// The device that was taken, and why.
    #[must_use]
    pub fn device(&self) -> &DeviceReport {
        &self.device
    }

    /// The open device, where it is a GPU.
    #[cfg(feature = "gpu")]
    #[must_use]
    pub fn gpu(&self) -> Option<&Gpu> {
        match &self.opened {
            Opened::Gpu(gpu) => Some(gpu),
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
    /// for inputs that do not fit, [`Error::Limit`] for sizes beyond the device, and the device's own.
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
        if plan.states.is_empty() {
            let (outputs, ..) = self.program.run(&self.options, false, &self.model, tensors, None).await?;
            return Ok(outputs);
        }
        let mut state = self.state.lock().await;
        let (outputs, next, _) = self.program.run(&self.options, false, &self.model, tensors, state.as_ref()).await?;
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
        if !matches!(self.program.engine, Engine::Gpu(_)) {
            return refused("a device without kernels", "use a GPU");
        }
        let tensors = inputs.into().bind(&wanted(&self.program.plan))?;
        let (outputs, _, stats) =
            pollster::block_on(self.program.run(&self.options, true, &self.model, tensors, None))?;
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
    /// [`Error::Mismatch`] if it belongs to another model.
    pub fn set_state(&self, state: State) -> Result<()> {
        state.check(self.program.fingerprint, state.batch())?;
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
        let plan = &self.program.plan;
        let given: Vec<Option<&[usize]>> = shapes.iter().map(|shape| Some(shape.as_slice())).collect();
        let unbatched = ports::is_unbatched(self.model.accepts_unbatched, plan, &given);
        let inside = plan.inputs.iter().zip(shapes);
        let inside = inside.map(|(port, shape)| ports::canonical_shape(plan, port, shape, unbatched));
        plan.bind(&inside.collect::<Result<Vec<_>>>()?)
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
        let _bound = self.bind(shapes)?;
        #[cfg(feature = "gpu")]
        if let Engine::Gpu(program) = &self.program.engine {
            pollster::block_on(program.warm_up(&_bound))?;
        }
        Ok(())
    }

    /// The memory that a run with inputs of `shapes` needs on the device; `None` for the CPU.
    ///
    /// # Errors
    /// [`Error::Limit`] if it can never run there.
    #[cfg(feature = "gpu")]
    pub fn memory_need(&self, shapes: &[Vec<usize>]) -> Result<Option<MemoryNeed>> {
        let bound = self.bind(shapes)?;
        match &self.program.engine {
            Engine::Gpu(program) => program.memory_need(&bound).map(Some),
            Engine::Cpu(_) | Engine::Reference => Ok(None),
        }
    }

    /// How each recurrence runs on the GPU with inputs of `shapes`, and why; empty for the CPU.
    ///
    /// # Errors
    /// As [`run`](Self::run), for the shapes.
    #[cfg(feature = "gpu")]
    pub fn strategies(&self, shapes: &[Vec<usize>]) -> Result<Vec<(String, Strategy, String)>> {
        let bound = self.bind(shapes)?;
        match &self.program.engine {
            Engine::Gpu(program) => program.strategies(&bound),
            Engine::Cpu(_) | Engine::Reference => Ok(Vec::new()),
        }
    }
}

/// Names of a plan's inputs, and whether each may be missing.
fn wanted(plan: &Plan) -> Vec<(&str, bool)> {
    plan.inputs.iter().map(|port| (port.name.as_str(), port.optional)).collect()
}

impl Program {
    async fn new(
        model: &Model,
        options: &SessionOptions,
        opened: &Opened,
        ragged_beside: Option<&Self>,
    ) -> Result<Self> {
        #[cfg(feature = "gpu")]
        if options.half_arithmetic {
            half_arithmetic_makes_sense(opened)?;
        }
        if options.integer_arithmetic {
            integer_arithmetic_makes_sense(opened, options.weights)?;
        }
        let ragged = ragged_beside.is_some();
        let rewrites = if matches!(opened, Opened::Reference) { Rewrites::NONE } else { Rewrites::ALL };
        let plan = PlanOptions { rewrites, precision: options.weights, carry: options.carry, ragged };
        let mut plan = Arc::new(Plan::new(model, &plan)?);
        let release = options.release_weights;
        let engine = match opened {
            #[cfg(feature = "gpu")]
            Opened::Gpu(gpu) => {
                let options = ProgramOptions {
                    strategy: options.strategy,
                    cooperative: options.cooperative,
                    layer_by_layer: options.layer_by_layer,
                    half_arithmetic: options.half_arithmetic,
                    ..ProgramOptions::default()
                };
                let mut program = GpuProgram::new(gpu, Arc::clone(&plan), options).await?;
                if release {
                    program = program.without_host_weights();
                    plan = Arc::clone(program.plan());
                }
                Engine::Gpu(program)
            }
            Opened::Cpu => {
                let packed = ragged_beside.and_then(|beside| match &beside.engine {
                    Engine::Cpu(program) => Some(program),
                    _ => None,
                });
                let cpu = CpuOptions { integer_arithmetic: options.integer_arithmetic };
                let mut program = CpuProgram::with_options(Arc::clone(&plan), cpu, packed)?;
                if release {
                    program.release_weights();
                    plan = Arc::clone(program.plan());
                }
                Engine::Cpu(program)
            }
            Opened::Reference => Engine::Reference,
        };
        let fingerprint = if plan.states.is_empty() { 0 } else { state::fingerprint(model) };
        Ok(Self { plan, engine, fingerprint })
    }

    /// One run. `tensors` are those of the plan's inputs, with axes in the caller's order.
    async fn run(
        &self,
        options: &SessionOptions,
        profile: bool,
        model: &Model,
        tensors: Vec<Option<Tensor>>,
        state: Option<&State>,
    ) -> Result<(Outputs, State, RunStats)> {
        let plan = &self.plan;
        let given: Vec<Option<&Tensor>> = tensors.iter().map(Option::as_ref).collect();
        io::check_values(plan, &given, options.refuse_non_finite)?;
        let shapes: Vec<Option<&[usize]>> = given.iter().map(|tensor| tensor.map(Tensor::shape)).collect();
        let unbatched = ports::is_unbatched(model.accepts_unbatched, plan, &shapes);
        let (bound, tensors) = ports::arranged(plan, tensors, unbatched)?;
        if let Some(expected) = model.required_batch().filter(|&expected| expected != bound.batch()) {
            let expected = format!("the {expected} rows that the model was built for");
            return Err(Error::mismatch("batch", expected, format!("{} rows", bound.batch())));
        }
        let (outputs, state, stats) = self.run_inside(options, profile, bound, &tensors, state).await?;
        let outputs = plan
            .outputs
            .iter()
            .zip(outputs)
            .map(|(port, tensor)| Ok((port.name.clone(), ports::layout_of(&port.layout, unbatched).file(tensor)?)));
        Ok((Outputs::new(outputs.collect::<Result<_>>()?), state, stats))
    }

    /// One run, with axes in the order of the plan.
    async fn run_inside(
        &self,
        options: &SessionOptions,
        profile: bool,
        bound: Bound,
        tensors: &[Tensor],
        state: Option<&State>,
    ) -> Result<(Vec<Tensor>, State, RunStats)> {
        let plan = &self.plan;
        io::check_sizes(plan, &bound, options.max_value_bytes)?;
        io::check_lengths(plan, &bound, tensors)?;
        if let Some(state) = state {
            state.check(self.fingerprint, bound.batch())?;
            if options.refuse_non_finite {
                state.check_finite()?;
            }
        }
        let carried = state.map(|state| state.iter().map(|(_, tensor)| tensor).collect::<Vec<_>>()).unwrap_or_default();
        let mut sources: Vec<(BufferId, &Tensor)> = plan.inputs.iter().map(|port| port.buffer).zip(tensors).collect();
        sources.extend(plan.states.iter().map(|port| port.initial).zip(carried));
        let mut wanted: Vec<BufferId> = plan.outputs.iter().map(|port| port.buffer).collect();
        wanted.extend(plan.states.iter().map(|port| port.last));
        let (mut results, stats) = self.execute(options, profile, &bound, &sources, &wanted).await?;
        let finals = results.split_off(plan.outputs.len().min(results.len()));
        let state_names = plan.states.iter().map(|port| port.name.clone());
        let finals = finals.into_iter().map(|tensor| Tensor::new(tensor.shape(), tensor.to_f32().into_owned()));
        let finals = finals.collect::<Result<Vec<_>>>()?;
        Ok((results, State::new(self.fingerprint, state_names.zip(finals).collect()), stats))
    }

    async fn execute(
        &self,
        options: &SessionOptions,
        _profile: bool,
        bound: &Bound,
        sources: &[(BufferId, &Tensor)],
        wanted: &[BufferId],
    ) -> Result<(Vec<Tensor>, RunStats)> {
        let shape = |id: &BufferId| bound.shape(*id).to_vec();
        let singles = sources.iter().map(|(id, tensor)| (*id, tensor.to_f32()));
        #[cfg(feature = "gpu")]
        let owned = || singles.clone().map(|(id, values)| (id, values.into_owned())).collect::<Vec<_>>();
        let (values, stats) = match &self.engine {
            Engine::Reference => {
                let inputs: Vec<_> = sources.iter().map(|(id, tensor)| (*id, tensor.to_f64().into_owned())).collect();
                let values = reference::run(&self.plan, bound, &inputs, wanted)?;
                let tensors = wanted.iter().zip(values).map(|(id, values)| Tensor::new(shape(id), values));
                return Ok((tensors.collect::<Result<_>>()?, RunStats::default()));
            }
            Engine::Cpu(program) => {
                (program.run(bound, &singles.collect::<Vec<_>>(), wanted, options.threads)?, RunStats::default())
            }
            #[cfg(feature = "gpu")]
            Engine::Gpu(program) if _profile => program.profile(bound.clone(), owned(), wanted.to_vec()).await?,
            #[cfg(feature = "gpu")]
            Engine::Gpu(program) => program.run_with_stats(bound.clone(), owned(), wanted.to_vec()).await?,
        };
        let tensors = wanted.iter().zip(values).map(|(id, values)| Tensor::new(shape(id), values));
        Ok((tensors.collect::<Result<_>>()?, stats))
    }
}

/// Whether the device is one that can be asked to make products in f16.
///
/// # Errors
/// [`Error::Unsupported`].
#[cfg(feature = "gpu")]
fn half_arithmetic_makes_sense(opened: &Opened) -> Result<()> {
    if matches!(opened, Opened::Gpu(_)) {
        return Ok(());
    }
    let (subject, what) = ("half_arithmetic", "arithmetic in f16 on another device than a GPU");
    let [subject, what, instead] = [subject, what, "leave it out, or ask for a GPU"].map(str::to_owned);
    Err(Error::Unsupported { subject, what, instead })
}

/// Whether the device is one that can be asked for products of integers, and there are any.
///
/// # Errors
/// [`Error::Unsupported`].
fn integer_arithmetic_makes_sense(opened: &Opened, weights: Precision) -> Result<()> {
    let refused = |what: &str, instead: &str| Err(Error::unsupported("integer_arithmetic", what, instead));
    match (opened, weights) {
        (Opened::Cpu, Precision::I8) => Ok(()),
        (Opened::Cpu, _) => refused("products of integers with weights of floats", "store weights as int8"),
        _ => refused("products of integers on another device than the CPU", "leave it out, or ask for the CPU"),
    }
}
