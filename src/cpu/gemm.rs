//! Products with packed weights. Each output element is one chain of multiply-adds, from the bias
//! on and in the order of `k`, whatever the number of rows: a row gives the same bits alone, in any
//! batch, and in any slice of timesteps.

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
}

/// Rows of a matrix that lie `stride` apart, from the start of `values` on.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) values: &'a [f32],
    pub(super) stride: usize,
    pub(super) count: usize,
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
        for (r, sums) in sums.iter().enumerate() {
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
    #[ignore = "prints speed"]
    fn speed() {
        for m in [1, 2, 3, 4, 8, 16, 48, 800] {
            let (k, n) = (256, 1024);
            let w: Vec<f32> = (0..k * n).map(|i| (i % 17) as f32 * 0.01).collect();
            let x: Vec<f32> = (0..m * k).map(|i| (i % 13) as f32 * 0.01).collect();
            let mut y = vec![0.0; m * n];
            let packed = Packed::new(&w, None, k);
            let reps = 2000 / m + 3;
            let mut best = [f64::MAX; 2];
            for _ in 0..5 {
                let t = std::time::Instant::now();
                for _ in 0..reps {
                    product(Rows { values: &x, stride: k, count: m }, &packed, &mut y, n);
                }
                best[0] = best[0].min(t.elapsed().as_secs_f64());
                let t = std::time::Instant::now();
                for _ in 0..reps {
                    #[allow(unsafe_code)]
                    unsafe {
                        matrixmultiply::sgemm(
                            m,
                            k,
                            n,
                            1.0,
                            x.as_ptr(),
                            k as isize,
                            1,
                            w.as_ptr(),
                            1,
                            k as isize,
                            0.0,
                            y.as_mut_ptr(),
                            n as isize,
                            1,
                        );
                    }
                }
                best[1] = best[1].min(t.elapsed().as_secs_f64());
            }
            let gflop = (2 * m * k * n * reps) as f64 / 1e9;
            println!("m {m}: own {:.1}, matrixmultiply {:.1} GFLOP/s", gflop / best[0], gflop / best[1]);
        }
    }
}
