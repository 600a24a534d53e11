//! Which kernel a recurrence runs on.

use super::{
    held::{COOPERATIVE_HELD, MAX_HELD},
    recurrence::{COOPERATIVE, COOPERATIVE_MAX_HIDDEN, EXCHANGE_WORDS, PERSISTENT, STEP, TILED, exchange_len},
    tile::{GROUP_ROWS, tile_units},
};
use crate::{
    error::{Error, Result},
    gpu::{
        Calibration,
        kernel::{Kernel, Products, RowWidth},
    },
    plan::{Bound, Recurrence},
};

/// How a recurrence runs on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Strategy {
    /// A dispatch per timestep.
    Step,
    /// A dispatch per slice of timesteps, the hidden state in workgroup memory, weights read at every timestep.
    Persistent,
    /// The same, each invocation holding its weights for the whole slice.
    Held,
    /// A dispatch per slice of timesteps in which many workgroups hold a part of the weights each and tell each other
    /// the hidden state. It rests on what WGSL does not promise (that all of them run at once), so it is
    /// chosen only where it was asked for; a run in which it did not work is made again with [`Self::Step`], which
    /// gives the same bits.
    Cooperative,
}

impl Strategy {
    /// Every strategy.
    pub const ALL: &'static [Self] = &[Self::Step, Self::Persistent, Self::Held, Self::Cooperative];
}

impl std::fmt::Display for Strategy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Step => "step",
            Self::Persistent => "persistent",
            Self::Held => "held",
            Self::Cooperative => "cooperative",
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
    /// Workgroups of 256 invocations that run at once for sure; of no others may one wait for another.
    pub(crate) resident: usize,
    /// Workgroups that it works on at once, about: fewer take as long.
    pub(crate) parallel: usize,
    /// How often a workgroup looks for what it waits for.
    pub(crate) tries: u32,
    /// Whether a plain read sees what another workgroup wrote meanwhile: compilers for the CPU read once.
    pub(crate) rereads: bool,
    /// Rounds after which the driver ends all loops of an invocation.
    pub(crate) loop_rounds: usize,
    /// Whether workgroups may wait for each other: not where a driver is known to fail at it, nor where they once did.
    pub(crate) cooperates: bool,
    /// What it can do, as measured or assumed.
    pub(crate) calibration: Calibration,
}

/// How a recurrence runs, down to its pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Way {
    pub(crate) strategy: Strategy,
    /// Rows of a value.
    pub(crate) width: RowWidth,
    /// Units of a workgroup.
    pub(crate) units: usize,
    /// Invocations that share a unit.
    pub(crate) slices: usize,
    pub(crate) products: Products,
    /// Rows that a cooperative workgroup takes in turn.
    pub(crate) rows_each: usize,
    /// How often it looks for what it waits for, and whether by a plain read.
    pub(crate) tries: u32,
    pub(crate) rereads: bool,
    /// Timesteps of a dispatch at most.
    pub(crate) most_steps: usize,
    /// Whether a direction has less work at once than the device can do.
    pub(crate) leaves_room: bool,
}

impl Way {
    /// `hidden` units on `strategy`, `held_slices` invocations to a unit where they hold their weights. All but the
    /// power of two that `hidden` is rounded up to is the same for all of them, so that one known-answer test speaks
    /// for every hidden size that has the same.
    pub(crate) fn new(strategy: Strategy, width: RowWidth, hidden: usize, held_slices: usize, handed: bool) -> Self {
        let power = hidden.checked_next_power_of_two().unwrap_or(usize::MAX);
        // More slices than groups of hidden units would have nothing to add; held groups come in pairs.
        let (units, slices) = match strategy {
            // The same, so that one can stand in for the other.
            Strategy::Step | Strategy::Cooperative => (STEP_UNITS, INVOCATIONS / STEP_UNITS),
            Strategy::Persistent => {
                let units = power.max(GROUP);
                (units, (INVOCATIONS / units).min(units / GROUP))
            }
            Strategy::Held => {
                let units = power.max(2 * GROUP);
                (units, held_slices.min(units / (2 * GROUP)))
            }
        };
        let slices = slices.max(1);
        let products = match strategy {
            Strategy::Step | Strategy::Persistent => Products::Streamed,
            Strategy::Held if handed => Products::Handed(units / GROUP / slices),
            Strategy::Held => Products::Held(units / GROUP / slices),
            Strategy::Cooperative => {
                let groups = hidden.div_ceil(GROUP).div_ceil(slices);
                Products::Held(COOPERATIVE_HELD.into_iter().find(|most| *most >= groups).unwrap_or(groups))
            }
        };
        Self {
            strategy,
            width,
            units,
            slices,
            products,
            rows_each: 1,
            tries: 0,
            rereads: false,
            most_steps: MOST_STEPS,
            leaves_room: true,
        }
    }

