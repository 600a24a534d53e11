//! How long a run takes here, about.

use super::{Calibration, crew::Split, recurrence};
use crate::plan::{Bound, Estimate, Op, Part, Plan};

/// A function such as the hyperbolic tangent takes as long as so many multiply-adds, by the times of LSTMs of 64 to 512
/// units in `docs/performance.md`.
const FUNCTION: f64 = 32.0;
/// Seconds of a run as such: its inputs are checked, its outputs get memory. Of the least ones of layers of 16 units.
const RUN: f64 = 2.5e-6;
/// Seconds until other threads take part.
const JOIN: f64 = 4e-6;
/// Seconds of a timestep of a direction as such, and of a step of the plan, by those of layers of a few units.
const LEAST: f64 = 1e-7;
/// Rows that a recurrence takes through a sequence together, reading its weights once at each timestep.
const ROWS: f64 = 64.0;
/// Threads that find the memory as fast as one does; more share what these have.
const READERS: f64 = 2.0;

/// The time of a run with the sizes `bound` by at most `threads` threads, of a CPU with these `figures`.
pub(crate) fn estimate(plan: &Plan, bound: &Bound, figures: &Calibration, threads: usize) -> Estimate {
    let split = Split::of(plan, bound, threads);
    let count = match split {
        Split::None => 1.0,
        Split::Rows(threads) | Split::Units(threads) => threads as f64,
    };
    // The largest share of a thread in `of`.
    let share = |of: usize| (of as f64 / count).ceil() / (of as f64).max(1.0);
    // By rows each thread has its part of everything; by units only of recurrences.
    let rows = if matches!(split, Split::Rows(_)) { share(bound.batch()) } else { 1.0 };
    let reading = |bytes: f64| {
        #[allow(clippy::cast_precision_loss)] // a size
        let is_near = bytes <= figures.cache_bytes as f64;
        let from_memory = figures.memory_bandwidth * count.min(READERS) / count;
        bytes / if is_near { figures.cache_bandwidth } else { from_memory.min(figures.cache_bandwidth) }
    };
    let arithmetic = |products: f64, functions: f64| (products + FUNCTION * functions) / figures.multiply_adds;
    let mut all = Estimate::default();
    all.add(Part::Run, RUN);
    if count > 1.0 {
        all.add(Part::HandOvers, JOIN);
    }
    for step in &plan.steps {
        let cost = plan.cost(&step.op, bound);
        let units = match (&step.op, split) {
            (Op::Recurrence(r), Split::Units(_)) => share(recurrence::blocks(r)),
            _ => 1.0,
        };
        all.add(Part::Timesteps, LEAST);
        let values = rows * cost.values;
        all.add_longer(
            arithmetic(cost.products, cost.functions) * rows * units,
            reading(cost.weights * units).max(reading(values)),
        );
        if let Some(serial) = cost.serial {
            // Directions come one after the other.
            let times = serial.timesteps * serial.directions;
            let through = if let Op::Recurrence(r) = &step.op { recurrence::rows(r, bound) } else { bound.batch() };
            let tiles = (through as f64 * rows / ROWS).ceil();
            all.add(Part::Timesteps, times * tiles * LEAST);
            all.add_longer(
                times * arithmetic(serial.products, serial.functions) * rows * units,
                times * tiles * reading(serial.weights * units),
            );
            if matches!(split, Split::Units(_)) {
                all.add(Part::HandOvers, times * serial.stages * (count - 1.0) * figures.hand_over);
            }
        }
    }
    all
}
