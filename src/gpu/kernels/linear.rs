//! `linear.wgsl`, `linear_few_rows.wgsl` and `linear_handed.wgsl`: `y = activation(x . w^T + b)`.

use super::{ACTIVATION, with_activation};
use crate::{
    activation::Activation,
    error::Result,
    gpu::{
        kernel::{Binding, Kernel, Part, PipelineKey, RowWidth, Variant},
        pack::Matrix,
        pipelines::Pipelines,
        recorder::{Recorder, View, Work, word},
    },
};

/// The last one is each kernel's own.
macro_rules! parts {
    ($($own:ident),+) => {
        &[
            Part::Rows,
            Part::Common,
            Part::Activation,
            Part::ActivationOne,
            Part::Weights,
            Part::Product,
            Part::Linear,
            $(Part::$own),+
        ]
    };
}
const BINDINGS: &[Binding] = &[
    Binding::read("weights", "[ceil(inputs / 4), outputs] of vec4 over inputs, scales [outputs]"),
    Binding::read("input", "[.., input_stride]"),
    Binding::read("bias", "[all outputs]"),
    Binding::read_write("output", "[.., output_stride]"),
];
const PARAMS_WORDS: usize = 13;

pub(crate) static LINEAR: Kernel = Kernel {
    name: "linear",
    parts: parts!(LinearRows, LinearTile),
    source: include_str!("../../../shaders/linear.wgsl"),
    bindings: BINDINGS,
    params_words: PARAMS_WORDS,
    workgroup_bytes: 8448,
    invocations: 64,
};

pub(crate) static LINEAR_FEW_ROWS: Kernel = Kernel {
    name: "linear_few_rows",
    parts: parts!(LinearRows),
    source: include_str!("../../../shaders/linear_few_rows.wgsl"),
    bindings: BINDINGS,
    params_words: PARAMS_WORDS,
    workgroup_bytes: 12_288,
    invocations: 256,
};

pub(crate) static LINEAR_HANDED: Kernel = Kernel {
    name: "linear_handed",
    parts: parts!(HandedLinear),
    source: include_str!("../../../shaders/linear_handed.wgsl"),
    bindings: BINDINGS,
    params_words: PARAMS_WORDS,
    workgroup_bytes: 0,
    invocations: 32,
};

/// Rows and outputs of a workgroup of [`LINEAR`].
const TILE: [usize; 2] = [64, 64];
/// Rows and outputs of a workgroup of [`LINEAR_FEW_ROWS`].
const FEW_TILE: [usize; 2] = [4, 32];
/// Rows and outputs of a workgroup of [`LINEAR_HANDED`].
const HANDED_TILE: [usize; 2] = [128, 128];
/// Up to here a tile of 64 rows would mostly be empty. All kernels give the same bits.
const FEW_ROWS: usize = 8;

/// Where the rows of the product lie in the input: row `r` is source row
/// `first + r / slice_len * stride + r % slice_len`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows {
    pub(crate) count: usize,
    pub(crate) first: usize,
    pub(crate) slice_len: usize,
    pub(crate) stride: usize,
}

impl Rows {
    /// `count` rows on end.
    pub(crate) fn on_end(count: usize) -> Self {
        Self { count, first: 0, slice_len: count, stride: 0 }
    }

    /// The rows from `start`, `count` of them. `start` is a multiple of `slice_len`, or there is one slice.
    fn part(self, start: usize, count: usize) -> Self {
        let first = self.first + start / self.slice_len * self.stride + start % self.slice_len;
        Self { count, first, ..self }
    }
}

/// Columns of a matrix `[source rows, stride]`, from column `first` on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Columns<'a> {
    pub(crate) view: View<'a>,
    pub(crate) first: usize,
    pub(crate) stride: usize,
}

impl<'a> Columns<'a> {
    /// All of a matrix with so many.
    pub(crate) fn all(view: View<'a>, stride: usize) -> Self {
        Self { view, first: 0, stride }
    }
}

/// One product.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Linear<'a> {
    pub(crate) input: Columns<'a>,
    pub(crate) rows: Rows,
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    /// Of [`crate::gpu::pack::pack_linear`].
    pub(crate) weight: &'a Matrix<'a>,
    /// `[outputs]`
    pub(crate) bias: Option<View<'a>>,
    pub(crate) activation: Activation,
    pub(crate) output: View<'a>,
    /// Element of `output` where row 0 goes; rows follow each other.
    pub(crate) output_start: usize,
}

