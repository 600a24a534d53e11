//! A workload with its numbers, and what they should come to.

use anyhow::{Context, Result, bail, ensure};
use wgpu_rnn::{
    Data, Device, Model, Session, SessionOptions, Tensor,
    compare::{Tolerance, compare},
};

use crate::workload::{Weights, Workload};

/// Multiply-adds that the reference computes at most: it takes a second or so for them.
const VERIFIED: f64 = 3e8;

pub(crate) struct Case {
    pub(crate) workload: Workload,
    pub(crate) weights: Weights,
    /// `[batch, seq_len, input_size]`
    pub(crate) x: Tensor,
    pub(crate) model: Model,
    expected: Expected,
}

struct Expected {
    /// The rows that the reference computed, spread over the batch.
    rows: Vec<usize>,
    timesteps: usize,
    /// `[rows, timesteps, hidden_size]`
    reference: Vec<f64>,
    /// What the CPU executor gives for everything: `[batch, seq_len, hidden_size]`.
    whole: Vec<f64>,
}

/// How far an output is from what it should be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Checked {
    /// The largest difference from the reference.
    pub(crate) error: f64,
}

impl Case {
    pub(crate) fn new(workload: Workload, seed: u64) -> Result<Self> {
        let weights = workload.weights(seed)?;
        let model = workload.model(&weights)?;
        let inputs = wgpu_rnn::verify::random_inputs(&model, workload.batch, workload.seq_len, seed)?;
        let (_, x) = inputs.into_iter().next().context("a model without an input")?;
        let mut case = Self {
            workload,
            weights,
            x,
            model,
            expected: Expected { rows: Vec::new(), timesteps: 0, reference: Vec::new(), whole: Vec::new() },
        };
        case.expect()?;
        Ok(case)
    }

    /// The rows and timesteps that were compared with the reference.
    pub(crate) fn verified(&self) -> [usize; 2] {
        [self.expected.rows.len(), self.expected.timesteps]
    }

    fn expect(&mut self) -> Result<()> {
        let Workload { batch, seq_len, hidden, input_size, .. } = self.workload;
        let (rows, timesteps) = part(&self.workload);
        let x = pick(&self.x.to_f32(), &rows, timesteps, seq_len, input_size);
        let x = Tensor::new([rows.len(), timesteps, input_size], Data::from(x))?;
        let run = |device, threads, x: &Tensor| -> Result<Tensor> {
            let mut options = SessionOptions::on(device);
            options.threads = threads;
            Ok(Session::new(&self.model, options)?.run(x.clone())?.single()?.clone())
        };
        let reference = run(Device::Reference, 1, &x)?.to_f64().into_owned();
        let whole = run(Device::Cpu, crate::machine::cores(), &self.x)?;
        ensure!(whole.shape() == [batch, seq_len, hidden], "the CPU executor's output has shape {:?}", whole.shape());
        self.expected = Expected { rows, timesteps, reference, whole: whole.to_f64().into_owned() };
        Ok(())
    }

    /// Compares an output, `[batch, seq_len, hidden_size]`, with the reference as far as that goes, and the whole of
    /// it with what the CPU executor gives, of which the same part was compared in the same way.
    pub(crate) fn check(&self, output: &[f32]) -> Result<Checked> {
        let Workload { batch, seq_len, hidden, .. } = self.workload;
        let Expected { rows, timesteps, reference, whole } = &self.expected;
        ensure!(
            output.len() == whole.len(),
            "the output has {} values, not the {} of [{batch}, {seq_len}, {hidden}]",
            output.len(),
            whole.len()
        );
        let part = pick(output, rows, *timesteps, seq_len, hidden);
        let report = compare(reference, &part, &[rows.len(), *timesteps, hidden], Tolerance::FREE_RUNNING)?;
        if !report.passed() {
            bail!("differs from the reference: {report}");
        }
        // Each of the two may be off by the tolerance.
        let once = Tolerance::FREE_RUNNING;
        let twice = Tolerance { absolute: 2.0 * once.absolute, relative: 2.0 * once.relative };
        let all = compare(whole, output, &[batch, seq_len, hidden], twice)?;
        if !all.passed() {
            bail!("differs from the CPU executor: {all}");
        }
        Ok(Checked { error: report.largest.map_or(0.0, |largest| largest.error) })
    }
}

/// The rows, first and last among them, and the first timesteps that the reference can compute without a long wait.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // sizes, as shares
fn part(workload: &Workload) -> (Vec<usize>, usize) {
    let Workload { batch, seq_len, .. } = *workload;
    let step = workload.multiply_adds() / (batch * seq_len) as f64;
    let affordable = ((VERIFIED / step) as usize).max(1);
    let timesteps = seq_len.min((affordable / batch.min(2)).max(1));
    let count = batch.min((affordable / timesteps).max(1));
    let rows = (0..count).map(|row| if count == 1 { 0 } else { row * (batch - 1) / (count - 1) });
    (rows.collect(), timesteps)
}

/// `rows` and the first `timesteps` of `[batch, seq_len, features]`.
fn pick(values: &[f32], rows: &[usize], timesteps: usize, seq_len: usize, features: usize) -> Vec<f32> {
    let start = |row: usize| row * seq_len * features;
    rows.iter().flat_map(|&row| &values[start(row)..start(row) + timesteps * features]).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::CellName;

    fn small() -> Workload {
        Workload { cell: CellName::Gru, hidden: 3, input_size: 2, batch: 4, seq_len: 5, stream: false }
    }

    #[test]
    fn the_reference_computes_a_part_of_large_workloads() {
        let rows = |workload| part(&workload);
        assert_eq!(rows(small()), (vec![0, 1, 2, 3], 5));
        let sizes = Workload { hidden: 1024, input_size: 1024, batch: 256, seq_len: 50, ..small() };
        let large = Workload { cell: CellName::Lstm, ..sizes };
        assert_eq!(rows(large), (vec![0, 255], 17));
        let wide = Workload { hidden: 128, input_size: 128, ..large };
        let (of_wide, timesteps) = rows(wide);
        assert_eq!((of_wide.len(), of_wide.last(), timesteps), (45, Some(&255), 50));
        assert_eq!(pick(&[0., 1., 2., 3., 4., 5., 6., 7.], &[0, 1], 1, 2, 2), [0., 1., 4., 5.]);
    }

    #[test]
    fn a_wrong_output_is_refused() {
        let case = Case::new(small(), 0).unwrap();
        let right: Vec<f32> = case.expected.whole.iter().map(|&value| value as f32).collect();
        assert!(case.check(&right).unwrap().error < 1e-6);
        assert!(case.check(&right[1..]).is_err());
        let mut wrong = right.clone();
        wrong[59] += 1e-3;
        assert!(case.check(&wrong).unwrap_err().to_string().contains("differs from the reference"));
        wrong[59] = f32::NAN;
        assert!(case.check(&wrong).is_err());
    }
}
