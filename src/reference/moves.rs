//! Steps that make or move values and compute none.

use super::{Axis, Run, pointwise::repeated};
use crate::{
    error::{Error, Result},
    plan::{BufferId, WeightId},
    tensor::unravel,
};

impl Run<'_> {
    pub(super) fn constant(&self, weight: WeightId) -> Result<Vec<f64>> {
        let weight = self.plan.weights.get(weight.index());
        let weight = weight.ok_or_else(|| Error::internal("no such weight"))?;
        // The model's own values, whatever the precision of the plan.
        Ok(weight.tensor.to_f32().iter().map(|&value| f64::from(value)).collect())
    }

    #[allow(clippy::cast_precision_loss)] // no axis has 2^53 positions
    pub(super) fn ramp(&self, start: f32, step: f32, axis: usize, output: BufferId) -> Vec<f64> {
        let shape = self.shape(output);
        let position = |flat: usize| unravel(flat, shape)[axis] as f64;
        (0..self.bound.len(output)).map(|flat| f64::from(start) + f64::from(step) * position(flat)).collect()
    }

    pub(super) fn permute(&self, input: BufferId, axes: &[usize], output: BufferId) -> Result<Vec<f64>> {
        let x = self.read(input)?;
        let mut y = Vec::with_capacity(x.len());
        for flat in 0..x.len() {
            let index = unravel(flat, self.shape(output));
            let mut from = vec![0; axes.len()];
            for (&axis, &i) in axes.iter().zip(&index) {
                from[axis] = i;
            }
            y.push(x[repeated(&from, self.shape(input))]);
        }
        Ok(y)
    }

    pub(super) fn copy(
        &self,
        input: BufferId,
        (input_start, input_step): (usize, i64),
        output: BufferId,
        output_start: usize,
        axis: usize,
        extent: usize,
    ) -> Result<Vec<f64>> {
        let x = self.read(input)?;
        let mut y = self.read(output)?.to_vec();
        let block = Axis::of(self.shape(output), axis, 1);
        for outer in 0..block.outer_size {
            let mut from = input_start;
            for position in 0..extent {
                for inner in 0..block.inner_size {
                    let to = block.at(outer, output_start + position, inner);
                    let mut index = unravel(to, self.shape(output));
                    index[axis] = from;
                    y[to] = x[repeated(&index, self.shape(input))];
                }
                // Past the last position it may leave the axis; nothing is read there.
                from = from.wrapping_add_signed(isize::try_from(input_step).unwrap_or(0));
            }
        }
        Ok(y)
    }

    pub(super) fn window(
        &self,
        input: BufferId, // [rows, len, channels]
        stride: usize,
        dilation: usize,
        before: usize,
        fill: f32,
        output: BufferId, // [rows, windows, width, channels]
    ) -> Result<Vec<f64>> {
        let x = self.read(input)?;
        let shape = self.shape(output);
        let (len, channels) = (self.shape(input)[1], self.shape(input)[2]);
        let mut y = Vec::with_capacity(self.bound.len(output));
        for flat in 0..self.bound.len(output) {
            let index = unravel(flat, shape);
            let inside = (index[1] * stride + index[2] * dilation).checked_sub(before).filter(|&at| at < len);
            y.push(inside.map_or(f64::from(fill), |at| x[(index[0] * len + at) * channels + index[3]]));
        }
        Ok(y)
    }

    pub(super) fn take(
        &self,
        input: BufferId,  // [rows, len, ..]
        index: BufferId,  // [rows, count]
        output: BufferId, // [rows, count, ..]
    ) -> Result<Vec<f64>> {
        let (x, indices) = (self.read(input)?, self.read(index)?);
        let (len, count) = (self.shape(input)[1], self.shape(index)[1]);
        let shape = self.shape(output);
        let mut y = Vec::with_capacity(self.bound.len(output));
        for flat in 0..self.bound.len(output) {
            let mut from = unravel(flat, shape);
            from[1] = nearest(indices[from[0] * count + from[1]], len);
            let at = from.iter().zip(self.shape(input)).fold(0, |at, (i, extent)| at * extent + i);
            y.push(x[at]);
        }
        Ok(y)
    }
}

/// `index` as a position of an axis of `len`.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a cast saturates, and NaN gives 0
fn nearest(index: f64, len: usize) -> usize {
    (index.round_ties_even() as usize).min(len - 1)
}
