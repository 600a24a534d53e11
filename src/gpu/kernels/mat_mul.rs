//! `mat_mul.wgsl`: products of two values of a run.

use super::axes::{Axis, broadcast, merged, signed, strides, words};
use crate::{
    error::{Error, Result},
    gpu::{
        kernel::{Binding, Kernel, Part, PipelineKey},
        recorder::{Recorder, View, Work, word},
    },
    plan::MAX_RANK,
};

pub(crate) static MAT_MUL: Kernel = Kernel {
    name: "mat_mul",
    parts: &[Part::Rows, Part::Common],
    source: include_str!("../../../shaders/mat_mul.wgsl"),
    bindings: &[
        Binding::read("left", "[.., m, k]"),
        Binding::read("right", "[.., k, n] or [.., n, k]"),
        Binding::read_write("output", "[.., m, n]"),
    ],
    params_words: 24,
    workgroup_bytes: 4608,
    invocations: 64,
};

/// Rows and columns of a workgroup.
const SIDE: usize = 32;

/// [`crate::plan::Op::MatMul`], cut where it would exceed the budget of a submission.
pub(crate) fn encode(
    recorder: &mut Recorder<'_>,
    left: (View<'_>, &[usize]),
    right: (View<'_>, &[usize]),
    transposed: bool,
    output: (View<'_>, &[usize]),
) -> Result<()> {
    if output.0.len == 0 {
        return Ok(());
    }
    let (&[ref left_axes @ .., _, k], &[ref right_axes @ .., _, _], &[ref axes @ .., m, n]) =
        (left.1, right.1, output.1)
    else {
        return Err(Error::internal("matrices of that rank"));
    };
    let (left_strides, right_strides) = (broadcast(left_axes), broadcast(right_axes));
    let walk = axes.iter().zip(strides(axes)).zip(left_strides.into_iter().zip(right_strides));
    let walk: Vec<Axis> = walk
        .map(|((&extent, own), (left, right))| {
            [signed(extent), left * signed(m * k), right * signed(k * n), own * signed(m * n)]
        })
        .collect();
    let walk = merged(&walk);
    let matrices: usize = axes.iter().product();
    let workgroups = matrices * m.div_ceil(SIDE) * n.div_ceil(SIDE);
    let cost = (SIDE * SIDE * k.max(1)) as f64;
    let affordable = ((recorder.budget() / cost) as usize).max(1);
    recorder.pipelines.check_rounds("a product", k.div_ceil(16).saturating_mul(24))?;
    let key = PipelineKey::new(&MAT_MUL).constant("TRANSPOSED", u32::from(transposed));
    let bound = recorder.bind(&key, &[Some(left.0), Some(right.0), Some(output.0)])?;
    for first in (0..workgroups).step_by(affordable) {
        let end = workgroups.min(first + affordable.min(workgroups));
        let mut params = [end, first, m, n, k, walk.len(), 0, 0].map(word).into_iter().collect::<Result<Vec<_>>>()?;
        params.extend(words(&walk, MAX_RANK - 2)?);
        let count = end - first;
        let share = count as f64 / workgroups as f64;
        let work = Work {
            cost: count as f64 * cost,
            multiply_adds: share * (output.0.len * k) as f64,
            bytes: share * 4.0 * (left.0.len + right.0.len + output.0.len) as f64,
        };
        recorder.dispatch(&bound, &params, count as u64, work)?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::gpu::testing::{Gpu, Random, gpu};

    struct Case {
        leading: [Vec<usize>; 3],
        sizes: [usize; 3],
        transposed: bool,
        left: Vec<f32>,
        right: Vec<f32>,
    }

    impl Case {
        fn new(leading: [&[usize]; 3], [m, n, k]: [usize; 3], transposed: bool) -> Self {
            let mut random = Random::new((m * 10_000 + n * 100 + k) as u64);
            let count = |axes: &[usize]| axes.iter().product::<usize>();
            Self {
                left: random.values(count(leading[0]) * m * k, 1.0),
                right: random.values(count(leading[1]) * k * n, 1.0),
                leading: leading.map(<[usize]>::to_vec),
                sizes: [m, n, k],
                transposed,
            }
        }

        fn shapes(&self) -> [Vec<usize>; 3] {
            let [m, n, k] = self.sizes;
            let right = if self.transposed { [n, k] } else { [k, n] };
            let matrices = [[m, k], right, [m, n]];
            [0, 1, 2].map(|i| [&self.leading[i][..], &matrices[i]].concat())
        }

        fn run(&self, gpu: &mut Gpu, budget: f64) -> (Vec<f32>, usize) {
            let [left_shape, right_shape, shape] = self.shapes();
            let (left, right) = (gpu.upload(&self.left), gpu.upload(&self.right));
            let output = gpu.empty(shape.iter().product());
            let submissions = gpu.run_within(budget, |recorder| {
                let (left, right) = ((left.view(), &left_shape[..]), (right.view(), &right_shape[..]));
                encode(recorder, left, right, self.transposed, (output.view(), &shape))
            });
            (gpu.read(&output), submissions)
        }

        /// The worst error in units of the bound `(K + 2) 2^-23 sum |a| |b|`, which holds for any order.
        fn worst(&self, actual: &[f32]) -> f64 {
            let [m, n, k] = self.sizes;
            let place = |index: usize, axes: &[usize]| {
                let (mut rest, mut at, mut stride) = (index, 0, 1);
                for (&whole, &own) in self.leading[2].iter().zip(axes).rev() {
                    at += if own == 1 { 0 } else { rest % whole * stride };
                    (rest, stride) = (rest / whole, stride * own);
                }
                at
            };
            let mut worst = 0.0f64;
            for (flat, &y) in actual.iter().enumerate() {
                let (matrix, row, column) = (flat / (m * n), flat / n % m, flat % n);
                let (a, b) = (place(matrix, &self.leading[0]), place(matrix, &self.leading[1]));
                let (mut sum, mut size) = (0.0, 0.0);
                for term in 0..k {
                    let at = if self.transposed { column * k + term } else { term * n + column };
                    let product =
                        f64::from(self.left[(a * m + row) * k + term]) * f64::from(self.right[b * k * n + at]);
                    sum += product;
                    size += product.abs();
                }
                let bound = (k + 2) as f64 * 2f64.powi(-23) * size;
                let ratio = if k == 0 { f64::from(y).abs() } else { (f64::from(y) - sum).abs() / bound };
                assert!(ratio <= 1.0, "{flat}: {y}, expected {sum}");
                worst = worst.max(ratio);
            }
            worst
        }
    }

    #[test]
    fn products_of_any_shape_are_within_the_bound() {
        let mut gpu = gpu();
        let mut worst = 0.0f64;
        let leading: [[&[usize]; 3]; 5] = [
            [&[1], &[1], &[1]],
            [&[3], &[3], &[3]],
            [&[2, 3], &[2, 1], &[2, 3]],
            [&[1, 1, 2], &[2, 3, 1], &[2, 3, 2]],
            [&[2, 1, 2, 1], &[1, 3, 1, 2], &[2, 3, 2, 2]],
        ];
        for (at, sizes) in [[1, 1, 1], [33, 5, 70], [1, 65, 200], [40, 1, 3], [32, 32, 64], [7, 31, 15], [2, 3, 0]]
            .into_iter()
            .enumerate()
        {
            for transposed in [false, true] {
                for leading in [leading[at % 5], leading[(at + 2) % 5]] {
                    let case = Case::new(leading, sizes, transposed);
                    let (y, _) = case.run(&mut gpu, 1e12);
                    worst = worst.max(case.worst(&y));
                }
            }
        }
        eprintln!("worst ratio {worst:.3}");
    }

    #[test]
    fn cuts_by_budget_and_the_number_of_matrices_change_no_bit() {
        let mut gpu = gpu();
        let case = Case::new([&[5, 2], &[5, 1], &[5, 2]], [37, 50, 130], true);
        let (whole, one) = case.run(&mut gpu, 1e12);
        let (cut, many) = case.run(&mut gpu, 5e5);
        assert!(whole == cut && one == 1 && many > 3);
        let row = |values: &[f32], row: usize| values[row * values.len() / 5..][..values.len() / 5].to_vec();
        for at in 0..5 {
            let alone = Case {
                leading: [vec![1, 2], vec![1, 1], vec![1, 2]],
                left: row(&case.left, at),
                right: row(&case.right, at),
                ..Case::new([&[1], &[1], &[1]], case.sizes, true)
            };
            assert!(alone.run(&mut gpu, 1e12).0 == row(&whole, at), "{at}");
        }
    }

    #[test]
    fn infinities_and_nan_stay_in_their_row_and_column() {
        let mut gpu = gpu();
        let mut case = Case::new([&[2], &[2], &[2]], [5, 6, 7], false);
        let (clean, _) = case.run(&mut gpu, 1e12);
        case.left[7] = f32::NAN; // row 1 of matrix 0
        case.right[42 + 3] = f32::INFINITY; // column 3 of matrix 1
        let (y, _) = case.run(&mut gpu, 1e12);
        for (i, (&y, &clean)) in y.iter().zip(&clean).enumerate() {
            let (matrix, row, column) = (i / 30, i / 6 % 5, i % 6);
            match (matrix, row, column) {
                (0, 1, _) => assert!(y.is_nan(), "{i}"),
                (1, _, 3) => assert!(y.is_infinite(), "{i}"),
                _ => assert_eq!(y, clean, "{i}"),
            }
        }
    }
}
