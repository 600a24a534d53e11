//! Products with packed weights. Each output element is one chain of multiply-adds, from the bias
//! on and in the order of `k`, whatever the number of rows: a row gives the same bits alone, in any
//! batch, and in any slice of timesteps.
//!
//! General matrix products pack their operands in every call, which for a few rows costs more than
//! the product; here the weights are packed once.

use std::array;

use crate::simd::{Task, dispatch};

/// Outputs that are computed side by side: two AVX2 registers.
const LANES: usize = 16;
/// Rows whose inputs stay in the first-level cache while a panel of weights passes over them.
const ROW_BLOCK: usize = 96;

/// Rows of a weight matrix, transposed and packed for [`product`].
#[derive(Debug)]
pub(super) struct Packed {
    /// Rows of the weight matrix: outputs.
    out_size: usize,
    /// Columns of the weight matrix: inputs.
    in_size: usize,
    /// `[ceil(out_size / LANES)][in_size][LANES]`, zero beyond `out_size`.
    panels: Vec<[f32; LANES]>,
    /// `[ceil(out_size / LANES)][LANES]`, zero without a bias.
    bias: Vec<[f32; LANES]>,
}

impl Packed {
    /// `weight` is `[out_size, in_size]`, `bias` `[out_size]`.
    pub(super) fn new(weight: &[f32], bias: Option<&[f32]>, in_size: usize) -> Self {
        let in_size = in_size.max(1);
        let out_size = weight.len() / in_size;
        let groups = out_size.div_ceil(LANES);
        let mut panels = vec![[0.0; LANES]; groups * in_size];
        for (n, row) in weight.chunks_exact(in_size).enumerate() {
            let panel = &mut panels[n / LANES * in_size..][..in_size];
            for (values, &value) in panel.iter_mut().zip(row) {
                values[n % LANES] = value;
            }
        }
        let mut padded = vec![[0.0; LANES]; groups];
        for (n, &value) in bias.into_iter().flatten().take(out_size).enumerate() {
            padded[n / LANES][n % LANES] = value;
        }
        Self { out_size, in_size, panels, bias: padded }
    }

    /// `matrix` is `[in_size, out_size]`; no bias.
    pub(super) fn of_columns(matrix: &[f32], out_size: usize) -> Self {
        let out_size = out_size.max(1);
        let (in_size, groups) = (matrix.len() / out_size, out_size.div_ceil(LANES));
        let mut panels = vec![[0.0; LANES]; groups * in_size];
        for (k, row) in matrix.chunks_exact(out_size).enumerate() {
            for (group, values) in row.chunks(LANES).enumerate() {
                panels[group * in_size + k][..values.len()].copy_from_slice(values);
            }
        }
        Self { out_size, in_size, panels, bias: vec![[0.0; LANES]; groups] }
    }

    pub(super) fn in_size(&self) -> usize {
        self.in_size
    }

    pub(super) fn out_size(&self) -> usize {
        self.out_size
    }
}

/// Rows of a matrix that lie `stride` apart, from the start of `values` on.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) values: &'a [f32],
    pub(super) stride: usize,
    pub(super) count: usize,
}

impl<'a> Rows<'a> {
    /// All of `values`, `width` to a row.
    pub(super) fn of(values: &'a [f32], width: usize) -> Self {
        Self { values, stride: width, count: values.len() / width.max(1) }
    }
}

/// `y[row, n] = bias[n] + sum_k x[row, k] * weight[n, k]`; `y`'s rows lie `y_stride` apart.
pub(super) fn product(x: Rows<'_>, weight: &Packed, y: &mut [f32], y_stride: usize) {
    dispatch(Product { x, weight, y, y_stride });
}

struct Product<'a> {
    x: Rows<'a>,
    weight: &'a Packed,
    y: &'a mut [f32],
    y_stride: usize,
}

impl Task for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FUSED: bool>(mut self) {
        for start in (0..self.x.count).step_by(ROW_BLOCK) {
            let end = self.x.count.min(start + ROW_BLOCK);
            // Few rows take several panels at a time, so that enough sums are under way to hide
            // the latency of a multiply-add.
            let (panels, rows) = (self.weight.bias.len(), end - start);
            let group = match rows {
                1 => 4,
                2 => 2,
                _ => 1,
            };
            let mut panel = 0;
            while panel < panels {
                let wide = panels - panel >= group;
                let mut row = start;
                while row < end {
                    row += match (end - row, if wide { group } else { 1 }) {
                        (1, 4) => self.tile::<FUSED, 1, 4>(row, panel),
                        (1, 2) => self.tile::<FUSED, 1, 2>(row, panel),
                        (2, 2) => self.tile::<FUSED, 2, 2>(row, panel),
                        (1, _) => self.tile::<FUSED, 1, 1>(row, panel),
                        (2, _) => self.tile::<FUSED, 2, 1>(row, panel),
                        (3, _) => self.tile::<FUSED, 3, 1>(row, panel),
                        (4 | 7 | 8, _) => self.tile::<FUSED, 4, 1>(row, panel),
                        (5, _) => self.tile::<FUSED, 5, 1>(row, panel),
                        _ => self.tile::<FUSED, 6, 1>(row, panel),
                    };
                }
                panel += if wide { group } else { 1 };
            }
        }
    }
}

