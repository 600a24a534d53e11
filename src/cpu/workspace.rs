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
    /// Which storage was touched in this run.
    touched: Vec<bool>,
    /// The last step that touches each storage, after which it is freed; none where it is kept.
    last_step: Vec<Option<usize>>,
    /// By step.
    scratch: Vec<Scratch>,
    /// Whether `scratch` is kept, too.
    lasting: bool,
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
    /// For one run, of which `outputs` are wanted: memory is taken when it is needed and given back as soon as
    /// possible.
    pub(super) fn once(steps: &Steps, bound: &Bound, outputs: &[BufferId]) -> Result<Self> {
        let mut last_step = vec![None; steps.plan.buffers.len()];
        for (index, touches) in steps.touches.iter().enumerate() {
            for &storage in touches.reads.iter().chain(&touches.writes) {
                if let Some(last) = last_step.get_mut(storage) {
                    *last = Some(index);
                }
            }
        }
        for &id in outputs {
            if let Some(last) = last_step.get_mut(steps.plan.storage(id)?.index()) {
                *last = None;
            }
        }
        Ok(Self { last_step, ..Self::of(steps, bound, false) })
    }

    /// For many runs: all memory is taken in the first one and kept.
    pub(super) fn lasting(steps: &Steps, bound: &Bound) -> Self {
        Self::of(steps, bound, true)
    }

    fn of(steps: &Steps, bound: &Bound, lasting: bool) -> Self {
        let buffers = steps.plan.buffers.len();
        let mut scratch = Vec::new();
        scratch.resize_with(steps.plan.steps.len(), Scratch::default);
        Self {
            bound: bound.clone(),
            values: vec![None; buffers],
            touched: vec![false; buffers],
            last_step: vec![None; buffers],
            scratch,
            lasting,
            written: Vec::new(),
        }
    }

    /// Starts anew, after an error too.
    pub(super) fn begin(&mut self) {
        self.touched.fill(false);
        self.written.clear();
    }

    /// The values of an input, as the last run left them.
    #[inline]
    pub(super) fn input(&mut self, storage: usize) -> Result<&mut [f32]> {
        self.touch(storage, false)?;
        let values = self.values.get_mut(storage).and_then(Option::as_deref_mut);
        values.ok_or_else(|| Error::internal("an input without values"))
    }

    /// The values of an output.
    #[inline]
    pub(super) fn output(&mut self, storage: usize) -> Result<&[f32]> {
        self.touch(storage, true)?;
        let values = self.values.get(storage).and_then(Option::as_deref);
        values.ok_or_else(|| Error::internal("an output without values"))
    }

    /// The values of an output, which are gone then.
    pub(super) fn take(&mut self, storage: usize) -> Result<Vec<f32>> {
        self.touch(storage, true)?;
        let values = self.values.get_mut(storage).and_then(Option::take);
        values.ok_or_else(|| Error::internal("an output without values"))
    }

    /// What a run leaves in `from` becomes the value that the next one finds in `to`.
    pub(super) fn carry(&mut self, from: usize, to: usize) -> Result<()> {
        let broken = || Error::internal("a state that cannot be carried");
        self.touch(from, true)?;
        if from != to {
            let [from, to] = self.values.get_disjoint_mut([from, to]).map_err(|_| broken())?;
            let (from, to) = from.as_deref().zip(to.as_deref_mut()).ok_or_else(broken)?;
            to.get_mut(..from.len()).ok_or_else(broken)?.copy_from_slice(from);
        }
        Ok(())
    }

    /// Makes every step.
    pub(super) fn run(&mut self, steps: &Steps, member: &mut Member) -> Result<()> {
        for (index, ((step, prepared), touches)) in
            steps.plan.steps.iter().zip(&steps.prepared).zip(&steps.touches).enumerate()
        {
            for &storage in &touches.reads {
                self.touch(storage, true)?;
            }
            for &storage in &touches.writes {
                self.touch(storage, touches.writes_parts)?;
            }
            // Outputs share no storage with inputs or each other: `Plan::check`.
            for &storage in &touches.writes {
                let taken = self.values.get_mut(storage).and_then(Option::take);
                self.written.push(taken.ok_or_else(|| Error::internal("buffer that two outputs share"))?);
            }
            let memory = Memory { plan: &steps.plan, bound: &self.bound, values: &self.values, prepared };
            let scratch = self.scratch.get_mut(index).ok_or_else(|| Error::internal("a step too many"))?;
            run_step(&step.op, &memory, &mut self.written, scratch, member)?;
            if !self.lasting {
                *scratch = Scratch::None;
            }
            for (&storage, values) in touches.writes.iter().zip(self.written.drain(..)) {
                if let Some(slot) = self.values.get_mut(storage) {
                    *slot = Some(values);
                }
            }
            for (values, last) in self.values.iter_mut().zip(&self.last_step) {
                if *last == Some(index) {
                    *values = None;
                }
            }
        }
        Ok(())
    }

    /// Makes room for a storage, or, if they matter, `zeros` of what an earlier run left there.
    #[inline]
    fn touch(&mut self, storage: usize, zeros_matter: bool) -> Result<()> {
        let (Some(slot), Some(touched)) = (self.values.get_mut(storage), self.touched.get_mut(storage)) else {
            return Err(Error::internal("no such buffer"));
        };
        match slot {
            _ if *touched => {}
            Some(values) if zeros_matter => values.fill(0.0),
            Some(_) => {}
            None => *slot = Some(zeros(self.bound.len(BufferId::new(storage)))?),
        }
        *touched = true;
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
