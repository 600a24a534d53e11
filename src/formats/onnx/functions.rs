//! The functions of recurrent cells and of operators.

use super::call::Call;
use crate::{
    activation::Activation,
    cell::{Cell, CellParams},
    error::Result,
};

/// A function that a cell may have, and how many of alpha and beta it takes.
struct Function {
    /// In lower case: case makes no difference.
    name: &'static str,
    /// The default of alpha, if it takes one.
    alpha: Option<f32>,
    /// The default of beta, if it takes one.
    beta: Option<f32>,
    make: fn(alpha: f32, beta: f32) -> Activation,
}

/// The list of the operators' text. Defaults are those of ONNX Runtime: `docs/semantics.md`.
const FUNCTIONS: [Function; 11] = [
    Function {
        name: "affine",
        alpha: Some(0.0),
        beta: Some(0.0),
        make: |alpha, beta| Activation::Affine { alpha, beta },
    },
    Function { name: "elu", alpha: Some(1.0), beta: None, make: |alpha, _| Activation::Elu { alpha } },
    Function {
        name: "hardsigmoid",
        alpha: Some(0.2),
        beta: Some(0.5),
        make: |alpha, beta| Activation::HardSigmoid { alpha, beta },
    },
    Function { name: "leakyrelu", alpha: Some(0.01), beta: None, make: |alpha, _| leaky(alpha) },
    Function { name: "relu", alpha: None, beta: None, make: |_, _| Activation::RELU },
    Function {
        name: "scaledtanh",
        alpha: Some(0.0),
        beta: Some(0.0),
        make: |alpha, beta| Activation::ScaledTanh { alpha, beta },
    },
    Function { name: "sigmoid", alpha: None, beta: None, make: |_, _| Activation::Sigmoid },
    Function { name: "softplus", alpha: None, beta: None, make: |_, _| Activation::Softplus },
    Function { name: "softsign", alpha: None, beta: None, make: |_, _| Activation::Softsign },
    Function { name: "tanh", alpha: None, beta: None, make: |_, _| Activation::Tanh },
    Function { name: "thresholdedrelu", alpha: Some(0.0), beta: None, make: |alpha, _| thresholded(alpha) },
];

/// `x` for positive `x`, else `alpha * x`.
pub(super) fn leaky(alpha: f32) -> Activation {
    Activation::Relu { negative_slope: alpha, max_value: f32::INFINITY, threshold: 0.0 }
}

/// `x` above `alpha`, else 0.
pub(super) fn thresholded(alpha: f32) -> Activation {
    Activation::Relu { negative_slope: 0.0, max_value: f32::INFINITY, threshold: alpha }
}

/// The functions of each direction of a cell.
pub(super) fn cell_params(call: &Call<'_>, cell: Cell, directions: usize) -> Result<Vec<CellParams>> {
    let defaults: &[&str] = match cell {
        Cell::Rnn => &["tanh"],
        Cell::Lstm => &["sigmoid", "tanh", "tanh"],
        _ => &["sigmoid", "tanh"],
    };
    let names: Vec<String> = match call.texts("activations")? {
        Some(names) if !names.is_empty() => names.iter().map(|name| name.to_lowercase()).collect(),
        _ => defaults.repeat(directions).into_iter().map(str::to_owned).collect(),
    };
    if names.len() != defaults.len() * directions {
        return Err(call.mismatch(format!("{} activations", defaults.len() * directions), names.len().to_string()));
    }
    let mut alphas = call.floats("activation_alpha")?.unwrap_or_default().iter();
    let mut betas = call.floats("activation_beta")?.unwrap_or_default().iter();
    let mut functions = Vec::new();
    for name in &names {
        let Some(function) = FUNCTIONS.iter().find(|function| function.name == name) else {
            let known: Vec<&str> = FUNCTIONS.iter().map(|function| function.name).collect();
            return Err(call
                .mismatch(format!("an activation among {}", crate::error::listed(known)), crate::error::quoted(name)));
        };
        // A list is used up by the functions that take from it, in order.
        let alpha = function.alpha.map(|default| alphas.next().copied().unwrap_or(default));
        let beta = function.beta.map(|default| betas.next().copied().unwrap_or(default));
        let (alpha, beta) = (alpha.unwrap_or(0.0), beta.unwrap_or(0.0));
        if !alpha.is_finite() || !beta.is_finite() {
            return Err(call.mismatch("finite activation_alpha and activation_beta", format!("{alpha} and {beta}")));
        }
        functions.push((function.make)(alpha, beta));
    }
    if alphas.next().is_some() || betas.next().is_some() {
        return Err(call.mismatch("activation_alpha and activation_beta for functions that take them", "more values"));
    }
    let params = functions.chunks(defaults.len()).map(|chunk| match chunk {
        [candidate] => CellParams::new(*candidate, Activation::Sigmoid),
        [gate, candidate] => CellParams::new(*candidate, *gate),
        [gate, candidate, output] => CellParams { output: *output, ..CellParams::new(*candidate, *gate) },
        _ => CellParams::default(),
    });
    Ok(params.collect())
}
