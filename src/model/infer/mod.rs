//! What a layer makes of the shapes that it is given.

mod arrange;
mod unify;
mod windows;

#[cfg(feature = "onnx")]
pub(super) use arrange::slice_fits;
pub(super) use unify::Unify;
pub(crate) use windows::Windows;

use super::layer::{Bidirectional, Dense, LayerKind, LayerNormalization, MaskOp, MergeMode, MergeOp, Recurrent};
use crate::{
    dim::{Dim, product, shape_text},
    error::{Error, Result},
    tensor::MAX_RANK,
};

/// The index of `axis` in a tensor of `rank`, counted from the end where negative; never the batch.
pub(crate) fn resolve_axis(subject: &str, axis: i64, rank: usize) -> Result<usize> {
    let found =
        i64::try_from(rank).ok().and_then(|rank| usize::try_from(if axis < 0 { axis + rank } else { axis }).ok());
    match found {
        Some(found) if found > 0 && found < rank => Ok(found),
        Some(0) => Err(Error::unsupported(subject, "axis 0, the batch", "use another axis")),
        _ => Err(Error::mismatch(subject, format!("an axis of a tensor of rank {rank}"), format!("axis {axis}"))),
    }
}

/// The shapes of the outputs of a layer, given those of its inputs.
pub(super) fn output_shapes(
    subject: &str,
    kind: &LayerKind,
    inputs: &[Vec<Dim>],
    states: &[Vec<Dim>],
    unify: &mut Unify<'_>,
) -> Result<Vec<Vec<Dim>>> {
    let wrong = |expected: &str| {
        let found: Vec<String> = inputs.iter().map(|shape| shape_text(shape)).collect();
        Error::mismatch(subject, expected, format!("inputs {}", found.join(", ")))
    };
    let recurs = matches!(kind, LayerKind::Recurrent(_) | LayerKind::Bidirectional(_) | LayerKind::Stacked(_));
    if !states.is_empty() && !recurs {
        return Err(Error::mismatch(subject, "no initial state", format!("{} states", states.len())));
    }
    if kind.arranges() {
        return arrange::output_shape(subject, kind, inputs, unify).map(|shape| vec![shape]);
    }
    let several =
        matches!(kind, LayerKind::Concatenate { .. } | LayerKind::Merge(_) | LayerKind::MaskOp(MaskOp::LogicalOr));
    let first = match inputs {
        [one] if !several => one,
        [first, ..] if several => first,
        _ if several => return Err(wrong("at least one input")),
        _ => return Err(wrong("one input")),
    };
    let rank = first.len();
    let one = |shape: Vec<Dim>| Ok(vec![shape]);
    match kind {
        LayerKind::Input => Err(wrong("no call: inputs are added by name")),
        LayerKind::Embedding(e) => {
            if rank >= MAX_RANK {
                return Err(wrong(&format!("a rank below {MAX_RANK}")));
            }
            if e.mask_zero && rank != 2 {
                return Err(wrong("[batch, seq_len], since mask_zero makes a mask of it"));
            }
            let mut shape = first.clone();
            shape.push(Dim::from(e.table.shape().get(1).copied().unwrap_or(0)));
            one(shape)
        }
        LayerKind::Recurrent(r) => {
            recurrent(first, r, states, unify).map_err(|e| e.unwrap_or_else(|| wrong(&sequence_of(r))))
        }
        LayerKind::Bidirectional(b) => {
            bidirectional(first, b, states, unify).map_err(|e| e.unwrap_or_else(|| wrong(&sequence_of(&b.forward))))
        }
        LayerKind::Stacked(all) => {
            let text = || all.first().map_or_else(|| "a cell".to_owned(), sequence_of);
            stacked(first, all, states, unify).map_err(|e| e.unwrap_or_else(|| wrong(&text())))
        }
        LayerKind::Dense(d) => dense(first, d, 2, unify).ok_or_else(|| wrong(&dense_input(d))).map(|shape| vec![shape]),
        LayerKind::TimeDistributed(inner) => match inner.as_ref() {
            LayerKind::Dense(d) => {
                dense(first, d, 3, unify).ok_or_else(|| wrong(&dense_input(d))).map(|shape| vec![shape])
            }
            _ if rank < 3 => Err(wrong("[batch, seq_len, ..]")),
            _ => one(first.clone()),
        },
        LayerKind::Activation(_) | LayerKind::Identity => one(first.clone()),
        LayerKind::Softmax { axis } => resolve_axis(subject, *axis, rank).and_then(|_| one(first.clone())),
        LayerKind::Masking { .. } if rank != 3 => Err(wrong("[batch, seq_len, features]")),
        LayerKind::Masking { .. } => one(first.clone()),
        LayerKind::Flatten => one(vec![batch(first), product(first.iter().skip(1))]),
        LayerKind::Reshape { target } => {
            one(reshape(first, target).ok_or_else(|| wrong(&format!("a size that reshapes to {target:?}")))?)
        }
        LayerKind::RepeatVector { count } if rank == 2 => one(vec![batch(first), Dim::from(*count), first[1].clone()]),
        LayerKind::RepeatVector { .. } => Err(wrong("[batch, features]")),
        LayerKind::Concatenate { axis } => {
            let axis = resolve_axis(subject, *axis, rank)?;
            one(concatenate(inputs, axis, unify)
                .ok_or_else(|| wrong("shapes that agree but for the axis that grows"))?)
        }
        LayerKind::Merge(op) => {
            let of_two =
                matches!(op, MergeOp::Subtract | MergeOp::Divide | MergeOp::Equal | MergeOp::Less | MergeOp::Mask);
            if inputs.len() < 2 || (of_two && inputs.len() != 2) {
                return Err(wrong("two inputs"));
            }
            one(merge(inputs, unify).ok_or_else(|| wrong("shapes that broadcast"))?)
        }
        LayerKind::GlobalAveragePooling { keepdims } | LayerKind::GlobalMaxPooling { keepdims } => {
            match first.as_slice() {
                [batch, _, features] if *keepdims => one(vec![batch.clone(), Dim::from(1), features.clone()]),
                [batch, _, features] => one(vec![batch.clone(), features.clone()]),
                _ => Err(wrong("[batch, seq_len, features]")),
            }
        }
        LayerKind::MaskOp(op) => {
            mask_op(*op, inputs, unify).ok_or_else(|| wrong("shapes that fit it")).map(|s| vec![s])
        }
        LayerKind::BatchNormalization(n) => {
            let axis = resolve_axis(subject, n.axis, rank)?;
            let channels = Dim::from(n.moving_mean.len());
            unify
                .equal(&first[axis], &channels)
                .ok_or_else(|| wrong(&format!("{channels} channels at axis {axis}")))?;
            one(first.clone())
        }
        LayerKind::LayerNormalization(n) => {
            layer_norm(subject, first, n, unify)?
                .ok_or_else(|| wrong("the shape of gamma and beta at the normalised axes"))?;
            one(first.clone())
        }
        _ => Err(Error::internal("a kind without a shape")),
    }
}

