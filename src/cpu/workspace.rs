//! The values of a run and whatever else it needs memory for, kept for the next run of the same sizes or not.

use std::borrow::Cow;

use super::{Prepared, Steps, packed::Packed, recurrence, run_step, team::Member};
use crate::{
    error::{Error, Result},
    plan::{Bound, BufferId, Plan, WeightId},
    tensor::zeros,
};

/// What a run of some sizes needs memory for. Values are zero until a step writes them.
#[derive(Debug)]
pub(super) struct Workspace {
    bound: Bound,
    /// By storage.
    values: Vec<Option<Vec<f32>>>,
    /// Storage that some step counts on before any wrote it, and that is not given: zero at the start of a run.
    zeroed: Vec<usize>,
    /// The last step that touches each storage, after which it is freed; none where all is kept for the next run.
    last_steps: Option<Vec<Option<usize>>>,
    /// By step.
    scratch: Vec<Scratch>,
    /// Whether all memory is there.
    ready: bool,
    /// What a step writes, while it does.
    written: Vec<Vec<f32>>,
}

/// What a step computes with, beside its inputs and outputs.
#[derive(Debug, Default)]
pub(super) enum Scratch {
    #[default]
    None,
    Recurrence(Box<recurrence::Scratch>),
    Matrix(Packed),
}

impl Workspace {
    /// For one run, of which `outputs` are wanted: memory is taken when it is needed and given back as soon as possible.
    pub(super) fn once(steps: &Steps, bound: &Bound, outputs: &[usize]) -> Self {
        let mut last_steps = vec![None; steps.plan.buffers.len()];
        for (index, touches) in steps.touches.iter().enumerate() {
            for &storage in touches.reads.iter().chain(&touches.writes) {
                if let Some(last) = last_steps.get_mut(storage) {
                    *last = Some(index);
                }
            }
        }
        for &storage in outputs {
            if let Some(last) = last_steps.get_mut(storage) {
                *last = None;
            }
        }
        // Memory that was just taken is zero.
        Self::of(steps, bound, Vec::new(), Some(last_steps))
    }

    /// For many runs, each with values for the storage `given`: all memory is taken in the first one and kept.
    pub(super) fn lasting(steps: &Steps, bound: &Bound, given: &[usize]) -> Self {
        Self::of(steps, bound, steps.zeroed(given), None)
    }

    fn of(steps: &Steps, bound: &Bound, zeroed: Vec<usize>, last_steps: Option<Vec<Option<usize>>>) -> Self {
        let (mut scratch, mut values) = (Vec::new(), Vec::new());
        scratch.resize_with(steps.plan.steps.len(), Scratch::default);
        values.resize_with(steps.plan.buffers.len(), || None);
        Self { bound: bound.clone(), values, zeroed, last_steps, scratch, ready: false, written: Vec::new() }
    }

    /// The sizes that it is for.
    pub(super) fn bound(&self) -> &Bound {
        &self.bound
    }

    /// Starts anew, after an error too.
    pub(super) fn begin(&mut self) {
        self.written.clear();
        for &storage in &self.zeroed {
            if let Some(Some(values)) = self.values.get_mut(storage) {
                values.fill(0.0);
            }
        }
    }

    /// The values of an input, as the last run left them.
    #[inline]
    pub(super) fn input(&mut self, storage: usize) -> Result<&mut [f32]> {
        self.touch(storage)?;
        let values = self.values.get_mut(storage).and_then(Option::as_deref_mut);
        values.ok_or_else(|| Error::internal("an input without values"))
    }

    /// The values of an output.
    #[inline]
    pub(super) fn output(&mut self, storage: usize) -> Result<&[f32]> {
        self.touch(storage)?;
        self.value(storage)
    }

    /// The values of a storage that was touched.
    pub(super) fn value(&self, storage: usize) -> Result<&[f32]> {
        let values = self.values.get(storage).and_then(Option::as_deref);
        values.ok_or_else(|| Error::internal("an output without values"))
    }

