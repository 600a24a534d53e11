//! How much device memory a run takes and which values share a buffer. Pure arithmetic.

use super::schedule::Schedule;
use crate::{
    error::{Error, Result, bytes, quoted},
    gpu::kernels::recurrence::{gates_x_len, state_len},
    plan::{Bound, BufferId, Plan},
};

/// Bytes of a value.
const F32: u64 = 4;
/// Beside the results in staging: whether workgroups waited in vain.
pub(super) const VERDICT_BYTES: u64 = 4;
/// Kernels index values with signed 32-bit arithmetic to spare.
const MAX_VALUES: u64 = 1 << 31;

/// Device memory of a run, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryNeed {
    /// Weights, as stored on the device.
    pub weights: u64,
    /// Inputs, states, outputs and everything between; values whose lives do not overlap share it.
    pub activations: u64,
    /// What kernels need for themselves.
    pub scratch: u64,
    /// What results pass through on their way to the host.
    pub staging: u64,
    /// Rows that run together; a larger batch runs in several tiles.
    pub batch_tile: usize,
}

impl MemoryNeed {
    /// All of it.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.weights.saturating_add(self.activations).saturating_add(self.scratch).saturating_add(self.staging)
    }
}

/// What memory there is to plan with.
#[derive(Clone, Copy, Debug)]
pub(super) struct MemoryLimits {
    /// Largest buffer that a kernel can see whole, bytes.
    pub(super) binding: u64,
    /// Largest buffer, bytes.
    pub(super) buffer: u64,
    /// What one run may take in all, weights included, bytes.
    pub(super) budget: u64,
}

/// Scratch beyond this makes slices longer but no faster, bytes.
const MAX_SCRATCH: u64 = 64 << 20;

impl MemoryLimits {
    /// The most that scratch of a kind should take.
    pub(super) fn scratch(&self) -> u64 {
        MAX_SCRATCH.min(self.binding).min(self.buffer).min(self.budget / 8)
    }
}

/// Which values share which buffer ("slot").
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Layout {
    /// Bytes of each slot.
    pub(super) slots: Vec<u64>,
    /// Slot of each buffer of the plan; none where nothing needed touches it.
    pub(super) slot_of: Vec<Option<usize>>,
    /// Whether the requested outputs depend on each unit of the schedule.
    pub(super) needed: Vec<bool>,
    /// Buffers that are read but neither given nor written: states of a first run. They start as zero.
    pub(super) zeroed: Vec<BufferId>,
}

/// The buffer whose memory `id` is a view of. A checked plan has no buffer without one.
pub(super) fn root(plan: &Plan, id: BufferId) -> BufferId {
    plan.storage(id).unwrap_or(id)
}

impl Layout {
    /// Assigns slots for a run that is given `inputs` and asked for `outputs`.
    pub(super) fn new(
        (plan, schedule): (&Plan, &Schedule),
        bound: &Bound,
        inputs: &[BufferId],
        outputs: &[BufferId],
    ) -> Self {
        let (inputs, outputs) = (roots(plan, inputs), roots(plan, outputs));
        let touched: Vec<(Vec<BufferId>, Vec<BufferId>)> = schedule
            .units
            .iter()
            .map(|unit| {
                unit.touched(plan, |id| {
                    let mut others = plan.steps.iter().enumerate().filter(|(step, _)| !unit.steps.contains(step));
                    outputs.contains(&id) || others.any(|(_, step)| roots(plan, &step.op.inputs()).contains(&id))
                })
            })
            .collect();
        let needed = needed_units(plan.buffers.len(), &touched, &outputs);

        // First and last moment at which each buffer matters: 0 is before the first unit, unit i is i + 1.
        let mut lives: Vec<Option<(usize, usize)>> = vec![None; plan.buffers.len()];
        let mut live = |id: BufferId, moment: usize| {
            if let Some(life) = lives.get_mut(id.0) {
                *life = Some(life.map_or((moment, moment), |(first, _)| (first, moment)));
            }
        };
        let mut written = vec![false; plan.buffers.len()];
        let mut zeroed = Vec::new();
        for &id in &inputs {
            live(id, 0);
            set(&mut written, id);
        }
        for (unit, (reads, writes)) in touched.iter().enumerate().filter(|(unit, _)| needed.get(*unit) == Some(&true)) {
            for &id in reads.iter().filter(|id| written.get(id.0) == Some(&false)) {
                live(id, 0);
                zeroed.push(id);
            }
            for &id in reads.iter().chain(writes) {
                live(id, unit + 1);
                set(&mut written, id);
            }
        }
        for &id in &outputs {
            if written.get(id.0) == Some(&false) {
                live(id, 0);
                zeroed.push(id);
            }
            live(id, schedule.units.len() + 1);
        }
        let (slots, slot_of) = assign(plan, bound, &lives);
        Self { slots, slot_of, needed, zeroed }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.slots.iter().fold(0, |sum, &slot| sum.saturating_add(slot))
    }
}

