//! [`Program`]: a plan made ready for a device, and one run of it.

use std::sync::Arc;

#[cfg(feature = "gpu")]
use super::either::Both;
use super::{DeviceReport, Outputs, SessionOptions, State, answers, device::Opened, io, ports, state};
#[cfg(feature = "gpu")]
use crate::gpu::{GpuProgram, ProgramOptions};
use crate::{
    cpu::{CpuOptions, CpuProgram},
    error::{Error, Result},
    model::Model,
    plan::{Bound, BufferId, Plan, PlanOptions, Precision, Rewrites},
    reference,
    stats::RunStats,
    tensor::Tensor,
};

/// A plan, made ready for a device.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) plan: Arc<Plan>,
    pub(super) engine: Engine,
    /// Marks the states of this model; only where there are any.
    pub(super) fingerprint: u64,
}

#[derive(Debug)]
pub(super) enum Engine {
    #[cfg(feature = "gpu")]
    Gpu(GpuProgram),
    Cpu(CpuProgram),
    Reference,
    /// Each run is one of another program: [`Program::chosen`].
    #[cfg(feature = "gpu")]
    Either(Box<Both>),
}

/// What a program is made and run in.
#[derive(Clone)]
pub(super) struct Context<'a> {
    pub(super) model: &'a Model,
    pub(super) options: &'a SessionOptions,
    pub(super) opened: &'a Opened,
    /// Where a run is made.
    pub(super) device: Arc<DeviceReport>,
}

/// Without GPUs there is never a choice.
#[cfg(not(feature = "gpu"))]
impl Program {
    pub(super) async fn chosen<'p>(
        &'p self,
        context: Context<'p>,
        _: impl FnOnce() -> Result<Bound>,
        _: Option<&Self>,
    ) -> Result<(&'p Self, Context<'p>)> {
        Ok((self, context))
    }

    pub(super) fn device_for(&self, context: &Context<'_>, _: &Bound) -> Result<Arc<DeviceReport>> {
        Ok(Arc::clone(&context.device))
    }

    pub(super) async fn on_cpu(&self, _: &Context<'_>) -> Result<&Self> {
        Ok(self)
    }

    pub(super) async fn released(self, _: &Context<'_>, _: Option<&Self>) -> Result<Self> {
        Ok(self)
    }
}

/// Names of a plan's inputs, and whether each may be missing.
pub(super) fn wanted(plan: &Plan) -> Vec<(&str, bool)> {
    plan.inputs.iter().map(|port| (port.name.as_str(), port.optional)).collect()
}

impl Program {
    /// The program for what is open. `main` is the one that a program for ragged batches stands beside.
    pub(super) async fn new(context: &Context<'_>, main: Option<&Self>) -> Result<Self> {
        let Context { model, options, opened, .. } = context;
        let rewrites = if matches!(opened, Opened::Reference) { Rewrites::NONE } else { Rewrites::ALL };
        let ragged = main.is_some();
        let plan = PlanOptions { rewrites, precision: options.weights, carry: options.carry, ragged };
        let plan = Arc::new(Plan::new(model, &plan)?);
        let fingerprint = if plan.states.is_empty() { 0 } else { state::fingerprint(model) };
        Self::of(context, plan, fingerprint, main).await
    }

