//! Arithmetic with numbers that depend on the sizes of a run.

use super::super::{
    call::{Call, SIZES},
    import::Importer,
    reshape::quotient,
    tensor::{Const, Kind},
    track::{Sizes, Tracked},
};
use crate::{
    dim::Dim,
    error::{Error, Result},
};

/// Sizes out of a constant or of sizes.
pub(super) fn as_sizes(tracked: &Tracked) -> Option<Sizes> {
    match tracked {
        Tracked::Sizes(sizes) => Some(sizes.clone()),
        Tracked::Const(constant) if constant.shape().len() <= 1 && constant.tensor.len() <= SIZES => {
            let values = constant.ints()?.iter().map(|&value| Dim::integer(value)).collect();
            Some(Sizes { scalar: constant.shape().is_empty(), values })
        }
        _ => None,
    }
}

/// `op` of numbers that depend on the sizes of a run.
pub(super) fn combined(
    importer: &mut Importer<'_>,
    call: &Call<'_>,
    op: &str,
    left: &Sizes,
    right: &Sizes,
) -> Result<Tracked> {
    let count = match (left.values.len(), right.values.len()) {
        (1, count) | (count, 1) => count,
        (a, b) if a == b => a,
        (a, b) => return Err(call.mismatch("lists of one length", format!("{a} and {b} numbers"))),
    };
    let mut values = Vec::new();
    let mut truths = Vec::new();
    for index in 0..count {
        let pick = |sizes: &Sizes| sizes.values.get(if sizes.values.len() == 1 { 0 } else { index }).cloned();
        let (Some(a), Some(b)) = (pick(left), pick(right)) else {
            return Err(Error::internal("a list that ends early"));
        };
        let (ra, rb) = (importer.reduced(&a), importer.reduced(&b));
        let unknown = || {
            call.unsupported(
                format!("{op} of sizes that each run decides"),
                "export it with fixed sizes, or load the Keras or PyTorch file itself",
            )
        };
        match op {
            "Add" | "Sum" => values.push(&a + &b),
            "Sub" => values.push(&a - &b),
            "Mul" => values.push(&a * &b),
            "Div" => {
                let divisor = rb.fixed().filter(|&divisor| divisor > 0);
                values.push(match divisor {
                    Some(divisor) => importer.builder.quotient(&a, divisor),
                    None => quotient(&a, &b).ok_or_else(unknown)?,
                });
            }
            // min(a, b) = a - max(a - b, 0)
            "Min" => {
                let over = importer.builder.positive(&(&a - &b));
                values.push(&a - &over);
            }
            "Max" => {
                let over = importer.builder.positive(&(&a - &b));
                values.push(&b + &over);
            }
            _ => {
                let difference = (&ra - &rb).constant();
                // A size is never below 0: `-1` in a shape is no size of the run.
                let never = op == "Equal" && (never_equal(&ra, &rb) || never_equal(&rb, &ra));
                let difference = if never { Some(1) } else { difference };
                let difference = difference.ok_or_else(unknown)?;
                truths.push(i64::from(match op {
                    "Equal" => difference == 0,
                    "Less" => difference < 0,
                    "Greater" => difference > 0,
                    _ => return Err(unknown()),
                }));
            }
        }
    }
    let scalar = left.scalar && right.scalar;
    if truths.is_empty() && !values.is_empty() {
        return Ok(Tracked::Sizes(Sizes { scalar, values }));
    }
    let shape = if scalar { Vec::new() } else { vec![truths.len()] };
    Ok(Tracked::Const(Const { kind: Kind::Bool, ..Const::of_ints(shape, truths)? }))
}

/// Whether `size` is a sum of sizes and `number` is below 0.
fn never_equal(size: &Dim, number: &Dim) -> bool {
    size.constant().is_none() && size.is_sum_of_sizes() && number.constant().is_some_and(|number| number < 0)
}
