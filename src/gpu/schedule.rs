//! [`Schedule`]: which steps of a plan run together. wgpu puts a barrier before a dispatch that writes where an earlier
//! one wrote, so kernels of their own are never under way at once; directions of one recurrence are.

use std::{ops::Range, sync::Arc};

use super::{
    executor::ProgramOptions,
    kernels::strategy::{Strategy, Traits, way_within},
    memory::{byte_size, root},
    weights,
};
use crate::{
    dim::Dim,
    plan::{Bound, BufferId, Op, Plan, Recurrence, WeightId},
};

/// Recurrences that run as the directions of one, at most.
const MOST: usize = 8;
/// Timesteps from which the layers of a stack can be under way at once for long enough.
const STACK_STEPS: usize = 16;

/// The steps of a plan in their order.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    pub(super) units: Vec<Unit>,
}

/// Steps that run together.
#[derive(Clone, Debug)]
pub(super) struct Unit {
    pub(super) steps: Range<usize>,
    /// Which recurrences share their weights' buffers, if some do: those of the unit or, where it is one of them that
    /// runs alone, it and others.
    wavefront: Option<Arc<Wavefront>>,
    /// Its place among them, where it runs alone.
    alone: Option<usize>,
}

/// Recurrent layers of one kind: a stack, each a slice of timesteps behind the one below, or side by side.
#[derive(Clone, Debug)]
pub(super) struct Wavefront {
    /// All of them as directions of one, without outputs.
    together: Recurrence,
    pub(super) is_stack: bool,
}

impl Schedule {
    /// Recurrences that can run together do, as far as one binding of `limit` bytes holds their weights.
    pub(super) fn new(plan: &Plan, limit: u64) -> Self {
        let mut units: Vec<Unit> = Vec::new();
        for step in 0..plan.steps.len() {
            let joined = units.last().and_then(|unit| join(plan, unit, step, limit)).map(Arc::new);
            match (joined, units.last_mut()) {
                (Some(wavefront), Some(unit)) => {
                    *unit = Unit { steps: unit.steps.start..step + 1, wavefront: Some(wavefront), alone: None };
                }
                _ => units.push(Unit { steps: step..step + 1, wavefront: None, alone: None }),
            }
        }
        Self { units }
    }

    /// The one for runs with the sizes `bound`: together run those for which it pays, whose outputs fit `limit` bytes.
    pub(super) fn of_run(
        self: &Arc<Self>,
        plan: &Plan,
        bound: &Bound,
        traits: &Traits,
        options: &ProgramOptions,
        limit: u64,
    ) -> Arc<Self> {
        // Workgroups that wait for each other need the device for themselves.
        let apart = options.layer_by_layer || options.cooperative || options.strategy == Some(Strategy::Cooperative);
        let pays = |wavefront: &Wavefront| {
            let r = &wavefront.together;
            let &[batch, seq_len, _] = bound.shape(r.input) else { return false };
            let least = if wavefront.is_stack { STACK_STEPS } else { 1 };
            let outputs = [batch, seq_len, r.directions.len()].into_iter().fold(r.output_size, usize::saturating_mul);
            let leaves_room = || way_within(r, traits, options.wish(), bound).is_ok_and(|(way, _)| way.leaves_room);
            !apart && batch > 0 && seq_len >= least && byte_size(outputs) <= limit && leaves_room()
        };
        let split = |unit: &Unit| unit.wavefront.as_ref().is_some_and(|wavefront| !pays(wavefront));
        if !self.units.iter().any(split) {
            return Arc::clone(self);
        }
        let mut units = Vec::with_capacity(plan.steps.len());
        for unit in &self.units {
            if split(unit) {
                let one = |(place, step): (usize, usize)| Unit {
                    steps: step..step + 1,
                    wavefront: unit.wavefront.clone(),
                    alone: Some(place),
                };
                units.extend(unit.steps.clone().enumerate().map(one));
            } else {
                units.push(unit.clone());
            }
        }
        Arc::new(Self { units })
    }

    /// The recurrences of each unit as one.
    pub(super) fn recurrences<'s>(&'s self, plan: &'s Plan) -> impl Iterator<Item = (&'s Unit, &'s Recurrence)> {
        self.units.iter().filter_map(|unit| unit.recurrence(plan).map(|r| (unit, r)))
    }
}

impl Unit {
    /// What several recurrences are together, if it is those.
    pub(super) fn wavefront(&self) -> Option<&Wavefront> {
        self.wavefront.as_deref().filter(|_| self.alone.is_none())
    }

    /// The recurrence that it is, if it is one.
    pub(super) fn recurrence<'s>(&'s self, plan: &'s Plan) -> Option<&'s Recurrence> {
        match self.wavefront() {
            Some(wavefront) => Some(&wavefront.together),
            None => recurrence(plan, self.steps.start),
        }
    }