/// What the recurrences of a run share, elements of 4 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Scratch {
    /// Input projections of a slice of timesteps.
    pub(super) gates_x: usize,
    /// States of the rows under way.
    pub(super) state: usize,
    /// Outputs of recurrences that run together.
    pub(super) sequence: usize,
}

impl Scratch {
    /// Enough for every recurrence of `plan` to keep all rows under way, for as many timesteps as
    /// `limit` bytes hold. The kernels make do with less where even that is too much.
    fn new((plan, schedule): (&Plan, &Schedule), bound: &Bound, limit: u64) -> Self {
        let limit = usize::try_from(limit / F32).unwrap_or(usize::MAX);
        let mut scratch = Self::default();
        for (unit, r) in schedule.recurrences(plan) {
            let &[rows, seq_len, _] = bound.shape(r.input) else { continue };
            let at_least_one = |one: usize, rows: usize| {
                let one = one.max(1);
                one.saturating_mul(rows).min(limit - limit % one).max(one)
            };
            let (directions, hidden) = (r.directions.len(), r.hidden_size);
            let gates_x = gates_x_len(r.cell, directions, 1, 1, hidden);
            let state = state_len(r.cell, r.is_projected(), directions, 1, hidden);
            scratch.gates_x = scratch.gates_x.max(at_least_one(gates_x, rows.saturating_mul(seq_len)));
            scratch.state = scratch.state.max(at_least_one(state, rows));
            if unit.wavefront().is_some() {
                let sequence = [rows, seq_len, directions].into_iter().fold(hidden, usize::saturating_mul);
                scratch.sequence = scratch.sequence.max(sequence);
            }
        }
        scratch
    }

    fn bytes(&self) -> u64 {
        [self.state_bytes(), self.sequence_bytes()].into_iter().fold(self.gates_x_bytes(), u64::saturating_add)
    }

    pub(super) fn gates_x_bytes(&self) -> u64 {
        byte_size(self.gates_x)
    }

    pub(super) fn state_bytes(&self) -> u64 {
        byte_size(self.state)
    }

    pub(super) fn sequence_bytes(&self) -> u64 {
        byte_size(self.sequence)
    }
}

/// The buffers that a run needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Need {
    pub(super) layout: Layout,
    pub(super) scratch: Scratch,
    /// Bytes that results pass through.
    pub(super) staging: u64,
}

impl Need {
    pub(super) fn new(
        program: (&Plan, &Schedule),
        bound: &Bound,
        inputs: &[BufferId],
        outputs: &[BufferId],
        limits: &MemoryLimits,
    ) -> Self {
        let staging = outputs.iter().fold(0u64, |sum, &id| sum.saturating_add(byte_size(bound.len(id))));
        Self {
            layout: Layout::new(program, bound, inputs, outputs),
            scratch: Scratch::new(program, bound, limits.scratch()),
            staging,
        }
    }