    /// The same with many rows to a workgroup: so many groups of four to an invocation.
    pub(crate) fn tiled(self, gates: usize, groups: usize) -> Self {
        Self { products: Products::Tiled(groups), units: tile_units(gates, groups), ..self }
    }

    /// The same with the rows of a value and the products of another way.
    pub(crate) fn like(self, other: &Self) -> Self {
        let (width, products, units, slices) = (other.width, other.products, other.units, other.slices);
        Self { width, products, units, slices, ..self }
    }

    pub(crate) fn kernel(&self) -> &'static Kernel {
        match (self.strategy, self.products) {
            (Strategy::Step, Products::Tiled(_)) => &TILED,
            (Strategy::Step, _) => &STEP,
            (Strategy::Persistent | Strategy::Held, _) => &PERSISTENT,
            (Strategy::Cooperative, _) => &COOPERATIVE,
        }
    }

    /// Groups of four hidden units whose weights an invocation holds.
    fn groups(&self) -> usize {
        match self.products {
            Products::Streamed | Products::Tiled(_) => 0,
            Products::Held(groups) | Products::Handed(groups) => groups,
        }
    }

    /// Rows of a workgroup.
    pub(crate) fn rows(&self) -> usize {
        match self.products {
            Products::Tiled(groups) => groups * GROUP_ROWS,
            _ => self.width.rows(),
        }
    }

    pub(crate) fn invocations(&self) -> usize {
        match self.products {
            Products::Tiled(_) => TILED.invocations as usize,
            _ => self.units.saturating_mul(self.slices),
        }
    }

    /// The same with as many timesteps in a dispatch as the device's loops allow.
    fn bounded(self, r: &Recurrence, traits: &Traits) -> Self {
        // Small loops over gates and states, which a compiler may leave as they are, and the wait for others.
        let small = 64;
        let products = match self.products {
            Products::Streamed | Products::Tiled(_) => self.units / GROUP / self.slices + 2,
            Products::Held(_) | Products::Handed(_) => 0,
        };
        let calls = 1 + usize::from(r.cell.spec().reset.is_some());
        // Gates may be added one by one.
        let sums = GATES * (self.slices - 1);
        let rounds = (small + calls * (products + sums)).saturating_mul(self.rows_each).max(1);
        Self { most_steps: (traits.loop_rounds / rounds).clamp(1, MOST_STEPS), ..self }
    }

    /// Whether the sums that slices share have room in workgroup memory.
    pub(crate) fn fits(&self) -> bool {
        self.units.saturating_mul(self.slices - 1) <= self.width.room()
    }
}

/// Invocations of a workgroup, at most; of one that holds weights of a single row, four times as many.
const INVOCATIONS: usize = 256;
/// The largest hidden size of a persistent kernel: one unit per invocation.
const PERSISTENT_MAX_HIDDEN: usize = 256;
/// Units of a workgroup that takes a single step.
const STEP_UNITS: usize = 8;
/// Weights come in groups of four hidden units.
const GROUP: usize = 4;
/// Gates of a cell, at most.
const GATES: usize = 4;
/// Rounds of the loops of [`TILED`] for 16 inputs, with room to spare.
const TILE_ROUNDS: usize = 16;
/// Rows from which workgroups with many of them are the faster ones: on hardware, and where the CPU computes (lavapipe takes
/// as long for 64 rows in a tile as for 24 otherwise).
const TILED_ROWS: [usize; 2] = [64, 32];
/// Lanes of a subgroup that hand each other the hidden state.
const LANES: u32 = 8;
/// Groups that one invocation holds where the CPU computes; more compile too long, unless two hold them.
const COMPILED: usize = 16;
/// Floats that an invocation may hold in registers on hardware: half of what there are, as a rule.
const REGISTERS: usize = 128;
/// Bytes that one workgroup reads of the weights while a dispatch per timestep would take its time (2 us at 130 GB/s).
const STREAMED_BYTES: u64 = 256 << 10;
/// Timesteps of a dispatch at most: cooperative workgroups count them in 16 bits.
const MOST_STEPS: usize = 32_768;
/// Workgroups that a device runs at once at least: fewer take as long.
pub(crate) const PARALLEL: usize = 64;
/// Rows that a cooperative workgroup takes in turn at most; more are faster step by step.
const ROWS_EACH: usize = 8;