    /// The values of an output, which are gone then.
    pub(super) fn take(&mut self, storage: usize) -> Result<Vec<f32>> {
        self.touch(storage)?;
        self.ready = false;
        let values = self.values.get_mut(storage).and_then(Option::take);
        values.ok_or_else(|| Error::internal("an output without values"))
    }

    /// What a run leaves in `from` becomes the value that the next one finds in `to`.
    pub(super) fn carry(&mut self, from: usize, to: usize) -> Result<()> {
        let broken = || Error::internal("a state that cannot be carried");
        self.touch(from)?;
        if from != to {
            let [from, to] = self.values.get_disjoint_mut([from, to]).map_err(|_| broken())?;
            let (from, to) = from.as_deref().zip(to.as_deref_mut()).ok_or_else(broken)?;
            to.get_mut(..from.len()).ok_or_else(broken)?.copy_from_slice(from);
        }
        Ok(())
    }

    /// Makes every step.
    pub(super) fn run(&mut self, steps: &Steps, member: &mut Member) -> Result<()> {
        // An error leaves without memory what a step was to write.
        let ready = std::mem::take(&mut self.ready);
        for (index, ((step, prepared), touches)) in
            steps.plan.steps.iter().zip(&steps.prepared).zip(&steps.touches).enumerate()
        {
            if !ready {
                for &storage in touches.reads.iter().chain(&touches.writes) {
                    self.touch(storage)?;
                }
            }
            // Outputs share no storage with inputs or each other: `Plan::check`.
            for &storage in &touches.writes {
                let taken = self.values.get_mut(storage).and_then(Option::take);
                self.written.push(taken.ok_or_else(|| Error::internal("buffer that two outputs share"))?);
            }
            let memory = Memory { plan: &steps.plan, bound: &self.bound, values: &self.values, prepared };
            let scratch = self.scratch.get_mut(index).ok_or_else(|| Error::internal("a step too many"))?;
            run_step(&step.op, &memory, &mut self.written, scratch, member)?;
            if self.last_steps.is_some() {
                *scratch = Scratch::None;
            }
            for (&storage, values) in touches.writes.iter().zip(self.written.drain(..)) {
                if let Some(slot) = self.values.get_mut(storage) {
                    *slot = Some(values);
                }
            }
            if let Some(last_steps) = &self.last_steps {
                for (values, last) in self.values.iter_mut().zip(last_steps) {
                    if *last == Some(index) {
                        *values = None;
                    }
                }
            }
        }
        self.ready = self.last_steps.is_none();
        Ok(())
    }

    /// Makes room for a storage, of zeros, if there is none.
    #[inline(always)]
    fn touch(&mut self, storage: usize) -> Result<()> {
        if matches!(self.values.get(storage), Some(Some(_))) { Ok(()) } else { self.make(storage) }
    }

    #[cold]
    fn make(&mut self, storage: usize) -> Result<()> {
        let slot = self.values.get_mut(storage).ok_or_else(|| Error::internal("no such buffer"))?;
        *slot = Some(zeros(self.bound.len(BufferId::new(storage)))?);
        Ok(())
    }
}

/// What a step may read.
pub(super) struct Memory<'a> {
    pub(super) plan: &'a Plan,
    pub(super) bound: &'a Bound,
    values: &'a [Option<Vec<f32>>],
    pub(super) prepared: &'a Prepared,
}

impl<'a> Memory<'a> {
    pub(super) fn read(&self, id: BufferId) -> Result<&'a [f32]> {
        let values = self.values.get(self.plan.storage(id)?.index()).and_then(Option::as_deref);
        values.ok_or_else(|| Error::internal(format!("buffer {} was not written", id.index())))
    }

    /// The values of a weight that is not packed.
    pub(super) fn weight(&self, id: WeightId) -> Result<&'a [f32]> {
        if let Prepared::Values(all) = self.prepared
            && let Some((_, values)) = all.iter().find(|(of, _)| *of == id)
        {
            return Ok(values);
        }
        let weight = self.plan.weights.get(id.index()).ok_or_else(|| Error::internal("no such weight"))?;
        match weight.values() {
            Cow::Borrowed(values) => Ok(values),
            Cow::Owned(_) => Err(Error::internal("a weight that was not prepared")),
        }
    }
}
