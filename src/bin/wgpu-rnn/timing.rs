//! How long a model takes on a device, and how wrong the very outputs are that were timed.

use std::time::{Duration, Instant};

use wgpu_rnn::{
    Device, Error, Model, Outputs, Session, SessionOptions, Tensor, compare::Tolerance, verify::Verification,
};

use crate::{args::HowArgs, setup};

/// How often a model is timed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// Runs; as many as fit in `time` without it.
    pub(crate) runs: Option<usize>,
    pub(crate) time: Duration,
    pub(crate) most: usize,
}

/// Fewest runs where their number is open.
const FEWEST: usize = 5;

impl Effort {
    /// The number of runs if the first one took `first`.
    fn count(self, first: Duration) -> usize {
        let fitting = self.time.as_secs_f64() / first.as_secs_f64().max(1e-9);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // within 5 and 50
        let fitting = fitting.clamp(FEWEST as f64, self.most.max(FEWEST) as f64) as usize;
        self.runs.unwrap_or(fitting)
    }
}

/// Times of runs in milliseconds, ascending.
#[derive(Clone, Debug)]
pub(crate) struct Times(Vec<f64>);

impl Times {
    fn new(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        Self(times)
    }

    pub(crate) fn min(&self) -> f64 {
        self.0.first().copied().unwrap_or(f64::NAN)
    }

    /// The middle one, or the mean of the two in the middle.
    pub(crate) fn median(&self) -> f64 {
        let at = |index: usize| self.0.get(index).copied().unwrap_or(f64::NAN);
        let count = self.0.len();
        if count % 2 == 1 { at(count / 2) } else { f64::midpoint(at(count / 2), at((count / 2).wrapping_sub(1))) }
    }

    /// The smallest that nine of ten do not exceed.
    pub(crate) fn p90(&self) -> f64 {
        self.exceeded_by_at_most(10)
    }

    /// The smallest that 99 of 100 do not exceed.
    pub(crate) fn p99(&self) -> f64 {
        self.exceeded_by_at_most(1)
    }

    fn exceeded_by_at_most(&self, percent: usize) -> f64 {
        let within = (self.0.len() * (100 - percent)).div_ceil(100);
        self.0.get(within.saturating_sub(1)).copied().unwrap_or(f64::NAN)
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }
}

/// A device that was timed.
#[derive(Debug)]
pub(crate) struct Timed {
    pub(crate) session: Session,
    pub(crate) times: Times,
    /// Of the last run that was timed.
    pub(crate) outputs: Outputs,
}

impl Timed {
    /// The outputs beside those of the reference.
    pub(crate) fn verification(&self, expected: &Outputs) -> Result<Verification, Error> {
        Verification::new(expected, &self.outputs, Tolerance::FREE_RUNNING)
    }
}

/// Times `model` on `device`: pipelines first, a run to warm up, then the runs that count. Every run
/// starts from zero states.
pub(crate) fn time(
    model: &Model,
    device: Device,
    how: &HowArgs,
    inputs: &[(String, Tensor)],
    effort: Effort,
) -> Result<Timed, Error> {
    let session = Session::new(model, setup::options(device, how))?;
    session.warm_up(&shapes(model, inputs))?;
    // The very first one grows buffers.
    run(&session, inputs)?;
    let (times, outputs) = times(&session, inputs, effort)?;
    Ok(Timed { session, times, outputs })
}

/// One run from zero states, and how long it took.
pub(crate) fn run(session: &Session, inputs: &[(String, Tensor)]) -> Result<(Duration, Outputs), Error> {
    session.reset_state();
    let inputs = wgpu_rnn::Inputs::from_iter(inputs.to_vec());
    let started = Instant::now();
    let outputs = session.run(inputs)?;
    Ok((started.elapsed(), outputs))
}

/// The runs that count, and the outputs of the last one.
pub(crate) fn times(session: &Session, inputs: &[(String, Tensor)], effort: Effort) -> Result<(Times, Outputs), Error> {
    let (first, mut outputs) = run(session, inputs)?;
    let mut times = Vec::new();
    for _ in 0..effort.count(first).max(1) {
        let (elapsed, these) = run(session, inputs)?;
        times.push(elapsed.as_secs_f64() * 1e3);
        outputs = these;
    }
    Ok((Times::new(times), outputs))
}

/// The shapes of `inputs` in the model's order.
pub(crate) fn shapes(model: &Model, inputs: &[(String, Tensor)]) -> Vec<Vec<usize>> {
    let of = |name: &str| inputs.iter().find(|(known, _)| known == name).map(|(_, tensor)| tensor.shape().to_vec());
    model.inputs().iter().filter_map(|input| of(&input.name)).collect()
}

/// What the reference says to `inputs`, from zero states, on weights stored as `how` says. How products are made is not its
/// business.
pub(crate) fn expected(model: &Model, how: &HowArgs, inputs: &[(String, Tensor)]) -> Result<Outputs, Error> {
    let mut options = SessionOptions::on(Device::Reference);
    options.weights = setup::precision(how.weights);
    Session::new(model, options)?.run(wgpu_rnn::Inputs::from_iter(inputs.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_and_p90() {
        let times = |count: u32| Times::new((1..=count).rev().map(f64::from).collect());
        let all = |times: Times| [times.min(), times.median(), times.p90()];
        assert_eq!(all(times(1)), [1.0, 1.0, 1.0]);
        assert_eq!(all(times(2)), [1.0, 1.5, 2.0]);
        assert_eq!(all(times(10)), [1.0, 5.5, 9.0]);
        assert_eq!(all(times(11)), [1.0, 6.0, 10.0]);
    }

    #[test]
    fn the_number_of_runs_follows_the_time() {
        let effort = Effort { runs: None, time: Duration::from_secs(2), most: 50 };
        assert_eq!(effort.count(Duration::ZERO), 50);
        assert_eq!(effort.count(Duration::from_millis(100)), 20);
        assert_eq!(effort.count(Duration::from_secs(100)), 5);
        assert_eq!(Effort { runs: Some(2), ..effort }.count(Duration::ZERO), 2);
    }
}
