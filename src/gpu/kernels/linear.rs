//! `linear.wgsl` and `linear_few_rows.wgsl`: `y = activation(x . w^T + b)`.

use super::{ACTIVATION, with_activation};
use crate::{
    activation::Activation,
    error::Result,
    gpu::{
        kernel::{Binding, Kernel, Part, PipelineKey},
        pack::Matrix,
        recorder::{Recorder, View, word},
    },
};

const PARTS: &[Part] =
    &[Part::Common, Part::Activation, Part::ActivationOne, Part::Weights, Part::Product, Part::Linear];
const BINDINGS: &[Binding] = &[
    Binding::read("weights", "[ceil(inputs / 4), outputs] of vec4 over inputs"),
    Binding::read("input", "[source rows, inputs]"),
    Binding::read("bias", "[all outputs]"),
    Binding::read_write("output", "[.., output_stride]"),
];
const PARAMS_WORDS: usize = 11;

pub(crate) static LINEAR: Kernel = Kernel {
    name: "linear",
    parts: PARTS,
    source: include_str!("../../../shaders/linear.wgsl"),
    bindings: BINDINGS,
    params_words: PARAMS_WORDS,
    workgroup_bytes: 8448,
    invocations: 256,
};

pub(crate) static LINEAR_FEW_ROWS: Kernel = Kernel {
    name: "linear_few_rows",
    parts: PARTS,
    source: include_str!("../../../shaders/linear_few_rows.wgsl"),
    bindings: BINDINGS,
    params_words: PARAMS_WORDS,
    workgroup_bytes: 12_288,
    invocations: 256,
};

/// Rows and outputs of a workgroup of [`LINEAR`].
const TILE: [usize; 2] = [64, 64];
/// Rows and outputs of a workgroup of [`LINEAR_FEW_ROWS`].
const FEW_TILE: [usize; 2] = [4, 32];
/// Up to here a tile of 64 rows would mostly be empty. Both kernels give the same bits.
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

/// One product.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Linear<'a> {
    /// `[source rows, inputs]`
    pub(crate) input: View<'a>,
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
    let few = rows.count <= FEW_ROWS;
    let (kernel, tile) = if few { (&LINEAR_FEW_ROWS, FEW_TILE) } else { (&LINEAR, TILE) };
    let key = PipelineKey::new(kernel).precision(linear.weight.precision);
    let key = with_activation(key, ACTIVATION, linear.activation)?;
    for window in &linear.weight.windows {
        let views = [Some(window.view), Some(linear.input), linear.bias, Some(linear.output)];
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
            word(linear.output_start + start * linear.outputs + window.first)?,
            word(linear.outputs)?,
            u32::from(linear.bias.is_some()),
            word(window.first)?,
        ];
        let cost = (rows.count * window.count) as f64 * linear.inputs as f64;
        recorder.dispatch(&bound, &params, workgroups as u64, cost)?;
    }
    Ok(())
}
