//! Products with packed weights. Each output element is one chain of multiply-adds, from the bias
//! on and in the order of `k`, whatever the number of rows: a row gives the same bits alone, in any
//! batch, and in any slice of timesteps.
//!
//! General matrix products pack their operands in every call, which for a few rows costs more than
//! the product; here the weights are packed once.

use std::ops::Range;

use super::packed::{Packed, PairsOfIntegers, Stored, Weights};
use crate::{
    activation::Activation,
    simd::{LANES, Line, Simd, Task, dispatch},
};

/// Inputs ahead of the one that is added up, whose weights are asked for.
const AHEAD: usize = 64;
/// Inputs that are added up one after the other between two looks at whether there are more.
const UNROLLED: usize = 4;
/// Bytes of a matrix that stays in caches from product to product, so that its weights come by themselves: asking for them
/// made products of several rows up to a tenth slower where another thread shares the core. Those of 3 and 4 MiB gain as much.
const CACHED: usize = 3 << 19;
/// Lines of sums that [`linear`] takes at once: 6 KiB.
const SUMS: usize = 96;

/// Rows that stay in the second-level cache while they are multiplied with all panels.
const ROW_BLOCK: usize = 96;

/// `count` rows of a matrix, that lie `stride` apart.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    values: &'a [f32],
    stride: usize,
    pub(super) count: usize,
}

impl<'a> Rows<'a> {
    #[inline(always)]
    pub(super) fn new(values: &'a [f32], stride: usize, count: usize) -> Self {
        Self { values, stride, count }
    }

    /// The values of a row and all that follow.
    #[inline(always)]
    pub(super) fn from(&self, row: usize) -> &'a [f32] {
        &self.values[row * self.stride..]
    }
}

/// `y[row, n] = activation(bias[n] + sum_k x[row, k] * weight[n, k])`, `y` without gaps.
pub(super) fn linear(x: Rows<'_>, weight: &Packed, activation: Activation, y: &mut [f32]) {
    dispatch(Linear { x, weight, activation, y });
}

struct Linear<'a> {
    x: Rows<'a>,
    weight: &'a Packed,
    activation: Activation,
    y: &'a mut [f32],
}

impl Task for Linear<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { x, weight, activation, y } = self;
        let (panels, out_size) = (weight.panels(), weight.out_size());
        let mut sums = [Line::ZERO; SUMS];
        for start in (0..x.count).step_by(SUMS) {
            let rows = start..x.count.min(start + SUMS);
            let x = Rows::new(x.from(start), x.stride, rows.len());
            // As many panels as there is room for.
            let group = SUMS / rows.len();
            for first in (0..panels).step_by(group) {
                let group = first..panels.min(first + group);
                let y_stride = group.len();
                s.run(Product { x, weight, panels: group.clone(), y: &mut sums, y_stride });
                for (row, sums) in rows.clone().zip(sums.chunks_exact(y_stride)) {
                    let y = &mut y[row * out_size..][..out_size];
                    for (y, Line(sums)) in y.chunks_mut(LANES).skip(first).zip(sums) {
                        let mut done = [0.0; LANES];
                        s.store(activation.lanes(s, s.load(sums)), &mut done);
                        y.copy_from_slice(&done[..y.len()]);
                    }
                }
            }
        }
    }
}

/// `y[row, p] = bias[p] + sum_k x[row, k] * weight[p, k]`, each 16 outputs, for the panels `p` of `panels`. Rows of `y`
/// lie `y_stride` lines apart, and the first panel's sums are the first in each.
pub(super) struct Product<'a> {
    pub(super) x: Rows<'a>,
    pub(super) weight: &'a Packed,
    pub(super) panels: Range<usize>,
    pub(super) y: &'a mut [Line],
    pub(super) y_stride: usize,
}

impl Task for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        match self.weight.weights() {
            Stored::F32(weights) => s.run(Of { product: self, weights }),
            Stored::F16(weights) => s.run(Of { product: self, weights }),
            Stored::Bf16(weights) => s.run(Of { product: self, weights }),
            Stored::I8(weights) => s.run(Of { product: self, weights }),
            Stored::I8Pairs(weights) => s.run(OfIntegers { product: self, weights }),
        }
    }
}