    /// The recurrence whose directions' weights lie in one buffer, and the first of them that is the unit's.
    pub(super) fn stored<'s>(&'s self, plan: &'s Plan) -> Option<(&'s Recurrence, usize)> {
        match &self.wavefront {
            Some(wavefront) => Some((&wavefront.together, self.alone.unwrap_or(0))),
            None => recurrence(plan, self.steps.start).map(|r| (r, 0)),
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
        if self.wavefront().is_some() {
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
fn join(plan: &Plan, unit: &Unit, step: usize, limit: u64) -> Option<Wavefront> {
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
    if !alike || waits || unit.wavefront().is_some_and(|wavefront| wavefront.is_stack != is_stack) {
        return None;
    }
    let before = unit.recurrence(plan)?;
    let directions = before.directions.iter().chain(&next.directions).cloned().collect();
    let together = Recurrence { directions, sequence: None, last: None, ..before.clone() };
    let fits = weights::stored_bytes(plan, &weights::recurrent(&together)).is_ok_and(|bytes| bytes <= limit);
    fits.then_some(Wavefront { together, is_stack })
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
        cell::Cell,
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
            bias_ih: Some(tensor(&[gates], seed + 2)),
            // Not all of them.
            bias_hh: seed.is_multiple_of(2).then(|| tensor(&[gates], seed + 3)),
            return_state: true,
            passes_mask: true,
            ..Recurrent::new(cell, tensor(&[gates, inputs], seed), tensor(&[gates, UNITS], seed + 1))
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
        Schedule::new(plan, u64::MAX).units.iter().map(|unit| unit.steps.len()).filter(|len| *len > 1).collect()
    }

    /// Runs `plan` in both ways and compares their bits and work, and one with the reference. Whether layers ran together
    /// where that was allowed.
    fn check(gpu: &Gpu, plan: &Arc<Plan>, strategy: Option<Strategy>, [batch, seq_len]: [usize; 2]) -> bool {
        let bound = plan.bind(&[vec![batch, seq_len]]).unwrap();
        let ids: Vec<f32> = (0..batch * seq_len).map(|i| ((i * 5 + i / 7) % 7) as f32).collect();
        let outputs: Vec<_> = plan.outputs.iter().map(|port| port.buffer).collect();
        let run = |layer_by_layer| {
            let options = ProgramOptions { strategy, layer_by_layer, ..ProgramOptions::default() };
            let program = pollster::block_on(GpuProgram::new(gpu, Arc::clone(plan), options)).unwrap();
            let ways = program.strategies(&bound).unwrap();
            assert_eq!(ways.len(), 3);
            let alike = ways.iter().all(|(.., why)| why.contains("3 layers"));
            assert!(alike || !ways.iter().any(|(.., why)| why.contains("3 layers")));
            let inputs = vec![(plan.inputs[0].buffer, ids.clone())];
            let done = pollster::block_on(program.run_with_stats(bound.clone(), inputs, outputs.clone())).unwrap();
            let products: f64 = done.1.kernels.iter().map(|kernel| kernel.multiply_adds).sum();
            (done.0, products, alike)
        };
        let (together, apart) = (run(false), run(true));
        assert!(together.0 == apart.0, "{strategy:?}, batch {batch}, {seq_len} timesteps");
        assert!((together.1 - apart.1).abs() <= 1e-9 * apart.1, "{} and {}", together.1, apart.1);
        assert!(!apart.2);
        let wide = ids.iter().map(|&id| f64::from(id)).collect();
        let expected = reference::run(plan, &bound, &[(plan.inputs[0].buffer, wide)], &outputs).unwrap();
        for (found, expected) in together.0.iter().zip(&expected) {
            let worst = found.iter().zip(expected).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
            assert!(worst < 2e-6 && found.len() == expected.len(), "{worst}");
        }
        together.2
    }

    #[test]
    fn layers_that_run_together_give_the_same_bits() {
        let Ok(gpu) = pollster::block_on(Gpu::open(GpuOptions::default())) else {
            assert!(std::env::var_os("WGPU_RNN_SKIP_GPU").is_some(), "no adapter");
            return eprintln!("SKIPPED: no adapter");
        };
        // A row, which is one workgroup's, leaves room for others on any device that works on several at once.
        let several = gpu.traits().parallel > 1;
        for cell in Cell::ALL {
            let plan = stack(cell, &[0, 1]);
            assert_eq!(sizes(&plan), [3]);
            for strategy in [None, Some(Strategy::Step), Some(Strategy::Persistent)] {
                for sizes in [[2, 0], [2, 1], [1, 16], [3, 17], [1, 70]] {
                    let together = check(&gpu, &plan, strategy, sizes);
                    let expected = sizes[1] >= STACK_STEPS && several;
                    assert!(together == expected || sizes[0] > 1, "{sizes:?}");
                }
            }
            // So many that each layer has work for the whole device.
            assert!(!check(&gpu, &plan, None, [300, 20]));
        }
        // What passes between the layers alone has no memory of its own.
        check(&gpu, &stack(Cell::Gru, &[]), None, [1, 40]);
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
        for sizes in [[1, 0], [1, 1], [1, 33], [300, 2]] {
            assert_eq!(check(&gpu, &branches, None, sizes), sizes[1] > 0 && sizes[0] == 1 && several);
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
