//! [`verify`]: a session's outputs beside those of the f64 reference, on inputs of the caller or on
//! [`random_inputs`].

mod random;

pub use random::random_inputs;

use crate::{
    compare::{Difference, Report, Tolerance, compare_tensors},
    error::Result,
    model::{KnownAnswer, Model},
    plan::Precision,
    session::{Device, DeviceReport, Inputs, Outputs, Session, SessionOptions, State},
};

/// The reference for one session: the same model in f64 with plain loops, every rewrite off, on the
/// weights as the session stores them.
#[derive(Debug)]
pub struct Reference {
    session: Session,
}

impl Reference {
    /// The reference for `session`.
    ///
    /// # Errors
    /// As [`Session::new`].
    pub fn of(session: &Session) -> Result<Self> {
        let given = session.options();
        let options = SessionOptions {
            weights: given.weights,
            carry: given.carry,
            refuse_non_finite: given.refuse_non_finite,
            skip_known_answers: true,
            ..SessionOptions::on(Device::Reference)
        };
        Ok(Self { session: Session::new(session.model(), options)? })
    }

    /// The storage of weights that it is the reference for.
    #[must_use]
    pub fn precision(&self) -> Precision {
        self.session.options().weights
    }

    /// What the outputs should be, from the states `state` or from zeros.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn run(&self, inputs: impl Into<Inputs>, state: Option<State>) -> Result<Outputs> {
        match state {
            Some(state) => self.session.set_state(state)?,
            None => self.session.reset_state(),
        }
        self.session.run(inputs)
    }
}

/// How far a session is from the reference.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Verification {
    /// Name and comparison of each output, in the model's order.
    pub outputs: Vec<(String, Report)>,
    /// Where the largest difference is; `None` if all outputs are empty.
    pub largest: Option<Largest>,
    /// Where the outputs were computed that were compared, and why there.
    pub device: Option<DeviceReport>,
}

/// The largest difference of all outputs.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Largest {
    /// The output.
    pub output: String,
    /// Position in the output.
    pub index: Vec<usize>,
    /// What should be there.
    pub reference: f64,
    /// What is there.
    pub actual: f32,
    /// The difference; infinite if only one side is a NaN or infinite.
    pub error: f64,
}

impl Verification {
    /// Compares outputs with those of the reference.
    ///
    /// # Errors
    /// [`Error::Mismatch`](crate::Error::Mismatch) if they are not of one model and one run.
    pub fn new(expected: &Outputs, actual: &Outputs, tolerance: Tolerance) -> Result<Self> {
        let mut outputs = Vec::new();
        let mut largest: Option<Largest> = None;
        for ((name, expected), (_, actual)) in expected.iter().zip(actual.iter()) {
            let report = compare_tensors(expected, actual, tolerance)?;
            let here = report.largest.clone();
            if let Some(here) = here.filter(|here| largest.as_ref().is_none_or(|known| here.error > known.error)) {
                let Difference { index, reference, actual, error, .. } = here;
                largest = Some(Largest { output: name.to_owned(), index, reference, actual, error });
            }
            outputs.push((name.to_owned(), report));
        }
        Ok(Self { outputs, largest, device: actual.device().cloned() })
    }

    /// Whether every value of every output is within the tolerance.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.outputs.iter().all(|(_, report)| report.passed())
    }

    /// The largest difference of all outputs; infinite if a NaN or an infinity is on one side only.
    #[must_use]
    pub fn max_abs_error(&self) -> f64 {
        self.largest.as_ref().map_or(0.0, |largest| largest.error)
    }

    /// The earliest timestep with a value outside of the tolerance, in outputs that have timesteps.
    #[must_use]
    pub fn first_diverging_timestep(&self) -> Option<usize> {
        self.outputs.iter().filter_map(|(_, report)| report.first.as_ref()?.timestep).min()
    }
}

/// Runs `session` and the f64 reference of the same model on `inputs` and compares every output.
/// Carried states are those of `session`, which goes on to the next ones.
///
/// # Errors
/// As [`Session::run`]. Outputs outside of the tolerance are no error but
/// [`passed`](Verification::passed) as `false`.
///
/// ```no_run
/// # #[cfg(feature = "keras")]
/// # fn main() -> wgpu_rnn::Result<()> {
/// use wgpu_rnn::{Inputs, Model, Session, SessionOptions, compare::Tolerance, verify::{random_inputs, verify}};
/// let model = Model::load("model.keras")?;
/// let session = Session::new(&model, SessionOptions::default())?;
/// let inputs = Inputs::from_iter(random_inputs(&model, 3, 32, 0)?);
/// let verification = verify(&session, inputs, Tolerance::FREE_RUNNING)?;
/// assert!(verification.passed(), "{:?}", verification.largest);
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "keras"))]
/// # fn main() {}
/// ```
pub fn verify(session: &Session, inputs: impl Into<Inputs>, tolerance: Tolerance) -> Result<Verification> {
    let inputs = inputs.into();
    let state = session.state();
    let actual = session.run(inputs.clone())?;
    let expected = Reference::of(session)?.run(inputs, state)?;
    Verification::new(&expected, &actual, tolerance)
}

/// [`verify`] for padded sequences, of which `lengths[b]` timesteps of row `b` count.
///
/// # Errors
/// As [`Session::run_padded`].
pub fn verify_padded(
    session: &Session,
    inputs: impl Into<Inputs>,
    lengths: &[usize],
    tolerance: Tolerance,
) -> Result<Verification> {
    let inputs = inputs.into();
    let actual = session.run_padded(inputs.clone(), lengths)?;
    let expected = Reference::of(session)?.session.run_padded(inputs, lengths)?;
    Verification::new(&expected, &actual, tolerance)
}

/// What the reference gives for `count` random inputs: known answers for a file. They have `batch` rows, by
/// default those that the model states, else one to three; and `seq_len` timesteps, by default five to
/// fourteen, wherever the run decides a length.
///
/// # Errors
/// As [`random_inputs`] and [`Session::run`].
pub fn known_answers(
    model: &Model,
    count: usize,
    batch: Option<usize>,
    seq_len: Option<usize>,
    seed: u64,
) -> Result<Vec<KnownAnswer>> {
    let options = SessionOptions { skip_known_answers: true, ..SessionOptions::on(Device::Reference) };
    let session = Session::new(model, options)?;
    let answer = |index: usize| {
        let batch = batch.or(model.batch_size()).unwrap_or(1 + index % 3);
        let seq_len = seq_len.unwrap_or(5 + 3 * (index % 4));
        let inputs = random_inputs(model, batch, seq_len, seed.wrapping_add(index as u64))?;
        session.reset_state();
        let outputs = session.run(Inputs::from_iter(inputs.clone()))?;
        let narrowed = |(name, tensor): (String, crate::Tensor)| {
            Ok((name, crate::Tensor::new(tensor.shape(), tensor.to_f32().into_owned())?))
        };
        let outputs = outputs.into_vec().into_iter().map(narrowed).collect::<Result<_>>()?;
        Ok(KnownAnswer { inputs, outputs })
    };
    (0..count).map(answer).collect()
}
