//! Between the order in which a caller has the axes of tensors and that of the plan.

use crate::{
    error::{Error, Result, quoted},
    layout::Layout,
    plan::{Bound, InputPort, Plan},
    tensor::{Tensor, element_count, zeros},
};

/// Whether the inputs come without their batch axis: if the model accepts it, all of them do or none.
pub(super) fn is_unbatched(accepted: bool, plan: &Plan, shapes: &[Option<&[usize]>]) -> bool {
    let lacks = |(port, shape): (&InputPort, &Option<&[usize]>)| {
        shape.is_none_or(|shape| shape.len() + 1 == port.layout.groups().len())
    };
    accepted && shapes.iter().any(Option::is_some) && plan.inputs.iter().zip(shapes).all(lacks)
}

/// The layout that a port has in a run.
pub(super) fn layout_of(layout: &Layout, unbatched: bool) -> Layout {
    if unbatched { layout.without_batch() } else { layout.clone() }
}

/// The shape inside of an input of `shape`.
pub(super) fn canonical_shape(plan: &Plan, port: &InputPort, shape: &[usize], unbatched: bool) -> Result<Vec<usize>> {
    let dims = plan.buffers.get(port.buffer.index()).map(|buffer| buffer.shape.as_slice()).unwrap_or_default();
    let layout = layout_of(&port.layout, unbatched);
    layout.canonical_shape(shape, dims.len()).ok_or_else(|| {
        let expected = layout.file_shape(dims, &1usize.into(), |a, b| a * b);
        Error::mismatch(
            format!("input {}", quoted(&port.name)),
            format!("shape {}", crate::dim::shape_text(&expected)),
            format!("{shape:?}"),
        )
    })
}

/// The sizes of a run and its inputs in the order of the plan, zeros where one is missing.
pub(super) fn arranged(plan: &Plan, tensors: Vec<Option<Tensor>>, unbatched: bool) -> Result<(Bound, Vec<Tensor>)> {
    let mut inside = Vec::new();
    for (port, tensor) in plan.inputs.iter().zip(tensors) {
        inside.push(match tensor {
            None => None,
            Some(tensor) => {
                let shape = canonical_shape(plan, port, tensor.shape(), unbatched)?;
                Some(layout_of(&port.layout, unbatched).canonical(tensor, shape.len())?)
            }
        });
    }
    let bound = plan.bind_given(&inside.iter().map(|tensor| tensor.as_ref().map(Tensor::shape)).collect::<Vec<_>>())?;
    let all = plan.inputs.iter().zip(inside).map(|(port, tensor)| match tensor {
        Some(tensor) => Ok(tensor),
        None => {
            let shape = bound.shape(port.buffer);
            let values: Vec<f32> = zeros(element_count(shape).unwrap_or(0))?;
            Tensor::new(shape, values)
        }
    });
    let all = all.collect::<Result<Vec<_>>>()?;
    Ok((bound, all))
}