/// Rounds of the loops of an invocation for each step of 16 inputs, 64, and 512 in the three kernels, with room to spare.
const ROUNDS: [usize; 3] = [20, HANDED_TILE[0] + 2, 32];

/// The kernel for a product of `rows` rows of `inputs` inputs: which is the fastest, of those whose loops end by
/// themselves.
pub(crate) fn kernel_for(pipelines: &Pipelines, rows: usize, inputs: usize) -> &'static Kernel {
    let [tiled, handed, _] = rounds(inputs).map(|rounds| rounds < pipelines.loop_rounds);
    if handed && pipelines.hands {
        &LINEAR_HANDED
    } else if tiled && rows > FEW_ROWS {
        &LINEAR
    } else {
        &LINEAR_FEW_ROWS
    }
}

fn rounds(inputs: usize) -> [usize; 3] {
    let [tiled, handed, few] = ROUNDS;
    [(16, tiled), (64, handed), (512, few)].map(|(step, rounds)| inputs.div_ceil(step).saturating_mul(rounds))
}

/// Records a product, cut by rows where it would exceed the budget of a submission.
pub(crate) fn encode(recorder: &mut Recorder<'_>, linear: &Linear<'_>) -> Result<()> {
    let Rows { count, slice_len, .. } = linear.rows;
    if count == 0 || linear.outputs == 0 {
        return Ok(());
    }
    let row_cost = (linear.inputs.max(1) * linear.outputs) as f64;
    let affordable = (recorder.budget() / row_cost) as usize;
    // Whole slices, or any rows of a single slice.
    let unit = if slice_len >= count { TILE[0] } else { slice_len };
    let part = (affordable / unit).max(1).saturating_mul(unit);
    for start in (0..count).step_by(part) {
        encode_part(recorder, linear, linear.rows.part(start, part.min(count - start)), start)?;
    }
    Ok(())
}