fn batch(shape: &[Dim]) -> Dim {
    shape.first().cloned().unwrap_or_else(|| Dim::from(1))
}

fn sequence_of(r: &Recurrent) -> String {
    let mut sizes = r.state_sizes();
    sizes.dedup();
    let states: Vec<String> = sizes.iter().map(|size| format!("[batch, {size}]")).collect();
    let states = states.join(" and ");
    format!("[batch, seq_len, {}] and initial states {states}, one per state or none", r.input_size())
}

fn dense_input(d: &Dense) -> String {
    format!("[batch, .., {}]", d.weight.shape().get(1).copied().unwrap_or(0))
}

fn dense(input: &[Dim], d: &Dense, min_rank: usize, unify: &mut Unify<'_>) -> Option<Vec<Dim>> {
    let [out, features] = d.weight.shape() else {
        return None;
    };
    if input.len() < min_rank {
        return None;
    }
    unify.equal(input.last()?, &Dim::from(*features))?;
    let mut shape = input.to_vec();
    *shape.last_mut()? = Dim::from(*out);
    Some(shape)
}

/// A failure without an error stands for wrong input shapes, which the caller describes.
type Fits<T> = Result<T, Option<Error>>;

fn sequence_dims<'a>(input: &'a [Dim], r: &Recurrent, unify: &mut Unify<'_>) -> Fits<(&'a Dim, &'a Dim)> {
    let [batch, seq_len, features] = input else {
        return Err(None);
    };
    unify.equal(features, &Dim::from(r.input_size())).ok_or(None)?;
    Ok((batch, seq_len))
}

