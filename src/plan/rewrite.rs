//! The rewrites of a plan that all executors share, each of which can be switched off: the
//! reference runs with none, so that a wrong one shows as a difference.

use super::{BufferId, Op, Plan, PlanOptions, Precision, WeightId};
use crate::{
    activation::Activation,
    error::{Error, Result, quoted},
    float16::Float16,
    tensor::{Tensor, unravel},
};

/// Which rewrites are on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rewrites {
    /// Runs both directions of a bidirectional layer in one step where they share a specification.
    pub merge_directions: bool,
    /// Puts a batch normalisation into the weights of the linear step before it. Off where
    /// weights are rounded, which are to be the model's own.
    pub fold_batch_norm: bool,
    /// Applies a pointwise function in the linear step before it.
    pub fuse_activation: bool,
}

impl Rewrites {
    /// All of them.
    pub const ALL: Self = Self { merge_directions: true, fold_batch_norm: true, fuse_activation: true };
    /// None: what the reference runs.
    pub const NONE: Self = Self { merge_directions: false, fold_batch_norm: false, fuse_activation: false };
}

impl Default for Rewrites {
    fn default() -> Self {
        Self::ALL
    }
}

pub(super) fn apply(plan: &mut Plan, options: &PlanOptions) -> Result<()> {
    if options.rewrites.fold_batch_norm && options.precision == Precision::F32 {
        fold_batch_norm(plan)?;
    }
    if options.rewrites.fuse_activation {
        fuse_activation(plan);
    }
    plan.drop_unused_weights();
    if options.precision != Precision::F32 {
        store_as(plan, options.precision)?;
    }
    Ok(())
}

/// The pairs of neighbouring steps where a linear step without a function feeds the next one alone.
fn linear_pairs(plan: &Plan) -> Vec<usize> {
    let fed_alone = |buffer: BufferId| plan.is_hidden(buffer) && plan.readers(buffer) == 1;
    (1..plan.steps.len())
        .filter(|&index| {
            let Some([first, second]) = plan.steps.get(index - 1..=index) else {
                return false;
            };
            let Op::Linear { output, activation: Activation::Linear, .. } = first.op else {
                return false;
            };
            second.op.inputs().first() == Some(&output) && fed_alone(output)
        })
        .collect()
}

fn fuse_activation(plan: &mut Plan) {
    for index in linear_pairs(plan).into_iter().rev() {
        let Some(Op::Map { activation: function, output: target, .. }) =
            plan.steps.get(index).map(|step| step.op.clone())
        else {
            continue;
        };
        if let Some(Op::Linear { activation, output, .. }) = plan.steps.get_mut(index - 1).map(|step| &mut step.op) {
            (*activation, *output) = (function, target);
            plan.steps.remove(index);
        }
    }
}

/// `((W x + b) - mean) * s + beta = (s W) x + ((b - mean) * s + beta)`, `s = gamma / sqrt(variance + epsilon)`
fn fold_batch_norm(plan: &mut Plan) -> Result<()> {
    for index in linear_pairs(plan).into_iter().rev() {
        let Some(Op::BatchNorm { input, axis, mean, variance, gamma, beta, epsilon, output: target }) =
            plan.steps.get(index).map(|step| step.op.clone())
        else {
            continue;
        };
        let Some(Op::Linear { weight, bias, .. }) = plan.steps.get(index - 1).map(|step| step.op.clone()) else {
            continue;
        };
        if axis + 1 != plan.buffers.get(input.0).map_or(0, |buffer| buffer.shape.len()) {
            continue;
        }
        let values = |id: WeightId| plan.weights.get(id.0).map(|w| w.tensor.to_f64().into_owned()).unwrap_or_default();
        let or = |id: Option<WeightId>, default: f64, len: usize| id.map_or_else(|| vec![default; len], values);
        let (mean, variance) = (values(mean), values(variance));
        let channels = mean.len();
        let (gamma, beta, old_bias) = (or(gamma, 1.0, channels), or(beta, 0.0, channels), or(bias, 0.0, channels));
        let scale: Vec<f64> = gamma.iter().zip(&variance).map(|(g, v)| g / (v + f64::from(epsilon)).sqrt()).collect();
        let Some(old) = plan.weights.get(weight.0).cloned() else {
            continue;
        };
        let columns = old.tensor.shape().get(1).copied().unwrap_or(0);
        let rows = old.tensor.to_f64();
        let folded: Vec<f32> = rows
            .chunks_exact(columns.max(1))
            .zip(&scale)
            .flat_map(|(row, s)| row.iter().map(move |w| narrow(w * s)))
            .collect();
        let new_bias: Vec<f32> = (0..channels)
            .filter_map(|c| Some(narrow((old_bias.get(c)? - mean.get(c)?) * scale.get(c)? + beta.get(c)?)))
            .collect();
        let new_weight = plan.add_weight(format!("{} folded", old.name), Tensor::new(old.tensor.shape(), folded)?);
        let new_bias = plan.add_weight(format!("{} folded bias", old.name), Tensor::new([channels], new_bias)?);
        if let Some(Op::Linear { weight, bias, output, .. }) = plan.steps.get_mut(index - 1).map(|step| &mut step.op) {
            (*weight, *bias, *output) = (new_weight, Some(new_bias), target);
            plan.steps.remove(index);
        }
    }
    Ok(())
}

#[allow(clippy::cast_possible_truncation)] // rounding is the meaning
fn narrow(value: f64) -> f32 {
    value as f32
}

/// Stores every matrix rounded. The tensors stay the model's own, so that sessions share them.
fn store_as(plan: &mut Plan, precision: Precision) -> Result<()> {
    let limit = match precision {
        Precision::F16 => Float16::F16.largest(),
        Precision::Bf16 => Float16::Bf16.largest(),
        Precision::F32 | Precision::I8 => "finite numbers",
    };
    for id in plan.matrices() {
        let Some(weight) = plan.weights.get_mut(id.0) else { continue };
        weight.precision = precision;
        if let Some(bad) = weight.values().iter().position(|value| !value.is_finite()) {
            return Err(Error::Limit {
                what: format!("weight {}{:?}", quoted(&weight.name), unravel(bad, weight.tensor.shape())),
                need: format!("{}", weight.tensor.to_f32().get(bad).copied().unwrap_or(f32::NAN)),
                limit: limit.to_owned(),
                hint: "use f32 weights".to_owned(),
            });
        }
    }
    Ok(())
}
