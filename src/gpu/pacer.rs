//! Cuts long work into submissions that take about as long as the options allow. A submission that
//! runs for seconds trips watchdogs and blocks the screen; many tiny ones waste time.
//!
//! Kernels state their work in multiply-adds. How long one takes, per kernel, is learned on this
//! adapter from the submissions that have ended.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use super::{owner::Owner, recorder::Submitter};
use crate::{error::Result, stats::RunStats};

/// Where the CPU computes there is no watchdog, and nobody else waits for the device.
const SOFTWARE_SLICES: u32 = 8;
/// Submissions in flight: one runs, one waits. A third is being recorded.
const MAX_IN_FLIGHT: usize = 2;
/// Seconds per multiply-add before anything was measured, on a driver that computes on the CPU and
/// on a GPU: slower than nearly all, so that work starts in small slices.
const FIRST_GUESS: [f64; 2] = [5e-9, 1e-11];
/// How far one measurement may move an estimate down and up.
const STEP: [f64; 2] = [0.5, 4.0];
/// A kernel not yet measured counts as so much slower than the slowest that was.
const UNKNOWN: f64 = 4.0;

/// Work by kernel: multiply-adds.
type Work = HashMap<&'static str, f64>;

/// What is known of an adapter's speed; outlives runs.
#[derive(Clone, Debug)]
pub(super) struct Speed {
    /// Seconds that a dispatch takes whatever it does.
    dispatch: f64,
    first_guess: f64,
    seconds: HashMap<&'static str, f64>,
}

impl Speed {
    pub(super) fn new(software: bool, dispatch: f64) -> Self {
        Self { dispatch, first_guess: FIRST_GUESS[usize::from(!software)], seconds: HashMap::new() }
    }

    /// Seconds per multiply-add of the slowest kernel measured.
    fn slowest(&self) -> Option<f64> {
        self.seconds.values().copied().reduce(f64::max)
    }

    /// Seconds per multiply-add of `kernel`.
    fn of(&self, kernel: &'static str) -> f64 {
        let guess = || self.slowest().map_or(self.first_guess, |slowest| (slowest * UNKNOWN).min(self.first_guess));
        self.seconds.get(kernel).copied().unwrap_or_else(guess)
    }

    /// Learns from a submission of `dispatches` with `work` that took `seconds`. If it had ended
    /// before anyone looked, `seconds` is only known not to be exceeded.
    fn learn(&mut self, work: &Work, dispatches: u32, seconds: f64, at_most: bool) {
        let overhead = f64::from(dispatches) * self.dispatch;
        let expected: f64 = work.iter().map(|(kernel, cost)| self.of(kernel) * cost).sum();
        let ratio = (seconds - overhead) / expected;
        // Where dispatches as such take most of the time, it says nothing about the work in them.
        let silent = expected < overhead && ratio < 1.0;
        if silent || !ratio.is_finite() || (at_most && ratio >= 1.0) {
            return;
        }
        let [down, up] = STEP;
        for (kernel, cost) in work {
            // A kernel answers for the surprise in proportion to its share.
            let rate = self.of(kernel);
            let share = rate * cost / expected;
            self.seconds.insert(kernel, rate * (1.0 + (ratio.clamp(down, up) - 1.0) * share));
        }
    }
}

struct InFlight {
    submission: wgpu::SubmissionIndex,
    submitted: Instant,
    work: Work,
    dispatches: u32,
}

/// The submissions of one run: what the recorder hands them to.
pub(super) struct Pacer<'a> {
    pub(super) owner: &'a mut Owner,
    slice: Duration,
    deadline: Duration,
    in_flight: VecDeque<InFlight>,
    last_ended: Option<Instant>,
    /// The last submission.
    last: Option<wgpu::SubmissionIndex>,
    /// What was recorded for the next submission.
    work: Work,
    dispatches: u32,
    pub(super) stats: RunStats,
}

impl<'a> Pacer<'a> {
    pub(super) fn new(owner: &'a mut Owner, deadline: Duration) -> Self {
        Self {
            slice: owner.options.slice * if owner.traits.software { SOFTWARE_SLICES } else { 1 },
            owner,
            deadline,
            in_flight: VecDeque::new(),
            last_ended: None,
            last: None,
            work: Work::new(),
            dispatches: 0,
            stats: RunStats { batch_tiles: 1, ..RunStats::default() },
        }
    }

