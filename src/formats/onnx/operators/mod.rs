//! The operators that are understood, and what each becomes.

mod choose;
mod gather;
mod moves;
mod normalize;
mod pointwise;
mod products;
mod recurrent;
mod reduce;
mod shapes;
mod sizes;
mod slices;
mod windows;

use super::{
    call::{Call, subject},
    import::Importer,
    proto::Node,
    track::Tracked,
};
use crate::error::{Error, Result, quoted};

type Import = fn(&mut Importer<'_>, &Call<'_>) -> Result<Vec<Tracked>>;

/// An operator of the domain ai.onnx.
pub(super) struct Operator {
    pub(super) name: &'static str,
    /// Every attribute that it may have.
    pub(super) attributes: &'static [&'static str],
    /// The most inputs that it may have.
    pub(super) inputs: usize,
    pub(super) import: Import,
}

const MANY: usize = usize::MAX;

macro_rules! operators {
    ($($name:literal $inputs:tt [$($attribute:literal)*] $import:path;)*) => {
        &[$(Operator { name: $name, attributes: &[$($attribute),*], inputs: $inputs, import: $import }),*]
    };
}

/// Every operator that is understood, by name.
pub(super) const OPERATORS: &[Operator] = operators! {
    "Abs" 1 [] pointwise::unary;
    "Add" 2 [] pointwise::arithmetic;
    "And" 2 [] pointwise::arithmetic;
    "AveragePool" 1 ["auto_pad" "ceil_mode" "count_include_pad" "dilations" "kernel_shape" "pads" "strides"] windows::pool;
    "BatchNormalization" 5 ["epsilon" "momentum" "spatial" "training_mode"] normalize::batch;
    "Cast" 1 ["to" "saturate" "round_mode"] shapes::cast;
    "CastLike" 2 ["saturate" "round_mode"] shapes::cast;
    "Ceil" 1 [] pointwise::unary;
    "Celu" 1 ["alpha"] pointwise::unary;
    "Clip" 3 ["min" "max"] pointwise::clip;
    "Concat" MANY ["axis"] moves::concat;
    "Constant" 0 ["value" "value_float" "value_floats" "value_int" "value_ints"] shapes::constant;
    "ConstantOfShape" 1 ["value"] shapes::constant_of_shape;
    "Conv" 3 ["auto_pad" "dilations" "group" "kernel_shape" "pads" "strides"] windows::conv;
    "Cos" 1 [] pointwise::unary;
    "Div" 2 [] pointwise::arithmetic;
    "Dropout" 3 ["ratio" "seed"] moves::dropout;
    "Elu" 1 ["alpha"] pointwise::unary;
    "Equal" 2 [] pointwise::arithmetic;
    "Erf" 1 [] pointwise::unary;
    "Exp" 1 [] pointwise::unary;
    "Expand" 2 [] moves::expand;
    "Flatten" 1 ["axis"] moves::flatten;
    "Floor" 1 [] pointwise::unary;
    "GRU" 6 ["activation_alpha" "activation_beta" "activations" "clip" "direction" "hidden_size" "layout" "linear_before_reset"] recurrent::recurrent;
    "Gather" 2 ["axis"] gather::gather;
    "Gelu" 1 ["approximate"] pointwise::unary;
    "Gemm" 3 ["alpha" "beta" "transA" "transB"] products::gemm;
    "GlobalAveragePool" 1 [] reduce::global_pool;
    "GlobalMaxPool" 1 [] reduce::global_pool;
    "Greater" 2 [] pointwise::arithmetic;
    "GreaterOrEqual" 2 [] pointwise::arithmetic;
    "HardSigmoid" 1 ["alpha" "beta"] pointwise::unary;
    "HardSwish" 1 [] pointwise::unary;
    "Identity" 1 [] moves::identity;
    "LSTM" 8 ["activation_alpha" "activation_beta" "activations" "clip" "direction" "hidden_size" "input_forget" "layout"] recurrent::recurrent;
    "LayerNormalization" 3 ["axis" "epsilon" "stash_type"] normalize::layer;
    "LeakyRelu" 1 ["alpha"] pointwise::unary;
    "Less" 2 [] pointwise::arithmetic;
    "LessOrEqual" 2 [] pointwise::arithmetic;
    "Log" 1 [] pointwise::unary;
    "LogSoftmax" 1 ["axis"] reduce::softmax;
    "MatMul" 2 [] products::matmul;
    "Max" MANY [] pointwise::arithmetic;
    "MaxPool" 1 ["auto_pad" "ceil_mode" "dilations" "kernel_shape" "pads" "storage_order" "strides"] windows::pool;
    "Mean" MANY [] pointwise::arithmetic;
    "Min" MANY [] pointwise::arithmetic;
    "Mish" 1 [] pointwise::unary;
    "Mul" 2 [] pointwise::arithmetic;
    "Neg" 1 [] pointwise::unary;
    "Not" 1 [] pointwise::unary;
    "Or" 2 [] pointwise::arithmetic;
    "PRelu" 2 [] pointwise::prelu;
    "Pad" 4 ["mode" "pads" "value"] moves::pad;
    "Pow" 2 [] pointwise::pow;
    "RNN" 6 ["activation_alpha" "activation_beta" "activations" "clip" "direction" "hidden_size" "layout"] recurrent::recurrent;
    "Range" 3 ["stash_type"] shapes::range;
    "Reciprocal" 1 [] pointwise::unary;
    "ReduceMax" 2 ["axes" "keepdims" "noop_with_empty_axes"] reduce::reduce;
    "ReduceMean" 2 ["axes" "keepdims" "noop_with_empty_axes"] reduce::reduce;
    "ReduceMin" 2 ["axes" "keepdims" "noop_with_empty_axes"] reduce::reduce;
    "ReduceProd" 2 ["axes" "keepdims" "noop_with_empty_axes"] reduce::reduce;
    "ReduceSum" 2 ["axes" "keepdims" "noop_with_empty_axes"] reduce::reduce;
    "ReduceSumSquare" 2 ["axes" "keepdims" "noop_with_empty_axes"] reduce::sum_square;
    "Relu" 1 [] pointwise::unary;
    "Reshape" 2 ["allowzero"] moves::reshape;
    "ReverseSequence" 2 ["batch_axis" "time_axis"] gather::reverse_sequence;
    "Round" 1 [] pointwise::unary;
    "Selu" 1 ["alpha" "gamma"] pointwise::unary;
    "Shape" 1 ["start" "end"] shapes::shape;
    "Sigmoid" 1 [] pointwise::unary;
    "Sign" 1 [] pointwise::unary;
    "Sin" 1 [] pointwise::unary;
    "Size" 1 [] shapes::size;
    "Slice" 5 ["axes" "ends" "starts"] slices::slice;
    "Softmax" 1 ["axis"] reduce::softmax;
    "Softplus" 1 [] pointwise::unary;
    "Softsign" 1 [] pointwise::unary;
    "Split" 2 ["axis" "num_outputs" "split"] slices::split;
    "Sqrt" 1 [] pointwise::unary;
    "Squeeze" 2 ["axes"] moves::squeeze;
    "Sub" 2 [] pointwise::arithmetic;
    "Sum" MANY [] pointwise::arithmetic;
    "Tanh" 1 [] pointwise::unary;
    "ThresholdedRelu" 1 ["alpha"] pointwise::unary;
    "Tile" 2 [] moves::tile;
    "Transpose" 1 ["perm"] moves::transpose;
    "Unsqueeze" 2 ["axes"] moves::unsqueeze;
    "Where" 3 [] choose::choose;
    "Xor" 2 [] pointwise::arithmetic;
};

