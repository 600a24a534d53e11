//! Known answers: a model that has some is checked with them on its device before it is used.

use super::{
    Inputs,
    program::{Context, Program, wanted},
};
use crate::{
    compare::{Tolerance, compare_tensors},
    error::{Error, Result, quoted},
    plan::{Plan, Precision},
};

/// Runs the known answers of the model, which are [`due`].
pub(super) async fn check(context: &Context<'_>, program: &Program) -> Result<()> {
    let Context { model, device, .. } = context;
    for (index, answer) in model.known_answers().iter().enumerate() {
        let inputs = Inputs::from_iter(answer.inputs.clone());
        let tensors = inputs.bind(&wanted(&program.plan))?;
        let (outputs, ..) = program.run(context, false, tensors, None).await?;
        for ((name, expected), (_, found)) in answer.outputs.iter().zip(outputs.iter()) {
            let wrong = |detail: String| Error::WrongAnswer {
                model: quoted(model.name()),
                device: if device.adapter.is_empty() { device.kind.to_owned() } else { device.adapter.clone() },
                detail: format!("known answer {index}, output {}: {detail}", quoted(name)),
            };
            if expected.shape() != found.shape() {
                return Err(wrong(format!("shape {:?} for {:?}", found.shape(), expected.shape())));
            }
            let report = compare_tensors(expected, found, Tolerance::FREE_RUNNING)?;
            if !report.passed() {
                return Err(wrong(report.to_string()));
            }
        }
    }
    Ok(())
}

/// Whether the model has known answers, the options do not say to skip them, and storing the weights of `plan`, which has
/// their values, changes none: else answers from f32 weights do not hold.
pub(super) fn due(context: &Context<'_>, plan: &Plan) -> bool {
    if context.options.skip_known_answers || context.model.known_answers().is_empty() {
        return false;
    }
    let mut rounded = plan.weights.iter().filter(|weight| weight.precision != Precision::F32);
    rounded.all(|weight| weight.values() == weight.tensor.to_f32())
}