/// What a caller has to say in the choice.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wish {
    /// The only strategy to take.
    pub(crate) pinned: Option<Strategy>,
    /// Whether workgroups may wait for each other.
    pub(crate) cooperative: bool,
}

/// How a recurrence runs where the sizes of the whole run are `bound`, and why: see [`choose_way`].
///
/// # Errors
/// [`Error::Limit`] if the pinned strategy does not fit.
pub(crate) fn way_within(r: &Recurrence, traits: &Traits, wish: Wish, bound: &Bound) -> Result<(Way, String)> {
    choose_way(r, traits, wish, bound.shape(r.input).first().copied().unwrap_or_default())
}

/// How `batch` rows of a recurrence run, and why. What depends on the batch does not change a row's bits: how many rows
/// a workgroup takes, and whether steps are taken one by one or cooperatively.
///
/// # Errors
/// [`Error::Limit`] if the pinned strategy does not fit.
fn choose_way(r: &Recurrence, traits: &Traits, wish: Wish, batch: usize) -> Result<(Way, String)> {
    let (way, reason) = fastest(r, traits, wish, batch)?;
    let blocks = if way.strategy == Strategy::Step { r.hidden_size.div_ceil(way.units) } else { 1 };
    let leaves_room = batch.div_ceil(way.rows()).saturating_mul(blocks) < traits.parallel;
    Ok((Way { leaves_room, ..way }, reason))
}

fn fastest(r: &Recurrence, traits: &Traits, wish: Wish, batch: usize) -> Result<(Way, String)> {
    if wish.pinned == Some(Strategy::Cooperative) {
        return match cooperative(r, traits, batch) {
            Ok(way) => Ok((way, "cooperative: asked for".to_owned())),
            Err(obstacle) => Err(refused(r, Strategy::Cooperative, obstacle)),
        };
    }
    let (strategy, mut reason) = choose_strategy(r, traits, wish.pinned)?;
    if strategy == Strategy::Step && wish.cooperative && wish.pinned.is_none() {
        match cooperative(r, traits, batch) {
            Ok(way) if traits.cooperates && way.rows_each <= ROWS_EACH => {
                let (rows, resident) = (way.rows_each, traits.resident);
                return Ok((
                    way,
                    format!("cooperative: up to {resident} workgroups at once, {rows} rows each; {reason}"),
                ));
            }
            Ok(way) if traits.cooperates => {
                reason = format!("{reason}; not cooperative: {} rows each are more than {ROWS_EACH}", way.rows_each);
            }
            Ok(_) => reason.push_str("; not cooperative: not on such a device, or it gave up before"),
            Err((need, limit)) => reason = format!("{reason}; not cooperative: {need} is more than {limit}"),
        }
    }
    let one = match strategy {
        // Rows of one workgroup share what is read of the weights.
        Strategy::Step | Strategy::Persistent | Strategy::Cooperative => batch <= 1,
        // Every workgroup loads all weights, which only hardware does side by side.
        Strategy::Held if traits.software => batch < RowWidth::Four.rows(),
        Strategy::Held => batch.saturating_mul(r.directions.len()) <= PARALLEL,
    };
    let way = |width| {
        Way::new(strategy, width, r.hidden_size, traits.held_slices(r.hidden_size), traits.software).bounded(r, traits)
    };
    let four = way(RowWidth::Four);
    if strategy == Strategy::Step
        && batch >= TILED_ROWS[usize::from(traits.software)]
        && beyond_limits(&TILED, traits).is_none()
        && TILE_ROUNDS * r.hidden_size.max(r.output_size).div_ceil(16) < traits.loop_rounds
    {
        let gates = r.cell.spec().gates.len();
        let [small, large] = [1, 2].map(|groups| four.tiled(gates, groups));
        let blocks = batch.div_ceil(large.rows()).saturating_mul(r.hidden_size.div_ceil(large.units));
        let many = traits.software || blocks.saturating_mul(r.directions.len()) >= PARALLEL;
        let way = if many { large } else { small };
        return Ok((way, format!("{reason}; {} rows a workgroup", way.rows())));
    }
    Ok((if one || !four.fits() { way(RowWidth::One) } else { four }, reason))
}

