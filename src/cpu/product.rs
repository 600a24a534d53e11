//! Products with packed weights. Each output element is one chain of multiply-adds, from the bias
//! on and in the order of `k`, whatever the number of rows: a row gives the same bits alone, in any
//! batch, and in any slice of timesteps.
//!
//! General matrix products pack their operands in every call, which for a few rows costs more than
//! the product; here the weights are packed once.

use std::ops::Range;

use super::packed::{Packed, Stored, Weights};
use crate::{
    activation::Activation,
    simd::{LANES, Line, Simd, Task, dispatch},
};

/// Lines of sums that [`linear`] takes at once: 6 KiB.
const SUMS: usize = 96;

/// Rows of a matrix that lie `stride` apart, the first one from `first` on.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) values: &'a [f32],
    pub(super) first: usize,
    pub(super) stride: isize,
    pub(super) count: usize,
}

impl<'a> Rows<'a> {
    /// The rows of all of `values`, `width` to each.
    pub(super) fn of(values: &'a [f32], width: usize) -> Self {
        Self { values, first: 0, stride: width.cast_signed(), count: values.len() / width.max(1) }
    }

    /// As many of the rows as there are in `rows`.
    pub(super) fn part(self, rows: Range<usize>) -> Self {
        Self { first: self.at(rows.start), count: rows.len(), ..self }
    }

    /// Where a row starts.
    #[inline(always)]
    pub(super) fn at(&self, row: usize) -> usize {
        self.first.wrapping_add_signed(self.stride * row.cast_signed())
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
            // As many panels as there is room for.
            let group = SUMS / rows.len();
            for first in (0..panels).step_by(group) {
                let group = first..panels.min(first + group);
                let y_stride = group.len();
                s.run(Product { x: x.part(rows.clone()), weight, panels: group.clone(), y: &mut sums, y_stride });
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
            Stored::I8(weights) => s.run(Of { product: self, weights }),
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
        let mut panel = self.product.panels.start;
        while panel < self.product.panels.end {
            panel += self.rows(s, panel);
        }
    }
}

impl<W: Weights> Of<'_, W> {
    /// All rows of some panels from `panel` on. Returns how many.
    #[inline(always)]
    fn rows<S: Simd>(&mut self, s: S, panel: usize) -> usize {
        // Few rows take several panels at a time, so that enough sums are under way to hide the latency of a
        // multiply-add; more rows as many as the registers hold, since a weight is then read once for them all.
        let rows = self.product.x.count;
        let wide = match rows {
            0 | 1 => S::SUMS,
            2 => S::SUMS / 2,
            3 => S::SUMS / 3,
            4 => S::SUMS / 4,
            5 => S::SUMS / 5,
            _ => S::SUMS / 6,
        };
        let wide = wide.min(self.product.panels.end - panel);
        let mut row = 0;
        match wide {
            8.. if rows == 1 => {
                while row < rows {
                    row += self.tiles::<S, 8>(s, row, panel);
                }
                8
            }
            4.. => {
                while row < rows {
                    row += self.tiles::<S, 4>(s, row, panel);
                }
                4
            }
            3 => {
                while row < rows {
                    row += self.tiles::<S, 3>(s, row, panel);
                }
                3
            }
            2 => {
                while row < rows {
                    row += self.tiles::<S, 2>(s, row, panel);
                }
                2
            }
            _ => {
                while row < rows {
                    row += self.tiles::<S, 1>(s, row, panel);
                }
                1
            }
        }
    }

    /// Some rows of `PANELS` panels. Returns how many.
    #[inline(always)]
    fn tiles<S: Simd, const PANELS: usize>(&mut self, s: S, row: usize, panel: usize) -> usize {
        let most = (S::SUMS / PANELS).min(6);
        // Rather four and three than six and one.
        let rows = match self.product.x.count - row {
            7 | 8 if most >= 4 => 4,
            left => left.min(most),
        };
        match rows {
            6 => self.tile::<S, 6, PANELS>(s, row, panel),
            5 => self.tile::<S, 5, PANELS>(s, row, panel),
            4 => self.tile::<S, 4, PANELS>(s, row, panel),
            3 => self.tile::<S, 3, PANELS>(s, row, panel),
            2 => self.tile::<S, 2, PANELS>(s, row, panel),
            _ => self.tile::<S, 1, PANELS>(s, row, panel),
        }
    }

    /// `ROWS` rows of `PANELS` panels. Returns `ROWS`.
    #[inline(always)]
    fn tile<S: Simd, const ROWS: usize, const PANELS: usize>(&mut self, s: S, row: usize, panel: usize) -> usize {
        let count = self.product.weight.in_size();
        // Loops, not functions of arrays: see `Task::run`.
        let (mut x, mut weights) = ([[].as_slice(); ROWS], [self.weights; PANELS]);
        for (r, x) in x.iter_mut().enumerate() {
            *x = &self.product.x.values[self.product.x.at(row + r)..][..count];
        }
        for (p, weights) in weights.iter_mut().enumerate() {
            *weights = &self.weights[(panel + p) * count..][..count];
        }
        // Opaque, or the optimiser, which sees that they lie evenly apart, adds up addresses in every round of the loop.
        let x = if ROWS > 2 { std::hint::black_box(x) } else { x };
        // There is nothing to check in the loop.
        assert!(x.iter().all(|x| x.len() == count) && weights.iter().all(|weights| weights.len() == count));
        let y = (row * self.product.y_stride + panel) - self.product.panels.start;
        let mut sums = [[s.splat(0.0); PANELS]; ROWS];
        if !W::SCALED {
            for p in 0..PANELS {
                let bias = s.load(&self.product.weight.bias(panel + p).0);
                for sums in &mut sums {
                    sums[p] = bias;
                }
            }
        }
        for k in 0..count {
            let mut weight = [s.splat(0.0); PANELS];
            for p in 0..PANELS {
                weight[p] = weights[p][k].load(s);
            }
            for r in 0..ROWS {
                let x = s.splat(x[r][k]);
                for p in 0..PANELS {
                    sums[r][p] = s.mul_add(x, weight[p], sums[r][p]);
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
            same_bits(precision)?;
        }
        Ok(())
    }

    fn same_bits(precision: Precision) -> crate::error::Result<()> {
        let mut seed = 1;
        for in_size in [0, 1, 2, 3, 7, 16, 31, 64, 129, 256, 257, 300, 1030] {
            for out_size in [1, 15, 16, 17, 33, 64, 100, 140] {
                let mut weight = values(&mut seed, in_size * out_size);
                match precision {
                    Precision::F32 => {}
                    Precision::F16 => weight.iter_mut().for_each(|w| *w = half::f16::from_f32(*w).to_f32()),
                    Precision::I8 => weight = crate::int8::rounded(&weight, in_size),
                }
                let bias = values(&mut seed, out_size);
                let x = values(&mut seed, 100 * in_size);
                let packed = Packed::new(&weight, Some(&bias), in_size, precision)?;
                let panels = packed.panels();
                // With each kind of instructions, `[count, panels]`.
                let run = |first: usize, count: usize| {
                    let x = Rows { values: &x, first: first * in_size, stride: in_size.cast_signed(), count };
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
                        let bound = (in_size + 2) as f64 * f64::from(f32::EPSILON);
                        assert!((exact - f64::from(y)).abs() <= bound, "in {in_size}, unit {n}");
                    }
                }
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
