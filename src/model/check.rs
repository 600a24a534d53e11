//! What a layer is called where no file names it, and that its weights fit together.

use super::infer::Windows;
use super::layer::{
    BatchNormalization, Bidirectional, Conv1d, Dense, LayerKind, LayerNormalization, MaskOp, MergeMode, MergeOp,
    Recurrent, Reduction,
};
use crate::{
    cell::Cell,
    error::{Error, Result, quoted},
    tensor::{Data, MAX_ID, Tensor, unravel},
};

/// The class name of a layer that no file has named.
pub(super) fn class_name(kind: &LayerKind) -> &'static str {
    match kind {
        LayerKind::Input => "InputLayer",
        LayerKind::Embedding(_) => "Embedding",
        LayerKind::Recurrent(r) => match r.cell {
            Cell::Rnn => "SimpleRNN",
            Cell::Lstm => "LSTM",
            Cell::Gru | Cell::GruResetBefore => "GRU",
        },
        LayerKind::Bidirectional(_) => "Bidirectional",
        LayerKind::Dense(_) => "Dense",
        LayerKind::Activation(_) => "Activation",
        LayerKind::Softmax { .. } => "Softmax",
        LayerKind::Masking { .. } => "Masking",
        LayerKind::TimeDistributed(_) => "TimeDistributed",
        LayerKind::Flatten => "Flatten",
        LayerKind::Reshape { .. } => "Reshape",
        LayerKind::RepeatVector { .. } => "RepeatVector",
        LayerKind::Concatenate { .. } => "Concatenate",
        LayerKind::Merge(op) => match op {
            MergeOp::Add => "Add",
            MergeOp::Subtract => "Subtract",
            MergeOp::Multiply => "Multiply",
            MergeOp::Average => "Average",
            MergeOp::Maximum => "Maximum",
            MergeOp::Minimum => "Minimum",
            MergeOp::Divide => "Divide",
            MergeOp::Equal => "Equal",
            MergeOp::Less => "Less",
            MergeOp::Mask => "Mask",
        },
        LayerKind::GlobalAveragePooling { .. } => "GlobalAveragePooling1D",
        LayerKind::GlobalMaxPooling { .. } => "GlobalMaxPooling1D",
        LayerKind::BatchNormalization(_) => "BatchNormalization",
        LayerKind::LayerNormalization(_) => "LayerNormalization",
        LayerKind::MaskOp(op) => match op {
            MaskOp::NotEqual { .. } => "NotEqual",
            MaskOp::Any { .. } => "Any",
            MaskOp::ExpandDims => "ExpandDims",
            MaskOp::ZerosLike => "ZerosLike",
            MaskOp::OnesLike => "OnesLike",
            MaskOp::LogicalOr => "LogicalOr",
        },
        LayerKind::Identity => "Identity",
        LayerKind::Stacked(_) => "RNN",
        LayerKind::Constant(_) => "Constant",
        LayerKind::Ramp { .. } => "Ramp",
        LayerKind::Permute { .. } => "Permute",
        LayerKind::Slice { .. } => "Slice",
        LayerKind::ReshapeTo { .. } => "Reshape",
        LayerKind::Expand { .. } => "Expand",
        LayerKind::Pad { .. } => "Pad",
        LayerKind::Reduce { .. } => "Reduce",
        LayerKind::MatMul { .. } => "MatMul",
        LayerKind::Take => "Take",
        LayerKind::LengthMask => "LengthMask",
        LayerKind::ReverseSequence => "ReverseSequence",
        LayerKind::Conv1d(_) => "Conv1D",
        LayerKind::Pool1d(p) => match p.op {
            Reduction::Max => "MaxPooling1D",
            _ => "AveragePooling1D",
        },
        LayerKind::MaskOf => "MaskOf",
        LayerKind::CarryMask => "CarryMask",
    }
}

