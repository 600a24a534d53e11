//! Who makes a run: one thread, or several that each have some of its rows or some units of its recurrences.

use std::{ops::Range, sync::Arc};

use super::{
    Steps, recurrence,
    team::{self, Member},
    threads::Threads,
    workspace::Workspace,
};
use crate::{
    error::{Error, Result},
    plan::{Bound, BufferId, Plan, Recurrence, rows},
};

/// Values of a run (32 MiB) up to which its memory is kept for the next one of the same sizes.
const KEPT: usize = 1 << 23;

/// How a run is shared out to threads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Split {
    None,
    /// Each of so many has some rows.
    Rows(usize),
    /// Each of so many has some units of every recurrence, of all rows.
    Units(usize),
}

impl Split {
    /// With fewer rows each, a product reads weights faster than it can use them.
    const FEW_ROWS: usize = 8;
    /// Multiply-adds of a timestep from which on it takes several times as long as a meeting of threads.
    const LONG_STEP: usize = 40_000;

    pub(super) fn of(plan: &Plan, bound: &Bound, threads: usize) -> Self {
        let multiply_adds = |r: &Recurrence| {
            let gates = r.cell.spec().gates.len();
            let products = gates.saturating_mul(r.hidden_size).saturating_mul(r.output_size);
            products.saturating_mul(recurrence::rows(r, bound))
        };
        // Of those that a run spends its time with.
        let longest = plan.recurrences().max_by_key(|r| multiply_adds(r));
        let units = longest.filter(|r| multiply_adds(r) >= Self::LONG_STEP).map_or(0, recurrence::blocks);
        let rows = longest.map_or(0, |r| recurrence::rows(r, bound));
        let few = bound.batch() < threads || rows < threads.saturating_mul(Self::FEW_ROWS);
        match threads {
            0 | 1 => Self::None,
            _ if few && units.min(threads) > 1 => Self::Units(units.min(threads)),
            _ if bound.batch() > 1 => Self::Rows(bound.batch().min(threads)),
            _ => Self::None,
        }
    }
}

/// The parts of a run and the memory that they compute in, kept for the next run of the same sizes where that is not much.
#[derive(Debug)]
pub(super) struct Crew {
    bound: Bound,
    split: Split,
    /// Storage of the inputs.
    given: Vec<usize>,
    shares: Vec<Share>,
    lasts: bool,
}

/// What one thread does.
#[derive(Debug)]
struct Share {
    rows: Range<usize>,
    workspace: Workspace,
    member: Member,
}

impl Crew {
    /// For runs with the sizes `bound` and values for the storage `given`, of which that of `wanted` is wanted.
    ///
    /// # Errors
    /// [`Error::Limit`] if memory is short.
    pub(super) fn new(steps: &Steps, bound: &Bound, split: Split, given: Vec<usize>, wanted: &[usize]) -> Result<Self> {
        let plan = &steps.plan;
        let values = (0..plan.buffers.len()).map(|index| bound.len(BufferId::new(index)));
        let (all, whole) = (0..bound.batch(), bound.clone());
        let parts: Vec<(Range<usize>, Bound, Member)> = match split {
            Split::None => vec![(all, whole, Member::alone())],
            Split::Rows(count) => {
                let part =
                    |rows: Range<usize>| Ok((rows.clone(), bound.with_batch(plan, rows.len())?, Member::alone()));
                rows::ranges(bound.batch(), count).map(part).collect::<Result<_>>()?
            }
            Split::Units(count) => {
                let members = Member::team(count, recurrence::exchanged(plan, bound))?;
                members.into_iter().map(|member| (all.clone(), whole.clone(), member)).collect()
            }
        };
        let copies = if matches!(split, Split::Units(_)) { parts.len() } else { 1 };
        let lasts = values.fold(0, usize::saturating_add).saturating_mul(copies) <= KEPT;
        let shares = parts.into_iter().enumerate().map(|(index, (rows, part, member))| {
            let workspace = match split {
                _ if lasts => Workspace::lasting(steps, &part, &given),
                // All of them have all outputs.
                Split::Units(_) if index > 0 => Workspace::once(steps, &part, &[]),
                _ => Workspace::once(steps, &part, wanted),
            };
            Share { rows, workspace, member }
        });
        let shares = shares.collect();
        Ok(Self { bound: bound.clone(), split, given, shares, lasts })
    }

    /// Whether it can make a run with the sizes `bound`, shared out as `split`, with values for the storage `given`.
    pub(super) fn is_for(&self, bound: &Bound, split: Split, given: &[usize]) -> bool {
        self.split == split && self.given == given && self.bound == *bound
    }

    /// Whether it should be kept for the next run.
    pub(super) fn lasts(&self) -> bool {
        self.lasts
    }

    /// Gives everybody the inputs of a run, in the order of the storage that is given.
    ///
    /// # Errors
    /// [`Error::Internal`] if an input has another size than that of the run.
    pub(super) fn fill(&mut self, inputs: &[(BufferId, impl AsRef<[f32]>)]) -> Result<()> {
        for share in &mut self.shares {
            share.workspace.begin();
            for ((id, values), &storage) in inputs.iter().zip(&self.given) {
                let mut values = values.as_ref();
                if let Split::Rows(_) = self.split {
                    values = rows::take(values, *id, &self.bound, share.workspace.bound(), share.rows.clone())?;
                }
                let to = share.workspace.input(storage)?;
                if to.len() != values.len() {
                    return Err(Error::internal(format!("buffer {} has another size", id.index())));
                }
                to.copy_from_slice(values);
            }
        }
        Ok(())
    }