    /// What users see of it.
    pub(super) fn figures(&self, weights: u64, batch_tile: usize) -> MemoryNeed {
        MemoryNeed {
            weights,
            activations: self.layout.bytes(),
            scratch: self.scratch.bytes(),
            staging: self.staging,
            batch_tile,
        }
    }
}

fn roots(plan: &Plan, ids: &[BufferId]) -> Vec<BufferId> {
    ids.iter().map(|&id| root(plan, id)).collect()
}

fn set(flags: &mut [bool], id: BufferId) {
    if let Some(flag) = flags.get_mut(id.0) {
        *flag = true;
    }
}

/// The units that something requested depends on, found from the end.
fn needed_units(buffers: usize, touched: &[(Vec<BufferId>, Vec<BufferId>)], outputs: &[BufferId]) -> Vec<bool> {
    let mut wanted = vec![false; buffers];
    outputs.iter().for_each(|&id| set(&mut wanted, id));
    let mut needed = vec![false; touched.len()];
    for ((reads, writes), needed) in touched.iter().zip(&mut needed).rev() {
        *needed = writes.iter().any(|id| wanted.get(id.0) == Some(&true));
        if *needed {
            // Written buffers stay wanted: several steps may write parts of one.
            reads.iter().for_each(|&id| set(&mut wanted, id));
        }
    }
    needed
}

/// Greedy, in order of birth: the tightest slot that is free, else the largest one grown, else a new one.
fn assign(plan: &Plan, bound: &Bound, lives: &[Option<(usize, usize)>]) -> (Vec<u64>, Vec<Option<usize>>) {
    let mut order: Vec<(usize, usize, usize)> =
        lives.iter().enumerate().filter_map(|(id, life)| life.map(|(first, last)| (first, last, id))).collect();
    order.sort_unstable();
    let mut slots: Vec<(u64, usize)> = Vec::new();
    let mut slot_of = vec![None; lives.len()];
    for (first, last, id) in order {
        let need = capacity(byte_size(bound.len(BufferId(id))));
        // A step must not read and write one buffer, so a slot is free only after its last moment.
        let free = slots.iter().enumerate().filter(|(_, (_, busy_until))| *busy_until < first);
        let best = free.min_by_key(|(_, (size, _))| (*size < need, if *size < need { u64::MAX - size } else { *size }));
        let index = match best {
            Some((index, _)) => index,
            None => {
                slots.push((0, 0));
                slots.len() - 1
            }
        };
        if let (Some(slot), Some(slot_of)) = (slots.get_mut(index), slot_of.get_mut(id)) {
            *slot = (slot.0.max(need), last);
            *slot_of = Some(index);
        }
    }
    for id in 0..lives.len() {
        let shared = slot_of.get(root(plan, BufferId(id)).0).copied().flatten();
        if let Some(slot_of) = slot_of.get_mut(id) {
            *slot_of = shared;
        }
    }
    (slots.into_iter().map(|(size, _)| size).collect(), slot_of)
}

/// The bytes that a buffer for `need` bytes gets: up to an eighth more, so that a sequence that grows
/// by a timestep does not need another buffer.
fn capacity(need: u64) -> u64 {
    let granule = (need.checked_next_power_of_two().unwrap_or(need) / 8).max(256);
    need.max(1).checked_next_multiple_of(granule).unwrap_or(need)
}

/// Bytes of `values` values.
pub(super) fn byte_size(values: usize) -> u64 {
    u64::try_from(values).unwrap_or(u64::MAX).saturating_mul(F32)
}