/// Checks that a layer's weights are finite f32 tensors whose shapes fit together.
pub(super) fn check_weights(name: &str, kind: &LayerKind) -> Result<()> {
    for (role, tensor, _) in kind.weights() {
        let subject = format!("layer {}: {role}", quoted(name));
        let Data::F32(values) = tensor.data() else {
            return Err(Error::mismatch(subject, "float32 values", tensor.data().dtype()));
        };
        // Infinities are how constants leave things out of a maximum or a softmax.
        let constant = matches!(kind, LayerKind::Constant(_));
        if let Some(bad) = values.iter().position(|v| v.is_nan() || (v.is_infinite() && !constant)) {
            return Err(Error::NonFinite { tensor: subject, index: unravel(bad, tensor.shape()), value: values[bad] });
        }
    }
    let subject = format!("layer {}", quoted(name));
    match kind {
        LayerKind::Embedding(e) => match e.table.shape() {
            [0, _] | [_, 0] => {
                Err(Error::mismatch(subject, "a table with rows and columns", format!("{:?}", e.table.shape())))
            }
            [rows, _] if *rows > MAX_ID => Err(Error::Limit {
                what: subject,
                need: format!("{rows} rows"),
                limit: format!("{MAX_ID} rows (ids are exact in f32 up to there)"),
                hint: "split the table".to_owned(),
            }),
            [_, _] => Ok(()),
            other => Err(Error::mismatch(subject, "a table [vocabulary, embedding]", format!("{other:?}"))),
        },
        LayerKind::Recurrent(r) => check_recurrent(&subject, r),
        LayerKind::Bidirectional(b) => check_bidirectional(&subject, b),
        LayerKind::Dense(d) => check_dense(&subject, d),
        LayerKind::TimeDistributed(inner) => match inner.as_ref() {
            inner @ LayerKind::Dense(d) => check_dense(&format!("{subject}: {}", class_name(inner)), d),
            LayerKind::Activation(_) | LayerKind::Identity => Ok(()),
            other => Err(Error::unsupported(
                subject,
                format!("TimeDistributed({})", class_name(other)),
                "TimeDistributed takes Dense, activation and dropout layers",
            )),
        },
        LayerKind::Stacked(all) => check_stacked(&subject, all),
        LayerKind::Conv1d(c) => check_conv(&subject, c),
        LayerKind::Pool1d(p) => {
            Windows::from(p).check(&subject)?;
            match p.op {
                Reduction::Max | Reduction::Mean => Ok(()),
                other => Err(Error::unsupported(subject, format!("pooling by {other:?}"), "pool by Max or Mean")),
            }
        }
        LayerKind::BatchNormalization(n) => check_batch_norm(&subject, n),
        LayerKind::LayerNormalization(n) => check_layer_norm(&subject, n),
        _ => Ok(()),
    }
}

fn expect_shape(subject: &str, role: &str, tensor: &Tensor, expected: &[usize]) -> Result<()> {
    if tensor.shape() == expected {
        return Ok(());
    }
    Err(Error::mismatch(format!("{subject}: {role}"), format!("shape {expected:?}"), format!("{:?}", tensor.shape())))
}

fn check_recurrent(subject: &str, r: &Recurrent) -> Result<()> {
    let spec = r.cell.spec();
    let gates = spec.gates.len();
    let (hidden, output, input) = (r.hidden_size(), r.output_size(), r.input_size());
    let refused = |what: String| Err(Error::unsupported(subject, what, "use an LSTM"));
    if hidden == 0 || output == 0 {
        let (role, weight) = r.weight_hr.as_ref().map_or(("weight_hh", &r.weight_hh), |weight| ("weight_hr", weight));
        let found = format!("{:?}", weight.shape());
        return Err(Error::mismatch(format!("{subject}: {role}"), "at least one unit", found));
    }
    if let Some(weight) = &r.weight_hr {
        if !spec.can_project {
            return refused(format!("a projection of the hidden state of cell {}", spec.name));
        }
        expect_shape(subject, "weight_hr", weight, &[output, hidden])?;
        if output > hidden {
            let (need, found) = (format!("at most {hidden} projected units"), format!("{output}"));
            return Err(Error::mismatch(format!("{subject}: weight_hr"), need, found));
        }
    }
    if let Some(peephole) = &r.peephole {
        if spec.peepholes.is_empty() {
            return refused(format!("peepholes of cell {}", spec.name));
        }
        expect_shape(subject, "peephole", peephole, &[spec.peepholes.len() * hidden])?;
    }
    if r.params.coupled && !spec.can_couple {
        return refused(format!("coupled gates of cell {}", spec.name));
    }
    if let Some(clip) = r.params.clip.filter(|clip| clip.is_nan() || *clip <= 0.0) {
        return Err(Error::mismatch(format!("{subject}: clip"), "a number above 0", clip.to_string()));
    }
    expect_shape(subject, "weight_hh", &r.weight_hh, &[gates * hidden, output])?;
    expect_shape(subject, "weight_ih", &r.weight_ih, &[gates * hidden, input])?;
    for (role, bias) in [("bias_ih", &r.bias_ih), ("bias_hh", &r.bias_hh)] {
        if let Some(bias) = bias {
            expect_shape(subject, role, bias, &[gates * hidden])?;
        }
    }
    Ok(())
}

