//! Inputs, and how layers are connected.

use serde_json::{Value, json};

use super::{File, check, graph, option, sequential};

#[test]
fn inputs() {
    let input = "/config/layers/0/config";
    check(vec![
        (
            option(input, "sparse", json!(true)),
            "layer 'input_layer' (InputLayer): sparse = true is not supported; use a dense input that is always given",
        ),
        (
            option(input, "optional", json!(true)),
            "layer 'input_layer' (InputLayer): optional = true is not supported; use a dense input that is always given",
        ),
        (
            option(input, "dtype", json!("complex64")),
            "layer 'input_layer' (InputLayer): the input dtype \"complex64\" is not supported; use a float, an integer type for token ids or bool for a mask",
        ),
        (
            option(input, "batch_shape", json!([])),
            "layer 'input_layer' (InputLayer): expected a shape with a batch axis, found an empty shape",
        ),
        (
            option(input, "batch_shape", json!([null, "5", 3])),
            "layer 'input_layer' (InputLayer): batch_shape: expected a shape of whole numbers, found [null, '5', 3]",
        ),
        (
            option(input, "batch_shape", json!([null, 0, 3])),
            "layer 'input_layer' (InputLayer): expected dimensions from 1 to 4294967295, found 0",
        ),
        (
            option(input, "batch_shape", json!([0, 5, 3])),
            "layer 'input_layer' (InputLayer): expected a batch size of at least 1, found 0",
        ),
        (
            option(input, "batch_shape", json!([null, 5, 4])),
            "layer 'simple_rnn': expected [batch, seq_len, 3] and initial states [batch, 4], one per state or none, found inputs (None, 5, 4)",
        ),
        (
            option(input, "batch_shape", json!([null, 3])),
            "layer 'simple_rnn': expected [batch, seq_len, 3] and initial states [batch, 4], one per state or none, found inputs (None, 3)",
        ),
        (
            option(input, "batch_shape", json!([1, 1, 1, 1, 1, 1, 1, 1, 1])),
            "layer 'input_layer' (InputLayer): batch_shape needs 9, the limit is 8 (rank); raise Limits::rank if the file is to be trusted",
        ),
        (
            sequential().without("/config/layers/0").without("/config/build_input_shape").without("/build_config"),
            "the model: a Sequential that was never built is not supported; add keras.Input(shape) as its first layer, or call it on data before saving",
        ),
        (sequential().with("/config/layers", json!([])), "config.json: expected at least one layer, found none"),
        (sequential().without("/config/layers"), "config.json: expected a list at config.layers, found nothing"),
        (sequential().without("/config/name"), "config.json: expected a text at config.json.name, found nothing"),
        (
            sequential().with("/config/layers/1", json!("SimpleRNN")),
            "config.json: expected an object at config.layers[1], found 'SimpleRNN'",
        ),
        (
            sequential().with("/config/layers/2/config/name", json!("simple_rnn")),
            "layer 'simple_rnn': expected a name of its own, found another layer of that name",
        ),
    ]);
}

