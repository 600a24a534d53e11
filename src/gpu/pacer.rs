//! Cuts long work into submissions that take about as long as the options allow. A submission that
//! runs for seconds trips watchdogs and blocks the screen; many tiny ones waste time.
//!
//! Work comes with a cost in arbitrary units, and a class whose units compare. How long a unit takes
//! on this adapter is learned from the submissions that have ended.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use super::owner::Owner;
use crate::error::Result;

/// Submissions in flight: one runs, one waits, one is being recorded.
const MAX_IN_FLIGHT: usize = 2;
/// Seconds per unit before anything was measured: slow enough for any adapter, so that work starts in small slices.
const FIRST_GUESS: f64 = 5e-9;
/// How far one measurement may move the estimate.
const MAX_STEP: f64 = 4.0;

/// What a run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunStats {
    /// Number of submissions.
    pub submissions: u64,
    /// The longest of them, as seen from the host.
    pub longest: Duration,
    /// Number of batch tiles.
    pub batch_tiles: u64,
}

/// What is known of the adapter's speed; outlives runs.
#[derive(Debug, Default)]
pub(super) struct Speed {
    seconds_per_unit: HashMap<&'static str, f64>,
}

impl Speed {
    pub(super) fn estimate(&self, class: &'static str, cost: f64) -> f64 {
        self.seconds_per_unit.get(class).copied().unwrap_or(FIRST_GUESS) * cost
    }

    /// Learns from a submission of `parts` that took `seconds`. If it had ended before anyone
    /// looked, `seconds` is only known not to be exceeded.
    fn learn(&mut self, parts: &HashMap<&'static str, f64>, seconds: f64, at_most: bool) {
        let expected: f64 = parts.iter().map(|(class, cost)| self.estimate(class, *cost)).sum();
        if expected <= 0.0 || seconds <= 0.0 || (at_most && seconds >= expected) {
            return;
        }
        let ratio = (seconds / expected).clamp(1.0 / MAX_STEP, MAX_STEP);
        for (class, cost) in parts {
            // A class answers for the surprise in proportion to its share; half of it at a time.
            let share = self.estimate(class, *cost) / expected;
            let rate = self.seconds_per_unit.entry(class).or_insert(FIRST_GUESS);
            *rate *= 1.0 + (ratio - 1.0) * share * 0.5;
        }
    }
}

struct InFlight {
    submission: wgpu::SubmissionIndex,
    submitted: Instant,
    parts: HashMap<&'static str, f64>,
}

/// The submissions of one run.
pub(super) struct Pacer {
    slice: Duration,
    deadline: Duration,
    in_flight: VecDeque<InFlight>,
    last_ended: Option<Instant>,
    /// Work recorded for the next submission.
    parts: HashMap<&'static str, f64>,
    pub(super) stats: RunStats,
}

impl Pacer {
    pub(super) fn new(slice: Duration, deadline: Duration) -> Self {
        Self {
            slice,
            deadline,
            in_flight: VecDeque::new(),
            last_ended: None,
            parts: HashMap::new(),
            stats: RunStats::default(),
        }
    }

    /// The cost of `class` that the submission being recorded still has room for; at least 1 if it is empty.
    pub(super) fn room(&self, speed: &Speed, class: &'static str) -> f64 {
        let taken: f64 = self.parts.iter().map(|(class, cost)| speed.estimate(class, *cost)).sum();
        let left = (self.slice.as_secs_f64() - taken).max(0.0);
        let room = left / speed.estimate(class, 1.0);
        if self.parts.is_empty() { room.max(1.0) } else { room }
    }

    /// Notes work recorded for the next submission.
    pub(super) fn add(&mut self, class: &'static str, cost: f64) {
        *self.parts.entry(class).or_insert(0.0) += cost;
    }

    /// Hands over what was recorded; waits for the oldest submission if too many are in flight.
    pub(super) fn submit(&mut self, owner: &mut Owner, commands: wgpu::CommandBuffer) -> Result<wgpu::SubmissionIndex> {
        while self.in_flight.len() >= MAX_IN_FLIGHT {
            self.wait_oldest(owner)?;
        }
        let submitted = Instant::now();
        let submission = owner.submit(commands)?;
        self.stats.submissions += 1;
        let parts = std::mem::take(&mut self.parts);
        self.in_flight.push_back(InFlight { submission: submission.clone(), submitted, parts });
        Ok(submission)
    }

    /// Waits until everything has ended.
    pub(super) fn finish(&mut self, owner: &mut Owner) -> Result<()> {
        while !self.in_flight.is_empty() {
            self.wait_oldest(owner)?;
        }
        Ok(())
    }

    fn wait_oldest(&mut self, owner: &mut Owner) -> Result<()> {
        let Some(oldest) = self.in_flight.pop_front() else { return Ok(()) };
        let asked = Instant::now();
        owner.wait(oldest.submission, "a slice of the run", self.deadline)?;
        let ended = Instant::now();
        // It cannot have begun before the one before it ended.
        let began = self.last_ended.map_or(oldest.submitted, |last| last.max(oldest.submitted));
        self.last_ended = Some(ended);
        let took = ended.saturating_duration_since(began);
        let at_most = ended.saturating_duration_since(asked) < Duration::from_micros(200);
        if !at_most {
            self.stats.longest = self.stats.longest.max(took);
        }
        owner.speed.learn(&oldest.parts, took.as_secs_f64(), at_most);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_grow_towards_the_cap_and_shrink_after_a_surprise() {
        let (mut speed, mut pacer) = (Speed::default(), Pacer::new(Duration::from_millis(50), Duration::from_secs(1)));
        let first = pacer.room(&speed, "a");
        for _ in 0..40 {
            // The adapter takes 1e-10 s per unit.
            let cost = pacer.room(&speed, "a");
            speed.learn(&HashMap::from([("a", cost)]), cost * 1e-10, false);
        }
        let settled = pacer.room(&speed, "a");
        assert!(settled > 10.0 * first && (4.9e8..5.1e8).contains(&settled), "{first} -> {settled}");
        speed.learn(&HashMap::from([("a", settled)]), 1.0, false);
        assert!(pacer.room(&speed, "a") < settled / 2.0);
        pacer.add("a", settled);
        assert_eq!(pacer.room(&speed, "a"), 0.0);
        assert_eq!(pacer.room(&speed, "b"), 0.0);
    }

    #[test]
    fn an_upper_bound_never_slows_the_estimate() {
        let mut speed = Speed::default();
        let parts = HashMap::from([("a", 1e6)]);
        speed.learn(&parts, 10.0, true);
        assert!((speed.estimate("a", 1.0) - FIRST_GUESS).abs() < 1e-15);
        speed.learn(&parts, 1e-5, true);
        assert!(speed.estimate("a", 1.0) < FIRST_GUESS);
    }
}