fn check_states(states: &[Vec<Dim>], batch: &Dim, r: &Recurrent, unify: &mut Unify<'_>) -> Fits<()> {
    for (state, size) in states.iter().zip(r.state_sizes()) {
        let [rows, units] = state.as_slice() else {
            return Err(None);
        };
        unify.equal(rows, batch).ok_or(None)?;
        unify.equal(units, &Dim::from(size)).ok_or(None)?;
    }
    Ok(())
}

fn recurrent(input: &[Dim], r: &Recurrent, states: &[Vec<Dim>], unify: &mut Unify<'_>) -> Fits<Vec<Vec<Dim>>> {
    let (batch, seq_len) = sequence_dims(input, r, unify)?;
    let sizes = r.state_sizes();
    if !states.is_empty() && states.len() != sizes.len() {
        return Err(None);
    }
    check_states(states, batch, r, unify)?;
    let mut output = vec![batch.clone(), Dim::from(r.output_size())];
    if r.return_sequences {
        output.insert(1, seq_len.clone());
    }
    let mut outputs = vec![output];
    if r.return_state {
        outputs.extend(sizes.into_iter().map(|size| vec![batch.clone(), Dim::from(size)]));
    }
    Ok(outputs)
}

fn bidirectional(input: &[Dim], b: &Bidirectional, states: &[Vec<Dim>], unify: &mut Unify<'_>) -> Fits<Vec<Vec<Dim>>> {
    let forward_count = b.forward.cell.spec().states.len();
    let (forward_states, backward_states) = match states.split_at_checked(forward_count) {
        Some(halves) => halves,
        None if states.is_empty() => (states, states),
        None => return Err(None),
    };
    if backward_states.is_empty() != forward_states.is_empty() {
        return Err(None);
    }
    let mut forward = recurrent(input, &b.forward, forward_states, unify)?;
    let mut backward = recurrent(input, &b.backward, backward_states, unify)?;
    let (forward_output, backward_output) = (forward.remove(0), backward.remove(0));
    let mut outputs = match b.merge {
        MergeMode::Separate => vec![forward_output, backward_output],
        MergeMode::Concat => {
            let mut output = forward_output;
            if let (Some(features), Some(more)) = (output.last_mut(), backward_output.last()) {
                *features = &*features + more;
            }
            vec![output]
        }
        MergeMode::Sum | MergeMode::Mul | MergeMode::Ave => vec![forward_output],
    };
    outputs.append(&mut forward);
    outputs.append(&mut backward);
    Ok(outputs)
}

fn stacked(input: &[Dim], all: &[Recurrent], states: &[Vec<Dim>], unify: &mut Unify<'_>) -> Fits<Vec<Vec<Dim>>> {
    let [batch, seq_len, _] = input else { return Err(None) };
    let (mut input, mut states, given) = (input.to_vec(), states, !states.is_empty());
    let mut finals = Vec::new();
    let mut output = Vec::new();
    for layer in all {
        let count = if given { layer.cell.spec().states.len() } else { 0 };
        let (own, others) = states.split_at_checked(count).ok_or(None)?;
        states = others;
        let mut outputs = recurrent(&input, layer, own, unify)?;
        output = outputs.remove(0);
        finals.append(&mut outputs);
        input = vec![batch.clone(), seq_len.clone(), Dim::from(layer.output_size())];
    }
    if !states.is_empty() || all.is_empty() {
        return Err(None);
    }
    Ok([vec![output], finals].concat())
}

fn reshape(input: &[Dim], target: &[Option<usize>]) -> Option<Vec<Dim>> {
    let size = product(input.iter().skip(1));
    let known = target.iter().flatten().try_fold(1usize, |product, &dim| product.checked_mul(dim))?;
    let mut shape = vec![input.first()?.clone()];
    match target.iter().filter(|dim| dim.is_none()).count() {
        0 if size == Dim::from(known) => {}
        1 => {}
        _ => return None,
    }
    for dim in target {
        shape.push(match dim {
            Some(dim) => Dim::from(*dim),
            None => size.divided(known)?,
        });
    }
    (shape.len() <= MAX_RANK).then_some(shape)
}

fn concatenate(inputs: &[Vec<Dim>], axis: usize, unify: &mut Unify<'_>) -> Option<Vec<Dim>> {
    let (first, rest) = inputs.split_first()?;
    let mut shape = first.clone();
    for other in rest {
        if other.len() != shape.len() {
            return None;
        }
        for (i, (mine, theirs)) in shape.iter_mut().zip(other).enumerate() {
            *mine = if i == axis { &*mine + theirs } else { unify.equal(mine, theirs)? };
        }
    }
    Some(shape)
}

