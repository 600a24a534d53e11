//! Timing in turns: whatever else the machine does meanwhile happens to all.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;

use crate::{
    case::Case,
    note,
    peers::{Entrant, Name},
};

/// What one entrant did on one workload.
pub(crate) struct Row {
    pub(crate) name: Name,
    pub(crate) threads: Option<usize>,
    pub(crate) strategy: Option<String>,
    pub(crate) outcome: Outcome,
}

pub(crate) enum Outcome {
    Timed(Timed),
    /// It failed, or its output was wrong: in words.
    Failed(String),
}

/// Times in milliseconds.
pub(crate) struct Timed {
    /// From host to host: the runs of each turn.
    pub(crate) turns: Vec<Vec<f64>>,
    /// Of runs whose input and output stay on the device.
    pub(crate) resident: Vec<f64>,
    /// By the device's own clock.
    pub(crate) on_device: Vec<f64>,
    /// The largest difference from the reference of the outputs before the first and after the last turn.
    pub(crate) error: f64,
}

/// An entrant at work on a workload.
struct Runner<'a> {
    entrant: &'a mut Entrant,
    /// Seconds of a warm run.
    warm: f64,
    /// Milliseconds of the runs that count, per turn.
    turns: Vec<Vec<f64>>,
    resident: Vec<f64>,
    on_device: Vec<f64>,
    error: f64,
    failed: Option<String>,
}

/// Runs before anything counts, as long as they do not take too long. The first ones compile, tune and fuse.
const WARM_UPS: usize = 5;
const FEWEST_WARM_UPS: usize = 2;
const WARM_UP_TIME: Duration = Duration::from_secs(5);

/// How long a turn takes, if its runs are short.
const TURN: f64 = 0.02;
const MOST_RUNS_IN_A_TURN: usize = 10;

/// A run this long needs no other one before it to bring back its caches and clocks.
const LONG: f64 = 0.1;

/// Threads of a pool look for work for a while after a run: they would take a core from the next one.
const PAUSE: Duration = Duration::from_millis(20);

/// Runs by the device's clock.
const ON_DEVICE: usize = 3;

/// Times all entrants on `case`.
pub(crate) fn time(entrants: &mut [Entrant], case: &Case, rounds: Option<usize>, resident: bool) -> Vec<Row> {
    let here = entrants.iter_mut().filter(|entrant| !case.workload.stream || entrant.name.streams());
    let mut runners: Vec<Runner<'_>> = here.map(Runner::new).collect();
    for runner in &mut runners {
        runner.attempt(|runner| runner.warm_up(case));
    }
    let of_a_round: f64 = runners.iter().filter(|runner| runner.failed.is_none()).map(Runner::turn_takes).sum();
    let rounds = rounds.unwrap_or_else(|| fitting(of_a_round));
    for _ in 0..rounds {
        for runner in &mut runners {
            thread::sleep(PAUSE);
            runner.attempt(|runner| runner.turn(resident));
        }
    }
    for runner in &mut runners {
        runner.attempt(|runner| runner.finish(case));
    }
    runners.into_iter().map(Runner::row).collect()
}

/// The rounds that fit in 20 seconds, 3 to 20.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // within 3 and 20
fn fitting(of_a_round: f64) -> usize {
    (20.0 / of_a_round.max(1e-9)).clamp(3.0, 20.0) as usize
}

impl<'a> Runner<'a> {
    fn new(entrant: &'a mut Entrant) -> Self {
        let (turns, resident, on_device) = (Vec::new(), Vec::new(), Vec::new());
        Self { entrant, warm: 0.0, turns, resident, on_device, error: 0.0, failed: None }
    }

    /// Does `work`, unless something failed before.
    fn attempt(&mut self, work: impl FnOnce(&mut Self) -> Result<()>) {
        if self.failed.is_none() {
            self.failed = work(self).err().map(|error| format!("{error:#}"));
        }
    }

    fn warm_up(&mut self, case: &Case) -> Result<()> {
        let peer = &mut self.entrant.peer;
        peer.open(case)?;
        // The first one may compile for long.
        peer.run(1)?;
        let started = Instant::now();
        for run in 1..WARM_UPS {
            if run >= FEWEST_WARM_UPS && started.elapsed() > WARM_UP_TIME {
                break;
            }
            self.warm = peer.run(1)?.iter().sum();
        }
        self.check(case)
    }

    fn check(&mut self, case: &Case) -> Result<()> {
        let checked = case.check(&self.entrant.peer.output()?)?;
        self.error = self.error.max(checked.error);
        Ok(())
    }

    /// Runs that do not count and runs that do, in a turn.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // within 1 and 10
    fn runs(&self) -> (usize, usize) {
        let counted = (TURN / self.warm.max(1e-9)).clamp(1.0, MOST_RUNS_IN_A_TURN as f64) as usize;
        (usize::from(self.warm < LONG), counted)
    }

    #[allow(clippy::cast_precision_loss)] // a few
    fn turn_takes(&self) -> f64 {
        let (before, counted) = self.runs();
        self.warm * (before + counted) as f64 + PAUSE.as_secs_f64()
    }

    fn turn(&mut self, resident: bool) -> Result<()> {
        let (before, counted) = self.runs();
        let peer = &mut self.entrant.peer;
        let times = peer.run(before + counted)?;
        self.turns.push(times.into_iter().skip(before).map(ms).collect());
        if resident && let Some(times) = peer.resident(before + counted)? {
            self.resident.extend(times.into_iter().skip(before).map(ms));
        }
        Ok(())
    }

    fn finish(&mut self, case: &Case) -> Result<()> {
        // Of the last run that counted.
        self.check(case)?;
        if let Some(times) = self.entrant.peer.on_device(ON_DEVICE)? {
            self.on_device = times.into_iter().map(ms).collect();
        }
        Ok(())
    }

    fn row(self) -> Row {
        let Self { entrant, turns, resident, on_device, error, failed, .. } = self;
        let outcome = match failed {
            Some(why) => {
                note(&format!("{}: {why}", entrant.name.text()));
                Outcome::Failed(why)
            }
            None => Outcome::Timed(Timed { turns, resident, on_device, error }),
        };
        Row { name: entrant.name, threads: entrant.threads, strategy: entrant.peer.strategy(), outcome }
    }
}

fn ms(seconds: f64) -> f64 {
    seconds * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_follow_the_time() {
        assert_eq!([fitting(0.0), fitting(2.0), fitting(100.0)], [20, 10, 3]);
    }
}