/// The way of workgroups that wait for each other, or what stands in it.
fn cooperative(r: &Recurrence, traits: &Traits, batch: usize) -> std::result::Result<Way, (String, String)> {
    let (hidden, directions) = (r.hidden_size, r.directions.len());
    let way = Way::new(Strategy::Cooperative, RowWidth::One, hidden, 1, false);
    let blocks = hidden.div_ceil(way.units).saturating_mul(directions).max(1);
    let words = exchange_len(directions, batch, hidden);
    let room = format!("{COOPERATIVE_MAX_HIDDEN} units of one tile");
    if let Some(obstacle) = walk_obstacle(r, traits, &COOPERATIVE, (COOPERATIVE_MAX_HIDDEN, room)) {
        Err(obstacle)
    } else if blocks > traits.resident {
        Err((format!("{blocks} workgroups"), format!("{} that run at once for sure", traits.resident)))
    } else if words > EXCHANGE_WORDS {
        Err((format!("{words} words to exchange"), EXCHANGE_WORDS.to_string()))
    } else {
        let rows_each = batch.div_ceil(traits.resident / blocks).max(1);
        Ok(Way { rows_each, tries: traits.tries, rereads: traits.rereads, ..way }.bounded(r, traits))
    }
}

/// What stands in the way of a kernel that walks through several timesteps, with room for so many units.
fn walk_obstacle(
    r: &Recurrence,
    traits: &Traits,
    kernel: &Kernel,
    (most_hidden, room): (usize, String),
) -> Option<(String, String)> {
    let (weights, limit) = (weight_bytes(r), traits.limits.max_storage_buffer_binding_size);
    if r.hidden_size > most_hidden {
        Some((format!("hidden size {}", r.hidden_size), room))
    } else if let Some(obstacle) = beyond_limits(kernel, traits) {
        Some(obstacle)
    } else if weights > limit {
        let limit = format!("{limit} (max_storage_buffer_binding_size)");
        Some((format!("{weights} bytes of recurrent weights"), limit))
    } else if r.is_projected() {
        Some(("the product of a projection".to_owned(), "the recurrent products that this kernel has".to_owned()))
    } else {
        None
    }
}

/// What `kernel` needs more of than the device granted.
fn beyond_limits(kernel: &Kernel, traits: &Traits) -> Option<(String, String)> {
    let (limits, buffers) = (&traits.limits, kernel.bindings.len());
    if kernel.workgroup_bytes > limits.max_compute_workgroup_storage_size {
        let limit = format!("{} (max_compute_workgroup_storage_size)", limits.max_compute_workgroup_storage_size);
        return Some((format!("{} bytes of workgroup memory", kernel.workgroup_bytes), limit));
    }
    (buffers > limits.max_storage_buffers_per_shader_stage as usize).then(|| {
        let limit = format!("{} (max_storage_buffers_per_shader_stage)", limits.max_storage_buffers_per_shader_stage);
        (format!("{buffers} buffers"), limit)
    })
}

fn refused(r: &Recurrence, strategy: Strategy, (need, limit): (String, String)) -> Error {
    Error::Limit {
        what: format!("the {strategy} kernel of cell {}", r.cell.spec().name),
        need,
        limit,
        hint: "let the strategy be chosen".to_owned(),
    }
}

/// Bytes of the recurrent weights in f32.
fn weight_bytes(r: &Recurrence) -> u64 {
    let rows = (r.directions.len() * r.cell.spec().gates.len()).saturating_mul(r.hidden_size);
    rows.saturating_mul(r.hidden_size.next_multiple_of(4) * 4) as u64
}

