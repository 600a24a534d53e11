//! [`GpuProgram`]: a plan on a device, as sessions hold it.

use std::{future::Future, rc::Rc, sync::Arc};

use super::{
    executor::{self, Inputs, Program, ProgramOptions},
    kernel::{Products, RowWidth},
    kernels::{
        recurrence::EXCHANGE_WORDS,
        strategy::{Strategy, Traits, way_within},
    },
    memory::MemoryNeed,
    owner::Owner,
    pool::Pool,
    probe,
    room::{Gpu, Owned},
    schedule::Schedule,
    weights::Weights,
};
use crate::{
    error::Result,
    plan::{Bound, BufferId, Plan},
    stats::RunStats,
};

/// A plan on a device, its weights uploaded. Cheap to clone; clones share everything, and their runs
/// take turns.
#[derive(Clone)]
pub struct GpuProgram {
    inner: Arc<Inner>,
}

struct Inner {
    plan: Arc<Plan>,
    schedule: Arc<Schedule>,
    options: ProgramOptions,
    weight_bytes: u64,
    state: Owned<State>,
}

/// What lives on the owner thread.
struct State {
    weights: Rc<Weights>,
    pool: Pool,
    /// The ways of the recurrences in runs whose kernels passed their known-answer tests.
    checked: Vec<Vec<(Strategy, RowWidth, Products)>>,
}

impl State {
    fn new(weights: Rc<Weights>) -> Self {
        Self { weights, pool: Pool::default(), checked: Vec::new() }
    }

    /// Whether the kernels are right; not if workgroups waited in vain in those of a strategy that was asked for.
    fn check(
        &mut self,
        owner: &mut Owner,
        program: (&Plan, &Schedule),
        bound: &Bound,
        options: &ProgramOptions,
    ) -> Result<bool> {
        loop {
            let ways = probe::ways(owner, program, bound, options)?;
            if self.checked.contains(&ways) {
                return Ok(true);
            }
            if probe::check(owner, program, bound, options)? {
                self.checked.push(ways);
                return Ok(true);
            }
            if options.strategy.is_some() {
                return Ok(false);
            }
            // The device was given up on: there are other ways now.
        }
    }
}

impl std::fmt::Debug for GpuProgram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GpuProgram")
            .field("gpu", self.gpu())
            .field("options", &self.inner.options)
            .finish_non_exhaustive()
    }
}

impl GpuProgram {
    /// Uploads the weights of `plan`.
    ///
    /// # Errors
    /// [`Error::Limit`](crate::Error::Limit) naming a weight of which not even one row fits,
    /// [`Error::OutOfDeviceMemory`](crate::Error::OutOfDeviceMemory),
    /// [`Error::Unsupported`](crate::Error::Unsupported) for f16 arithmetic that the device has not, or a device's failure.
    pub fn new(
        gpu: &Gpu,
        plan: Arc<Plan>,
        options: ProgramOptions,
    ) -> impl Future<Output = Result<Self>> + Send + use<> {
        let schedule = Arc::new(Schedule::new(&plan, gpu.limits().max_storage_buffer_binding_size));
        let for_owner = (Arc::clone(&plan), Arc::clone(&schedule));
        let asked = options.clone();
        let state = gpu.keep(move |owner| {
            asked.check(owner, &for_owner.0)?;
            Weights::upload(owner, &for_owner.0, &for_owner.1).map(State::new)
        });
        Self::finish(state, plan, schedule, options)
    }

    /// The same program without the plan's own copies of the weights, which are on the device.
    #[must_use]
    pub fn without_host_weights(self) -> Self {
        match Arc::try_unwrap(self.inner) {
            Ok(inner) => {
                let plan = Arc::new(inner.plan.without_any_values());
                Self { inner: Arc::new(Inner { plan, ..inner }) }
            }
            Err(shared) => Self { inner: shared },
        }
    }

    /// Another program of the same plan that shares the weights but has buffers of its own.
    ///
    /// # Errors
    /// A device's failure.
    pub fn with_options(&self, options: ProgramOptions) -> impl Future<Output = Result<Self>> + Send + use<> {
        let id = self.inner.state.id();
        let (asked, plan) = (options.clone(), Arc::clone(&self.inner.plan));
        let state = self.gpu().keep(move |owner| {
            asked.check(owner, &plan)?;
            owner.object::<State>(id).map(|state| State::new(Rc::clone(&state.weights)))
        });
        Self::finish(state, Arc::clone(&self.inner.plan), Arc::clone(&self.inner.schedule), options)
    }

