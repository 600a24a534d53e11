//! Which kernel a recurrence runs on.

use super::recurrence::{GROUP, PERSISTENT, PERSISTENT_MAX_HIDDEN, held_groups, held_shape};
use crate::{
    cell::Cell,
    error::{Error, Result},
    gpu::{Calibration, kernel::MAX_HELD},
    plan::Recurrence,
};

/// How a recurrence runs on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Strategy {
    /// A dispatch per timestep.
    Step,
    /// A dispatch per slice of timesteps, the hidden state in workgroup memory, weights read at every timestep.
    Persistent,
    /// The same, each invocation holding its weights for the whole slice. Needs subgroups of eight lanes or more.
    Held,
}

impl Strategy {
    /// Every strategy.
    pub const ALL: [Self; 3] = [Self::Step, Self::Persistent, Self::Held];
}

impl std::fmt::Display for Strategy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Step => "step",
            Self::Persistent => "persistent",
            Self::Held => "held",
        })
    }
}

/// What of a device the choice looks at.
#[derive(Clone, Debug)]
pub(crate) struct Traits {
    pub(crate) limits: wgpu::Limits,
    /// Lanes of its smallest and largest subgroups; none where kernels cannot use them.
    pub(crate) subgroup: Option<[u32; 2]>,
    /// Whether it computes on the CPU.
    pub(crate) software: bool,
    /// What it can do, as measured or assumed.
    pub(crate) calibration: Calibration,
}

/// Lanes of a subgroup that hand each other the hidden state.
const LANES: u32 = 8;
/// Floats that an invocation may hold in registers on hardware: half of what there are, as a rule.
const REGISTERS: usize = 128;

/// The strategy for a recurrence, and why. It does not depend on the batch, so that a row's bits do not.
///
/// # Errors
/// [`Error::Limit`] if the pinned strategy does not fit.
pub(crate) fn choose_strategy(r: &Recurrence, traits: &Traits, pinned: Option<Strategy>) -> Result<(Strategy, String)> {
    let (name, hidden) = (r.cell.spec().name, r.hidden_size);
    if let Some(strategy) = pinned {
        return match obstacle(r, traits, strategy) {
            None => Ok((strategy, format!("{strategy}: asked for"))),
            Some((need, limit)) => Err(Error::Limit {
                what: format!("the {strategy} kernel of cell {name}"),
                need,
                limit,
                hint: "let the strategy be chosen".to_owned(),
            }),
        };
    }
    if let Some((need, limit)) = obstacle(r, traits, Strategy::Persistent) {
        return Ok((Strategy::Step, format!("step: {need} is more than {limit}")));
    }
    if let Some((need, limit)) = obstacle(r, traits, Strategy::Held) {
        return Ok((
            Strategy::Persistent,
            format!("persistent: hidden size {hidden} fits one workgroup; not held: {need} is more than {limit}"),
        ));
    }
    let floats = held_floats(r.cell, hidden, traits);
    if floats > REGISTERS && !traits.software {
        let why = format!("{floats} weights per invocation are more than {REGISTERS} registers");
        return Ok((
            Strategy::Persistent,
            format!("persistent: hidden size {hidden} fits one workgroup; not held: {why}"),
        ));
    }
    Ok((Strategy::Held, format!("held: hidden size {hidden} fits one workgroup, {floats} weights per invocation")))
}

/// What stands in the way of a strategy: the need, and the limit that it exceeds.
fn obstacle(r: &Recurrence, traits: &Traits, strategy: Strategy) -> Option<(String, String)> {
    let (limits, hidden) = (&traits.limits, r.hidden_size);
    let rows = (r.directions.len() * r.cell.spec().gates.len()).saturating_mul(hidden);
    let weight_bytes = rows.saturating_mul(hidden.next_multiple_of(4) * 4) as u64;
    if strategy == Strategy::Step {
        None
    } else if hidden > PERSISTENT_MAX_HIDDEN {
        Some((format!("hidden size {hidden}"), format!("{PERSISTENT_MAX_HIDDEN} units of one workgroup")))
    } else if PERSISTENT.workgroup_bytes > limits.max_compute_workgroup_storage_size {
        let limit = format!("{} (max_compute_workgroup_storage_size)", limits.max_compute_workgroup_storage_size);
        Some((format!("{} bytes of workgroup memory", PERSISTENT.workgroup_bytes), limit))
    } else if weight_bytes > limits.max_storage_buffer_binding_size {
        let limit = format!("{} (max_storage_buffer_binding_size)", limits.max_storage_buffer_binding_size);
        Some((format!("{weight_bytes} bytes of recurrent weights"), limit))
    } else if r.is_projected() {
        Some(("the product of a projection".to_owned(), "the recurrent products that this kernel has".to_owned()))
    } else if strategy == Strategy::Held && traits.subgroup.is_none_or(|[least, _]| least < LANES) {
        let lanes = traits.subgroup.map_or("none".to_owned(), |[least, _]| least.to_string());
        Some((format!("a subgroup of {LANES} lanes"), format!("that of the device ({lanes})")))
    } else if strategy == Strategy::Held && held_groups(hidden, traits.held_slices(hidden)) > MAX_HELD {
        let groups = held_groups(hidden, traits.held_slices(hidden));
        Some((format!("{groups} groups of weights per invocation"), format!("{MAX_HELD}, which compile in a second")))
    } else {
        None
    }
}

