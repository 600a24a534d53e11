//! Weights in the order in which products read them.

use std::ops::Range;

use crate::{
    error::{Error, Result},
    float16::Float16,
    int8,
    plan::Precision,
    simd::{LANES, Line, Simd},
    tensor::{reset, zeros},
};

/// 16 weights as they are stored.
pub(super) trait Weights: Copy + Default {
    /// Whether a sum is of integers, and wants to be scaled.
    const SCALED: bool = false;

    /// Stores a weight of a row with this scale, rounded; a weight that is rounded already stays what it is.
    fn set(&mut self, lane: usize, weight: f32, scale: f32);

    fn load<S: Simd>(&self, s: S) -> S::Lanes;
}

impl Weights for Line {
    fn set(&mut self, lane: usize, weight: f32, _: f32) {
        self.0[lane] = weight;
    }

    #[inline(always)]
    fn load<S: Simd>(&self, s: S) -> S::Lanes {
        s.load(&self.0)
    }
}

/// The bits of f16s.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(32))]
pub(super) struct Halves([u16; LANES]);

impl Weights for Halves {
    fn set(&mut self, lane: usize, weight: f32, _: f32) {
        self.0[lane] = Float16::F16.bits(weight);
    }

    #[inline(always)]
    fn load<S: Simd>(&self, s: S) -> S::Lanes {
        s.load_f16(&self.0)
    }
}

/// The bits of bf16s, in the order of [`Simd::load_bf16`].
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(32))]
pub(super) struct Bfloats([u32; LANES / 2]);

impl Weights for Bfloats {
    fn set(&mut self, lane: usize, weight: f32, _: f32) {
        let bits = u32::from(Float16::Bf16.bits(weight));
        match lane.checked_sub(LANES / 2) {
            None => self.0[lane] = self.0[lane] & 0xffff_0000 | bits,
            Some(high) => self.0[high] = self.0[high] & 0xffff | bits << 16,
        }
    }

    #[inline(always)]
    fn load<S: Simd>(&self, s: S) -> S::Lanes {
        s.load_bf16(&self.0)
    }
}

#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(16))]
pub(super) struct Integers([i8; LANES]);

impl Weights for Integers {
    const SCALED: bool = true;

    fn set(&mut self, lane: usize, weight: f32, scale: f32) {
        self.0[lane] = int8::quantise(weight, scale);
    }

    #[inline(always)]
    fn load<S: Simd>(&self, s: S) -> S::Lanes {
        s.load_i8(&self.0)
    }
}

/// Integers by twos: for two inputs side by side, the weights of 16 outputs.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(32))]
pub(super) struct PairsOfIntegers(pub(super) [i8; 2 * LANES]);

/// Weights in panels, `[panels, in_size]`, zero for outputs that there are not.
#[derive(Debug)]
pub(super) enum Stored {
    F32(Vec<Line>),
    F16(Vec<Halves>),
    Bf16(Vec<Bfloats>),
    I8(Vec<Integers>),
    /// `[panels, ceil(in_size / 2)]`, for products of integers.
    I8Pairs(Vec<PairsOfIntegers>),
}

impl Default for Stored {
    fn default() -> Self {
        Self::F32(Vec::new())
    }
}

/// A weight matrix in panels of 16 outputs: for each input, the weights of 16 outputs lie side by side.
#[derive(Debug, Default)]
pub(super) struct Packed {
    in_size: usize,
    out_size: usize,
    weights: Stored,
    /// `[panels]`, zero without a bias.
    bias: Vec<Line>,
    /// `[panels]`, of rows of integers only.
    scales: Vec<Line>,
}

impl Packed {
    /// `weight` is `[out_size, in_size]`, `bias` `[out_size]`; panel `n / 16` has output `n`.
    pub(super) fn new(weight: &[f32], bias: Option<&[f32]>, in_size: usize, precision: Precision) -> Result<Self> {
        let mut packed = Self::default();
        packed.set(weight, bias, in_size, precision)?;
        Ok(packed)
    }

    /// [`new`](Self::new) in the memory that this one has.
    pub(super) fn set(
        &mut self,
        weight: &[f32],
        bias: Option<&[f32]>,
        in_size: usize,
        precision: Precision,
    ) -> Result<()> {
        let panels = (weight.len() / in_size.max(1)).div_ceil(LANES);
        let rows = Rows { weight, bias, in_size };
        self.set_rows(&rows, precision, panels, |panel, lane| Some(panel * LANES + lane))
    }