impl Product<'_> {
    /// `ROWS` rows of `PANELS` panels. Returns `ROWS`.
    #[inline(always)]
    fn tile<const FUSED: bool, const ROWS: usize, const PANELS: usize>(&mut self, row: usize, panel: usize) -> usize {
        let Packed { in_size, out_size, .. } = *self.weight;
        let x: [&[f32]; ROWS] = array::from_fn(|r| &self.x.values[(row + r) * self.x.stride..][..in_size]);
        let weights: [&[[f32; LANES]]; PANELS] =
            array::from_fn(|p| &self.weight.panels[(panel + p) * in_size..][..in_size]);
        let mut sums = [array::from_fn::<_, PANELS, _>(|p| self.weight.bias[panel + p]); ROWS];
        for k in 0..in_size {
            for r in 0..ROWS {
                let x = x[r][k];
                for p in 0..PANELS {
                    let (weights, sum) = (weights[p][k], sums[r][p]);
                    sums[r][p] = array::from_fn(|lane| {
                        if FUSED { x.mul_add(weights[lane], sum[lane]) } else { x * weights[lane] + sum[lane] }
                    });
                }
            }
        }
        // A copy, or what loops over them keeps the sums out of the registers all along.
        let done = sums;
        for (r, sums) in done.iter().enumerate() {
            for (p, sums) in sums.iter().enumerate() {
                let first = (panel + p) * LANES;
                let count = LANES.min(out_size - first);
                let y = (row + r) * self.y_stride + first;
                self.y[y..y + count].copy_from_slice(&sums[..count]);
            }
        }
        ROWS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_the_same_bits_in_any_company() {
        same_bits(true);
        same_bits(false);
    }

    fn same_bits(wide: bool) {
        let mut seed = 1u32;
        let mut value = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f32::from_bits(0x3f80_0000 | (seed >> 9)) - 1.5
        };
        for in_size in [1, 2, 3, 7, 16, 31, 64, 129, 256, 257, 300, 1030] {
            for out_size in [1, 5, 15, 16, 17, 33, 64, 100] {
                let weight: Vec<f32> = (0..in_size * out_size).map(|_| value()).collect();
                let bias: Vec<f32> = (0..out_size).map(|_| value()).collect();
                let x: Vec<f32> = (0..100 * in_size).map(|_| value()).collect();
                let packed = Packed::new(&weight, Some(&bias), in_size);
                let run = |first: usize, count: usize| {
                    let mut y = vec![0.0; count * (out_size + 3)];
                    let x = Rows { values: &x[first * in_size..], stride: in_size, count };
                    if wide {
                        product(x, &packed, &mut y, out_size + 3);
                    } else {
                        // What processors without a fused multiply-add run.
                        Product { x, weight: &packed, y: &mut y, y_stride: out_size + 3 }.run::<false>();
                    }
                    y
                };
                let alone: Vec<Vec<f32>> = (0..100).map(|row| run(row, 1)).collect();
                for count in [1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 16, 25, 70, 97, 100] {
                    let first = (count * 13) % (101 - count);
                    for (row, y) in run(first, count).chunks(out_size + 3).enumerate() {
                        let expected = &alone[first + row];
                        let same = y.iter().zip(expected).all(|(a, b)| a.to_bits() == b.to_bits());
                        assert!(same, "in {in_size}, out {out_size}, row {row} of {count}");
                    }
                }
                for (n, &y) in alone[0].iter().enumerate().take(out_size) {
                    let products = weight[n * in_size..].iter().zip(&x[..in_size]);
                    let exact = products.fold(f64::from(bias[n]), |sum, (&w, &x)| sum + f64::from(w) * f64::from(x));
                    let bound = (in_size + 2) as f64 * f64::from(f32::EPSILON);
                    assert!((exact - f64::from(y)).abs() <= bound, "in {in_size}, unit {n}");
                }
            }
        }
    }
}
