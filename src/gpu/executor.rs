//! One run of a plan on the owner thread: buffers, uploads, recording, readback.

use std::{rc::Rc, time::Duration};

use super::{
    encode::Run,
    kernels::strategy::{Strategy, Way, Wish},
    memory::{self, MemoryLimits, MemoryNeed, Need},
    owner::Owner,
    pacer::Pacer,
    pool::Pool,
    recorder::Recorder,
    schedule::Schedule,
    weights::Weights,
};
use crate::{
    error::{Error, Result, quoted},
    plan::{Bound, BufferId, Plan, Precision, rows},
    stats::RunStats,
};

/// How a program runs.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ProgramOptions {
    /// The strategy of every recurrence; without one, each gets the best that fits.
    pub strategy: Option<Strategy>,
    /// Whether recurrences too large for one workgroup may run as [`Strategy::Cooperative`]. It has not been
    /// measured on hardware yet, so it is off by default.
    pub cooperative: bool,
    /// Whether recurrent layers of one kind run one after the other. Else they run together, as directions of one: a
    /// stack of them, each a slice of timesteps behind the one below, or branches side by side; but not where
    /// cooperative ones are asked for, which need the device for themselves. No bit depends on it.
    pub layer_by_layer: bool,
    /// Whether products with f16 weights are made in f16, four at a time, and added in f32. Values beyond 65504
    /// become infinite there. Needs a device with f16 arithmetic.
    pub half_arithmetic: bool,
    /// How long the device may make no progress; without one, as the device was opened.
    pub deadline: Option<Duration>,
    /// What a run may take of the device's memory, weights included, bytes. A batch that would take
    /// more runs in tiles.
    pub memory_budget: Option<u64>,
    /// Whether every kernel is compared with the reference, on a tiny example, before its first use.
    pub known_answer_tests: bool,
    /// Whether each kernel is timed by the device's clock, where it has one. Such a run takes longer in all:
    /// kernels are kept apart, and submissions are waited for one by one.
    pub profile: bool,
}

impl Default for ProgramOptions {
    fn default() -> Self {
        Self {
            strategy: None,
            cooperative: false,
            layer_by_layer: false,
            half_arithmetic: false,
            deadline: None,
            memory_budget: None,
            known_answer_tests: true,
            profile: false,
        }
    }
}

impl ProgramOptions {
    /// Whether what is asked for can be done with `plan`.
    ///
    /// # Errors
    /// [`Error::Unsupported`].
    pub(super) fn check(&self, owner: &Owner, plan: &Plan) -> Result<()> {
        if !self.half_arithmetic {
            return Ok(());
        }
        let refuse = |subject: &str, what: &str, instead: &str| {
            let [subject, what, instead] = [subject, what, instead].map(str::to_owned);
            Err(Error::Unsupported { subject, what, instead })
        };
        if !plan.weights.iter().any(|weight| weight.precision == Precision::F16) {
            return refuse(
                "half_arithmetic",
                "arithmetic in f16 with weights that are not",
                "ask for f16 weights, too",
            );
        }
        if !owner.has_half_arithmetic() {
            return refuse(
                &owner.adapter,
                "arithmetic in f16",
                "leave it out: products with f16 weights are then in f32",
            );
        }
        Ok(())
    }

    pub(super) fn wish(&self) -> Wish {
        Wish { pinned: self.strategy, cooperative: self.cooperative }
    }
}

/// Values that a caller gives.
pub(super) type Inputs = Vec<(BufferId, Vec<f32>)>;

pub(super) fn memory_limits(limits: &wgpu::Limits, options: &ProgramOptions) -> MemoryLimits {
    MemoryLimits {
        binding: limits.max_storage_buffer_binding_size.min(u64::from(u32::MAX)),
        buffer: limits.max_buffer_size,
        budget: options.memory_budget.unwrap_or(u64::MAX),
    }
}

/// What a run takes on a device with `limits`, and the rows that fit at once.
pub(super) fn memory_need(
    program: (&Plan, &Schedule),
    bound: &Bound,
    ports: (&[BufferId], &[BufferId]),
    weights: u64,
    limits: &MemoryLimits,
) -> Result<(MemoryNeed, Bound)> {
    let figures = |bound: &Bound| Need::new(program, bound, ports.0, ports.1, limits).figures(weights, bound.batch());
    let tile = memory::batch_tile(program.0, bound, limits, figures)?;
    Ok((figures(&tile), tile))
}