/// A product with weights that are stored in some way.
struct Of<'a, W> {
    product: Product<'a>,
    weights: &'a [W],
}

impl<W: Weights> Task for Of<'_, W> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let count = self.product.x.count;
        if count == 1 {
            return s.run(OfOneRow(self));
        }
        for first in (0..count).step_by(ROW_BLOCK) {
            self.all_panels(s, first..count.min(first + ROW_BLOCK));
        }
    }
}

/// A product of one row, compiled on its own: what several rows share is not set up for it, which takes as long as the
/// product of a few units.
struct OfOneRow<'a, W>(Of<'a, W>);

impl<W: Weights> Task for OfOneRow<'_, W> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        self.0.all_panels(s, 0..1);
    }
}

impl<W: Weights> Of<'_, W> {
    #[inline(always)]
    fn all_panels<S: Simd>(&mut self, s: S, rows: Range<usize>) {
        let mut panel = self.product.panels.start;
        while panel < self.product.panels.end {
            panel += self.rows(s, rows.clone(), panel);
        }
    }

    /// Some rows, and some panels from `panel` on. Returns how many.
    #[inline(always)]
    fn rows<S: Simd>(&mut self, s: S, rows: Range<usize>, panel: usize) -> usize {
        // Few rows take several panels at a time, so that enough sums are under way to hide the latency of a
        // multiply-add; more rows as many as the registers hold, since a weight is then read once for them all. (With AVX2,
        // three rows of two panels need one register too many, and are a third slower than of one. NEON was not measured.)
        let wide = match rows.len() {
            0 | 1 => S::SUMS,
            2 => S::SUMS / 2,
            _ => S::SUMS / 6,
        };
        // What cannot be is not compiled, nor three panels where that is never the full width (AVX-512).
        match wide.min(self.product.panels.end - panel) {
            8.. if const { S::SUMS >= 8 } && rows.len() == 1 => self.tiles::<S, 8>(s, rows, panel),
            4.. if const { S::SUMS >= 4 } => self.tiles::<S, 4>(s, rows, panel),
            3.. if const { S::SUMS >= 3 && S::SUMS < 12 } => self.tiles::<S, 3>(s, rows, panel),
            2.. if const { S::SUMS >= 2 } => self.tiles::<S, 2>(s, rows, panel),
            _ => self.tiles::<S, 1>(s, rows, panel),
        }
    }

    /// Some rows of `PANELS` panels. Returns `PANELS`.
    #[inline(always)]
    fn tiles<S: Simd, const PANELS: usize>(&mut self, s: S, rows: Range<usize>, panel: usize) -> usize {
        let most = const { most_rows::<S>(PANELS) };
        let mut row = rows.start;
        while row < rows.end {
            // Rather four and three than six and one.
            let count = match rows.end - row {
                7 | 8 if most >= 4 => 4,
                left => left.min(most),
            };
            row += match count {
                6 if const { most_rows::<S>(PANELS) >= 6 } => self.tile::<S, 6, PANELS>(s, &rows, row, panel),
                5 if const { most_rows::<S>(PANELS) >= 5 } => self.tile::<S, 5, PANELS>(s, &rows, row, panel),
                4 if const { most_rows::<S>(PANELS) >= 4 } => self.tile::<S, 4, PANELS>(s, &rows, row, panel),
                3 if const { most_rows::<S>(PANELS) >= 3 } => self.tile::<S, 3, PANELS>(s, &rows, row, panel),
                2 if const { most_rows::<S>(PANELS) >= 2 } => self.tile::<S, 2, PANELS>(s, &rows, row, panel),
                _ => self.tile::<S, 1, PANELS>(s, &rows, row, panel),
            };
        }
        PANELS
    }

    /// `ROWS` of `rows`, from `row` on, of `PANELS` panels. Returns `ROWS`.
    #[inline(always)]
    #[allow(clippy::needless_range_loop)] // loops over panels, all alike
    fn tile<S: Simd, const ROWS: usize, const PANELS: usize>(
        &mut self,
        s: S,
        rows: &Range<usize>,
        row: usize,
        panel: usize,
    ) -> usize {
        let count = self.product.weight.in_size();
        let (mut x, mut weights) = ([[].as_slice(); ROWS], [self.weights; PANELS]);
        // Loops, not functions of arrays: see `Task::run`.
        for (r, x) in x.iter_mut().enumerate() {
            *x = &self.product.x.from(row + r)[..count];
        }
        for (p, weights) in weights.iter_mut().enumerate() {
            *weights = &self.weights[(panel + p) * count..][..count];
        }
        let y = row * self.product.y_stride + panel - self.product.panels.start;
        let mut sums = [[s.splat(0.0); PANELS]; ROWS];
        if !W::SCALED {
            for p in 0..PANELS {
                let bias = s.load(&self.product.weight.bias(panel + p).0);
                for sums in &mut sums {
                    sums[p] = bias;
                }
            }
        }
        // Weights are asked for where they come from afar: where several tiles read the same panels, each asks for its
        // share of those that follow, so that they come evenly, else a tile asks for what it reads soon itself. A row
        // alone reads weights as fast as they come anyway.
        let (tiles, share) = (rows.len() > ROWS, (ROWS << 16) / rows.len());
        let next = (panel + PANELS) * count + (row - rows.start) * count / rows.len();
        let asks = ROWS > 1 && size_of_val(self.weights) > CACHED;
        let (mut x4, mut weights4) = ([[].as_slice(); ROWS], [[].as_slice(); PANELS]);
        for (r, x4) in x4.iter_mut().enumerate() {
            *x4 = x[r].as_chunks::<UNROLLED>().0;
        }
        for (p, weights4) in weights4.iter_mut().enumerate() {
            *weights4 = weights[p].as_chunks::<UNROLLED>().0;
        }
        // A row alone with rounded weights gains nothing by that: an LSTM of 256 units took 27 instead of 19 us a timestep with
        // f16 weights, and as long as without it with others.
        let chunks = if ROWS == 1 && size_of::<W>() < size_of::<Line>() { 0 } else { count / UNROLLED };
        // There is nothing to check in the loops.
        assert!(x.iter().all(|x| x.len() == count) && weights.iter().all(|weights| weights.len() == count));
        assert!(x4.iter().all(|x| x.len() >= chunks) && weights4.iter().all(|weights| weights.len() >= chunks));
        for chunk in 0..chunks {
            if asks {
                let (near, far) = (chunk * UNROLLED + AHEAD, next + ((chunk * UNROLLED).wrapping_mul(share) >> 16));
                for p in 0..PANELS {
                    for line in 0..UNROLLED {
                        match tiles {
                            true => s.prefetch_far(self.weights, far + p * count + line),
                            false => s.prefetch(weights[p], near + line),
                        }
                    }
                }
            }
            for k in 0..UNROLLED {
                // What takes fewer registers stays there: the inputs of few rows, or the weights of few panels.
                if ROWS < S::REGISTERS * PANELS {
                    for p in 0..PANELS {
                        let weight = weights4[p][chunk][k].load(s);
                        for r in 0..ROWS {
                            sums[r][p] = s.mul_add(s.splat(x4[r][chunk][k]), weight, sums[r][p]);
                        }
                    }
                } else {
                    let mut weight = [s.splat(0.0); PANELS];
                    for p in 0..PANELS {
                        weight[p] = weights4[p][chunk][k].load(s);
                    }
                    for r in 0..ROWS {
                        let x = s.splat(x4[r][chunk][k]);
                        for p in 0..PANELS {
                            sums[r][p] = s.mul_add(x, weight[p], sums[r][p]);
                        }
                    }
                }
            }
        }
        for k in chunks * UNROLLED..count {
            for p in 0..PANELS {
                let weight = weights[p][k].load(s);
                for r in 0..ROWS {
                    sums[r][p] = s.mul_add(s.splat(x[r][k]), weight, sums[r][p]);
                }
            }
        }
        // A copy, or what loops over them keeps the sums out of the registers all along.
        let done = sums;
        for (r, sums) in done.iter().enumerate() {
            let y = y + r * self.product.y_stride;
            for (p, (&sum, Line(y))) in sums.iter().zip(&mut self.product.y[y..y + PANELS]).enumerate() {
                let (weight, panel) = (&self.product.weight, panel + p);
                let sum = match W::SCALED {
                    true => s.mul_add(sum, s.load(&weight.scale(panel).0), s.load(&weight.bias(panel).0)),
                    false => sum,
                };
                s.store(sum, y);
            }
        }
        ROWS
    }
}