    /// Makes every step.
    ///
    /// # Errors
    /// Those of a step, whoever makes it.
    pub(super) fn run(&mut self, steps: &Arc<Steps>, threads: Option<&mut Threads>) -> Result<()> {
        match (threads, self.shares.as_mut_slice()) {
            (_, [alone]) => alone.run(steps),
            (Some(threads), _) => {
                let steps = Arc::clone(steps);
                let work = move |mut share: Share| share.run(&steps).map(|()| share);
                self.shares = team::all(threads.map(std::mem::take(&mut self.shares), work)?)?;
                Ok(())
            }
            (None, _) => Err(Error::internal("several parts of a run and one thread")),
        }
    }

    /// The values of `outputs`, whose storage is `wanted`.
    ///
    /// # Errors
    /// [`Error::Internal`] if they cannot be joined.
    pub(super) fn outputs(&mut self, outputs: &[BufferId], wanted: &[usize]) -> Result<Vec<Vec<f32>>> {
        if let (Split::None | Split::Units(_), [first, ..]) = (self.split, self.shares.as_mut_slice()) {
            let values = wanted.iter().enumerate().map(|(index, of)| {
                // Some may be the same value under two names.
                let again = wanted.iter().skip(index + 1).any(|later| later == of);
                if again { first.workspace.output(*of).map(<[f32]>::to_vec) } else { first.workspace.take(*of) }
            });
            return values.collect();
        }
        for share in &mut self.shares {
            for &of in wanted {
                share.workspace.output(of)?;
            }
        }
        let parts = self.shares.iter().map(|share| wanted.iter().map(|&of| share.workspace.value(of)).collect());
        rows::join(&self.bound, outputs, parts.collect::<Result<Vec<Vec<_>>>>()?)
    }
}

impl Share {
    fn run(&mut self, steps: &Steps) -> Result<()> {
        self.workspace.run(steps, &mut self.member)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{
        cell::Cell,
        cpu::CpuProgram,
        dim::product,
        model::{LayerKind, Model, Recurrent},
        plan::PlanOptions,
        tensor::Tensor,
    };

    fn tensor(shape: [usize; 2]) -> Arc<Tensor> {
        let value = |index: usize| ((index * 7919) % 2003) as f32 / 20_000.0 - 0.05;
        Arc::new(Tensor::new(shape, (0..shape[0] * shape[1]).map(value).collect::<Vec<_>>()).unwrap())
    }

    /// A layer that is applied to each of 7 sentences of 3 words: 7 rows of the recurrence for each of the batch.
    fn distributed(hidden_size: usize) -> Arc<Plan> {
        let layer = Recurrent {
            return_sequences: false,
            ..Recurrent::new(Cell::Lstm, tensor([4 * hidden_size, 5]), tensor([4 * hidden_size, hidden_size]))
        };
        let mut model = Model::builder("distributed");
        let x = model.input("x", &[Some(7), Some(3), Some(5)]).unwrap();
        let shape = model.shape(x).unwrap().to_vec();
        let sentences = product(&shape[..2]);
        let flat = vec![sentences, shape[2].clone(), shape[3].clone()];
        let flat = model.add("flat", LayerKind::ReshapeTo { shape: flat }, &[x]).unwrap();
        let y = model.add("layer", LayerKind::Recurrent(layer), &[flat]).unwrap();
        let shape = vec![shape[0].clone(), shape[1].clone(), hidden_size.into()];
        let y = model.add("back", LayerKind::ReshapeTo { shape }, &[y]).unwrap();
        model.output("y", y).unwrap();
        Arc::new(Plan::new(&model.build().unwrap(), &PlanOptions::default()).unwrap())
    }

    #[test]
    fn a_recurrence_may_have_more_rows_than_the_batch() {
        for hidden_size in [16, 128] {
            let plan = distributed(hidden_size);
            let (input, output) = (plan.inputs[0].buffer, plan.outputs[0].buffer);
            for batch in [1, 3, 20] {
                let bound = plan.bind(&[vec![batch, 7, 3, 5]]).unwrap();
                let x = tensor([batch, 7 * 3 * 5]).to_f32().into_owned();
                let program = CpuProgram::new(Arc::clone(&plan)).unwrap();
                let run = |threads| program.run(&bound, &[(input, &x)], &[output], threads).unwrap();
                let alone = run(1);
                for threads in [2, 3, 4, 9] {
                    assert_eq!(alone, run(threads), "{hidden_size} units, batch {batch}, {threads} threads");
                }
            }
        }
        // Steps of 7 rows of 128 units are long enough for several threads.
        let plan = distributed(128);
        assert_eq!(Split::of(&plan, &plan.bind(&[vec![1, 7, 3, 5]]).unwrap(), 2), Split::Units(2));
        assert_eq!(Split::of(&plan, &plan.bind(&[vec![20, 7, 3, 5]]).unwrap(), 2), Split::Rows(2));
    }
}