/// Shapes are aligned as Keras does: axes of extent 1 are put in after the batch axis.
fn merge(inputs: &[Vec<Dim>], unify: &mut Unify<'_>) -> Option<Vec<Dim>> {
    let rank = inputs.iter().map(Vec::len).max()?;
    let mut shape: Option<Vec<Dim>> = None;
    for input in inputs {
        let input = expanded(input, rank);
        shape = Some(match shape {
            None => input,
            Some(mine) => mine.iter().zip(&input).map(|(a, b)| unify.broadcast(a, b)).collect::<Option<_>>()?,
        });
    }
    shape
}

fn mask_op(op: MaskOp, inputs: &[Vec<Dim>], unify: &mut Unify<'_>) -> Option<Vec<Dim>> {
    let mut shape = inputs.first()?.clone();
    match op {
        MaskOp::NotEqual { .. } | MaskOp::ZerosLike | MaskOp::OnesLike => {}
        MaskOp::Any { keepdims } => {
            let last = shape.pop().filter(|_| shape.len() > 1)?;
            last.fixed()?;
            if keepdims {
                shape.push(Dim::from(1));
            }
        }
        MaskOp::ExpandDims => shape.push(Dim::from(1)),
        MaskOp::LogicalOr => {
            let [left, right] = inputs else { return None };
            if left.len() != right.len() {
                return None;
            }
            shape = left.iter().zip(right).map(|(a, b)| unify.broadcast(a, b)).collect::<Option<_>>()?;
        }
    }
    (shape.len() <= MAX_RANK).then_some(shape)
}

/// Checks that a mask that is given has the first two axes of the input.
pub(super) fn check_mask(
    subject: &str,
    input: Option<&Vec<Dim>>,
    mask: Option<&[Dim]>,
    unify: &mut Unify<'_>,
) -> Result<()> {
    let Some(mask) = mask else { return Ok(()) };
    let fits = match (input.map(Vec::as_slice), mask) {
        (Some([batch, seq_len, ..]), [rows, timesteps]) => {
            unify.equal(batch, rows).is_some() && unify.equal(seq_len, timesteps).is_some()
        }
        _ => false,
    };
    if fits {
        return Ok(());
    }
    let found = format!("a mask {} for {}", shape_text(mask), input.map_or(String::new(), |input| shape_text(input)));
    Err(Error::mismatch(subject, "a mask [batch, seq_len] of its input", found))
}

/// `shape` with axes of extent 1 put in after the batch axis, up to `rank`.
pub(crate) fn expanded(shape: &[Dim], rank: usize) -> Vec<Dim> {
    let missing = rank.saturating_sub(shape.len());
    let ones = std::iter::repeat_n(Dim::from(1), missing);
    shape.iter().take(1).cloned().chain(ones).chain(shape.iter().skip(1).cloned()).collect()
}

/// The first axis and the number of axes that a layer normalisation works over.
pub(crate) fn layer_norm_axes(subject: &str, n: &LayerNormalization, rank: usize) -> Result<(usize, usize)> {
    let mut axes = n.axes.iter().map(|&axis| resolve_axis(subject, axis, rank)).collect::<Result<Vec<_>>>()?;
    axes.sort_unstable();
    let contiguous = axes.windows(2).all(|pair| matches!(pair, [a, b] if a + 1 == *b));
    match axes.first() {
        Some(&first) if contiguous => Ok((first, axes.len())),
        _ => Err(Error::unsupported(
            subject,
            format!("normalisation over the axes {:?}", n.axes),
            "use axes that are neighbours",
        )),
    }
}

fn layer_norm(subject: &str, input: &[Dim], n: &LayerNormalization, unify: &mut Unify<'_>) -> Result<Option<()>> {
    let (first, count) = layer_norm_axes(subject, n, input.len())?;
    for weight in [&n.gamma, &n.beta].into_iter().flatten() {
        if weight.shape().len() != count {
            return Ok(None);
        }
        for (axis, &size) in weight.shape().iter().enumerate() {
            let dim = input.get(first + axis).cloned().unwrap_or_else(|| Dim::from(0));
            if unify.equal(&dim, &Dim::from(size)).is_none() {
                return Ok(None);
            }
        }
    }
    Ok(Some(()))
}