    /// `matrix` is `[in_size, out_size]`; no bias.
    pub(super) fn set_columns(&mut self, matrix: &[f32], out_size: usize) -> Result<()> {
        let width = out_size.max(1);
        let (in_size, panels) = (matrix.len() / width, width.div_ceil(LANES));
        let mut weights = self.begin(in_size, out_size, panels)?;
        reset(&mut weights, panels * in_size)?;
        for (k, row) in matrix.chunks_exact(width).enumerate() {
            for (panel, values) in row.chunks(LANES).enumerate() {
                let Line(line) = &mut weights[panel * in_size + k];
                line[..values.len()].copy_from_slice(values);
            }
        }
        self.weights = Stored::F32(weights);
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
        precision: Precision,
    ) -> Result<Self> {
        let count = gates.len().max(1);
        let size = gates.end.checked_mul(hidden_size).and_then(|rows| rows.checked_mul(in_size));
        if in_size == 0 || size.is_none_or(|size| size > weight.len()) {
            return Err(Error::internal("weights of another size than the recurrence's"));
        }
        let mut packed = Self::default();
        let (rows, panels) = (Rows { weight, bias, in_size }, hidden_size.div_ceil(LANES) * gates.len());
        packed.set_rows(&rows, precision, panels, |panel, lane| {
            let unit = panel / count * LANES + lane;
            (unit < hidden_size).then_some((gates.start + panel % count) * hidden_size + unit)
        })?;
        Ok(packed)
    }

    /// `row` is the row that a lane of a panel has.
    fn set_rows(
        &mut self,
        rows: &Rows<'_>,
        precision: Precision,
        panels: usize,
        row: impl Fn(usize, usize) -> Option<usize>,
    ) -> Result<()> {
        let memory = self.begin(rows.in_size, rows.weight.len() / rows.in_size.max(1), panels)?;
        self.weights = match precision {
            Precision::F32 => Stored::F32(self.stored(memory, rows, row)?),
            Precision::F16 => Stored::F16(self.stored(Vec::new(), rows, row)?),
            Precision::Bf16 => Stored::Bf16(self.stored(Vec::new(), rows, row)?),
            Precision::I8 => Stored::I8(self.stored(Vec::new(), rows, row)?),
        };
        Ok(())
    }

    /// The weights in `memory`, biases and scales here.
    fn stored<W: Weights>(
        &mut self,
        mut memory: Vec<W>,
        rows: &Rows<'_>,
        row: impl Fn(usize, usize) -> Option<usize>,
    ) -> Result<Vec<W>> {
        let (in_size, panels) = (rows.in_size, self.panels());
        reset(&mut memory, panels * in_size)?;
        reset(&mut self.scales, if W::SCALED { panels } else { 0 })?;
        for panel in 0..panels {
            for lane in 0..LANES {
                let Some(row) = row(panel, lane) else { continue };
                let Some(values) = rows.weight.get(row * in_size..(row + 1) * in_size) else { continue };
                let scale = if W::SCALED { int8::scale(values) } else { 1.0 };
                let lines = &mut memory[panel * in_size..][..in_size];
                lines.iter_mut().zip(values).for_each(|(line, &value)| line.set(lane, value, scale));
                self.bias[panel].0[lane] = rows.bias.and_then(|bias| bias.get(row)).copied().unwrap_or(0.0);
                if let Some(Line(scales)) = self.scales.get_mut(panel) {
                    scales[lane] = scale;
                }
            }
        }
        Ok(memory)
    }

    /// Sets sizes, and biases to zeros. Gives the memory that weights in f32 had.
    fn begin(&mut self, in_size: usize, out_size: usize, panels: usize) -> Result<Vec<Line>> {
        (self.in_size, self.out_size) = (in_size, out_size);
        reset(&mut self.bias, panels)?;
        Ok(match std::mem::take(&mut self.weights) {
            Stored::F32(memory) => memory,
            _ => Vec::new(),
        })
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

    /// Integers by twos, for products of integers. Weights of other kinds stay as they are.
    pub(super) fn by_twos(mut self) -> Result<Self> {
        if let (Stored::I8(weights), in_size) = (&self.weights, self.in_size.max(1)) {
            let mut pairs: Vec<PairsOfIntegers> = zeros(self.panels() * in_size.div_ceil(2))?;
            for (panel, pairs) in weights.chunks_exact(in_size).zip(pairs.chunks_exact_mut(in_size.div_ceil(2))) {
                for (k, Integers(weights)) in panel.iter().enumerate() {
                    let PairsOfIntegers(pair) = &mut pairs[k / 2];
                    weights.iter().enumerate().for_each(|(lane, &weight)| pair[2 * lane + k % 2] = weight);
                }
            }
            self.weights = Stored::I8Pairs(pairs);
        }
        Ok(self)
    }

    /// The weights alone, in f32, `[panels, in_size]`.
    pub(super) fn into_lines(self) -> Vec<Line> {
        match self.weights {
            Stored::F32(weights) => weights,
            _ => Vec::new(),
        }
    }

    #[inline(always)]
    pub(super) fn weights(&self) -> &Stored {
        &self.weights
    }

    #[inline(always)]
    pub(super) fn bias(&self, panel: usize) -> &Line {
        &self.bias[panel]
    }

    #[inline(always)]
    pub(super) fn scale(&self, panel: usize) -> &Line {
        &self.scales[panel]
    }
}

/// The rows of a matrix, `[.., in_size]`, with a bias for each.
struct Rows<'a> {
    weight: &'a [f32],
    bias: Option<&'a [f32]>,
    in_size: usize,
}
