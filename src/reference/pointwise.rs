//! Products, look-ups in tables and arithmetic, one output at a time.

use super::Run;
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
                CombineOp::Divide => a / b,
                CombineOp::Maximum => maximum(a, b),
                CombineOp::Minimum => minimum(a, b),
                CombineOp::Equal => f64::from(u8::from(a == b)),
                CombineOp::Less => f64::from(u8::from(a < b)),
                CombineOp::Mask if b == 0.0 => 0.0,
                CombineOp::Mask => a,
            });
        }
        Ok(y)
    }

    pub(super) fn mat_mul(
        &self,
        left: BufferId,  // [.., m, k]
        right: BufferId, // [.., k, n] or [.., n, k]
        transposed: bool,
        output: BufferId, // [.., m, n]
    ) -> Result<Vec<f64>> {
        let (a, b) = (self.read(left)?, self.read(right)?);
        let (a_shape, b_shape, shape) = (self.shape(left), self.shape(right), self.shape(output));
        let (row, column) = (shape.len() - 2, shape.len() - 1);
        let mut y = Vec::with_capacity(self.bound.len(output));
        for flat in 0..self.bound.len(output) {
            let index = unravel(flat, shape);
            let mut sum = 0.0;
            for k in 0..a_shape[column] {
                let (mut a_index, mut b_index) = (index.clone(), index.clone());
                a_index[column] = k;
                (b_index[row], b_index[column]) = if transposed { (index[column], k) } else { (k, index[column]) };
                sum += a[repeated(&a_index, a_shape)] * b[repeated(&b_index, b_shape)];
            }
            y.push(sum);
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
pub(super) fn repeated(index: &[usize], shape: &[usize]) -> usize {
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

/// The smaller; a NaN on either side gives NaN.
pub(super) fn minimum(a: f64, b: f64) -> f64 {
    if a.is_nan() || a < b { a } else { b }
}

/// `id` as an index, if it is one.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // checked to be whole and in range
fn whole(id: f64) -> Option<usize> {
    let fits = id >= 0.0 && id < f64::from(u32::MAX) && id.fract() == 0.0;
    fits.then_some(id as usize)
}