    /// Waits until everything has ended, buffers that were asked for meanwhile included.
    pub(super) fn finish(&mut self) -> Result<()> {
        if self.in_flight.is_empty() {
            // Only a wait hands over what was mapped.
            let last = self.last.clone();
            return last.map_or(Ok(()), |last| self.owner.wait(last, "handing over results", self.deadline));
        }
        while !self.in_flight.is_empty() {
            self.wait_oldest()?;
        }
        Ok(())
    }

    fn wait_oldest(&mut self) -> Result<()> {
        let Some(oldest) = self.in_flight.pop_front() else { return Ok(()) };
        let asked = Instant::now();
        self.owner.wait(oldest.submission, "running a slice", self.deadline)?;
        let ended = Instant::now();
        // It cannot have begun before the one before it ended.
        let began = self.last_ended.map_or(oldest.submitted, |last| last.max(oldest.submitted));
        self.last_ended = Some(ended);
        let took = ended.saturating_duration_since(began);
        let at_most = ended.saturating_duration_since(asked) < Duration::from_micros(200);
        if !at_most {
            self.stats.longest = self.stats.longest.max(took);
        }
        self.owner.speed.learn(&oldest.work, oldest.dispatches, took.as_secs_f64(), at_most);
        Ok(())
    }

    /// Seconds that count as one multiply-add of the budget.
    fn unit(&self) -> f64 {
        self.owner.speed.slowest().unwrap_or(self.owner.speed.first_guess)
    }
}

impl Submitter for Pacer<'_> {
    fn submit(&mut self, commands: wgpu::CommandBuffer, _: f64) -> Result<()> {
        while self.in_flight.len() >= MAX_IN_FLIGHT {
            self.wait_oldest()?;
        }
        let submitted = Instant::now();
        let submission = self.owner.submit(commands)?;
        self.last = Some(submission.clone());
        self.stats.submissions += 1;
        let (work, dispatches) = (std::mem::take(&mut self.work), std::mem::take(&mut self.dispatches));
        self.in_flight.push_back(InFlight { submission, submitted, work, dispatches });
        Ok(())
    }

    fn read_words(&mut self, buffer: &wgpu::Buffer, count: usize) -> Result<Vec<u32>> {
        let mapping = self.owner.map(buffer, count)?;
        self.finish()?;
        Ok(self.owner.read(&mapping)?.into_iter().map(f32::to_bits).collect())
    }

    fn budget(&self) -> f64 {
        self.slice.as_secs_f64() / self.unit()
    }

    fn estimate(&self, kernel: &'static str, cost: f64) -> f64 {
        (self.owner.speed.dispatch + self.owner.speed.of(kernel) * cost) / self.unit()
    }

    fn note(&mut self, kernel: &'static str, cost: f64) {
        *self.work.entry(kernel).or_insert(0.0) += cost;
        self.dispatches += 1;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    const DISPATCH: f64 = 1e-5;

    #[test]
    fn estimates_approach_what_is_measured() {
        let mut speed = Speed::new(true, DISPATCH);
        assert!(speed.of("a") > Speed::new(false, DISPATCH).of("a"));
        for _ in 0..30 {
            speed.learn(&Work::from([("a", 1e9)]), 1, 0.1 + DISPATCH, false);
        }
        assert!((speed.of("a") - 1e-10).abs() < 1e-12, "{}", speed.of("a"));
        assert!((speed.of("b") - 1e-10 * UNKNOWN).abs() < 1e-11);
        speed.learn(&Work::from([("a", 1e9)]), 1, 10.0, false);
        assert!(speed.of("a") > 3.9e-10);
    }

    #[test]
    fn what_says_nothing_teaches_nothing() {
        let mut speed = Speed::new(true, DISPATCH);
        let guess = speed.of("a");
        let mut same = |work: f64, dispatches, seconds, at_most| {
            speed.learn(&Work::from([("a", work)]), dispatches, seconds, at_most);
            assert!((speed.of("a") - guess).abs() < 1e-15);
        };
        // Already over when first looked at, and longer than expected.
        same(1e6, 1, 10.0, true);
        // Dispatches of next to no work.
        same(10.0, 1000, 1e-3, false);
        same(0.0, 1000, 1.0, false);
        speed.learn(&Work::from([("a", 1e8)]), 1, 1e-3, true);
        assert!(speed.of("a") < guess);
    }
}
