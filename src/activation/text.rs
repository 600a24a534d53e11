//! The names of functions, with the parameters that are in force.

use std::fmt;

use super::Activation;

impl fmt::Display for Activation {
    /// The function's name, and its parameters where it has some: `hard_sigmoid(alpha 0.2, beta 0.5)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, parameters): (&str, &[(&str, f32)]) = match self {
            Self::Linear => ("linear", &[]),
            Self::Sigmoid => ("sigmoid", &[]),
            Self::Tanh => ("tanh", &[]),
            Self::Relu { .. } if *self == Self::RELU => ("relu", &[]),
            Self::Relu { negative_slope, max_value, threshold } => {
                ("relu", &[("negative_slope", *negative_slope), ("max_value", *max_value), ("threshold", *threshold)])
            }
            Self::Elu { alpha } => ("elu", &[("alpha", *alpha)]),
            Self::Selu => ("selu", &[]),
            Self::Celu { alpha } => ("celu", &[("alpha", *alpha)]),
            Self::Exponential => ("exponential", &[]),
            Self::Softplus => ("softplus", &[]),
            Self::Softsign => ("softsign", &[]),
            Self::Silu => ("silu", &[]),
            Self::Gelu => ("gelu", &[]),
            Self::GeluTanh => ("gelu_tanh", &[]),
            Self::HardSigmoid { alpha, beta } => ("hard_sigmoid", &[("alpha", *alpha), ("beta", *beta)]),
            Self::HardSilu => ("hard_silu", &[]),
            Self::HardTanh => ("hard_tanh", &[]),
            Self::HardShrink { threshold } => ("hard_shrink", &[("threshold", *threshold)]),
            Self::SoftShrink { threshold } => ("soft_shrink", &[("threshold", *threshold)]),
            Self::TanhShrink => ("tanh_shrink", &[]),
            Self::LogSigmoid => ("log_sigmoid", &[]),
            Self::Mish => ("mish", &[]),
            Self::SparsePlus => ("sparse_plus", &[]),
            Self::SparseSigmoid => ("sparse_sigmoid", &[]),
            Self::Squareplus { b } => ("squareplus", &[("b", *b)]),
            Self::Affine { alpha, beta } => ("affine", &[("alpha", *alpha), ("beta", *beta)]),
            Self::ScaledTanh { alpha, beta } => ("scaled_tanh", &[("alpha", *alpha), ("beta", *beta)]),
            Self::Clip { min, max } => ("clip", &[("min", *min), ("max", *max)]),
            Self::Sqrt => ("sqrt", &[]),
            Self::Log => ("log", &[]),
            Self::Abs => ("abs", &[]),
            Self::Reciprocal => ("reciprocal", &[]),
            Self::Erf => ("erf", &[]),
            Self::Floor => ("floor", &[]),
            Self::Ceil => ("ceil", &[]),
            Self::Round => ("round", &[]),
            Self::Trunc => ("trunc", &[]),
            Self::Sign => ("sign", &[]),
            Self::Sin => ("sin", &[]),
            Self::Cos => ("cos", &[]),
        };
        f.write_str(name)?;
        for (index, (parameter, value)) in parameters.iter().enumerate() {
            write!(f, "{}{parameter} {value}", if index == 0 { "(" } else { ", " })?;
        }
        f.write_str(if parameters.is_empty() { "" } else { ")" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_shown() {
        assert_eq!(Activation::RELU.to_string(), "relu");
        let six = Activation::Relu { negative_slope: 0.0, max_value: 6.0, threshold: 0.0 };
        assert_eq!(six.to_string(), "relu(negative_slope 0, max_value 6, threshold 0)");
        assert_eq!(Activation::HardSigmoid { alpha: 0.2, beta: 0.5 }.to_string(), "hard_sigmoid(alpha 0.2, beta 0.5)");
    }
}
