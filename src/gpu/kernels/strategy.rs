//! Which kernel a recurrence runs on.

use super::recurrence::{PERSISTENT, PERSISTENT_MAX_HIDDEN};
use crate::{
    error::{Error, Result},
    plan::Recurrence,
};

/// How a recurrence runs on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Strategy {
    /// A dispatch per timestep.
    Step,
    /// A dispatch per slice of timesteps, the hidden state in workgroup memory.
    Persistent,
}

impl Strategy {
    /// Every strategy.
    pub const ALL: [Self; 2] = [Self::Step, Self::Persistent];
}

impl std::fmt::Display for Strategy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Step => "step",
            Self::Persistent => "persistent",
        })
    }
}

/// The strategy for a recurrence, and why. It does not depend on the batch, so that a row's bits do not.
///
/// # Errors
/// [`Error::Limit`] if the pinned strategy does not fit.
pub(crate) fn choose_strategy(
    r: &Recurrence,
    limits: &wgpu::Limits,
    pinned: Option<Strategy>,
) -> Result<(Strategy, String)> {
    let (spec, directions, hidden) = (r.cell.spec(), r.directions.len(), r.hidden_size);
    let weight_bytes = (directions * spec.gates.len() * hidden).saturating_mul(hidden.next_multiple_of(4) * 4) as u64;
    let obstacle = if hidden > PERSISTENT_MAX_HIDDEN {
        Some((format!("hidden size {hidden}"), format!("{PERSISTENT_MAX_HIDDEN} units of one workgroup")))
    } else if PERSISTENT.workgroup_bytes > limits.max_compute_workgroup_storage_size {
        let limit = format!("{} (max_compute_workgroup_storage_size)", limits.max_compute_workgroup_storage_size);
        Some((format!("{} bytes of workgroup memory", PERSISTENT.workgroup_bytes), limit))
    } else if weight_bytes > limits.max_storage_buffer_binding_size {
        let limit = format!("{} (max_storage_buffer_binding_size)", limits.max_storage_buffer_binding_size);
        Some((format!("{weight_bytes} bytes of recurrent weights"), limit))
    } else if r.is_projected() {
        Some(("the product of a projection".to_owned(), "the recurrent products that this kernel has".to_owned()))
    } else {
        None
    };
    match (pinned, obstacle) {
        (Some(Strategy::Step), _) => Ok((Strategy::Step, "step: asked for".to_owned())),
        (Some(Strategy::Persistent), Some((need, limit))) => Err(Error::Limit {
            what: format!("the persistent kernel of cell {}", spec.name),
            need,
            limit,
            hint: "let the strategy be chosen".to_owned(),
        }),
        (Some(Strategy::Persistent), None) => Ok((Strategy::Persistent, "persistent: asked for".to_owned())),
        (None, Some((need, limit))) => Ok((Strategy::Step, format!("step: {need} is more than {limit}"))),
        (None, None) => Ok((Strategy::Persistent, format!("persistent: hidden size {hidden} fits one workgroup"))),
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

    #[test]
    fn small_layers_are_persistent_and_limits_are_named() {
        let limits = wgpu::Limits::default();
        let choose = |hidden, limits: &wgpu::Limits, pinned| choose_strategy(&lstm(hidden, None), limits, pinned);
        assert_eq!(choose(256, &limits, None).unwrap().0, Strategy::Persistent);
        assert_eq!(choose(257, &limits, None).unwrap().0, Strategy::Step);
        assert_eq!(choose(8, &limits, Some(Strategy::Step)).unwrap().0, Strategy::Step);
        assert!(matches!(choose(300, &limits, Some(Strategy::Persistent)), Err(Error::Limit { .. })));
        let small = wgpu::Limits { max_compute_workgroup_storage_size: 8192, ..limits };
        let (strategy, why) = choose(8, &small, None).unwrap();
        assert_eq!(strategy, Strategy::Step);
        assert!(why.contains("max_compute_workgroup_storage_size"), "{why}");
    }

    #[test]
    fn a_projection_is_stepped() {
        let limits = wgpu::Limits::default();
        let projected = lstm(8, Some(WeightId::new(0)));
        let (strategy, why) = choose_strategy(&projected, &limits, None).unwrap();
        assert_eq!(strategy, Strategy::Step);
        assert!(why.contains("projection"), "{why}");
        assert!(choose_strategy(&projected, &limits, Some(Strategy::Persistent)).is_err());
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