/// The first figure of a run that is beyond a limit.
///
/// # Errors
/// [`Error::Limit`] naming the tensor.
pub(super) fn check(plan: &Plan, bound: &Bound, need: &MemoryNeed, limits: &MemoryLimits) -> Result<()> {
    let refuse = |what: String, need: u64, limit: String| {
        let hint = "use a shorter sequence or another adapter".to_owned();
        Err(Error::Limit { what, need: bytes(need), limit, hint })
    };
    let largest = limits.binding.min(limits.buffer).min(MAX_VALUES * F32);
    for (id, buffer) in plan.buffers.iter().enumerate() {
        let size = byte_size(bound.len(BufferId(id)));
        if size > largest {
            let what = format!("{} {:?}", quoted(&buffer.name), bound.shape(BufferId(id)));
            return refuse(what, size, format!("{} for one buffer in a kernel", bytes(largest)));
        }
    }
    if need.staging.saturating_add(VERDICT_BYTES) > limits.buffer {
        return refuse(
            "the outputs of one row tile".to_owned(),
            need.staging,
            format!("{} for one buffer", bytes(limits.buffer)),
        );
    }
    if need.total() > limits.budget {
        return refuse("a run".to_owned(), need.total(), format!("{} of device memory", bytes(limits.budget)));
    }
    Ok(())
}