    async fn finish(
        state: impl Future<Output = Result<Owned<State>>> + Send,
        plan: Arc<Plan>,
        schedule: Arc<Schedule>,
        options: ProgramOptions,
    ) -> Result<Self> {
        let state = state.await?;
        let weight_bytes = state.call(|_, state| Ok(state.weights.bytes)).await?;
        Ok(Self { inner: Arc::new(Inner { plan, schedule, options, weight_bytes, state }) })
    }

    /// The plan.
    #[must_use]
    pub fn plan(&self) -> &Arc<Plan> {
        &self.inner.plan
    }

    /// The device.
    #[must_use]
    pub fn gpu(&self) -> &Gpu {
        &self.inner.state.gpu
    }

    /// The options.
    #[must_use]
    pub fn options(&self) -> &ProgramOptions {
        &self.inner.options
    }

    /// Runs the plan with the sizes `bound` and returns the values of `outputs`, which may be any
    /// buffers of the plan. States that `inputs` leaves out start as zero. The run is queued at once;
    /// runs of one device take turns, each whole.
    ///
    /// # Errors
    /// [`Error::Mismatch`](crate::Error::Mismatch) for an input that is missing or has another size,
    /// [`Error::Limit`](crate::Error::Limit) if not even one row fits,
    /// [`Error::KnownAnswer`](crate::Error::KnownAnswer), or a device's failure.
    pub fn run(
        &self,
        bound: Bound,
        inputs: Vec<(BufferId, Vec<f32>)>,
        outputs: Vec<BufferId>,
    ) -> impl Future<Output = Result<Vec<Vec<f32>>>> + Send + use<> {
        let run = self.run_with_stats(bound, inputs, outputs);
        async move { run.await.map(|(values, _)| values) }
    }

    /// [`run`](Self::run), with what it took.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_with_stats(
        &self,
        bound: Bound,
        inputs: Inputs,
        outputs: Vec<BufferId>,
    ) -> impl Future<Output = Result<(Vec<Vec<f32>>, RunStats)>> + Send + use<> {
        self.run_as(self.inner.options.clone(), bound, inputs, outputs)
    }

    fn run_as(
        &self,
        options: ProgramOptions,
        bound: Bound,
        inputs: Inputs,
        outputs: Vec<BufferId>,
    ) -> impl Future<Output = Result<(Vec<Vec<f32>>, RunStats)>> + Send + use<> {
        let (plan, schedule) = (Arc::clone(&self.inner.plan), Arc::clone(&self.inner.schedule));
        self.inner.state.call(move |owner, state| {
            let mut run = |owner: &mut Owner, options: &ProgramOptions, schedule: &Schedule, inputs| {
                if options.known_answer_tests && !state.check(owner, (&plan, schedule), &bound, options)? {
                    return Ok((Vec::new(), RunStats { gave_up: true, ..RunStats::default() }));
                }
                let program = Program { plan: &plan, schedule, weights: &state.weights, options, like: None };
                program.run(owner, &mut state.pool, &bound, inputs, &outputs)
            };
            let of_run = owner.schedule(&schedule, &plan, &bound, &options);
            let ways = probe::ways(owner, (&plan, &of_run), &bound, &options)?;
            if !ways.iter().any(|(strategy, ..)| *strategy == Strategy::Cooperative) {
                return run(owner, &options, &of_run, inputs);
            }
            let done = run(owner, &options, &of_run, inputs.clone())?;
            if !done.1.gave_up {
                return Ok(done);
            }
            owner.give_up();
            let strategy = options.strategy.map(|_| Strategy::Step);
            let options = ProgramOptions { strategy, ..options };
            let of_run = owner.schedule(&schedule, &plan, &bound, &options);
            let (values, stats) = run(owner, &options, &of_run, inputs)?;
            Ok((values, RunStats { gave_up: true, ..stats }))
        })
    }

    /// [`run_with_stats`](Self::run_with_stats) with each kernel timed ([`ProgramOptions::profile`]).
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn profile(
        &self,
        bound: Bound,
        inputs: Inputs,
        outputs: Vec<BufferId>,
    ) -> impl Future<Output = Result<(Vec<Vec<f32>>, RunStats)>> + Send + use<> {
        self.run_as(ProgramOptions { profile: true, ..self.inner.options.clone() }, bound, inputs, outputs)
    }

    /// Compiles the kernels for runs with the sizes `bound` and compares each with the reference, so
    /// that the first run is as fast as the others.
    ///
    /// # Errors
    /// [`Error::KnownAnswer`](crate::Error::KnownAnswer), or a device's failure.
    pub fn warm_up(&self, bound: &Bound) -> impl Future<Output = Result<()>> + Send + use<> {
        let bound = bound.clone();
        let (plan, schedule) = (Arc::clone(&self.inner.plan), Arc::clone(&self.inner.schedule));
        let options = self.inner.options.clone();
        self.inner.state.call(move |owner, state| {
            let schedule = owner.schedule(&schedule, &plan, &bound, &options);
            state.check(owner, (&plan, &schedule), &bound, &options).map(|_| ())
        })
    }

    /// The device memory that a run with the sizes `bound` takes, all outputs and states read.
    ///
    /// # Errors
    /// [`Error::Limit`](crate::Error::Limit) if not even one row fits, or a strategy that is asked for does not.
    pub fn memory_need(&self, bound: &Bound) -> Result<MemoryNeed> {
        self.gpu().memory_need_of(
            (&self.inner.plan, &self.inner.schedule),
            bound,
            &self.inner.options,
            self.inner.weight_bytes,
        )
    }

    /// How each recurrence runs with the sizes `bound`, by step name, and why.
    ///
    /// # Errors
    /// [`Error::Limit`](crate::Error::Limit) if the strategy asked for does not fit.
    pub fn strategies(&self, bound: &Bound) -> Result<Vec<(String, Strategy, String)>> {
        let plan = &self.inner.plan;
        let traits = self.gpu().current_traits();
        let limit = executor::memory_limits(self.gpu().limits(), &self.inner.options).scratch();
        let schedule = self.inner.schedule.of_run(plan, bound, &traits, &self.inner.options, limit);
        let mut all = Vec::new();
        for (unit, r) in schedule.recurrences(plan) {
            let (way, reason) = way_within(r, &traits, self.inner.options.wish(), bound)?;
            let names: Vec<_> =
                plan.steps.get(unit.steps.clone()).unwrap_or_default().iter().map(|step| &step.name).collect();
            let reason = match unit.wavefront() {
                None => reason,
                Some(wavefront) if wavefront.is_stack => format!("{reason}; {} layers in a wavefront", names.len()),
                Some(_) => format!("{reason}; {} layers side by side", names.len()),
            };
            all.extend(names.into_iter().map(|name| (name.clone(), way.strategy, reason.clone())));
        }
        Ok(all)
    }
}

