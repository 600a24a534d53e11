//! How long a run takes on a device, about, once its weights are there and its kernels are compiled.

use std::sync::Arc;

use super::{
    Calibration, Gpu,
    executor::{self, ProgramOptions},
    kernel::Products,
    kernels::strategy::{Strategy, Traits, way_within},
    schedule::Schedule,
};
use crate::{
    error::Result,
    plan::{Bound, BufferId, Estimate, Part, Plan, StatePort},
};

/// Seconds that recording a dispatch takes on the host, which for short runs comes before the device's work.
const RECORD: f64 = 2e-6;
/// Bytes per second between the host and the device, either way, the copies at both ends included.
const TRANSFER: f64 = 4e9;
/// What kernels reach of the arithmetic that is measured in registers.
const REACHED: f64 = 0.25;
/// Seconds of a timestep as such within a dispatch: barriers, and reads that wait for them.
const WALK: f64 = 2e-6;
/// And where its workgroups wait for each other.
const COOPERATE: f64 = 4e-6;
/// Workgroups that share a processor of the device where all are at work: what one is slower by than a share of all.
const SHARING: f64 = 8.0;
/// Bytes of weights that caches which all workgroups share have, on nearly any device.
const CACHED: f64 = (4 << 20) as f64;

impl Gpu {
    /// How long a run of `plan` with the sizes `bound` takes, and whether that is by figures that nobody measured.
    ///
    /// # Errors
    /// [`Error::Limit`](crate::Error::Limit) if not even one row fits, or a strategy that is asked for does not.
    pub(crate) fn estimate(&self, plan: &Plan, bound: &Bound, options: &ProgramOptions) -> Result<(Estimate, bool)> {
        self.memory_need(plan, bound, options)?;
        let measured = self.options().calibration;
        let figures = measured.unwrap_or_else(|| Calibration::expected(self.info().kind));
        Ok((estimate(plan, bound, &self.current_traits(), options, &figures)?, measured.is_none()))
    }
}

/// The time of a run with the sizes `bound`, of a device with these `traits` and `figures`.
pub(crate) fn estimate(
    plan: &Plan,
    bound: &Bound,
    traits: &Traits,
    options: &ProgramOptions,
    figures: &Calibration,
) -> Result<Estimate> {
    let schedule = Arc::new(Schedule::new(plan, traits.limits.max_storage_buffer_binding_size));
    let limit = executor::memory_limits(&traits.limits, options).scratch();
    let schedule = schedule.of_run(plan, bound, traits, options, limit);
    let mut all = Estimate::default();
    all.add(Part::RoundTrip, figures.round_trip);
    all.add(Part::Transfers, transferred(plan, bound) / TRANSFER);
    let dispatch = figures.dispatch + RECORD;
    let arithmetic = figures.multiply_adds * REACHED;
    for unit in &schedule.units {
        let steps = plan.steps.get(unit.steps.clone()).unwrap_or_default();
        let costs: Vec<_> = steps.iter().map(|step| plan.cost(&step.op, bound)).collect();
        for cost in &costs {
            // Each direction of a recurrence has a product of its own.
            all.add(Part::Dispatches, dispatch * cost.serial.map_or(1.0, |serial| serial.directions));
            all.add_longer(cost.products / arithmetic, (cost.weights + cost.values) / figures.memory_bandwidth);
        }
        let (Some(r), Some(serial)) = (unit.recurrence(plan), costs.first().and_then(|cost| cost.serial)) else {
            continue;
        };
        let (way, _) = way_within(r, traits, options.wish(), bound)?;
        let directions = r.directions.len() as f64;
        let rows = bound.shape(r.input).first().map_or(0, |rows| rows.div_ceil(way.rows())) as f64;
        if rows < 1.0 {
            continue;
        }
        let blocks = match way.strategy {
            Strategy::Step | Strategy::Cooperative => r.hidden_size.div_ceil(way.units) as f64,
            Strategy::Persistent | Strategy::Held => 1.0,
        };
        // What fewer workgroups than the device has processors leave unused.
        let busy = (rows * blocks * directions * SHARING / f64::from(figures.resident_workgroups)).min(1.0);
        let once = serial.weights * directions;
        let read = match way.products {
            Products::Held(_) | Products::Handed(_) => 0.0,
            // Each workgroup reads all of them, from a cache.
            Products::Streamed if blocks <= 1.0 => once * rows / (figures.cache_bandwidth * busy),
            // Those of the same units read the same.
            Products::Streamed | Products::Tiled(_) => {
                let from = if once <= CACHED { figures.cache_bandwidth } else { figures.memory_bandwidth };
                (once / from).max(once * rows / figures.cache_bandwidth)
            }
        };
        let products = serial.products * directions / (arithmetic * busy.max(f64::MIN_POSITIVE));
        all.add_longer(serial.timesteps * products, serial.timesteps * read);
        // Layers of a stack follow each other by slices: taken for as many as there are layers.
        let layers = unit.wavefront().filter(|wavefront| wavefront.is_stack).map_or(1.0, |_| directions);
        let stages = serial.timesteps * (2.0 - 1.0 / layers) * serial.stages;
        match way.strategy {
            Strategy::Step => all.add(Part::Dispatches, stages * dispatch),
            Strategy::Persistent | Strategy::Held => all.add(Part::Timesteps, stages * WALK),
            Strategy::Cooperative => all.add(Part::Timesteps, stages * COOPERATE),
        }
    }
    Ok(all)
}

/// Bytes that go to the device and back.
fn transferred(plan: &Plan, bound: &Bound) -> f64 {
    let states = |of: fn(&StatePort) -> BufferId| plan.states.iter().map(of);
    let inputs = plan.inputs.iter().map(|port| port.buffer).chain(states(|port| port.initial));
    let outputs = plan.outputs.iter().map(|port| port.buffer).chain(states(|port| port.last));
    4.0 * inputs.chain(outputs).map(|buffer| bound.len(buffer) as f64).sum::<f64>()
}

/// The traits of hardware that was never measured, for tests of what is made of them.
#[cfg(test)]
pub(crate) fn made_up_traits() -> Traits {
    Traits {
        limits: wgpu::Limits::default(),
        subgroup: Some([32, 32]),
        software: false,
        resident: 32,
        parallel: super::kernels::strategy::PARALLEL,
        tries: 1,
        rereads: true,
        loop_rounds: usize::MAX,
        cooperates: true,
        calibration: Calibration::ASSUMED,
    }
}
