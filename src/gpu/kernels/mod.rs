//! One file per family of kernels: its table entries, how its parameters are packed, and the function
//! that records it.

mod axes;
pub(crate) mod calibrate;
pub(crate) mod elementwise;
pub(crate) mod gather;
pub(crate) mod held;
pub(crate) mod linear;
pub(crate) mod mat_mul;
pub(crate) mod moves;
pub(crate) mod normalize;
pub(crate) mod not_equal;
pub(crate) mod recurrence;
pub(crate) mod reduce;
pub(crate) mod strategy;
pub(crate) mod tile;

use super::kernel::PipelineKey;
use crate::{
    activation::Activation,
    error::{Error, Result},
};

/// Invocations of a workgroup, in kernels of one invocation per element.
const WORKGROUP: u64 = 256;

/// Workgroups for one invocation per element.
fn workgroups(elements: usize) -> u64 {
    (elements as u64).div_ceil(WORKGROUP)
}

/// Splits `shape` at `axis` into the sizes before it, of it and after it.
fn around(shape: &[usize], first_axis: usize, axes: usize) -> [usize; 3] {
    let product = |part: &[usize]| part.iter().product::<usize>();
    let (before, rest) = shape.split_at(first_axis.min(shape.len()));
    let (group, after) = rest.split_at(axes.min(rest.len()));
    [product(before), product(group), product(after)]
}

/// Fixes a function of `key`: the override constants `<name>_kind`, `_a`, `_b`, `_c`.
fn with_activation(key: PipelineKey, names: [&'static str; 4], activation: Activation) -> Result<PipelineKey> {
    let (kind, parameters) = activation.shader_code();
    let mut key = key.constant(names[0], kind);
    // Constants must be finite.
    for (&name, value) in names[1..].iter().zip(parameters) {
        if !value.is_finite() {
            return Err(Error::unsupported(
                format!("activation {activation:?}"),
                format!("the parameter {value}"),
                "use a finite one",
            ));
        }
        key = key.constant(name, value);
    }
    Ok(key)
}

/// Names of the constants of a kernel's one function.
const ACTIVATION: [&str; 4] = ["activation_kind", "activation_a", "activation_b", "activation_c"];