/// What a run took, for the next one of the same sizes.
pub(super) struct Known {
    bound: Bound,
    given: Vec<BufferId>,
    outputs: Vec<BufferId>,
    need: Rc<Need>,
}

impl Known {
    fn is_of(&self, bound: &Bound, given: &[BufferId], outputs: &[BufferId]) -> bool {
        self.bound == *bound && self.given == given && self.outputs == outputs
    }
}

/// What a run is of, apart from its sizes and values.
pub(super) struct Program<'a> {
    pub(super) plan: &'a Plan,
    pub(super) schedule: &'a Schedule,
    pub(super) weights: &'a Weights,
    pub(super) options: &'a ProgramOptions,
    /// Of a known-answer test: see [`Run::like`].
    pub(super) like: Option<Way>,
}

impl Program<'_> {
    /// Runs the whole batch, in tiles where it does not fit.
    pub(super) fn run(
        &self,
        owner: &mut Owner,
        pool: &mut Pool,
        bound: &Bound,
        inputs: Inputs,
        outputs: &[BufferId],
    ) -> Result<(Vec<Vec<f32>>, RunStats)> {
        let plan = self.plan;
        plan.check(bound)?;
        check_inputs(plan, bound, &inputs)?;
        if outputs.iter().all(|&id| bound.len(id) == 0) {
            return Ok((vec![Vec::new(); outputs.len()], RunStats::default()));
        }
        let limits = memory_limits(&owner.limits, self.options);
        let given: Vec<BufferId> = inputs.iter().map(|(id, _)| *id).collect();
        let known = pool.known.as_ref().filter(|known| known.is_of(bound, &given, outputs));
        if let Some(need) = known.map(|known| Rc::clone(&known.need)) {
            return self.run_tile(owner, pool, &need, (bound, bound), &inputs, outputs);
        }
        let program = (plan, self.schedule);
        let (_, tile) = memory_need(program, bound, (&given, outputs), self.weights.bytes, &limits)?;
        let tiles = bound.batch().div_ceil(tile.batch().max(1));
        if tiles <= 1 {
            let need = Rc::new(Need::new(program, bound, &given, outputs, &limits));
            pool.known = Some(Known { bound: bound.clone(), given, outputs: outputs.to_vec(), need: Rc::clone(&need) });
            return self.run_tile(owner, pool, &need, (bound, bound), &inputs, outputs);
        }
        let mut stats = RunStats { batch_tiles: 0, ..RunStats::default() };
        let mut done = Vec::with_capacity(tiles);
        for part in rows::split(plan, bound, rows::ranges(bound.batch(), tiles), &inputs)? {
            let need = Need::new(program, &part.bound, &given, outputs, &limits);
            let (values, part) = self.run_tile(owner, pool, &need, (&part.bound, bound), &part.inputs, outputs)?;
            stats.merge(part);
            done.push(values);
        }
        Ok((rows::join(bound, outputs, done)?, stats))
    }

    fn run_tile(
        &self,
        owner: &mut Owner,
        pool: &mut Pool,
        need: &Need,
        (bound, whole): (&Bound, &Bound),
        inputs: &Inputs,
        outputs: &[BufferId],
    ) -> Result<(Vec<Vec<f32>>, RunStats)> {
        pool.prepare(owner, need)?;
        let traits = owner.traits.clone();
        let run = Run {
            plan: self.plan,
            schedule: self.schedule,
            bound,
            need,
            weights: self.weights,
            pool,
            traits: &traits,
            whole,
            wish: self.options.wish(),
            like: self.like,
        };
        let done = self.record_and_read(owner, &run, inputs, outputs);
        if done.is_err() {
            // A staging buffer may still be mapped.
            pool.clear(owner);
        }
        done
    }

    fn record_and_read(
        &self,
        owner: &mut Owner,
        run: &Run<'_>,
        inputs: &Inputs,
        outputs: &[BufferId],
    ) -> Result<(Vec<Vec<f32>>, RunStats)> {
        for (id, values) in inputs.iter().filter(|(id, values)| !values.is_empty() && run.is_wanted(*id)) {
            let name = run.plan.buffers.get(id.index()).map_or("input", |buffer| buffer.name.as_str());
            owner.upload(name, run.view(*id)?.buffer, 0, bytemuck::cast_slice(values))?;
        }
        let mut pipelines = owner.pipelines.take().ok_or_else(|| Error::internal("the kernels are in use"))?;
        let deadline = self.options.deadline.unwrap_or(owner.options.deadline);
        let mut pacer = Pacer::new(owner, deadline);
        let timer = if self.options.profile { pacer.owner.timer()? } else { None };
        let mut recorder =
            Recorder::new(&mut pipelines, &mut pacer).timed(timer).arithmetic(self.options.half_arithmetic);
        let recorded = record(&mut recorder, run, outputs);
        let (kernels, timer) = recorder.finish();
        pacer.owner.pipelines = Some(pipelines);
        let has_verdict = recorded?;
        pacer.owner.timer = timer.or_else(|| pacer.owner.timer.take());
        pacer.stats.kernels = kernels;
        let count: usize = outputs.iter().map(|&id| run.bound.len(id)).sum();
        let mapping = pacer.owner.map(run.pool.staging()?, count + usize::from(has_verdict))?;
        pacer.finish()?;
        let all = pacer.owner.read(&mapping)?;
        let mut rest = all.as_slice();
        let mut values = Vec::with_capacity(outputs.len());
        for &id in outputs {
            let (one, others) = rest.split_at_checked(run.bound.len(id)).ok_or_else(|| Error::internal("results"))?;
            values.push(one.to_vec());
            rest = others;
        }
        pacer.stats.gave_up = has_verdict && rest.first().is_some_and(|word| word.to_bits() != 0);
        Ok((values, pacer.stats))
    }
}