fn encode_part(recorder: &mut Recorder<'_>, linear: &Linear<'_>, rows: Rows, start: usize) -> Result<()> {
    let kernel = kernel_for(recorder.pipelines, rows.count, linear.inputs);
    recorder.pipelines.check_rounds("a product", rounds(linear.inputs)[2])?;
    let (tile, width) = match kernel.name {
        name if name == LINEAR.name => (TILE, RowWidth::Four),
        name if name == LINEAR_HANDED.name => (HANDED_TILE, RowWidth::One),
        _ => (FEW_TILE, RowWidth::Four),
    };
    let precision = linear.weight.precision;
    let variant = Variant { precision, rows: width, half: recorder.is_half(precision), ..Variant::default() };
    let key = PipelineKey::new(kernel).variant(variant);
    let key = with_activation(key, ACTIVATION, linear.activation)?;
    for window in &linear.weight.windows {
        let views = [Some(window.view), Some(linear.input.view), linear.bias, Some(linear.output)];
        let bound = recorder.bind(&key, &views)?;
        let workgroups = rows.count.div_ceil(tile[0]) * window.count.div_ceil(tile[1]);
        let params = [
            word(workgroups)?,
            word(rows.count)?,
            word(linear.inputs)?,
            word(window.count)?,
            word(rows.slice_len)?,
            word(rows.stride)?,
            word(rows.first)?,
            word(linear.input.first)?,
            word(linear.input.stride)?,
            word(linear.output_start + start * linear.outputs + window.first)?,
            word(linear.outputs)?,
            u32::from(linear.bias.is_some()),
            word(window.first)?,
        ];
        let multiply_adds = (rows.count * window.count) as f64 * linear.inputs as f64;
        let values = window.view.len + rows.count * (linear.inputs + window.count);
        let work = Work { cost: multiply_adds, multiply_adds, bytes: values as f64 * 4.0 };
        recorder.dispatch(&bound, &params, workgroups as u64, work)?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{
        gpu::{
            pack::pack_linear,
            testing::{Gpu, Random, gpu},
        },
        plan::Precision,
    };

    struct Case {
        inputs: usize,
        outputs: usize,
        x: Vec<f32>,
        w: Vec<f32>,
        b: Vec<f32>,
    }

    impl Case {
        fn new(rows: usize, inputs: usize, outputs: usize) -> Self {
            let mut random = Random::new((rows * 1000 + inputs * 10 + outputs) as u64);
            Self {
                inputs,
                outputs,
                x: random.values(rows * inputs, 1.0),
                w: random.values(outputs * inputs, 1.0),
                b: random.values(outputs, 1.0),
            }
        }

        /// With weights that `precision` holds.
        fn stored_as(mut self, precision: Precision) -> Self {
            self.w = precision.rounded(self.w.into(), self.inputs).into_owned();
            self
        }

        fn run(&self, gpu: &mut Gpu, rows: Rows, precision: Precision, limit: u64, budget: f64) -> Vec<f32> {
            let packed = pack_linear(&self.w, self.outputs, self.inputs, precision, limit).unwrap();
            let weight = gpu.upload_packed(packed, precision);
            let (input, bias) = (gpu.upload(&self.x), gpu.upload(&self.b));
            let output = gpu.empty(rows.count * self.outputs);
            gpu.run_within(budget, |recorder| {
                let product = Linear {
                    input: Columns::all(input.view(), self.inputs),
                    rows,
                    inputs: self.inputs,
                    outputs: self.outputs,
                    weight: &weight.matrix(),
                    bias: Some(bias.view()),
                    activation: Activation::RELU,
                    output: output.view(),
                    output_start: 0,
                };
                encode(recorder, &product)
            });
            gpu.read(&output)
        }

        /// The same by lanes that hand on what they read, where the device has them.
        fn run_handed(&self, gpu: &mut Gpu, rows: Rows, precision: Precision) -> Option<Vec<f32>> {
            gpu.pipelines.hands = gpu.pipelines.device.features().contains(wgpu::Features::SUBGROUP)
                && gpu.pipelines.device.adapter_info().subgroup_min_size >= 8;
            let handed = gpu.pipelines.hands.then(|| self.run(gpu, rows, precision, 1 << 24, 1e12));
            gpu.pipelines.hands = false;
            handed
        }

        /// The worst error in units of the bound `(K + 2) 2^-23 sum |w| |x|`, which holds for any order.
        fn worst(&self, source_rows: &[usize], actual: &[f32]) -> f64 {
            let mut worst = 0.0f64;
            assert_eq!(actual.len(), source_rows.len() * self.outputs);
            for (row, y) in source_rows.iter().zip(actual.chunks(self.outputs)) {
                let x = &self.x[row * self.inputs..][..self.inputs];
                for (n, &y) in y.iter().enumerate() {
                    let products = x.iter().zip(&self.w[n * self.inputs..]).map(|(x, w)| f64::from(*x) * f64::from(*w));
                    let size = products.clone().map(f64::abs).sum::<f64>() + f64::from(self.b[n]).abs();
                    let expected = (products.sum::<f64>() + f64::from(self.b[n])).max(0.0);
                    let bound = (self.inputs + 2) as f64 * 2f64.powi(-23) * size;
                    let ratio = (f64::from(y) - expected).abs() / bound;
                    assert!(ratio <= 1.0, "row {row} output {n}: {y}, expected {expected}");
                    worst = worst.max(ratio);
                }
            }
            worst
        }
    }

    #[test]
    fn products_of_any_shape_are_within_the_bound() {
        let mut gpu = gpu();
        let mut worst = 0.0f64;
        for (rows, inputs, outputs) in [
            (1, 1, 1),
            (1, 600, 70),
            (3, 5, 33),
            (8, 64, 31),
            (9, 63, 65),
            (64, 130, 64),
            (129, 17, 3),
            (70, 4, 200),
            (5, 1100, 5),
        ] {
            for precision in Precision::ALL {
                let case = Case::new(rows, inputs, outputs).stored_as(precision);
                let all: Vec<usize> = (0..rows).collect();
                let y = case.run(&mut gpu, Rows::on_end(rows), precision, 1 << 24, 1e12);
                worst = worst.max(case.worst(&all, &y));
                let handed = case.run_handed(&mut gpu, Rows::on_end(rows), precision);
                assert!(handed.is_none_or(|handed| handed == y), "{rows} rows, {inputs} inputs, {outputs} outputs");
            }
        }
        // 0.16 measured on lavapipe, at one input; 0.02 from 60 inputs on.
        eprintln!("worst ratio {worst:.3}");
    }

    #[test]
    fn a_row_keeps_its_bits_in_any_company() {
        let mut gpu = gpu();
        let shapes = [(37, 50), (200, 70), (1030, 20)];
        for ((inputs, outputs), precision) in
            shapes.into_iter().flat_map(|shape| [Precision::F32, Precision::I8].map(|precision| (shape, precision)))
        {
            let case = Case::new(150, inputs, outputs).stored_as(precision);
            let all = case.run(&mut gpu, Rows::on_end(150), precision, 1 << 24, 1e12);
            for (first, count) in [(0, 1), (149, 1), (60, 8), (61, 9), (3, 100)] {
                let rows = Rows { first, ..Rows::on_end(count) };
                let some = case.run(&mut gpu, rows, precision, 1 << 24, 1e12);
                let expected = &all[first * outputs..(first + count) * outputs];
                assert!(some == expected, "{inputs} inputs, rows {first} + {count}");
            }
            // Windows of the weights and cuts by budget change nothing either.
            let limit = (inputs.div_ceil(4) * 16 * 7) as u64;
            assert!(case.run(&mut gpu, Rows::on_end(150), precision, limit, 1e12) == all);
            assert!(case.run(&mut gpu, Rows::on_end(150), precision, 1 << 24, 1e5) == all);
        }
    }

    #[test]
    fn slices_of_sequences_are_addressed() {
        let mut gpu = gpu();
        // [batch 12, seq_len 10]: timesteps 3..7 of the rows 2..11.
        let case = Case::new(120, 6, 9);
        let rows = Rows { count: 36, first: 23, slice_len: 4, stride: 10 };
        let sources: Vec<usize> = (2..11).flat_map(|b| (3..7).map(move |t| b * 10 + t)).collect();
        for budget in [1e12, 300.0] {
            let y = case.run(&mut gpu, rows, Precision::F32, 1 << 20, budget);
            case.worst(&sources, &y);
            assert!(case.run_handed(&mut gpu, rows, Precision::F32).is_none_or(|handed| handed == y));
        }
    }

    /// Some drivers end loops after so many rounds, without a word.
    #[test]
    fn long_sums_are_whole() {
        let mut gpu = gpu();
        for (rows, inputs) in [(40, 40_000), (20, 100_000), (3, 200_000)] {
            let case = Case::new(rows, inputs, 2);
            let all: Vec<usize> = (0..rows).collect();
            let y = case.run(&mut gpu, Rows::on_end(rows), Precision::F32, 1 << 26, 1e12);
            case.worst(&all, &y);
            assert!(case.run_handed(&mut gpu, Rows::on_end(rows), Precision::F32).is_none_or(|handed| handed == y));
        }
        let rounds = std::mem::replace(&mut gpu.pipelines.loop_rounds, 1000);
        assert_eq!(kernel_for(&gpu.pipelines, 100, 700).name, "linear");
        assert_eq!(kernel_for(&gpu.pipelines, 100, 1000).name, "linear_few_rows");
        assert!(gpu.pipelines.check_rounds("a product", super::rounds(16_000)[2]).is_err());
        gpu.pipelines.loop_rounds = rounds;
    }

    #[test]
    fn infinities_and_nan_stay_in_their_row() {
        let mut gpu = gpu();
        for rows in [4, 20] {
            let mut case = Case::new(rows, 10, 5);
            let clean = case.run(&mut gpu, Rows::on_end(rows), Precision::F32, 1 << 20, 1e12);
            case.x[13] = f32::NAN;
            case.x[25] = f32::INFINITY;
            let y = case.run(&mut gpu, Rows::on_end(rows), Precision::F32, 1 << 20, 1e12);
            assert!(y[5..10].iter().all(|y| y.is_nan()));
            assert!(y[10..15].iter().all(|y| y.is_infinite() || *y == 0.0));
            assert!(y[..5] == clean[..5] && y[15..] == clean[15..]);
        }
    }
}
