//! [`LayerKind::options`]: what a layer does, spelt out. Nothing that a file left to a default, or that the
//! version that wrote it decides, is left to be guessed.

use super::{
    Bidirectional, Conv1d, HeadActivation, LayerKind, MaskOp, MergeMode, MergeOp, Model, Padding, Pool1d, Recurrent,
    Reduction, summary::visible,
};
use crate::{
    cell::{Cell, DeadTimesteps},
    dim::Dim,
};

/// Options while they are listed.
#[derive(Default)]
struct List(Vec<(String, String)>);

impl List {
    fn add(&mut self, name: &str, value: impl ToString) -> &mut Self {
        self.0.push((name.to_owned(), value.to_string()));
        self
    }

    /// The options of a part, with `prefix` before their names.
    fn part(&mut self, prefix: &str, options: Vec<(String, String)>) -> &mut Self {
        self.0.extend(options.into_iter().map(|(name, value)| (format!("{prefix}.{name}"), value)));
        self
    }
}

impl LayerKind {
    /// The layer's options by name, every one that is in force: functions with their parameters, the variant
    /// of the cell, what happens to masks and at masked timesteps. Empty for layers without any.
    #[must_use]
    pub fn options(&self) -> Vec<(String, String)> {
        let mut list = List::default();
        match self {
            Self::Input
            | Self::Flatten
            | Self::Identity
            | Self::Take
            | Self::LengthMask
            | Self::ReverseSequence
            | Self::MaskOf
            | Self::CarryMask => &mut list,
            Self::Embedding(e) => list.add("vocabulary", size(e.table.shape(), 0)).add("mask_zero", e.mask_zero),
            Self::Recurrent(r) => recurrent(&mut list, r),
            Self::Bidirectional(b) => bidirectional(&mut list, b),
            Self::Stacked(cells) => {
                for (index, cell) in cells.iter().enumerate() {
                    list.part(&format!("cell {index}"), recurrent(&mut List::default(), cell).0.clone());
                }
                &mut list
            }
            Self::Dense(d) => list
                .add("units", size(d.weight.shape(), 0))
                .add("use_bias", d.bias.is_some())
                .add("activation", head(d.activation)),
            Self::Activation(activation) => list.add("activation", head(*activation)),
            Self::Softmax { axis } | Self::Concatenate { axis } => list.add("axis", axis),
            Self::Masking { mask_value } => list.add("mask_value", mask_value),
            Self::TimeDistributed(inner) => list.part("layer", inner.options()),
            Self::Reshape { target } => list.add("target", open_shape(target)),
            Self::RepeatVector { count } => list.add("count", count),
            Self::Merge(op) => list.add("operation", merge(*op)),
            Self::GlobalAveragePooling { keepdims } => {
                list.add("keepdims", keepdims).add("masked_timesteps", "left out")
            }
            Self::GlobalMaxPooling { keepdims } => list.add("keepdims", keepdims).add("masked_timesteps", "counted"),
            Self::BatchNormalization(n) => list
                .add("axis", n.axis)
                .add("epsilon", n.epsilon)
                .add("scale", n.gamma.is_some())
                .add("center", n.beta.is_some()),
            Self::LayerNormalization(n) => list
                .add("axes", format!("{:?}", n.axes))
                .add("epsilon", n.epsilon)
                .add("scale", n.gamma.is_some())
                .add("center", n.beta.is_some()),
            Self::MaskOp(op) => mask_op(&mut list, *op),
            Self::Constant(tensor) => list.add("shape", format!("{:?}", tensor.shape())),
            Self::Ramp { start, step, axis, shape } => {
                list.add("start", start).add("step", step).add("axis", axis).add("shape", dims(shape))
            }
            Self::Permute { axes } => list.add("axes", format!("{axes:?}")),
            Self::Slice { axis, start, step, extent } => {
                list.add("axis", axis).add("start", dim(start)).add("step", step).add("extent", dim(extent))
            }
            Self::ReshapeTo { shape } | Self::Expand { shape } => list.add("shape", dims(shape)),
            Self::Pad { axis, before, after, value } => {
                list.add("axis", axis).add("before", dim(before)).add("after", dim(after)).add("value", value)
            }
            Self::Reduce { op, axis, keepdims } => {
                list.add("operation", reduction(*op)).add("axis", axis).add("keepdims", keepdims)
            }
            Self::MatMul { transposed } => list.add("transposed", transposed),
            Self::Conv1d(c) => convolution(&mut list, c),
            Self::Pool1d(p) => pooling(&mut list, p),
        };
        list.0
    }
}

/// Columns of a line of options.
const WIDTH: usize = 110;

impl Model {
    /// The [options](LayerKind::options) of all layers: what [`summary`](Self::summary) does not say.
    #[must_use]
    pub fn options_text(&self) -> String {
        let mut text = String::new();
        for layer in &self.layers {
            text += &visible(&format!("{} ({})", layer.name, layer.class_name));
            let mut room = 0;
            for (name, value) in layer.kind.options() {
                let option = format!("{name} = {value}");
                if room < option.len() + 2 {
                    text += "\n   ";
                    room = WIDTH;
                } else {
                    text.push(',');
                }
                room = room.saturating_sub(option.len() + 2);
                text += &format!(" {option}");
            }
            text.push('\n');
        }
        text
    }
}

