//! Steps whose outputs depend on a whole axis.

use super::{
    Axis, Run,
    pointwise::{maximum, minimum},
};
use crate::{
    error::Result,
    plan::{BufferId, ReduceOp, WeightId},
};

impl Run<'_> {
    pub(super) fn reduce(
        &self,
        op: ReduceOp,
        input: BufferId, // [..]
        axis: usize,
        mask: Option<BufferId>, // [batch, seq_len]
    ) -> Result<Vec<f64>> {
        let x = self.read(input)?;
        let mask = mask.map(|mask| self.read(mask)).transpose()?;
        let along = Axis::of(self.shape(input), axis, 1);
        let mut y = Vec::with_capacity(along.outer_size * along.inner_size);
        for outer in 0..along.outer_size {
            for inner in 0..along.inner_size {
                let (mut sum, mut live) = (0.0, 0.0);
                let (mut min, mut max) = (f64::INFINITY, f64::NEG_INFINITY);
                for position in 0..along.extent {
                    if mask.is_some_and(|mask| mask[outer * along.extent + position] == 0.0) {
                        continue;
                    }
                    let value = x[along.at(outer, position, inner)];
                    sum += value;
                    min = minimum(min, value);
                    max = maximum(max, value);
                    live += 1.0;
                }
                y.push(match op {
                    ReduceOp::Sum => sum,
                    ReduceOp::Mean => sum / live,
                    ReduceOp::Max => max,
                    ReduceOp::Min => min,
                });
            }
        }
        Ok(y)
    }

    pub(super) fn softmax(&self, input: BufferId, axis: usize, log: bool) -> Result<Vec<f64>> {
        let x = self.read(input)?;
        let along = Axis::of(self.shape(input), axis, 1);
        let mut y = vec![0.0; x.len()];
        for outer in 0..along.outer_size {
            for inner in 0..along.inner_size {
                let mut max = f64::NEG_INFINITY;
                for position in 0..along.extent {
                    max = maximum(max, x[along.at(outer, position, inner)]);
                }
                let mut sum = 0.0;
                for position in 0..along.extent {
                    sum += (x[along.at(outer, position, inner)] - max).exp();
                }
                for position in 0..along.extent {
                    let at = along.at(outer, position, inner);
                    let moved = x[at] - max;
                    y[at] = if log { moved - sum.ln() } else { moved.exp() / sum };
                }
            }
        }
        Ok(y)
    }

    pub(super) fn layer_norm(
        &self,
        input: BufferId, // [..]
        first_axis: usize,
        axes: usize,
        gamma: Option<WeightId>, // the group's shape
        beta: Option<WeightId>,  // the group's shape
        epsilon: f32,
    ) -> Result<Vec<f64>> {
        let x = self.read(input)?;
        let group = Axis::of(self.shape(input), first_axis, axes);
        let gamma = self.weight_or(gamma, group.extent, 1.0)?;
        let beta = self.weight_or(beta, group.extent, 0.0)?;
        #[allow(clippy::cast_precision_loss)] // no group has 2^53 elements
        let count = group.extent as f64;
        let mut y = vec![0.0; x.len()];
        for outer in 0..group.outer_size {
            for inner in 0..group.inner_size {
                let mut sum = 0.0;
                for position in 0..group.extent {
                    sum += x[group.at(outer, position, inner)];
                }
                let mean = sum / count;
                let mut squares = 0.0;
                for position in 0..group.extent {
                    squares += (x[group.at(outer, position, inner)] - mean).powi(2);
                }
                let deviation = (squares / count + f64::from(epsilon)).sqrt();
                for position in 0..group.extent {
                    let at = group.at(outer, position, inner);
                    y[at] = (x[at] - mean) / deviation * gamma[position] + beta[position];
                }
            }
        }
        Ok(y)
    }

    pub(super) fn batch_norm(
        &self,
        input: BufferId, // [..]
        axis: usize,
        [mean, variance]: [WeightId; 2], // [channels] each
        gamma: Option<WeightId>,         // [channels]
        beta: Option<WeightId>,          // [channels]
        epsilon: f32,
    ) -> Result<Vec<f64>> {
        let x = self.read(input)?;
        let along = Axis::of(self.shape(input), axis, 1);
        let (mean, variance) = (self.weight(mean)?, self.weight(variance)?);
        let gamma = self.weight_or(gamma, along.extent, 1.0)?;
        let beta = self.weight_or(beta, along.extent, 0.0)?;
        let mut y = vec![0.0; x.len()];
        for outer in 0..along.outer_size {
            for channel in 0..along.extent {
                let deviation = (variance[channel] + f64::from(epsilon)).sqrt();
                for inner in 0..along.inner_size {
                    let at = along.at(outer, channel, inner);
                    y[at] = (x[at] - mean[channel]) / deviation * gamma[channel] + beta[channel];
                }
            }
        }
        Ok(y)
    }
}
