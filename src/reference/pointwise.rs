//! Steps whose outputs each depend on few inputs: products with weights, look-ups, copies.

use super::{Axis, Run};
use crate::{
    activation::Activation,
    error::{Error, Result},
    plan::{BufferId, CombineOp, WeightId},
    tensor::unravel,
};

impl Run<'_> {
    pub(super) fn linear(
        &self,
        input: BufferId,        // [.., in]
        weight: WeightId,       // [out, in]
        bias: Option<WeightId>, // [out]
        activation: Activation,
    ) -> Result<Vec<f64>> {
        let in_size = self.shape(input).last().copied().unwrap_or(0);
        let (x, weight) = (self.read(input)?, self.weight(weight)?);
        let out_size = weight.len() / in_size.max(1);
        let bias = self.weight_or(bias, out_size, 0.0)?;
        let rows = x.len() / in_size.max(1);
        let mut y = Vec::with_capacity(rows * out_size);
        for row in 0..rows {
            for n in 0..out_size {
                let mut sum = bias[n];
                for k in 0..in_size {
                    sum += x[row * in_size + k] * weight[n * in_size + k];
                }
                y.push(activation.apply_f64(sum));
            }
        }
        Ok(y)
    }

    pub(super) fn gather(
        &self,
        ids: BufferId,   // [..]
        table: WeightId, // [vocabulary, embedding]
    ) -> Result<Vec<f64>> {
        let width = self.plan.weights.get(table.index()).and_then(|w| w.tensor.shape().last());
        let width = width.copied().unwrap_or(0);
        let table = self.weight(table)?;
        let mut y = Vec::new();
        for &id in self.read(ids)? {
            let row = whole(id).and_then(|row| table.get(row.checked_mul(width)?..)?.get(..width));
            y.extend(row.ok_or_else(|| Error::internal(format!("id {id} has no embedding")))?);
        }
        Ok(y)
    }

    pub(super) fn combine(
        &self,
        op: CombineOp,
        left: BufferId,   // broadcasts to the output
        right: BufferId,  // broadcasts to the output
        output: BufferId, // [..]
    ) -> Result<Vec<f64>> {
        let shape = self.shape(output);
        let (a, b) = (self.read(left)?, self.read(right)?);
        let mut y = Vec::with_capacity(self.bound.len(output));
        for flat in 0..self.bound.len(output) {
            let index = unravel(flat, shape);
            let a = a[repeated(&index, self.shape(left))];
            let b = b[repeated(&index, self.shape(right))];
            y.push(match op {
                CombineOp::Add => a + b,
                CombineOp::Subtract => a - b,
                CombineOp::Multiply => a * b,
                CombineOp::Maximum => maximum(a, b),
                CombineOp::Mask if b == 0.0 => 0.0,
                CombineOp::Mask => a,
            });
        }
        Ok(y)
    }

    pub(super) fn copy(
        &self,
        input: BufferId,
        input_start: usize,
        output: BufferId,
        output_start: usize,
        axis: usize,
        extent: usize,
    ) -> Result<Vec<f64>> {
        let x = self.read(input)?;
        let mut y = self.read(output)?.to_vec();
        let block = Axis::of(self.shape(output), axis, 1);
        for outer in 0..block.outer_size {
            for position in 0..extent {
                for inner in 0..block.inner_size {
                    let to = block.at(outer, output_start + position, inner);
                    let mut index = unravel(to, self.shape(output));
                    index[axis] = input_start + position;
                    y[to] = x[repeated(&index, self.shape(input))];
                }
            }
        }
        Ok(y)
    }

    pub(super) fn not_equal(
        &self,
        input: BufferId, // [.., width]
        value: f32,
        width: usize,
    ) -> Result<Vec<f64>> {
        let differs = |x: &f64| *x != f64::from(value);
        let groups = self.read(input)?.chunks(width.max(1));
        Ok(groups.map(|group| if group.iter().any(differs) { 1.0 } else { 0.0 }).collect())
    }
}

/// The position of `index` in a row-major tensor of `shape`, whose axes of extent 1 are repeated.
fn repeated(index: &[usize], shape: &[usize]) -> usize {
    let mut flat = 0;
    for (&i, &extent) in index.iter().zip(shape) {
        flat = flat * extent + if extent == 1 { 0 } else { i };
    }
    flat
}

/// The larger; a NaN on either side gives NaN.
pub(super) fn maximum(a: f64, b: f64) -> f64 {
    if a.is_nan() || a > b { a } else { b }
}

/// `id` as an index, if it is one.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // checked to be whole and in range
fn whole(id: f64) -> Option<usize> {
    let fits = id >= 0.0 && id < f64::from(u32::MAX) && id.fract() == 0.0;
    fits.then_some(id as usize)
}