/// The run with as many rows as fit, at most those of `bound`, evenly shared among the tiles.
/// `need` computes what a run takes.
///
/// # Errors
/// [`Error::Limit`] if not even one row fits.
pub(super) fn batch_tile(
    plan: &Plan,
    bound: &Bound,
    limits: &MemoryLimits,
    need: impl Fn(&Bound) -> MemoryNeed,
) -> Result<Bound> {
    let fits = |bound: &Bound| check(plan, bound, &need(bound), limits);
    if fits(bound).is_ok() {
        return Ok(bound.clone());
    }
    let with_rows = |rows: usize| bound.with_batch(plan, rows);
    fits(&with_rows(1)?)?;
    let (mut good, mut bad) = (1, bound.batch().max(1));
    while bad - good > 1 {
        let middle = good + (bad - good) / 2;
        match fits(&with_rows(middle)?) {
            Ok(()) => good = middle,
            Err(_) => bad = middle,
        }
    }
    let tiles = bound.batch().div_ceil(good).max(1);
    with_rows(bound.batch().div_ceil(tiles))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::{
        activation::Activation,
        dim::{Dim, Symbol},
        plan::{Buffer, Op, Step},
    };

    fn lay_out(plan: &Plan, bound: &Bound, inputs: &[BufferId], outputs: &[BufferId]) -> Layout {
        Layout::new((plan, &Schedule::new(plan, u64::MAX)), bound, inputs, outputs)
    }

    /// A chain of `count` maps over buffers `[batch, 256]`.
    fn chain(count: usize) -> Plan {
        let shape = vec![Dim::from(Symbol::BATCH), Dim::from(256)];
        Plan {
            symbols: vec!["batch".to_owned()],
            buffers: (0..=count)
                .map(|i| Buffer { name: format!("b{i}"), shape: shape.clone(), view_of: None })
                .collect(),
            steps: (0..count)
                .map(|i| Step {
                    name: format!("map{i}"),
                    op: Op::Map { input: BufferId(i), activation: Activation::Linear, output: BufferId(i + 1) },
                })
                .collect(),
            ..Plan::default()
        }
    }

    fn bound(plan: &Plan, batch: usize) -> Bound {
        let any = Bound { symbols: vec![1], shapes: Vec::new() };
        any.with_batch(plan, batch).expect("small sizes")
    }

    #[test]
    fn a_chain_needs_two_slots() {
        let plan = chain(5);
        let layout = lay_out(&plan, &bound(&plan, 2), &[BufferId(0)], &[BufferId(5)]);
        assert_eq!(layout.slots, [2048, 2048]);
        assert!(layout.zeroed.is_empty());
        for step in 0..5 {
            assert_ne!(layout.slot_of[step], layout.slot_of[step + 1]);
        }
    }

    #[test]
    fn a_requested_value_keeps_its_slot_and_views_share_it() {
        let mut plan = chain(5);
        plan.buffers.push(Buffer { name: "view".to_owned(), shape: vec![Dim::from(512)], view_of: Some(BufferId(2)) });
        let layout = lay_out(&plan, &bound(&plan, 2), &[BufferId(0)], &[BufferId(5), BufferId(6)]);
        assert_eq!(layout.slots.len(), 3);
        assert_eq!(layout.slot_of[6], layout.slot_of[2]);
        for later in 3..=5 {
            assert_ne!(layout.slot_of[later], layout.slot_of[2]);
        }
    }

    #[test]
    fn steps_that_nothing_asks_for_are_not_needed() {
        let plan = chain(4);
        let layout = lay_out(&plan, &bound(&plan, 2), &[BufferId(0)], &[BufferId(2)]);
        assert_eq!(layout.needed, [true, true, false, false]);
        assert_eq!(layout.slot_of[4], None);
    }

    #[test]
    fn what_is_read_but_never_written_starts_as_zero() {
        let plan = chain(1);
        let layout = lay_out(&plan, &bound(&plan, 2), &[], &[BufferId(1)]);
        assert_eq!(layout.zeroed, [BufferId(0)]);
    }

    #[test]
    fn random_plans_never_share_a_slot_between_living_values() {
        let mut seed = 7u64;
        let mut random = |below: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize % below
        };
        for _ in 0..200 {
            let count = 1 + random(12);
            let mut plan = chain(count);
            for (i, step) in plan.steps.iter_mut().enumerate() {
                let (left, right) = (BufferId(random(i + 1)), BufferId(random(i + 1)));
                let op = crate::plan::CombineOp::Add;
                step.op = Op::Combine { op, left, right, output: BufferId(i + 1) };
            }
            for buffer in &mut plan.buffers {
                buffer.shape[1] = Dim::from(1 + random(300));
            }
            let outputs = [BufferId(count), BufferId(random(count + 1))];
            let layout = lay_out(&plan, &bound(&plan, 3), &[BufferId(0)], &outputs);
            // Walk the steps: what a slot holds must be what a reader expects.
            let mut holds = vec![None; layout.slots.len()];
            holds[layout.slot_of[0].expect("the input has a slot")] = Some(0);
            for (step, _) in plan.steps.iter().zip(&layout.needed).filter(|(_, needed)| **needed) {
                let (reads, writes) = (step.op.inputs(), step.op.outputs());
                for id in reads {
                    assert_eq!(holds[layout.slot_of[id.0].expect("read")], Some(id.0));
                    assert_ne!(layout.slot_of[id.0], layout.slot_of[writes[0].0]);
                }
                holds[layout.slot_of[writes[0].0].expect("written")] = Some(writes[0].0);
            }
            for id in outputs {
                assert_eq!(holds[layout.slot_of[id.0].expect("output")], Some(id.0));
            }
        }
    }

    #[test]
    fn tiles_are_as_large_as_the_limits_allow_and_even() {
        let plan = chain(2);
        let limits = MemoryLimits { binding: 10 * 1024, buffer: 1 << 30, budget: u64::MAX };
        let none = |_: &Bound| MemoryNeed::default();
        let tile = |batch, limits| batch_tile(&plan, &bound(&plan, batch), limits, none);
        assert_eq!(tile(10, &limits).expect("fits").batch(), 10);
        assert_eq!(tile(11, &limits).expect("two tiles").batch(), 6);
        assert_eq!(tile(101, &limits).expect("eleven tiles").batch(), 10);
        let small = MemoryLimits { binding: 1023, ..limits };
        let error = tile(4, &small).expect_err("one row is too large");
        assert!(matches!(&error, Error::Limit { what, .. } if what == "'b0' [1, 256]"), "{error}");
    }

    #[test]
    fn a_budget_limits_the_tile() {
        let plan = chain(2);
        let limits = MemoryLimits { binding: u64::MAX, buffer: u64::MAX, budget: 8 * 1024 };
        let need = |bound: &Bound| MemoryNeed {
            activations: lay_out(&plan, bound, &[BufferId(0)], &[BufferId(2)]).bytes(),
            ..MemoryNeed::default()
        };
        let tile = batch_tile(&plan, &bound(&plan, 9), &limits, need).expect("three tiles");
        assert_eq!(tile.batch(), 3, "two slots of 1 KiB per row, in granules of 256 B to 1 KiB");
    }
}