/// The strategy for a recurrence, and why. It does not depend on the batch, so that a row's bits do not.
///
/// # Errors
/// [`Error::Limit`] if the pinned strategy does not fit.
fn choose_strategy(r: &Recurrence, traits: &Traits, pinned: Option<Strategy>) -> Result<(Strategy, String)> {
    let hidden = r.hidden_size;
    if let Some(strategy) = pinned {
        return match obstacle(r, traits, strategy) {
            None => Ok((strategy, format!("{strategy}: asked for"))),
            Some(obstacle) => Err(refused(r, strategy, obstacle)),
        };
    }
    if let Some((need, limit)) = obstacle(r, traits, Strategy::Persistent) {
        return Ok((Strategy::Step, format!("step: {need} is more than {limit}")));
    }
    let streamed = weight_bytes(r) / r.directions.len().max(1) as u64;
    if !traits.software && streamed > STREAMED_BYTES {
        let why = format!("one workgroup would read {streamed} bytes of weights at every timestep");
        return Ok((Strategy::Step, format!("step: {why}, more than {STREAMED_BYTES}")));
    }
    if let Some((need, limit)) = obstacle(r, traits, Strategy::Held) {
        return Ok((
            Strategy::Persistent,
            format!("persistent: hidden size {hidden} fits one workgroup; not held: {need} is more than {limit}"),
        ));
    }
    let floats = GROUP * held(hidden, traits).groups() * r.cell.spec().gates.len();
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
    let hidden = r.hidden_size;
    let room = format!("{PERSISTENT_MAX_HIDDEN} units of one workgroup");
    if strategy == Strategy::Step {
        None
    } else if let Some(obstacle) = walk_obstacle(r, traits, &PERSISTENT, (PERSISTENT_MAX_HIDDEN, room)) {
        Some(obstacle)
    } else if strategy == Strategy::Held && traits.software && !traits.hands() {
        let lanes = traits.subgroup.map_or("none".to_owned(), |[least, _]| least.to_string());
        Some((format!("a subgroup of {LANES} lanes"), format!("that of the device ({lanes})")))
    } else if strategy == Strategy::Held && held(hidden, traits).groups() > MAX_HELD {
        let groups = held(hidden, traits).groups();
        Some((
            format!("{groups} groups of weights per invocation"),
            format!("{MAX_HELD}, which compile in two seconds"),
        ))
    } else {
        None
    }
}

/// How `hidden` units are held.
fn held(hidden: usize, traits: &Traits) -> Way {
    Way::new(Strategy::Held, RowWidth::One, hidden, traits.held_slices(hidden), traits.software)
}

impl Traits {
    /// Whether lanes read for each other: where a read is dear, and subgroups have enough of them.
    pub(crate) fn hands(&self) -> bool {
        self.software && self.subgroup.is_some_and(|[least, _]| least >= LANES)
    }