impl Owner {
    /// Which steps run together with the sizes `bound`, of those that `schedule` has together.
    fn schedule(
        &self,
        schedule: &Arc<Schedule>,
        plan: &Plan,
        bound: &Bound,
        options: &ProgramOptions,
    ) -> Arc<Schedule> {
        let limit = executor::memory_limits(&self.limits, options).scratch();
        schedule.of_run(plan, bound, &self.traits, options, limit)
    }
}

impl Gpu {
    /// The device's traits, as far as it proved to have them.
    pub(super) fn current_traits(&self) -> Traits {
        let mut traits = self.traits().clone();
        traits.cooperates &= !self.has_given_up();
        traits
    }

    /// The memory that a program of `plan` and a run with the sizes `bound` would take on this device,
    /// before anything of it is taken. Weights that another program has already are counted too.
    ///
    /// # Errors
    /// [`Error::Limit`](crate::Error::Limit) if not even one row fits, or a strategy that is asked for does not.
    pub fn memory_need(&self, plan: &Plan, bound: &Bound, options: &ProgramOptions) -> Result<MemoryNeed> {
        let schedule = Arc::new(Schedule::new(plan, self.limits().max_storage_buffer_binding_size));
        self.memory_need_of((plan, &schedule), bound, options, Weights::need(plan, &schedule)?)
    }

    fn memory_need_of(
        &self,
        (plan, schedule): (&Plan, &Arc<Schedule>),
        bound: &Bound,
        options: &ProgramOptions,
        weights: u64,
    ) -> Result<MemoryNeed> {
        let states = |port: fn(&crate::plan::StatePort) -> BufferId| plan.states.iter().map(port);
        let inputs: Vec<_> = plan.inputs.iter().map(|port| port.buffer).chain(states(|port| port.initial)).collect();
        let outputs: Vec<_> = plan.outputs.iter().map(|port| port.buffer).chain(states(|port| port.last)).collect();
        let limits = executor::memory_limits(self.limits(), options);
        let traits = self.current_traits();
        let schedule = schedule.of_run(plan, bound, &traits, options, limits.scratch());
        let (mut need, _) = executor::memory_need((plan, &schedule), bound, (&inputs, &outputs), weights, &limits)?;
        for (_, r) in schedule.recurrences(plan) {
            if way_within(r, &traits, options.wish(), bound)?.0.strategy == Strategy::Cooperative {
                // Of the device, whatever uses it.
                need.scratch += EXCHANGE_WORDS as u64 * 4;
                break;
            }
        }
        Ok(need)
    }
}