fn recurrent<'a>(list: &'a mut List, r: &Recurrent) -> &'a mut List {
    list.add("cell", r.cell.spec().name).add("units", r.hidden_size());
    if r.weight_hr.is_some() {
        list.add("projection", r.output_size());
    }
    list.add("activation", r.params.candidate);
    if r.cell == Cell::Lstm && r.params.output != r.params.candidate {
        list.add("output_activation", r.params.output);
    }
    if r.cell != Cell::Rnn {
        list.add("recurrent_activation", r.params.gate);
    }
    match r.cell {
        Cell::Gru => list.add("reset_after", true),
        Cell::GruResetBefore => list.add("reset_after", false),
        Cell::Rnn | Cell::Lstm => list,
    };
    if let Some(clip) = r.params.clip {
        list.add("clip", clip);
    }
    if r.cell.spec().can_couple {
        list.add("input_forget", r.params.coupled).add("peephole", r.peephole.is_some());
    }
    list.add("use_bias", r.bias_ih.is_some() || r.bias_hh.is_some())
        .add("return_sequences", r.return_sequences)
        .add("return_state", r.return_state)
        .add("go_backwards", r.go_backwards)
        .add("stateful", r.stateful)
        .add("masked_output", dead(r.dead))
        .add("passes_mask", r.passes_mask)
}

fn bidirectional<'a>(list: &'a mut List, b: &Bidirectional) -> &'a mut List {
    let options = |r: &Recurrent| recurrent(&mut List::default(), r).0.clone();
    let merge = match b.merge {
        MergeMode::Concat => "concat",
        MergeMode::Sum => "sum",
        MergeMode::Mul => "mul",
        MergeMode::Ave => "ave",
        MergeMode::Separate => "none, two outputs",
    };
    list.add("merge_mode", merge).part("forward", options(&b.forward)).part("backward", options(&b.backward))
}

fn convolution<'a>(list: &'a mut List, c: &Conv1d) -> &'a mut List {
    list.add("filters", size(c.weight.shape(), 0))
        .add("width", c.width)
        .add("stride", c.stride)
        .add("dilation", c.dilation)
        .add("padding", padding(c.padding))
        .add("groups", c.groups)
        .add("use_bias", c.bias.is_some())
        .add("activation", head(c.activation))
}

fn pooling<'a>(list: &'a mut List, p: &Pool1d) -> &'a mut List {
    list.add("operation", reduction(p.op))
        .add("width", p.width)
        .add("stride", p.stride)
        .add("dilation", p.dilation)
        .add("padding", padding(p.padding))
        .add("count_padding", p.count_padding)
}

fn mask_op(list: &mut List, op: MaskOp) -> &mut List {
    match op {
        MaskOp::NotEqual { value } => list.add("operation", "not_equal").add("value", value),
        MaskOp::Any { keepdims } => list.add("operation", "any").add("keepdims", keepdims),
        MaskOp::ExpandDims => list.add("operation", "expand_dims"),
        MaskOp::ZerosLike => list.add("operation", "zeros_like"),
        MaskOp::OnesLike => list.add("operation", "ones_like"),
        MaskOp::LogicalOr => list.add("operation", "logical_or"),
    }
}

fn merge(op: MergeOp) -> &'static str {
    match op {
        MergeOp::Add => "add",
        MergeOp::Subtract => "subtract",
        MergeOp::Multiply => "multiply",
        MergeOp::Average => "average",
        MergeOp::Maximum => "maximum",
        MergeOp::Minimum => "minimum",
        MergeOp::Divide => "divide",
        MergeOp::Equal => "equal",
        MergeOp::Less => "less",
        MergeOp::Mask => "mask",
    }
}

fn reduction(op: Reduction) -> &'static str {
    match op {
        Reduction::Sum => "sum",
        Reduction::Mean => "mean",
        Reduction::Max => "max",
        Reduction::Min => "min",
    }
}

fn dead(dead: DeadTimesteps) -> &'static str {
    match dead {
        DeadTimesteps::RepeatOutput => "the one before",
        DeadTimesteps::RepeatState => "the hidden state",
        DeadTimesteps::Zero => "zero",
    }
}

fn padding(padding: Padding) -> String {
    match padding {
        Padding::Valid => "valid".to_owned(),
        Padding::Same => "same".to_owned(),
        Padding::Causal => "causal".to_owned(),
        Padding::Explicit { before, after } => format!("{before} before, {after} after"),
    }
}

fn head(activation: HeadActivation) -> String {
    match activation {
        HeadActivation::Pointwise(activation) => activation.to_string(),
        HeadActivation::Softmax => "softmax".to_owned(),
        HeadActivation::LogSoftmax => "log_softmax".to_owned(),
    }
}

fn size(shape: &[usize], axis: usize) -> usize {
    shape.get(axis).copied().unwrap_or(0)
}

/// A size, or that each run decides it.
fn dim(dim: &Dim) -> String {
    dim.fixed().map_or_else(|| "open".to_owned(), |size| size.to_string())
}

fn dims(shape: &[Dim]) -> String {
    format!("[{}]", shape.iter().map(dim).collect::<Vec<_>>().join(", "))
}

fn open_shape(shape: &[Option<usize>]) -> String {
    let sizes = shape.iter().map(|size| size.map_or_else(|| "the rest".to_owned(), |size| size.to_string()));
    format!("[{}]", sizes.collect::<Vec<_>>().join(", "))
}
