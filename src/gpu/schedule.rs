//! [`Schedule`]: which steps of a plan run together. wgpu puts a barrier before a dispatch that writes where an earlier
//! one wrote, so kernels of their own are never under way at once; directions of one recurrence are.

use std::ops::Range;

use super::memory::root;
use crate::{
    dim::Dim,
    plan::{BufferId, Op, Plan, Recurrence, WeightId},
};

/// Recurrences that run as the directions of one, at most.
const MOST: usize = 8;

/// The steps of a plan in their order.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    pub(super) units: Vec<Unit>,
}

/// Steps that run together.
#[derive(Clone, Debug)]
pub(super) struct Unit {
    pub(super) steps: Range<usize>,
    /// What they are together, if there are several.
    pub(super) wavefront: Option<Wavefront>,
}

/// Recurrent layers of one kind: a stack, each a slice of timesteps behind the one below, or side by side.
#[derive(Clone, Debug)]
pub(super) struct Wavefront {
    /// All of them as directions of one, without outputs.
    pub(super) together: Recurrence,
    pub(super) is_stack: bool,
}

impl Schedule {
    /// With `wavefronts`, recurrences that can run together do.
    pub(super) fn new(plan: &Plan, wavefronts: bool) -> Self {
        let mut units: Vec<Unit> = Vec::new();
        for step in 0..plan.steps.len() {
            let joined = units.last().filter(|_| wavefronts).and_then(|unit| join(plan, unit, step));
            match (joined, units.last_mut()) {
                (Some(wavefront), Some(unit)) => {
                    *unit = Unit { steps: unit.steps.start..step + 1, wavefront: Some(wavefront) };
                }
                _ => units.push(Unit { steps: step..step + 1, wavefront: None }),
            }
        }
        Self { units }
    }

    /// The recurrences of each unit as one, and the steps that they are.
    pub(super) fn recurrences<'s>(&'s self, plan: &'s Plan) -> impl Iterator<Item = (&'s Unit, &'s Recurrence)> {
        self.units.iter().filter_map(|unit| unit.recurrence(plan).map(|r| (unit, r)))
    }
}

impl Unit {
    /// The recurrence that it is, if it is one.
    pub(super) fn recurrence<'s>(&'s self, plan: &'s Plan) -> Option<&'s Recurrence> {
        match &self.wavefront {
            Some(wavefront) => Some(&wavefront.together),
            None => recurrence(plan, self.steps.start),
        }
    }

    /// The recurrences that it is made of.
    pub(super) fn members<'s>(&'s self, plan: &'s Plan) -> impl Iterator<Item = &'s Recurrence> {
        self.steps.clone().filter_map(|step| recurrence(plan, step))
    }

    /// The memory that its steps read and write, but for what passes between them alone. `is_wanted` tells what matters
    /// to others.
    pub(super) fn touched(&self, plan: &Plan, is_wanted: impl Fn(BufferId) -> bool) -> (Vec<BufferId>, Vec<BufferId>) {
        let (mut reads, mut writes) = (Vec::new(), Vec::new());
        for step in plan.steps.get(self.steps.clone()).unwrap_or_default() {
            let own = |ids: Vec<BufferId>| ids.into_iter().map(|id| root(plan, id));
            reads.extend(own(step.op.inputs()).filter(|id| !writes.contains(id)));
            writes.extend(own(step.op.outputs()));
        }
        if self.wavefront.is_some() {
            let inner: Vec<_> = self.members(plan).skip(1).map(|r| root(plan, r.input)).collect();
            writes.retain(|id| !inner.contains(id) || is_wanted(*id));
        }
        (reads, writes)
    }
}

fn recurrence(plan: &Plan, step: usize) -> Option<&Recurrence> {
    match &plan.steps.get(step)?.op {
        Op::Recurrence(r) => Some(r),
        _ => None,
    }
}

/// `unit` with the recurrence `step` after it, if both can run together.
fn join(plan: &Plan, unit: &Unit, step: usize) -> Option<Wavefront> {
    let (below, next) = (recurrence(plan, unit.steps.end.checked_sub(1)?)?, recurrence(plan, step)?);
    let precision = |id: WeightId| plan.weights.get(id.index()).map(|weight| weight.precision);
    let recurrent = |r: &Recurrence| r.directions.first().and_then(|d| precision(d.weight_hh));
    let alike = is_plain(below)
        && is_plain(next)
        && (below.cell, below.params, below.dead) == (next.cell, next.params, next.dead)
        && (below.hidden_size, below.mask, below.has_peepholes())
            == (next.hidden_size, next.mask, next.has_peepholes())
        && recurrent(below) == recurrent(next)
        && lengths(plan, below) == lengths(plan, next)
        && unit.steps.len() < MOST;
    let is_stack = below.sequence == Some(next.input);
    // What else it reads must be there before the first of them starts.
    let written: Vec<_> = unit.members(plan).flat_map(|r| Op::Recurrence(r.clone()).outputs()).collect();
    let reads = Op::Recurrence(next.clone()).inputs();
    let waits = reads.into_iter().filter(|id| !is_stack || *id != next.input);
    let waits = waits.map(|id| root(plan, id)).any(|id| written.iter().any(|other| root(plan, *other) == id));
    if !alike || waits || unit.wavefront.as_ref().is_some_and(|wavefront| wavefront.is_stack != is_stack) {
        return None;
    }
    let before = unit.recurrence(plan)?;
    let directions = before.directions.iter().chain(&next.directions).cloned().collect();
    Some(Wavefront { together: Recurrence { directions, sequence: None, last: None, ..before.clone() }, is_stack })
}

