//! Python's indices of a value, as they stand in a graph: `y[:, -1, :]`.

use serde_json::Value as Json;

use super::{
    calls::Argument,
    compose::{Compose, Parts},
};
use crate::{
    dim::Dim,
    error::{Error, Result},
    model::{LayerKind, Value},
};

/// The index of one axis.
#[derive(Clone, Copy)]
pub(super) enum Index {
    At(i64),
    Slice {
        start: Option<i64>,
        stop: Option<i64>,
        step: i64,
    },
    /// A new axis of extent 1.
    New,
    /// All axes that no other index names.
    Rest,
}

const ALL: Index = Index::Slice { start: None, stop: None, step: 1 };

/// The index that `argument` describes.
pub(super) fn read(argument: &Argument<'_>) -> Option<Vec<Index>> {
    match argument {
        Argument::List(all) => all.iter().map(one).collect(),
        argument => one(argument).map(|index| vec![index]),
    }
}

fn one(argument: &Argument<'_>) -> Option<Index> {
    let Argument::Constant(value) = argument else { return None };
    match value {
        Json::Null => Some(Index::New),
        Json::Object(object) => {
            let class = object.get("class_name").and_then(Json::as_str)?;
            let part = |key: &str| match object.get("config").and_then(|config| config.get(key)) {
                None | Some(Json::Null) => Some(None),
                Some(number) => number.as_i64().map(Some),
            };
            match class {
                "__slice__" => {
                    let (start, stop) = (part("start")?, part("stop")?);
                    Some(Index::Slice { start, stop, step: part("step")?.unwrap_or(1) })
                }
                "__ellipsis__" => Some(Index::Rest),
                _ => None,
            }
        }
        number => number.as_i64().map(Index::At),
    }
}

pub(super) fn composed<'a>(index: Vec<Index>) -> Compose<'a> {
    Box::new(move |parts, given| {
        let &[input] = given.inputs.as_slice() else {
            return Err(Error::internal("an index of several values"));
        };
        let value = parts.bare(input)?;
        Ok(vec![indexed(parts, value, &index)?])
    })
}

fn indexed(parts: &mut Parts<'_>, mut value: Value, index: &[Index]) -> Result<Value> {
    let shape = parts.shape(value)?;
    let named = index.iter().filter(|index| matches!(index, Index::At(_) | Index::Slice { .. })).count();
    let refused = |what: &str| Err(Error::unsupported(parts.subject, what, "index the axes after the batch"));
    let Some(rest) = shape.len().checked_sub(named) else {
        return Err(Error::mismatch(parts.subject, format!("at most {} indices", shape.len()), named.to_string()));
    };
    // Every axis by name: what the dots stand for, or what is left out at the end.
    let mut full = Vec::new();
    let mut dots = false;
    for &index in index {
        match index {
            Index::Rest if dots => return refused("an index with dots twice"),
            Index::Rest => {
                full.extend(std::iter::repeat_n(ALL, rest));
                dots = true;
            }
            index => full.push(index),
        }
    }
    if !dots {
        full.extend(std::iter::repeat_n(ALL, rest));
    }
    if !matches!(full.first(), Some(Index::Slice { start: None, stop: None, step: 1 })) {
        return refused("an index of the batch");
    }
    let mut axis = 0;
    let mut target = Vec::new();
    for index in full {
        match index {
            Index::New => {
                target.push(Dim::from(1));
                continue;
            }
            Index::At(at) => {
                let len = shape.get(axis).cloned().unwrap_or_else(|| Dim::from(0));
                let start = from_end(&len, at);
                value = sliced(parts, value, axis, start, 1, Dim::from(1))?;
            }
            Index::Slice { start: None, stop: None, step: 1 } => target.extend(shape.get(axis).cloned()),
            Index::Slice { start, stop, step } => {
                let len = shape.get(axis).cloned().unwrap_or_else(|| Dim::from(0));
                let (start, extent) = range(parts, &len, start, stop, step)?;
                target.push(extent.clone());
                value = sliced(parts, value, axis, start, step, extent)?;
            }
            Index::Rest => return Err(Error::internal("dots that were not spelt out")),
        }
        axis += 1;
    }
    if parts.shape(value)? == target { Ok(value) } else { parts.reshape(value, target) }
}

fn sliced(parts: &mut Parts<'_>, value: Value, axis: usize, start: Dim, step: i64, extent: Dim) -> Result<Value> {
    parts.add("slice", LayerKind::Slice { axis, start, step, extent }, &[value])
}

/// Position `at`, counted from the end where negative.
fn from_end(len: &Dim, at: i64) -> Dim {
    if at < 0 { len + &Dim::integer(at) } else { Dim::integer(at) }
}

/// The first position and the number of positions of a slice.
fn range(parts: &mut Parts<'_>, len: &Dim, start: Option<i64>, stop: Option<i64>, step: i64) -> Result<(Dim, Dim)> {
    if step == -1 && start.is_none() && stop.is_none() {
        return Ok((len - &Dim::from(1), len.clone()));
    }
    let width = usize::try_from(step).ok().filter(|&width| width > 0);
    let Some(width) = width else {
        return Err(Error::unsupported(
            parts.subject,
            format!("a slice with step {step}"),
            "turn the whole axis round",
        ));
    };
    // Python cuts what reaches beyond the ends; what the axis has is known here, or must be enough.
    let bound = |at: i64| match len.constant() {
        Some(len) => Dim::integer(if at < 0 { (len + at).max(0) } else { at.min(len) }),
        None => from_end(len, at),
    };
    let start = start.map_or_else(|| Dim::from(0), bound);
    let stop = stop.map_or_else(|| len.clone(), bound);
    let extent = &stop - &start;
    if extent.constant().is_some_and(|extent| extent <= 0) {
        return Err(Error::mismatch(parts.subject, "a slice with positions", format!("{start} to {stop}")));
    }
    let extent = match (width, extent.fixed()) {
        (1, _) => extent,
        (width, Some(extent)) => Dim::from(extent.div_ceil(width)),
        (width, None) => parts.builder.quotient(&(&extent + &Dim::from(width - 1)), width),
    };
    Ok((start, extent))
}