/// Rows of a tile of so many panels, at most. Eight panels are of a row alone.
const fn most_rows<S: Simd>(panels: usize) -> usize {
    match S::SUMS / panels {
        _ if panels >= 8 => 1,
        6.. => 6,
        most => most,
    }
}

/// A product of integers: each row of inputs is rounded to 16 bits, as multiples of its largest / 32767.
struct OfIntegers<'a> {
    product: Product<'a>,
    weights: &'a [PairsOfIntegers],
}

/// Inputs whose products add up to less than 2^31, as 127 * 32767 * 512 is.
const INPUTS: usize = 512;
/// Rows that are rounded together.
const ROWS: usize = 6;

/// Some inputs of some rows, rounded, with zeros behind them.
type Rounded = [[i16; INPUTS]; ROWS];

impl Task for OfIntegers<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let (count, mut rounded) = (self.product.x.count, [[0; INPUTS]; ROWS]);
        let mut row = 0;
        while row < count {
            let rows = (count - row).min(S::SUMS.min(ROWS));
            let mut scales = [[0.0; 2]; ROWS];
            for (r, scale) in scales.iter_mut().enumerate().take(rows) {
                *scale = self.scale(s, row + r);
            }
            let in_size = self.product.weight.in_size();
            for start in (0..in_size).step_by(INPUTS) {
                let inputs = start..in_size.min(start + INPUTS);
                for (r, rounded) in rounded.iter_mut().enumerate().take(rows) {
                    self.round(s, row + r, inputs.clone(), scales[r][0], rounded);
                }
                let mut panel = self.product.panels.start;
                while panel < self.product.panels.end {
                    panel += self.panels(s, &rounded, &scales, inputs.clone(), row..row + rows, panel);
                }
            }
            row += rows;
        }
    }
}

