//! Weights in the order in which products read them.

use std::ops::Range;

use crate::{
    error::{Error, Result},
    simd::{LANES, Line},
    tensor::reset,
};

/// A weight matrix in panels of 16 outputs: for each input, the weights of 16 outputs lie side by side.
#[derive(Debug, Default)]
pub(super) struct Packed {
    in_size: usize,
    out_size: usize,
    /// `[panels, in_size]`, zero for outputs that there are not.
    weights: Vec<Line>,
    /// `[panels]`, zero without a bias.
    bias: Vec<Line>,
}

impl Packed {
    /// `weight` is `[out_size, in_size]`, `bias` `[out_size]`; panel `n / 16` has output `n`.
    pub(super) fn new(weight: &[f32], bias: Option<&[f32]>, in_size: usize) -> Result<Self> {
        let mut packed = Self::default();
        packed.set(weight, bias, in_size)?;
        Ok(packed)
    }

    /// [`new`](Self::new) in the memory that this one has.
    pub(super) fn set(&mut self, weight: &[f32], bias: Option<&[f32]>, in_size: usize) -> Result<()> {
        let panels = (weight.len() / in_size.max(1)).div_ceil(LANES);
        self.set_rows(weight, bias, in_size, panels, |panel, lane| Some(panel * LANES + lane))
    }

    /// `matrix` is `[in_size, out_size]`; no bias.
    pub(super) fn set_columns(&mut self, matrix: &[f32], out_size: usize) -> Result<()> {
        let width = out_size.max(1);
        let (in_size, panels) = (matrix.len() / width, width.div_ceil(LANES));
        self.set_sizes(in_size, out_size, panels)?;
        for (k, row) in matrix.chunks_exact(width).enumerate() {
            for (panel, values) in row.chunks(LANES).enumerate() {
                let Line(line) = &mut self.weights[panel * in_size + k];
                line[..values.len()].copy_from_slice(values);
            }
        }
        Ok(())
    }

    /// The gates of a recurrence, side by side for every 16 units: panel `u / 16 * gates.len() + g` has gate
    /// `gates.start + g` of unit `u`. `weight` is `[all gates, hidden_size, in_size]`, `bias` `[all gates, hidden_size]`.
    pub(super) fn of_gates(
        weight: &[f32],
        bias: Option<&[f32]>,
        in_size: usize,
        hidden_size: usize,
        gates: Range<usize>,
    ) -> Result<Self> {
        let count = gates.len().max(1);
        let size = gates.end.checked_mul(hidden_size).and_then(|rows| rows.checked_mul(in_size));
        if in_size == 0 || size.is_none_or(|size| size > weight.len()) {
            return Err(Error::internal("weights of another size than the recurrence's"));
        }
        let mut packed = Self::default();
        packed.set_rows(weight, bias, in_size, hidden_size.div_ceil(LANES) * gates.len(), |panel, lane| {
            let unit = panel / count * LANES + lane;
            (unit < hidden_size).then_some((gates.start + panel % count) * hidden_size + unit)
        })?;
        Ok(packed)
    }

    /// `row` is the row of `weight` that a lane of a panel has.
    fn set_rows(
        &mut self,
        weight: &[f32],
        bias: Option<&[f32]>,
        in_size: usize,
        panels: usize,
        row: impl Fn(usize, usize) -> Option<usize>,
    ) -> Result<()> {
        self.set_sizes(in_size, weight.len() / in_size.max(1), panels)?;
        for (panel, Line(biases)) in self.bias.iter_mut().enumerate() {
            for (lane, to) in biases.iter_mut().enumerate() {
                let Some(row) = row(panel, lane) else { continue };
                let Some(values) = weight.get(row * in_size..(row + 1) * in_size) else { continue };
                let lines: &mut [Line] = &mut self.weights[panel * in_size..][..in_size];
                lines.iter_mut().zip(values).for_each(|(Line(line), &value)| line[lane] = value);
                *to = bias.and_then(|bias| bias.get(row)).copied().unwrap_or(0.0);
            }
        }
        Ok(())
    }

    /// All zeros.
    fn set_sizes(&mut self, in_size: usize, out_size: usize, panels: usize) -> Result<()> {
        (self.in_size, self.out_size) = (in_size, out_size);
        reset(&mut self.weights, panels * in_size)?;
        reset(&mut self.bias, panels)
    }

    pub(super) fn out_size(&self) -> usize {
        self.out_size
    }

    pub(super) fn in_size(&self) -> usize {
        self.in_size
    }

    pub(super) fn panels(&self) -> usize {
        self.bias.len()
    }

    /// The weights alone, `[panels, in_size]`.
    pub(super) fn into_lines(self) -> Vec<Line> {
        self.weights
    }

    /// The weights of a panel, `[in_size]`.
    #[inline(always)]
    pub(super) fn panel(&self, panel: usize) -> &[Line] {
        &self.weights[panel * self.in_size..][..self.in_size]
    }

    #[inline(always)]
    pub(super) fn bias(&self, panel: usize) -> &Line {
        &self.bias[panel]
    }
}