/// What is needed where an operator is refused.
const INSTEAD: &str = "load the Keras or PyTorch file itself, or export the model without it";

/// The operator of a node.
pub(super) fn find(node: &Node<'_>) -> Result<&'static Operator> {
    let at = || subject(node);
    if !matches!(node.domain, "" | "ai.onnx") {
        let what = format!("the operator {} of domain {}", quoted(node.op), quoted(node.domain));
        return Err(Error::unsupported(at(), what, "export the model with operators of ai.onnx only"));
    }
    if matches!(node.op, "If" | "Loop" | "Scan") {
        let what = format!("control flow ({})", node.op);
        return Err(Error::unsupported(at(), what, "load the Keras or PyTorch file itself"));
    }
    let found = OPERATORS.binary_search_by(|operator| operator.name.cmp(node.op));
    let found = found.ok().and_then(|index| OPERATORS.get(index));
    found.ok_or_else(|| Error::unsupported(at(), format!("the operator {}", quoted(node.op)), INSTEAD))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted() {
        assert!(OPERATORS.is_sorted_by(|a, b| a.name < b.name));
    }

    /// `docs/formats.md` has a row for each operator, with its attributes.
    #[test]
    fn the_documentation_lists_them() {
        let text = include_str!("../../../../docs/formats.md");
        let table = text.split("<!-- onnx: begin -->").nth(1).and_then(|rest| rest.split("<!-- onnx: end -->").next());
        let rows: Vec<String> = table
            .unwrap_or_default()
            .lines()
            .filter(|line| line.starts_with("| "))
            .skip(2)
            .map(|line| line.split('|').skip(1).take(2).map(str::trim).collect::<Vec<_>>().join(": "))
            .collect();
        let attributes = |operator: &Operator| {
            let names: Vec<String> = operator.attributes.iter().map(|name| format!("`{name}`")).collect();
            names.join(", ")
        };
        let known: Vec<String> = OPERATORS.iter().map(|op| format!("{}: {}", op.name, attributes(op))).collect();
        assert_eq!(rows, known);
    }
}