impl OfIntegers<'_> {
    /// What the inputs of a row are multiplied by before they are rounded, and the integers' products by after that; the
    /// second one is NaN if an input is not finite.
    #[inline(always)]
    fn scale<S: Simd>(&self, s: S, row: usize) -> [f32; 2] {
        let x = &self.product.x.from(row)[..self.product.weight.in_size()];
        let (lines, rest) = x.as_chunks();
        let mut last = [0.0; LANES];
        last[..rest.len()].copy_from_slice(rest);
        let (mut largest, mut poison) = (s.splat(0.0), s.splat(0.0));
        for line in lines.iter().chain([&last]) {
            let x = s.load(line);
            largest = s.at_least(s.abs(x), largest);
            poison = s.mul_add(x, s.splat(0.0), poison);
        }
        let (mut by_lane, mut poisons) = ([0.0; LANES], [0.0; LANES]);
        s.store(largest, &mut by_lane);
        s.store(poison, &mut poisons);
        let (mut largest, mut poison) = (0.0f32, 0.0);
        for lane in 0..LANES {
            largest = if by_lane[lane] > largest { by_lane[lane] } else { largest };
            poison += poisons[lane];
        }
        // What is next to nothing is nothing: its inverse may be infinite.
        if largest < f32::MIN_POSITIVE * 32767.0 {
            [0.0, poison]
        } else {
            [32767.0 / largest, largest / 32767.0 + poison]
        }
    }

    /// Some inputs of a row, rounded, and zeros up to the next 16.
    #[inline(always)]
    fn round<S: Simd>(&self, s: S, row: usize, inputs: Range<usize>, scale: f32, to: &mut [i16; INPUTS]) {
        let x = &self.product.x.from(row)[inputs.clone()];
        let ((lines, rest), scale) = (x.as_chunks(), s.splat(scale));
        let mut last = [0.0; LANES];
        last[..rest.len()].copy_from_slice(rest);
        for (line, to) in lines.iter().chain([&last]).zip(to.as_chunks_mut().0) {
            s.store_i16(s.mul(s.load(line), scale), to);
        }
    }

    /// Some panels from `panel` on. Returns how many.
    #[inline(always)]
    fn panels<S: Simd>(
        &mut self,
        s: S,
        x: &Rounded,
        scales: &[[f32; 2]; ROWS],
        inputs: Range<usize>,
        rows: Range<usize>,
        panel: usize,
    ) -> usize {
        let left = self.product.panels.end - panel;
        match (rows.len(), left) {
            (6, _) => self.tile::<S, 6, 1>(s, x, scales, inputs, rows.start, panel),
            (5, _) => self.tile::<S, 5, 1>(s, x, scales, inputs, rows.start, panel),
            (4, _) => self.tile::<S, 4, 1>(s, x, scales, inputs, rows.start, panel),
            (3, 2..) if S::SUMS >= 6 => self.tile::<S, 3, 2>(s, x, scales, inputs, rows.start, panel),
            (3, _) => self.tile::<S, 3, 1>(s, x, scales, inputs, rows.start, panel),
            (2, 3..) if S::SUMS >= 6 => self.tile::<S, 2, 3>(s, x, scales, inputs, rows.start, panel),
            (2, _) => self.tile::<S, 2, 1>(s, x, scales, inputs, rows.start, panel),
            (_, 4..) if S::SUMS >= 6 => self.tile::<S, 1, 4>(s, x, scales, inputs, rows.start, panel),
            (_, 3..) => self.tile::<S, 1, 3>(s, x, scales, inputs, rows.start, panel),
            _ => self.tile::<S, 1, 1>(s, x, scales, inputs, rows.start, panel),
        }
    }

    /// `ROWS` rows of `PANELS` panels. Returns `PANELS`.
    #[inline(always)]
    fn tile<S: Simd, const ROWS: usize, const PANELS: usize>(
        &mut self,
        s: S,
        x: &Rounded,
        scales: &[[f32; 2]; self::ROWS],
        inputs: Range<usize>,
        row: usize,
        panel: usize,
    ) -> usize {
        let pairs = self.product.weight.in_size().div_ceil(2);
        let here = inputs.len().div_ceil(2);
        let mut weights = [self.weights; PANELS];
        for (p, weights) in weights.iter_mut().enumerate() {
            *weights = &self.weights[(panel + p) * pairs + inputs.start / 2..][..here];
        }
        let mut sums = [[s.ints(); PANELS]; ROWS];
        for k in 0..here {
            let mut weight = [s.splat_pair([0; 2]); PANELS];
            for p in 0..PANELS {
                weight[p] = s.load_pairs(&weights[p][k].0);
            }
            for r in 0..ROWS {
                let x = s.splat_pair([x[r][2 * k], x[r][2 * k + 1]]);
                for p in 0..PANELS {
                    sums[r][p] = s.add_products(sums[r][p], weight[p], x);
                }
            }
        }
        let done = sums;
        for (r, sums) in done.iter().enumerate() {
            let y = (row + r) * self.product.y_stride + panel - self.product.panels.start;
            for (p, (&sum, Line(y))) in sums.iter().zip(&mut self.product.y[y..y + PANELS]).enumerate() {
                let (weight, panel) = (&self.product.weight, panel + p);
                let before = if inputs.start == 0 { s.load(&weight.bias(panel).0) } else { s.load(y) };
                let scale = s.mul(s.load(&weight.scale(panel).0), s.splat(scales[r][1]));
                s.store(s.mul_add(s.to_floats(sum), scale, before), y);
            }
        }
        PANELS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{plan::Precision, simd::each};

    /// Numbers between -0.5 and 0.5.
    fn values(seed: &mut u32, count: usize) -> Vec<f32> {
        let mut value = || {
            *seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f32::from_bits(0x3f80_0000 | (*seed >> 9)) - 1.5
        };
        (0..count).map(|_| value()).collect()
    }

    #[test]
    fn a_row_has_the_same_bits_in_any_company() -> crate::error::Result<()> {
        for precision in Precision::ALL {
            same_bits(precision, false)?;
        }
        same_bits(Precision::I8, true)
    }

    fn same_bits(precision: Precision, integers: bool) -> crate::error::Result<()> {
        let mut seed = 1;
        for in_size in [0, 1, 2, 3, 7, 16, 31, 64, 129, 256, 257, 300, 1030] {
            for out_size in [1, 15, 16, 17, 33, 64, 100, 140] {
                let weight = precision.rounded(values(&mut seed, in_size * out_size).into(), in_size);
                let bias = values(&mut seed, out_size);
                let x = values(&mut seed, 100 * in_size);
                let packed = Packed::new(&weight, Some(&bias), in_size, precision)?;
                let packed = if integers { packed.by_twos()? } else { packed };
                let panels = packed.panels();
                // With each kind of instructions, `[count, panels]`.
                let run = |first: usize, count: usize| {
                    let x = Rows::new(&x[first * in_size..], in_size, count);
                    each(|| Sums { x, weight: &packed })
                };
                let alone: Vec<Vec<Vec<Line>>> = (0..100).map(|row| run(row, 1)).collect();
                for count in [1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 16, 25, 70, 97, 100] {
                    let first = (count * 13) % (101 - count);
                    for (kind, y) in run(first, count).iter().enumerate() {
                        for (row, y) in y.chunks(panels.max(1)).enumerate() {
                            assert_eq!(
                                y,
                                alone[first + row][kind],
                                "in {in_size}, out {out_size}, row {row} of {count}"
                            );
                        }
                    }
                }
                for y in &alone[0] {
                    for (n, &y) in y.iter().flat_map(|Line(line)| line).enumerate().take(packed.out_size()) {
                        let products = weight[n * in_size..].iter().zip(&x[..in_size]);
                        let exact =
                            products.fold(f64::from(bias[n]), |sum, (&w, &x)| sum + f64::from(w) * f64::from(x));
                        // Inputs up to a half in steps of 2^-16: off by half of that, with weights up to a half.
                        let rounding = if integers { in_size as f64 * 2f64.powi(-18) } else { 0.0 };
                        let bound = (in_size + 2) as f64 * f64::from(f32::EPSILON) + rounding;
                        assert!((exact - f64::from(y)).abs() <= bound, "in {in_size}, unit {n}");
                    }
                }
            }
        }
        Ok(())
    }

    #[test]
    fn integers_pass_on_what_is_not_finite_and_forget_what_is_next_to_nothing() -> crate::error::Result<()> {
        let weight = Packed::new(&[0.5, -0.25, 1.0], Some(&[3.0]), 3, Precision::I8)?.by_twos()?;
        for (x, expected) in [
            ([f32::NAN, 0.0, 0.0], f32::NAN),
            ([0.0, f32::INFINITY, 0.0], f32::NAN),
            ([1e-40, -1e-40, 0.0], 3.0),
            ([0.0; 3], 3.0),
            ([2e30, 0.0, 0.0], 1e30),
        ] {
            for y in each(|| Sums { x: Rows::new(&x, 3, 1), weight: &weight }) {
                let y = y[0].0[0];
                assert!(y.is_nan() && expected.is_nan() || (y - expected).abs() <= 0.01 * expected.abs(), "{x:?}: {y}");
            }
        }
        Ok(())
    }

    /// All sums of a product.
    struct Sums<'a> {
        x: Rows<'a>,
        weight: &'a Packed,
    }

    impl Task for Sums<'_> {
        type Output = Vec<Line>;

        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> Vec<Line> {
            let panels = self.weight.panels();
            let mut y = vec![Line::ZERO; self.x.count * panels];
            s.run(Product { x: self.x, weight: self.weight, panels: 0..panels, y: &mut y, y_stride: panels });
            y
        }
    }
}