/// The cells of a layer are layers of their own but for how their outputs are used.
fn check_stacked(subject: &str, all: &[Recurrent]) -> Result<()> {
    let Some((last, others)) = all.split_last() else {
        return Err(Error::mismatch(subject, "at least one cell", "none"));
    };
    for (index, layer) in all.iter().enumerate() {
        check_recurrent(&format!("{subject}: cell {index}"), layer)?;
    }
    let alike = |r: &Recurrent| {
        r.return_sequences
            && r.return_state == last.return_state
            && r.stateful == last.stateful
            && !r.go_backwards
            && r.dead == last.dead
    };
    if let Some(index) = others.iter().position(|r| !alike(r)) {
        let what = format!("cell {index} otherwise");
        return Err(Error::mismatch(subject, "cells that share the options of the layer", what));
    }
    Ok(())
}

fn check_conv(subject: &str, c: &Conv1d) -> Result<()> {
    Windows::from(c).check(subject)?;
    let &[out, columns] = c.weight.shape() else {
        return Err(Error::mismatch(
            format!("{subject}: weight"),
            "shape [out, width * channels / groups]",
            format!("{:?}", c.weight.shape()),
        ));
    };
    if out == 0 || columns == 0 || columns % c.width != 0 || c.groups == 0 || out % c.groups != 0 {
        let found = format!("{:?} with width {} and {} groups", c.weight.shape(), c.width, c.groups);
        return Err(Error::mismatch(format!("{subject}: weight"), "outputs and channels in equal groups", found));
    }
    c.bias.as_ref().map_or(Ok(()), |bias| expect_shape(subject, "bias", bias, &[out]))
}

fn check_bidirectional(subject: &str, b: &Bidirectional) -> Result<()> {
    check_recurrent(&format!("{subject}: forward"), &b.forward)?;
    check_recurrent(&format!("{subject}: backward"), &b.backward)?;
    if b.forward.go_backwards == b.backward.go_backwards {
        return Err(Error::mismatch(subject, "one of the two layers with go_backwards", "both alike"));
    }
    let options = |r: &Recurrent| (r.return_sequences, r.return_state, r.stateful, r.input_size());
    let (forward, backward) = (options(&b.forward), options(&b.backward));
    if forward != backward {
        return Err(Error::mismatch(
            subject,
            format!(
                "a backward layer with the forward one's return_sequences, return_state, stateful and input size {forward:?}"
            ),
            format!("{backward:?}"),
        ));
    }
    if !matches!(b.merge, MergeMode::Concat | MergeMode::Separate)
        && b.forward.output_size() != b.backward.output_size()
    {
        return Err(Error::mismatch(
            subject,
            format!("{} units in both directions for merge mode {:?}", b.forward.output_size(), b.merge),
            format!("{} units backward", b.backward.output_size()),
        ));
    }
    Ok(())
}

fn check_dense(subject: &str, d: &Dense) -> Result<()> {
    let [out, _] = d.weight.shape() else {
        return Err(Error::mismatch(
            format!("{subject}: weight"),
            "shape [out, in]",
            format!("{:?}", d.weight.shape()),
        ));
    };
    d.bias.as_ref().map_or(Ok(()), |bias| expect_shape(subject, "bias", bias, &[*out]))
}

fn check_batch_norm(subject: &str, n: &BatchNormalization) -> Result<()> {
    let channels = [n.moving_mean.len()];
    expect_shape(subject, "moving_mean", &n.moving_mean, &channels)?;
    expect_shape(subject, "moving_variance", &n.moving_variance, &channels)?;
    for (role, tensor) in [("gamma", &n.gamma), ("beta", &n.beta)] {
        if let Some(tensor) = tensor {
            expect_shape(subject, role, tensor, &channels)?;
        }
    }
    Ok(())
}

fn check_layer_norm(subject: &str, n: &LayerNormalization) -> Result<()> {
    if let (Some(gamma), Some(beta)) = (&n.gamma, &n.beta) {
        expect_shape(subject, "beta", beta, gamma.shape())?;
    }
    Ok(())
}