/// Weights that an invocation holds with [`Strategy::Held`].
fn held_floats(cell: Cell, hidden: usize, traits: &Traits) -> usize {
    let [_, slices] = held_shape(hidden, traits.held_slices(hidden));
    GROUP * held_groups(hidden, slices) * cell.spec().gates.len()
}

impl Traits {
    /// Invocations that share a unit with [`Strategy::Held`]. On hardware as many as there is room for, so that
    /// each holds little; but a subgroup must be of one slice.
    pub(crate) fn held_slices(&self, hidden: usize) -> usize {
        let units = held_shape(hidden, 1)[0];
        let whole = self.subgroup.is_some_and(|[_, most]| units.is_multiple_of(most.max(1) as usize));
        match (whole, self.software) {
            (false, _) => 1,
            // Every barrier costs a CPU more than a few products.
            (true, true) => (units / GROUP).div_ceil(MAX_HELD),
            (true, false) => PERSISTENT_MAX_HIDDEN / units.min(PERSISTENT_MAX_HIDDEN),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{
        cell::{Cell, CellParams},
        plan::{BufferId, DeadTimesteps, Direction, WeightId},
    };

    /// Hardware with subgroups of 32 lanes, a device without any, and one that computes on the CPU.
    fn devices() -> [(&'static str, Traits); 3] {
        let limits = wgpu::Limits::default();
        let of = |subgroup, software| Traits {
            limits: limits.clone(),
            subgroup,
            software,
            calibration: Calibration::ASSUMED,
        };
        [("hardware", of(Some([32, 32]), false)), ("plain", of(None, false)), ("software", of(Some([8, 8]), true))]
    }

    #[test]
    fn limits_are_named() {
        let [(_, hardware), (_, plain), _] = devices();
        let choose = |hidden, traits: &Traits, pinned| choose_strategy(&lstm(hidden, None), traits, pinned);
        assert_eq!(choose(8, &hardware, Some(Strategy::Step)).unwrap().0, Strategy::Step);
        assert!(matches!(choose(300, &hardware, Some(Strategy::Persistent)), Err(Error::Limit { .. })));
        assert!(matches!(choose(30, &plain, Some(Strategy::Held)), Err(Error::Limit { .. })));
        let limits = wgpu::Limits { max_compute_workgroup_storage_size: 8192, ..wgpu::Limits::default() };
        let (strategy, why) = choose(8, &Traits { limits, ..hardware }, None).unwrap();
        assert_eq!(strategy, Strategy::Step);
        assert!(why.contains("max_compute_workgroup_storage_size"), "{why}");
    }

    #[test]
    fn a_projection_is_stepped() {
        let [(_, hardware), ..] = devices();
        let projected = lstm(8, Some(WeightId::new(0)));
        let (strategy, why) = choose_strategy(&projected, &hardware, None).unwrap();
        assert_eq!(strategy, Strategy::Step);
        assert!(why.contains("projection"), "{why}");
        assert!(choose_strategy(&projected, &hardware, Some(Strategy::Persistent)).is_err());
    }

    /// What is chosen, and why, over a grid of devices and sizes. A change here is a change for users.
    #[test]
    fn choices_and_reasons() {
        let mut lines = Vec::new();
        for (device, traits) in devices() {
            for hidden in [1, 8, 16, 32, 64, 65, 128, 192, 256, 257, 1024] {
                let (strategy, reason) = choose_strategy(&lstm(hidden, None), &traits, None).unwrap();
                assert!(reason.starts_with(&format!("{strategy}: ")));
                lines.push(format!("{device}, LSTM {hidden}: {reason}"));
            }
        }
        assert_eq!(lines.join("\n"), include_str!("strategy_choices.txt").trim_end(), "\n{}", lines.join("\n"));
    }

    /// A bidirectional LSTM.
    fn lstm(hidden: usize, projection: Option<WeightId>) -> Recurrence {
        let direction = Direction {
            reverse: false,
            flipped: false,
            weight_ih: WeightId::new(0),
            weight_hh: WeightId::new(0),
            bias_ih: None,
            bias_hh: None,
            peephole: None,
            projection,
            initial: vec![None; 2],
            finals: vec![None; 2],
        };
        Recurrence {
            cell: Cell::Lstm,
            params: CellParams::default(),
            hidden_size: hidden,
            output_size: hidden,
            input_size: 1,
            input: BufferId::new(0),
            mask: None,
            dead: DeadTimesteps::RepeatOutput,
            directions: vec![direction; 2],
            sequence: None,
            last: None,
        }
    }
}