    /// Invocations that share a unit with [`Strategy::Held`].
    fn held_slices(&self, hidden: usize) -> usize {
        let alone = Way::new(Strategy::Held, RowWidth::One, hidden, 1, self.software);
        let granted = self.limits.max_compute_invocations_per_workgroup.min(self.limits.max_compute_workgroup_size_x);
        // A power of two, for the tree in which slices are added.
        let most = |invocations: usize| {
            let slices = (invocations.min(granted as usize) / alone.units).max(1);
            1 << slices.ilog2()
        };
        if !self.software {
            // As many as there is room for, so that each holds little.
            return most(INVOCATIONS);
        }
        // Every barrier costs a CPU more than a few products; but a subgroup must be of one slice.
        let whole = self.subgroup.is_some_and(|[_, most]| alone.units.is_multiple_of(most.max(1) as usize));
        let slices = if alone.groups() > COMPILED { 2 } else { 1 };
        if whole { slices.min(most(4 * INVOCATIONS)) } else { 1 }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{
        cell::{Cell, CellParams},
        gpu::owner::LOOP_ROUNDS,
        plan::{BufferId, DeadTimesteps, Direction, WeightId},
    };

    /// Hardware, and two devices that compute on the CPU, one of them without subgroups.
    fn devices() -> [(&'static str, Traits); 3] {
        let limits = wgpu::Limits::default();
        let of = |subgroup, software| Traits {
            limits: limits.clone(),
            subgroup,
            software,
            calibration: Calibration::ASSUMED,
            resident: if software { 2 } else { 32 },
            parallel: if software { 2 } else { PARALLEL },
            tries: 1,
            rereads: !software,
            loop_rounds: if software { LOOP_ROUNDS } else { usize::MAX },
            cooperates: !software,
        };
        let mut software = of(Some([8, 8]), true);
        software.limits.max_compute_invocations_per_workgroup = 1024;
        software.limits.max_compute_workgroup_size_x = 1024;
        [("hardware", of(Some([32, 32]), false)), ("plain software", of(None, true)), ("software", software)]
    }

    #[test]
    fn limits_are_named() {
        let [(_, hardware), _, (_, software)] = devices();
        let plain = Traits { subgroup: None, ..software };
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
        let wish = Wish { pinned: None, cooperative: true };
        for (device, traits) in devices() {
            for hidden in [1, 8, 16, 32, 64, 65, 128, 129, 192, 256, 257, 1024, 1025] {
                for batch in [1, 4, 100] {
                    let (way, reason) = choose_way(&lstm(hidden, None), &traits, wish, batch).unwrap();
                    assert!(reason.starts_with(&format!("{}: ", way.strategy)));
                    lines.push(format!("{device}, LSTM {hidden}, batch {batch}, by {:?}: {reason}", way.width));
                }
            }
        }
        assert_eq!(lines.join("\n"), include_str!("strategy_choices.txt").trim_end(), "\n{}", lines.join("\n"));
    }

    /// Loops of a timestep, as many as its dispatch has, stay below what the driver allows.
    #[test]
    fn a_dispatch_has_as_many_timesteps_as_loops_allow() {
        let [(_, hardware), (_, plain), (_, software)] = devices();
        let steps = |traits: &Traits, cell, hidden, strategy| {
            let wish = Wish { pinned: Some(strategy), cooperative: false };
            let r = Recurrence { cell, ..lstm(hidden, None) };
            choose_way(&r, traits, wish, 1).unwrap().0.most_steps
        };
        assert_eq!(steps(&hardware, Cell::Lstm, 64, Strategy::Held), MOST_STEPS);
        // Twice 66 rounds of products and 64 others.
        assert_eq!(steps(&plain, Cell::GruResetBefore, 256, Strategy::Persistent), LOOP_ROUNDS / 196);
        assert!(steps(&software, Cell::Lstm, 64, Strategy::Held) > 1000);
    }

    /// Workgroups wait only where they may, and where all of them run at once.
    #[test]
    fn cooperation_is_asked_for_and_fits() {
        let [(_, hardware), _, (_, software)] = devices();
        let hardware = Traits { resident: 132, ..hardware };
        let choose = |traits: &Traits, pinned, cooperative, hidden, batch| {
            choose_way(&lstm(hidden, None), traits, Wish { pinned, cooperative }, batch).map(|(way, _)| way)
        };
        assert_eq!(choose(&hardware, None, false, 512, 1).unwrap().strategy, Strategy::Step);
        let way = choose(&hardware, None, true, 512, 6).unwrap();
        assert_eq!((way.strategy, way.rows_each, way.products), (Strategy::Cooperative, 6, Products::Held(4)));
        assert_eq!(choose(&hardware, None, true, 256, 8).unwrap().rows_each, 4);
        assert_eq!(choose(&hardware, None, true, 512, 9).unwrap().strategy, Strategy::Step);
        assert_eq!(choose(&hardware, None, true, 600, 1).unwrap().strategy, Strategy::Step);
        let gave_up = Traits { cooperates: false, ..hardware };
        assert_eq!(choose(&gave_up, None, true, 512, 1).unwrap().strategy, Strategy::Step);
        assert_eq!(choose(&software, None, true, 512, 1).unwrap().strategy, Strategy::Step);
        let pinned = Some(Strategy::Cooperative);
        assert_eq!(choose(&software, pinned, false, 8, 3).unwrap().rows_each, 3);
        assert!(matches!(choose(&software, pinned, false, 9, 1), Err(Error::Limit { .. })));
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