#[test]
fn graphs() {
    let tensor = |layer: &str, call: u64, output: u64| json!({"class_name": "__keras_tensor__", "config": {"shape": [null, 2], "dtype": "float32", "keras_history": [layer, call, output]}});
    let with_args = |args: Value| graph().with("/config/layers/2/inbound_nodes/0/args", args);
    let with_kwarg =
        |name: &str, value: Value| graph().with(&format!("/config/layers/2/inbound_nodes/0/kwargs/{name}"), value);
    let masked = || File::golden("lstm_masks_initial_state");
    check(vec![
        (
            with_args(json!([tensor("lstm", 1, 0)])),
            "layer 'lstm': expected [batch, seq_len, 3] and initial states [batch, 4], one per state or none, found inputs (None, 4)",
        ),
        (
            with_args(json!([tensor("nobody", 0, 0)])),
            "config.json: expected layer 'lstm' (LSTM) to take from a layer of the model, found 'nobody', call 0",
        ),
        (
            with_args(json!([tensor("a", 1, 0)])),
            "config.json: expected layer 'lstm' (LSTM) to take from a call of the layer, found 'a', call 1",
        ),
        (
            with_args(json!([tensor("a", 0, 1)])),
            "config.json: expected layer 'lstm' (LSTM) to take from an output of the layer, found 'a', output 1",
        ),
        (
            with_args(json!([1.5])),
            "layer 'lstm' (LSTM): 1.5 as an input is not supported; call the layer with its input, a mask or an initial state only",
        ),
        (
            with_args(json!([tensor("a", 0, 0), tensor("b", 0, 0), null])),
            "layer 'lstm' (LSTM): a call with 3 positional arguments is not supported; call the layer with its input, a mask or an initial state only",
        ),
        (
            with_args(json!([{"class_name": "__keras_tensor__", "config": {"keras_history": ["a", 0]}}])),
            "config.json: expected [layer, call, output] at layer 'lstm' (LSTM): inbound_nodes[0], found ['a', 0]",
        ),
        (
            with_kwarg("training", json!(true)),
            "layer 'lstm' (LSTM): the argument 'training' = true is not supported; call the layer with its input, a mask or an initial state only",
        ),
        (
            with_kwarg("attention", tensor("b", 0, 0)),
            "layer 'lstm' (LSTM): the argument 'attention' = the tensor of 'b' is not supported; call the layer with its input, a mask or an initial state only",
        ),
        (
            with_kwarg("mask", json!([tensor("b", 0, 0)])),
            "layer 'lstm' (LSTM): the argument 'mask' = a list is not supported; give it one mask",
        ),
        (
            with_kwarg("mask", tensor("b", 0, 0)),
            "layer 'lstm': expected a mask [batch, seq_len] of its input, found a mask (None, 6, 3) for (None, 4, 3)",
        ),
        (
            with_kwarg("initial_state", json!(2)),
            "layer 'lstm' (LSTM): initial_state = 2 is not supported; call the layer with its input, a mask or an initial state only",
        ),
        (
            with_kwarg("initial_state", json!([tensor("dense", 0, 0), tensor("dense", 0, 0)])),
            "config.json: expected a graph without loops, found layers that wait for each other: 'lstm', 'dense', 'subtract'",
        ),
        (
            with_kwarg("initial_state", json!([tensor("b", 0, 0)])),
            "layer 'lstm': expected [batch, seq_len, 3] and initial states [batch, 4], one per state or none, found inputs (None, 4, 3)",
        ),
        (
            graph().with("/config/layers/2/inbound_nodes", json!([[["a", 0, 0, {}]]])),
            "config.json: expected layer 'dense' (Dense) to take from a call of the layer, found 'lstm', call 1",
        ),
        (
            graph().with("/config/layers/2/inbound_nodes", json!([])),
            "config.json: expected layer 'lstm' (LSTM) to have inbound_nodes, found 0",
        ),
        (
            graph().with("/config/layers/0/inbound_nodes", json!([{"args": [], "kwargs": {}}])),
            "config.json: expected layer 'a' (InputLayer) to have no inbound_nodes, found 1",
        ),
        (
            graph().with("/config/layers/3/name", json!("lstm")),
            "layer 'lstm' (Dense): expected a name of its own, found another layer of that name",
        ),
        (
            graph().with("/config/input_layers", json!(["a", 0, 0])),
            "config.json: expected input_layers to name all inputs, found 'b' left out",
        ),
        (
            graph().with("/config/input_layers", json!([["a", 0, 0], ["a", 0, 0], ["b", 0, 0]])),
            "config.json: expected input_layers to name each input once, found 'a'",
        ),
        (
            graph().with("/config/input_layers", json!([["a", 0, 0], ["lstm", 0, 0], ["b", 0, 0]])),
            "config.json: expected input_layers to name layers of class InputLayer, found 'lstm'",
        ),
        (
            graph().with("/config/output_layers", json!([])),
            "config.json: expected at least one layer in config.output_layers, found none",
        ),
        (
            graph().with("/config/output_layers", json!(["dense", 7, 0])),
            "config.json: expected output_layers to take from a call of the layer, found 'dense', call 7",
        ),
        (
            graph().with("/config/output_layers", json!([["dense", 0, 0], 3])),
            "config.json: expected [layer, call, output] in config.output_layers, found 3",
        ),
        (
            graph().without("/config/output_layers"),
            "config.json: expected [layer, call, output] in config.output_layers, found null",
        ),
        (
            graph()
                .with("/config/layers/1/config/batch_shape", json!([3, 6, 3]))
                .with("/config/layers/0/config/batch_shape", json!([2, 4, 3])),
            "layer 'b' (InputLayer): expected batch size 2, as before, found 3",
        ),
        (
            masked().with("/config/layers/4/inbound_nodes/0/args/1", json!("x")),
            "layer 'not_equal_1' (NotEqual): the function NotEqual of keras.ops in the graph is not supported; use a layer in its place",
        ),
        (
            masked().with("/config/layers/4/config/axis", json!(1)),
            "layer 'not_equal_1' (NotEqual): the option 'axis' = 1 is not supported; save the model without it",
        ),
        (
            masked().with("/config/layers/4/class_name", json!("Equal")),
            "layer 'not_equal_1' (Equal): the function Equal of keras.ops in the graph is not supported; use a layer in its place",
        ),
    ]);
}