    /// The program of `plan`; the main one is checked with the model's known answers.
    pub(super) async fn of(
        context: &Context<'_>,
        plan: Arc<Plan>,
        fingerprint: u64,
        main: Option<&Self>,
    ) -> Result<Self> {
        let Context { options, opened, .. } = *context;
        #[cfg(feature = "gpu")]
        if options.half_arithmetic {
            half_arithmetic_makes_sense(opened)?;
        }
        if options.integer_arithmetic {
            integer_arithmetic_makes_sense(opened, options.weights)?;
        }
        let release = options.release_weights;
        let answers_are_due = main.is_none() && answers::due(context, &plan);
        let (plan, engine) = match opened {
            #[cfg(feature = "gpu")]
            Opened::Gpu(gpu) => {
                let mut program = GpuProgram::new(gpu, plan, gpu_options(options)).await?;
                if release {
                    program = program.without_host_weights();
                }
                (Arc::clone(program.plan()), Engine::Gpu(program))
            }
            Opened::Cpu => {
                let packed = main.and_then(|main| match &main.engine {
                    Engine::Cpu(program) => Some(program),
                    _ => None,
                });
                let cpu = CpuOptions { integer_arithmetic: options.integer_arithmetic };
                let mut program = CpuProgram::with_options(plan, cpu, packed)?;
                if release {
                    program.release_weights();
                }
                (Arc::clone(program.plan()), Engine::Cpu(program))
            }
            Opened::Reference => (plan, Engine::Reference),
            // Each is checked when it is made.
            #[cfg(feature = "gpu")]
            Opened::Either(_) => return Ok(Self { plan, engine: Engine::Either(Box::default()), fingerprint }),
        };
        let program = Self { plan, engine, fingerprint };
        if answers_are_due {
            answers::check(context, &program).await?;
        }
        Ok(program)
    }

    /// Of a model that has weights among its inputs: each run is one of another model.
    pub(super) fn none() -> Self {
        Self { plan: Arc::default(), engine: Engine::Reference, fingerprint: 0 }
    }

    /// One run. `tensors` are those of the plan's inputs, with axes in the caller's order.
    pub(super) async fn run(
        &self,
        context: &Context<'_>,
        profile: bool,
        tensors: Vec<Option<Tensor>>,
        state: Option<&State>,
    ) -> Result<(Outputs, State, RunStats)> {
        let (plan, model) = (&self.plan, context.model);
        let given: Vec<Option<&Tensor>> = tensors.iter().map(Option::as_ref).collect();
        io::check_values(plan, &given, context.options.refuse_non_finite)?;
        let shapes: Vec<Option<&[usize]>> = given.iter().map(|tensor| tensor.map(Tensor::shape)).collect();
        let unbatched = ports::is_unbatched(model.accepts_unbatched, plan, &shapes);
        let (bound, tensors) = ports::arranged(plan, tensors, unbatched)?;
        let (outputs, state, stats) = self.run_inside(context, profile, bound, &tensors, state).await?;
        let outputs = plan
            .outputs
            .iter()
            .zip(outputs)
            .map(|(port, tensor)| Ok((port.name.clone(), ports::layout_of(&port.layout, unbatched).file(tensor)?)));
        Ok((Outputs::new(outputs.collect::<Result<_>>()?, &context.device), state, stats))
    }

    /// One run, with axes in the order of the plan.
    pub(super) async fn run_inside(
        &self,
        context: &Context<'_>,
        profile: bool,
        bound: Bound,
        tensors: &[Tensor],
        state: Option<&State>,
    ) -> Result<(Vec<Tensor>, State, RunStats)> {
        let (plan, options) = (&self.plan, context.options);
        context.model.check_batch(bound.batch())?;
        io::check_sizes(plan, &bound, options.max_value_bytes)?;
        io::check_lengths(plan, &bound, tensors)?;
        if let Some(state) = state {
            state.check_for_run(plan, self.fingerprint, bound.batch(), options.refuse_non_finite)?;
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
            #[cfg(feature = "gpu")]
            Engine::Either(_) => return Err(Error::internal("a run of two devices")),
        };
        let tensors = wanted.iter().zip(values).map(|(id, values)| Tensor::new(shape(id), values));
        Ok((tensors.collect::<Result<_>>()?, stats))
    }
}

/// How a session with `options` runs programs on a GPU.
#[cfg(feature = "gpu")]
pub(super) fn gpu_options(options: &SessionOptions) -> ProgramOptions {
    ProgramOptions {
        strategy: options.strategy,
        cooperative: options.cooperative,
        layer_by_layer: options.layer_by_layer,
        half_arithmetic: options.half_arithmetic,
        ..ProgramOptions::default()
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
    let what = "arithmetic in f16 on another device than a GPU";
    Err(Error::unsupported("half_arithmetic", what, "leave it out, or ask for a GPU"))
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