/// Records a run: first states, steps, and the way of the outputs to the staging buffer. Whether the word follows them
/// that says if workgroups waited in vain.
fn record(recorder: &mut Recorder<'_>, run: &Run<'_>, outputs: &[BufferId]) -> Result<bool> {
    // What an earlier run that failed may have left in it.
    if let Some(exchange) = recorder.pipelines.exchange_before() {
        recorder.clear(&exchange, 0, 1)?;
    }
    for &id in &run.need.layout.zeroed {
        let view = run.view(id)?;
        recorder.clear(view.buffer, view.start, view.len)?;
    }
    let units = run.schedule.units.iter().zip(&run.need.layout.needed);
    for (unit, _) in units.filter(|(_, needed)| **needed) {
        run.encode_unit(recorder, unit).map_err(|error| match error {
            Error::Internal { what } => {
                let name = run.plan.steps.get(unit.steps.start).map_or("", |step| step.name.as_str());
                Error::internal(format!("step {name}: {what}"))
            }
            other => other,
        })?;
    }
    let staging = run.pool.staging()?;
    let mut at = 0;
    for &id in outputs {
        let view = run.view(id)?;
        recorder.copy_buffer(view.buffer, view.start, staging, at, view.len)?;
        at += view.len;
    }
    let exchanged = recorder.pipelines.exchanged();
    if let Some(exchange) = &exchanged {
        recorder.copy_buffer(exchange, 0, staging, at, 1)?;
        recorder.clear(exchange, 0, 1)?;
    }
    recorder.flush()?;
    Ok(exchanged.is_some())
}

/// Every input of the plan is there, and everything given has its buffer's size.
fn check_inputs(plan: &Plan, bound: &Bound, inputs: &Inputs) -> Result<()> {
    for port in &plan.inputs {
        if !inputs.iter().any(|(id, _)| *id == port.buffer) {
            return Err(Error::mismatch(format!("input {}", quoted(&port.name)), "values", "none"));
        }
    }
    for (id, values) in inputs {
        if values.len() != bound.len(*id) {
            let name = plan.buffers.get(id.index()).map_or("", |buffer| &buffer.name);
            let expected = format!("{} values ({:?})", bound.len(*id), bound.shape(*id));
            return Err(Error::mismatch(quoted(name), expected, format!("{} values", values.len())));
        }
    }
    Ok(())
}