/// Whether it is of one direction, forwards, and its hidden state is what the cell gives.
fn is_plain(r: &Recurrence) -> bool {
    !r.is_projected() && matches!(r.directions.as_slice(), [only] if !only.reverse && !only.flipped)
}

/// Batch and timesteps of its input.
fn lengths<'p>(plan: &'p Plan, r: &Recurrence) -> Option<&'p [Dim]> {
    plan.buffers.get(r.input.index())?.shape.get(..2)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        activation::Activation,
        cell::{Cell, CellParams},
        gpu::{Gpu, GpuOptions, GpuProgram, ProgramOptions, Strategy},
        model::{Call, CallMask, Embedding, LayerKind, MergeOp, Model, Recurrent, Value},
        plan::{DeadTimesteps, PlanOptions},
        reference,
        tensor::Tensor,
    };

    const UNITS: usize = 6;
    const FEATURES: usize = 3;

    fn tensor(shape: &[usize], seed: usize) -> Arc<Tensor> {
        let value = |i: usize| ((i * 29 + seed * 13) % 41) as f32 / 64.0 - 0.3;
        Arc::new(Tensor::new(shape, (0..shape.iter().product()).map(value).collect::<Vec<f32>>()).unwrap())
    }

    fn layer(cell: Cell, inputs: usize, seed: usize) -> Recurrent {
        let gates = cell.spec().gates.len() * UNITS;
        Recurrent {
            cell,
            params: CellParams::new(Activation::Tanh, Activation::Sigmoid),
            weight_ih: tensor(&[gates, inputs], seed),
            weight_hh: tensor(&[gates, UNITS], seed + 1),
            weight_hr: None,
            peephole: None,
            bias_ih: Some(tensor(&[gates], seed + 2)),
            // Not all of them.
            bias_hh: seed.is_multiple_of(2).then(|| tensor(&[gates], seed + 3)),
            return_sequences: true,
            return_state: true,
            go_backwards: false,
            stateful: false,
            dead: DeadTimesteps::RepeatOutput,
            passes_mask: true,
        }
    }

    /// A model over token ids, of which 0 is masked, with three recurrent layers that `build` puts together.
    fn model(build: impl Fn(&mut crate::model::Builder, Value)) -> Arc<Plan> {
        let mut model = Model::builder("wavefront");
        let ids = model.input("ids", &[None]).unwrap();
        let embedding = Embedding { table: tensor(&[7, FEATURES], 5), mask_zero: true };
        let x = model.add("embedding", LayerKind::Embedding(embedding), &[ids]).unwrap();
        build(&mut model, x);
        Arc::new(Plan::new(&model.build().unwrap(), &PlanOptions::default()).unwrap())
    }

    /// Three layers, every output and state of the last one, and what `outputs` of the others.
    fn stack(cell: Cell, outputs: &[usize]) -> Arc<Plan> {
        model(|model, mut x| {
            for i in 0..3 {
                let inputs = if i == 0 { FEATURES } else { UNITS };
                let add = model.layer(&format!("layer{i}"), LayerKind::Recurrent(layer(cell, inputs, i))).unwrap();
                let all = model.call(add, Call { inputs: &[x], ..Call::default() }).unwrap();
                x = all[0];
                if i == 2 || outputs.contains(&i) {
                    for (k, value) in all.into_iter().enumerate() {
                        model.output(&format!("out{i}.{k}"), value).unwrap();
                    }
                }
            }
        })
    }

    fn sizes(plan: &Plan) -> Vec<usize> {
        Schedule::new(plan, true).units.iter().map(|unit| unit.steps.len()).filter(|len| *len > 1).collect()
    }

    /// Runs `plan` in both ways and compares their bits, and one with the reference.
    fn check(gpu: &Gpu, plan: &Arc<Plan>, strategy: Option<Strategy>, [batch, seq_len]: [usize; 2]) {
        let bound = plan.bind(&[vec![batch, seq_len]]).unwrap();
        let ids: Vec<f32> = (0..batch * seq_len).map(|i| ((i * 5 + i / 7) % 7) as f32).collect();
        let outputs: Vec<_> = plan.outputs.iter().map(|port| port.buffer).collect();
        let run = |layer_by_layer| {
            let options = ProgramOptions { strategy, layer_by_layer, ..ProgramOptions::default() };
            let program = pollster::block_on(GpuProgram::new(gpu, Arc::clone(plan), options)).unwrap();
            assert_eq!(program.strategies(&bound).unwrap().len(), 3);
            let inputs = vec![(plan.inputs[0].buffer, ids.clone())];
            pollster::block_on(program.run_with_stats(bound.clone(), inputs, outputs.clone())).unwrap()
        };
        let (together, apart) = (run(false), run(true));
        assert!(together.0 == apart.0, "{strategy:?}, batch {batch}, {seq_len} timesteps");
        let wide = ids.iter().map(|&id| f64::from(id)).collect();
        let expected = reference::run(plan, &bound, &[(plan.inputs[0].buffer, wide)], &outputs).unwrap();
        for (found, expected) in together.0.iter().zip(&expected) {
            let worst = found.iter().zip(expected).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
            assert!(worst < 2e-6 && found.len() == expected.len(), "{worst}");
        }
    }

    #[test]
    fn layers_that_run_together_give_the_same_bits() {
        let Ok(gpu) = pollster::block_on(Gpu::open(GpuOptions::default())) else {
            assert!(std::env::var_os("WGPU_RNN_SKIP_GPU").is_some(), "no adapter");
            return eprintln!("SKIPPED: no adapter");
        };
        for cell in Cell::ALL {
            let plan = stack(cell, &[0, 1]);
            assert_eq!(sizes(&plan), [3]);
            for strategy in [None, Some(Strategy::Step), Some(Strategy::Persistent)] {
                for sizes in [[2, 1], [1, 16], [3, 17], [5, 70]] {
                    check(&gpu, &plan, strategy, sizes);
                }
            }
            check(&gpu, &plan, Some(Strategy::Step), [66, 20]);
        }
        // What passes between the layers alone has no memory of its own.
        check(&gpu, &stack(Cell::Gru, &[]), None, [3, 40]);
        let branches = model(|model, x| {
            let ends = [0, 1, 2].map(|i| {
                let mut one = layer(Cell::Gru, FEATURES, i);
                (one.return_sequences, one.return_state) = (i == 1, false);
                model.add(&format!("branch{i}"), LayerKind::Recurrent(one), &[x]).unwrap()
            });
            let sum = model.add("sum", LayerKind::Merge(MergeOp::Add), &[ends[0], ends[2]]).unwrap();
            model.output("sum", sum).unwrap();
            model.output("sequence", ends[1]).unwrap();
        });
        assert_eq!(sizes(&branches), [3]);
        for sizes in [[1, 1], [4, 33]] {
            check(&gpu, &branches, None, sizes);
        }
    }

    #[test]
    fn what_cannot_run_together_does_not() {
        // The decoder starts from the encoder's states.
        let decoder = model(|model, x| {
            let add = model.layer("encoder", LayerKind::Recurrent(layer(Cell::Lstm, FEATURES, 0))).unwrap();
            let all = model.call(add, Call { inputs: &[x], ..Call::default() }).unwrap();
            let add = model.layer("decoder", LayerKind::Recurrent(layer(Cell::Lstm, FEATURES, 1))).unwrap();
            let states = [all[1], all[2]];
            let call = Call { inputs: &[x], initial_state: &states, mask: CallMask::Carried };
            let y = model.call(add, call).unwrap()[0];
            model.output("y", y).unwrap();
        });
        assert!(sizes(&decoder).is_empty());
        let pair = |change: &dyn Fn(&mut Recurrent)| {
            let plan = model(|model, x| {
                let mut first = layer(Cell::Gru, FEATURES, 0);
                let mut second = layer(Cell::Gru, UNITS, 1);
                (first.return_state, second.return_state) = (false, false);
                change(&mut second);
                let x = model.add("first", LayerKind::Recurrent(first), &[x]).unwrap();
                let y = model.add("second", LayerKind::Recurrent(second), &[x]).unwrap();
                model.output("y", y).unwrap();
            });
            sizes(&plan)
        };
        assert_eq!(pair(&|_| {}), [2]);
        assert!(pair(&|layer| layer.go_backwards = true).is_empty());
        assert!(pair(&|layer| layer.params.clip = Some(1.0)).is_empty());
        assert!(pair(&|layer| layer.dead = DeadTimesteps::Zero).is_empty());
    }
}
