//! Splitting a run over its rows: rows are independent in every step, so parts of a batch may run
//! apart, on threads or one after the other, and their outputs are joined along axis 0.

use std::ops::Range;

use super::{Bound, BufferId, Plan};
use crate::{
    error::{Error, Result},
    tensor::reserved,
};

/// `batch` rows as at most `parts` contiguous ranges whose lengths differ by at most one.
pub fn ranges(batch: usize, parts: usize) -> impl Iterator<Item = Range<usize>> {
    let parts = parts.clamp(1, batch.max(1));
    let (short, longer) = (batch / parts, batch % parts);
    let start = move |part: usize| part * short + part.min(longer);
    (0..parts).map(move |part| start(part)..start(part + 1))
}

/// The values of `rows` in the values of `buffer`, where `part` is `whole` with as many rows.
///
/// # Errors
/// [`Error::Internal`] if the values are not those of `whole`, or the batch is not their outermost axis.
pub fn take<'a, T>(
    values: &'a [T],
    buffer: BufferId,
    whole: &Bound,
    part: &Bound,
    rows: Range<usize>,
) -> Result<&'a [T]> {
    let broken = || Error::internal(format!("buffer {} cannot be split by rows", buffer.0));
    let row = whole.len(buffer).checked_div(whole.batch()).ok_or_else(broken)?;
    let fits = values.len() == whole.len(buffer)
        && row * whole.batch() == values.len()
        && row * rows.len() == part.len(buffer)
        && rows.len() == part.batch();
    let range = row.saturating_mul(rows.start)..row.saturating_mul(rows.end);
    values.get(range).filter(|_| fits).ok_or_else(broken)
}

/// Some of the rows of a run.
#[derive(Clone, Debug)]
pub struct Part<T> {
    /// The sizes of the run with these rows.
    pub bound: Bound,
    /// The inputs of these rows.
    pub inputs: Vec<(BufferId, Vec<T>)>,
}

/// `whole` as one run for each of `ranges`.
///
/// # Errors
/// [`Error::Internal`] if an input cannot be split.
pub fn split<T: Clone>(
    plan: &Plan,
    whole: &Bound,
    ranges: impl Iterator<Item = Range<usize>>,
    inputs: &[(BufferId, impl AsRef<[T]>)],
) -> Result<Vec<Part<T>>> {
    let mut parts = Vec::new();
    for rows in ranges {
        let bound = whole.with_batch(plan, rows.len())?;
        let inputs = inputs
            .iter()
            .map(|(id, values)| Ok((*id, take(values.as_ref(), *id, whole, &bound, rows.clone())?.to_vec())))
            .collect::<Result<Vec<_>>>()?;
        parts.push(Part { bound, inputs });
    }
    Ok(parts)
}

/// The values of `outputs` in `whole` from those in its parts, which are in the order of their rows.
/// What does not depend on rows is whole in every part: the first one's is taken.
///
/// # Errors
/// [`Error::Internal`] if the parts do not add up to `whole`.
pub fn join<T: Clone>(whole: &Bound, outputs: &[BufferId], parts: Vec<Vec<impl AsRef<[T]>>>) -> Result<Vec<Vec<T>>> {
    let mut joined: Vec<Vec<T>> = outputs.iter().map(|&id| reserved(whole.len(id))).collect::<Result<_>>()?;
    for part in parts {
        for ((joined, values), &id) in joined.iter_mut().zip(part).zip(outputs) {
            let values = values.as_ref();
            if joined.is_empty() || values.len() != whole.len(id) {
                joined.extend_from_slice(values);
            }
        }
    }
    let complete = joined.iter().zip(outputs).all(|(values, &id)| values.len() == whole.len(id));
    if complete { Ok(joined) } else { Err(Error::internal("outputs cannot be joined by rows")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dim::{Dim, Symbol},
        plan::Buffer,
    };

    #[test]
    fn ranges_cover_the_batch_evenly() {
        assert_eq!(ranges(7, 3).collect::<Vec<_>>(), [0..3, 3..5, 5..7]);
        assert_eq!(ranges(2, 9).collect::<Vec<_>>(), [0..1, 1..2]);
        assert!(ranges(5, 0).eq(std::iter::once(0..5)));
        assert!(ranges(0, 4).eq(std::iter::once(0..0)));
    }

    #[test]
    fn parts_join_to_the_whole_and_what_has_no_rows_is_refused() {
        let buffer = |shape: Vec<Dim>| Buffer { name: String::new(), shape, view_of: None };
        let buffers = vec![buffer(vec![Symbol::BATCH.into(), 2.into()]), buffer(vec![6.into()])];
        let plan = Plan { symbols: vec!["batch".to_owned()], buffers, ..Plan::default() };
        let whole = Bound { symbols: vec![3], shapes: vec![vec![3, 2], vec![6]] };
        let (rows, fixed) = (BufferId(0), BufferId(1));
        let values: Vec<i32> = (0..6).collect();
        let split_by = |id: BufferId| split(&plan, &whole, ranges(3, 2), &[(id, values.clone())]);
        let parts = split_by(rows).unwrap_or_default();
        assert_eq!(parts.iter().map(|part| part.bound.batch()).collect::<Vec<_>>(), [2, 1]);
        let outputs =
            parts.into_iter().map(|part| part.inputs.into_iter().map(|(_, values)| values).collect()).collect();
        assert_eq!(join(&whole, &[rows], outputs).unwrap_or_default(), std::slice::from_ref(&values));
        assert!(split_by(fixed).is_err());
        let twice = |values: &[i32]| vec![vec![values.to_vec()], vec![values.to_vec()]];
        assert!(join(&whole, &[rows], twice(&values[..4])).is_err());
        assert_eq!(join(&whole, &[fixed], twice(&values)).unwrap_or_default(), [values]);
    }
}
