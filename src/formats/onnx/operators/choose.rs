//! Where.

use super::super::{
    call::Call,
    fold,
    import::Importer,
    tensor::{Const, Kind},
    track::{Sizes, Tracked},
};
use super::{
    pointwise::{both, broadcast, kind_of},
    sizes::as_sizes,
};
use crate::{
    dim::Dim,
    error::Result,
    model::{LayerKind, MergeOp},
    tensor::Tensor,
};

/// `Where`: the second where the first holds, else the third.
pub(super) fn choose(importer: &mut Importer<'_>, call: &Call<'_>) -> Result<Vec<Tracked>> {
    let (condition, yes, no) = (call.input(0)?, call.input(1)?, call.input(2)?);
    if let Tracked::Const(condition) = condition
        && let Some(result) = chosen(importer, call, condition, yes, no)?
    {
        return Ok(vec![result]);
    }
    // What is not chosen leaves no trace, a NaN or an infinity neither.
    let one = Tracked::Const(Const { kind: Kind::Float, tensor: Tensor::new([], vec![1.0f64])?.into() });
    let otherwise = both(importer, call, "Sub", &one, condition)?;
    let kept = masked(importer, call, yes, condition)?;
    let others = masked(importer, call, no, &otherwise)?;
    both(importer, call, "Add", &kept, &others).map(|tracked| vec![tracked])
}

/// `x` where `mask` is not 0, else 0.
fn masked(importer: &mut Importer<'_>, call: &Call<'_>, x: &Tracked, mask: &Tracked) -> Result<Tracked> {
    if let (Tracked::Const(a), Tracked::Const(b)) = (x, mask) {
        let zero = Tracked::Const(Const { kind: a.kind, tensor: Tensor::new([], vec![0.0f64])?.into() });
        if let Some(known) = chosen(importer, call, b, x, &zero)? {
            return Ok(known);
        }
    }
    let aligned = importer.aligned(&call.at, &[x.clone(), mask.clone()])?;
    let value = importer.layer(&call.at, "", LayerKind::Merge(MergeOp::Mask), &aligned.values)?;
    importer.result(kind_of(x), value, &aligned)
}

/// A choice that is known while loading, if it is.
fn chosen(
    importer: &mut Importer<'_>,
    call: &Call<'_>,
    condition: &Const,
    yes: &Tracked,
    no: &Tracked,
) -> Result<Option<Tracked>> {
    if let (Tracked::Const(a), Tracked::Const(b)) = (yes, no) {
        let shape = fold::broadcast(a.shape(), b.shape()).and_then(|shape| fold::broadcast(&shape, condition.shape()));
        let shape = shape.ok_or_else(|| call.mismatch("shapes that broadcast", "others"))?;
        let count = crate::tensor::element_count(&shape).unwrap_or(usize::MAX);
        importer.room(&call.at, count.saturating_mul(8))?;
        let fit = [a, b, condition].map(|constant| fold::expanded(&constant.tensor, &shape));
        let [Some(Ok(x)), Some(Ok(y)), Some(Ok(c))] = fit else { return Ok(None) };
        let choose = |c: f64, x: f64, y: f64| if c != 0.0 { x } else { y };
        let values = c
            .to_f64()
            .iter()
            .zip(x.to_f64().iter().zip(y.to_f64().iter()))
            .map(|(&c, (&x, &y))| choose(c, x, y))
            .collect::<Vec<_>>();
        #[allow(clippy::cast_possible_truncation)] // they were integers
        let tensor = match a.kind {
            Kind::Float => Tensor::new(shape, values)?,
            _ => Tensor::new(shape, values.into_iter().map(|value| value as i64).collect::<Vec<i64>>())?,
        };
        return Ok(Some(Tracked::Const(Const { kind: a.kind, tensor: tensor.into() })));
    }
    if let (Some(a), Some(b), Some(c)) = (as_sizes(yes), as_sizes(no), condition.ints()) {
        let count = a.values.len().max(b.values.len()).max(c.len());
        if [a.values.len(), b.values.len(), c.len()].iter().any(|&len| len != 1 && len != count)
            || condition.shape().len() > 1
        {
            return Err(call.mismatch("lists of one length", "others"));
        }
        let values = (0..count).map(|index| {
            let from = if c.get(if c.len() == 1 { 0 } else { index }).is_some_and(|&c| c != 0) { &a } else { &b };
            from.values.get(if from.values.len() == 1 { 0 } else { index }).cloned()
        });
        let values =
            values.collect::<Option<Vec<_>>>().ok_or_else(|| call.mismatch("lists of one length", "others"))?;
        return Ok(Some(Tracked::Sizes(Sizes {
            scalar: a.scalar && b.scalar && condition.shape().is_empty(),
            values,
        })));
    }
    // The same everywhere: one of the two, where the other does not make it larger.
    let Some(all) = condition.splat() else { return Ok(None) };
    let (taken, left) = if all != 0.0 { (yes, no) } else { (no, yes) };
    let dims = importer.dims(taken)?;
    let (others, all) = (importer.dims(left)?, condition.shape().iter().map(|&size| Dim::from(size)));
    let whole = broadcast(importer, call, &dims, &others)?;
    let whole = broadcast(importer, call, &whole, &all.collect::<Vec<_>>())?;
    Ok((whole.len() == dims.len() && whole.iter().zip(&dims).all(|(a, b)| importer.same(a, b))).then(|| taken.clone()))
}
