//! The layer as an ONNX model of one node.

use std::cell::RefCell;

use anyhow::Result;
use rten_onnx::onnx::{
    AttributeProto, AttributeType, DataType, Dimension, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    TensorProto, TensorShapeProto, TypeProto, TypeProtoTensor, ValueInfoProto,
};

use crate::case::{Case, Cell, Sizes};

/// The states before a call, as a model of a stream takes them, each `[1, batch, hidden_size]`.
const BEFORE: [&str; 2] = ["initial_h", "initial_c"];

/// The states after it. The hidden one is the output, too.
const AFTER: [&str; 2] = ["Y_h", "Y_c"];

/// Of a whole sequence: from `X`, `[seq_len, batch, input_size]`, to `Y`, `[seq_len, 1, batch, hidden_size]`. Of a
/// stream: from `X` of one timestep and the states before it to those after it.
pub(crate) fn model(case: &Case) -> Result<Vec<u8>> {
    let Sizes { cell, hidden, input_size, batch, seq_len, stream } = case.sizes;
    let (rows, states) = (cell.gates() * hidden, if stream { cell.states() } else { 0 });
    let timesteps = if stream { 1 } else { seq_len };
    let gates = |values: &[f32]| onnx_gates(cell, values);
    let bias = [gates(&case.bias_ih), gates(&case.bias_hh)].concat();
    // What is left out has no name: lengths of rows before the states, outputs of all timesteps.
    let before = || BEFORE.into_iter().take(states);
    let after: Vec<&str> = if stream { AFTER.into_iter().take(states).collect() } else { vec!["Y"] };
    let unnamed = if stream { &[""][..] } else { &[] };
    let inputs = ["X", "W", "R", "B"].iter().chain(unnamed).copied().chain(before());
    let outputs = unnamed.iter().chain(&after).copied();
    let mut attribute = vec![integer("hidden_size", hidden)];
    if cell == Cell::Gru {
        attribute.push(integer("linear_before_reset", 1));
    }
    let node = NodeProto {
        op_type: Some(if cell == Cell::Gru { "GRU" } else { "LSTM" }.to_owned()),
        name: Some("layer".to_owned()),
        input: inputs.map(str::to_owned).collect(),
        output: outputs.map(str::to_owned).collect(),
        attribute,
        ..NodeProto::default()
    };
    let state: &[usize] = &[1, batch, hidden];
    let whole: &[usize] = &[timesteps, 1, batch, hidden];
    let x = value("X", &[timesteps, batch, input_size]);
    let graph = GraphProto {
        node: vec![node],
        initializer: vec![
            tensor("W", &[1, rows, input_size], &gates(&case.weight_ih)),
            tensor("R", &[1, rows, hidden], &gates(&case.weight_hh)),
            tensor("B", &[1, 2 * rows], &bias),
        ],
        input: [x].into_iter().chain(before().map(|name| value(name, state))).collect(),
        output: after.into_iter().map(|name| value(name, if stream { state } else { whole })).collect(),
        ..GraphProto::default()
    };
    let model = ModelProto {
        ir_version: Some(8),
        opset_import: vec![OperatorSetIdProto { domain: None, version: Some(14) }],
        graph: Some(graph),
        ..ModelProto::default()
    };
    Ok(model.write_buf()?)
}

/// From PyTorch's order of gates to that of ONNX: LSTM input, output, forget, cell; GRU update, reset, new.
fn onnx_gates(cell: Cell, values: &[f32]) -> Vec<f32> {
    let order: &[usize] = match cell {
        Cell::Lstm => &[0, 3, 1, 2],
        Cell::Gru => &[1, 0, 2],
    };
    let len = values.len() / cell.gates();
    order.iter().filter_map(|gate| values.get(gate * len..(gate + 1) * len)).flatten().copied().collect()
}

/// As ONNX has sizes. None of an array in memory is larger.
fn size(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn integer(name: &str, value: usize) -> AttributeProto {
    let (name, r#type) = (Some(name.to_owned()), Some(AttributeType::INT));
    AttributeProto { name, r#type, i: Some(size(value)), ..AttributeProto::default() }
}

fn tensor(name: &str, shape: &[usize], values: &[f32]) -> TensorProto {
    TensorProto {
        name: Some(name.to_owned()),
        dims: shape.iter().copied().map(size).collect(),
        data_type: Some(DataType::FLOAT),
        raw_data: Some(RefCell::new(values.iter().flat_map(|value| value.to_le_bytes()).collect())),
        ..TensorProto::default()
    }
}

fn value(name: &str, shape: &[usize]) -> ValueInfoProto {
    let dim = shape.iter().map(|&dim| Dimension { dim_value: Some(size(dim)), ..Dimension::default() }).collect();
    let tensor = TypeProtoTensor { elem_type: Some(DataType::FLOAT), shape: Some(TensorShapeProto { dim }) };
    let r#type = TypeProto { tensor_type: Some(tensor), ..TypeProto::default() };
    ValueInfoProto { name: Some(name.to_owned()), r#type: Some(r#type) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_change_their_order() {
        assert_eq!(onnx_gates(Cell::Lstm, &[0., 1., 2., 3.]), [0., 3., 1., 2.]);
        assert_eq!(onnx_gates(Cell::Gru, &[0., 0.5, 1., 1.5, 2., 2.5]), [1., 1.5, 0., 0.5, 2., 2.5]);
    }
}
