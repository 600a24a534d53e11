//! How `.keras` files that are not understood are refused: every message in full.
#![cfg(feature = "keras")]
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "common/keras_files.rs"]
mod keras_files;

use std::fs;

use keras_files::{File, archive, folder, message};
use serde_json::{Value, json};
use zip::CompressionMethod;

/// Sequential: an input of (5, 3), a SimpleRNN of 4 units, a Dense of 1.
fn sequential() -> File {
    File::golden("compiled_only")
}

/// Inputs `a` and `b`, an LSTM and a Dense called on both, a Subtract of both.
fn graph() -> File {
    File::golden("shared_layer")
}

const RNN: &str = "/config/layers/1/config";
const DENSE: &str = "/config/layers/2/config";

fn check(cases: Vec<(File, &str)>) {
    let mut wrong = 0;
    for (file, expected) in cases {
        let found = file.message();
        let found = found.strip_prefix("<bytes>: ").unwrap_or(&found);
        if found != expected {
            println!("expected {expected}\n   found {found}");
            wrong += 1;
        }
    }
    assert_eq!(wrong, 0);
}

fn at(parent: &str, key: &str) -> String {
    format!("{parent}/{key}")
}

/// The sequential model with another option of a layer.
fn option(layer: &str, key: &str, value: Value) -> File {
    sequential().with(&at(layer, key), value)
}

/// The sequential model with another class in place of the Dense.
fn class(module: &str, class: &str, registered: Value) -> File {
    let layer = "/config/layers/2";
    sequential()
        .with(&at(layer, "module"), json!(module))
        .with(&at(layer, "class_name"), json!(class))
        .with(&at(layer, "registered_name"), registered)
}

/// A layer without weights in place of the Dense.
fn layer(class_name: &str, config: Value) -> File {
    let layer = json!({"module": "keras.layers", "class_name": class_name, "config": config, "registered_name": null});
    sequential().with("/config/layers/2", layer)
}

#[test]
fn classes() {
    check(vec![
        (
            class("keras.layers", "Lambda", json!(null)),
            "layer 'dense' (Lambda): Python code, which is never run from model files, is not supported; replace it with a layer of Keras' own",
        ),
        (
            class("keras.layers", "RNN", json!(null)),
            "layer 'dense' (RNN): the layer RNN around cells is not supported; use the layers SimpleRNN, LSTM and GRU, one after the other",
        ),
        (
            class("keras.layers", "Conv1D", json!(null)),
            "layer 'dense' (Conv1D): the layer Conv1D is not supported; use one of Embedding, SimpleRNN, LSTM, GRU, Bidirectional, Dense, Activation, ReLU, LeakyReLU, ELU, Softmax, Masking, TimeDistributed, Flatten, Reshape, RepeatVector, Concatenate, Add, Subtract, Multiply, Average, GlobalAveragePooling1D, GlobalMaxPooling1D, BatchNormalization, LayerNormalization, Dropout, SpatialDropout1D, GaussianNoise, GaussianDropout, AlphaDropout, ActivityRegularization, Identity",
        ),
        (
            class("__main__", "MyDense", json!("MyDense")),
            "layer 'dense' (MyDense): the class MyDense, whose code is not in the file, is not supported; replace it with layers of Keras' own",
        ),
        (
            class("keras.layers", "Dense", json!("package>Dense")),
            "layer 'dense' (Dense): the class Dense, whose code is not in the file, is not supported; replace it with layers of Keras' own",
        ),
        (
            class("keras.src.ops.numpy", "Mean", json!("Mean")),
            "layer 'dense' (Mean): the function Mean of keras.ops in the graph is not supported; use a layer in its place",
        ),
        (
            class("keras", "Sequential", json!(null)),
            "layer 'dense' (Sequential): a model inside a model is not supported; build one model of all layers, in one Sequential or one graph",
        ),
        (
            class("keras.layers", &"X\n".repeat(100), json!(null)),
            "layer 'dense' (X\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\...): the layer X\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\... is not supported; use one of Embedding, SimpleRNN, LSTM, GRU, Bidirectional, Dense, Activation, ReLU, LeakyReLU, ELU, Softmax, Masking, TimeDistributed, Flatten, Reshape, RepeatVector, Concatenate, Add, Subtract, Multiply, Average, GlobalAveragePooling1D, GlobalMaxPooling1D, BatchNormalization, LayerNormalization, Dropout, SpatialDropout1D, GaussianNoise, GaussianDropout, AlphaDropout, ActivityRegularization, Identity",
        ),
        (
            sequential().with("/class_name", json!("MyModel")).with("/module", json!("app")),
            "the model: a model of the class 'MyModel', whose code is not in the file, is not supported; build it as a Sequential or with keras.Model(inputs, outputs)",
        ),
        (
            layer(
                "TimeDistributed",
                json!({"name": "td", "layer": {"module": "keras.layers", "class_name": "Masking", "config": {"name": "m"}}}),
            ),
            "layer 'td': TimeDistributed(Masking) is not supported; TimeDistributed takes Dense, activation and dropout layers",
        ),
    ]);
}

#[test]
fn options() {
    let policy = |class: &str, name: &str| json!({"module": "keras", "class_name": class, "config": {"name": name}});
    let function =
        |name: &str| json!({"module": "app", "class_name": "function", "config": name, "registered_name": name});
    check(vec![
        (
            option(RNN, "wavelet", json!(3)),
            "layer 'simple_rnn' (SimpleRNN): the option 'wavelet' = 3 is not supported; save the model without it",
        ),
        (
            option(RNN, "time_major", json!(true)),
            "layer 'simple_rnn' (SimpleRNN): time_major = true is not supported; put the batch axis first",
        ),
        (
            option(RNN, "units", json!(0)),
            "layer 'simple_rnn' (SimpleRNN): units: expected a number of at least 1, found 0",
        ),
        (
            option(RNN, "units", json!("4")),
            "layer 'simple_rnn' (SimpleRNN): units: expected a number of at least 1, found '4'",
        ),
        (
            option(RNN, "units", json!(70_000)),
            "layer 'simple_rnn' (SimpleRNN): units needs 70000, the limit is 65536 (units); raise Limits::units if the file is to be trusted",
        ),
        (
            option(RNN, "use_bias", json!("yes")),
            "layer 'simple_rnn' (SimpleRNN): use_bias: expected true or false, found 'yes'",
        ),
        (
            option(RNN, "activation", json!("softmax")),
            "layer 'simple_rnn' (SimpleRNN): activation = 'softmax', which is not a function of each element, is not supported; put it into a layer after this one",
        ),
        (
            option(RNN, "activation", json!("my_function")),
            "layer 'simple_rnn' (SimpleRNN): activation = 'my_function' is not supported; use one of Keras' own pointwise activations",
        ),
        (
            option(RNN, "activation", function("my_function")),
            "layer 'simple_rnn' (SimpleRNN): activation = an object of class 'function' is not supported; use an activation that Keras knows by name",
        ),
        (
            option(RNN, "activation", json!(7)),
            "layer 'simple_rnn' (SimpleRNN): activation: expected the name of an activation, found 7",
        ),
        (
            option(DENSE, "activation", json!("glu")),
            "layer 'dense' (Dense): activation = 'glu' is not supported; use one of Keras' own pointwise activations",
        ),
        (
            option(DENSE, "lora_rank", json!(4)),
            "layer 'dense' (Dense): the option 'lora_rank' = 4 is not supported; save the model without it",
        ),
        (
            option(DENSE, "dtype", json!("float16")),
            "layer 'dense' (Dense): the dtype policy 'float16' is not supported; build the model anew with dtype float32, load_weights into it and save that",
        ),
        (
            option(DENSE, "dtype", policy("DTypePolicy", "mixed_float16")),
            "layer 'dense' (Dense): the dtype policy 'mixed_float16' is not supported; build the model anew with dtype float32, load_weights into it and save that",
        ),
        (
            option(DENSE, "dtype", policy("QuantizedDTypePolicy", "int8_from_float32")),
            "layer 'dense' (Dense): the dtype policy 'int8_from_float32' is not supported; build the model anew with dtype float32, load_weights into it and save that",
        ),
        (option(DENSE, "dtype", json!(16)), "layer 'dense' (Dense): dtype: expected a dtype policy, found 16"),
        (
            option(DENSE, "quantization_config", json!({"class_name": "Int8QuantizationConfig"})),
            "layer 'dense' (Dense): quantization_config = an object of class 'Int8QuantizationConfig' is not supported; build the model anew with dtype float32, load_weights into it and save that",
        ),
        (option(DENSE, "trainable", json!(1)), "layer 'dense' (Dense): trainable: expected true or false, found 1"),
        (
            layer("Flatten", json!({"name": "f", "data_format": "channels_first"})),
            "layer 'f' (Flatten): data_format = 'channels_first' is not supported; use data_format='channels_last'",
        ),
        (
            layer("Softmax", json!({"name": "s", "axis": [1, 2]})),
            "layer 's' (Softmax): the softmax of the axes [1, 2] is not supported; use one axis",
        ),
        (
            layer("Reshape", json!({"name": "r", "target_shape": [2, -2]})),
            "layer 'r' (Reshape): target_shape: expected a shape of whole numbers, found a list",
        ),
        (
            layer("Reshape", json!({"name": "r", "target_shape": [3, -1]})),
            "layer 'r': expected a size that reshapes to [Some(3), None], found inputs (None, 4)",
        ),
        (
            layer("RepeatVector", json!({"name": "r", "n": 0})),
            "layer 'r' (RepeatVector): n: expected a number of at least 1, found 0",
        ),
        (
            layer("Masking", json!({"name": "m", "mask_value": "nan"})),
            "layer 'm' (Masking): mask_value: expected a number, found 'nan'",
        ),
        (
            layer("ReLU", json!({"name": "r", "max_value": true})),
            "layer 'r' (ReLU): max_value: expected a number or null, found true",
        ),
        (
            layer("BatchNormalization", json!({"name": "b", "axis": -1, "renorm": true})),
            "layer 'b' (BatchNormalization): renorm = true is not supported; save the model with renorm=False",
        ),
        (
            layer("BatchNormalization", json!({"name": "b", "axis": [1, 2]})),
            "layer 'b' (BatchNormalization): normalisation of several axes is not supported; use one axis",
        ),
        (
            layer("LayerNormalization", json!({"name": "l", "axis": -1, "rms_scaling": true})),
            "layer 'l' (LayerNormalization): rms_scaling = true is not supported; use LayerNormalization without it",
        ),
        (
            layer("LayerNormalization", json!({"name": "l", "axis": [1, -1]})),
            "layer 'l' (LayerNormalization): a list of axes that are counted from both ends ([1, -1]) is not supported; count them from one end",
        ),
        (
            layer("GlobalAveragePooling1D", json!({"name": "g", "data_format": "channels_last"})),
            "layer 'g': expected [batch, seq_len, features], found inputs (None, 4)",
        ),
    ]);
}

#[test]
fn bidirectional() {
    let file = || File::golden("bidirectional_stateful");
    let layer = "/config/layers/1/config";
    check(vec![
        (
            file().with(&at(layer, "merge_mode"), json!("max")),
            "layer 'bidirectional' (Bidirectional): merge_mode = 'max' is not supported; use concat, sum, mul, ave or None",
        ),
        (
            file().with(&at(layer, "layer/class_name"), json!("Dense")),
            "layer 'bidirectional' (Bidirectional): forward layer 'forward_lstm' (Dense): a Bidirectional of it is not supported; use SimpleRNN, LSTM or GRU",
        ),
        (
            file().with(&at(layer, "layer/config/dtype"), json!("bfloat16")),
            "layer 'bidirectional' (Bidirectional): forward layer 'forward_lstm' (LSTM): the dtype policy 'bfloat16' is not supported; build the model anew with dtype float32, load_weights into it and save that",
        ),
        (
            file().with(&at(layer, "layer/config/frobnicate"), json!(1)),
            "layer 'bidirectional' (Bidirectional): forward layer 'forward_lstm' (LSTM): the option 'frobnicate' = 1 is not supported; save the model without it",
        ),
        (
            file().with(&at(layer, "backward_layer/config/go_backwards"), json!(false)),
            "layer 'bidirectional': a forward layer with go_backwards, or a backward layer without is not supported; swap the two layers",
        ),
        (
            file().with(&at(layer, "backward_layer/config/units"), json!(5)),
            "layer 'bidirectional' (Bidirectional): backward layer 'backward_lstm' (LSTM): kernel (model.weights.h5 'layers/bidirectional/backward_layer/cell/vars/0'): expected shape [any, 20], found [3, 12]",
        ),
        (
            file().with(&at(layer, "backward_layer/config/return_sequences"), json!(false)),
            "layer 'bidirectional': expected a backward layer with the forward one's return_sequences, return_state, stateful and input size (true, false, true, 3), found (false, false, true, 3)",
        ),
        (
            file().without(&at(layer, "layer")),
            "config.json: expected an object at layer 'bidirectional' (Bidirectional): forward layer, found null",
        ),
    ]);
}

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
            option(input, "dtype", json!("float16")),
            "layer 'input_layer' (InputLayer): the input dtype \"float16\" is not supported; use float32, an integer type for token ids or bool for a mask",
        ),
        (
            option(input, "batch_shape", json!([])),
            "layer 'input_layer' (InputLayer): expected a shape with a batch axis, found an empty shape",
        ),
        (
            option(input, "batch_shape", json!([null, "5", 3])),
            "layer 'input_layer' (InputLayer): batch_shape: expected a shape of whole numbers, found a list",
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
fn weights() {
    let hdf5 = |name: &str| {
        let mut file = sequential()
            .without("/config/layers/1")
            .with("/config/layers/0/config/batch_shape", json!([null, 2]))
            .with("/config/layers/1/config/units", json!(3));
        file.weights = fs::read(folder().join(format!("../../fixtures/hdf5/{name}.h5"))).unwrap();
        file
    };
    let without_bias = |layer: &str| option(layer, "use_bias", json!(false));
    let truncated = |part: usize| {
        let mut file = sequential();
        let length = file.weights.len();
        file.weights.truncate(length * part / 100);
        file
    };
    check(vec![
        (
            option(RNN, "units", json!(5)),
            "layer 'simple_rnn' (SimpleRNN): kernel (model.weights.h5 'layers/simple_rnn/cell/vars/0'): expected shape [any, 5], found [3, 4]",
        ),
        (
            option(DENSE, "units", json!(2)),
            "layer 'dense' (Dense): kernel (model.weights.h5 'layers/dense/vars/0'): expected shape [any, 2], found [4, 1]",
        ),
        (
            without_bias(RNN),
            "model.weights.h5: expected the weights of the layers of config.json only, found also 'layers/simple_rnn/cell/vars/2'",
        ),
        (
            without_bias(DENSE),
            "model.weights.h5: expected the weights of the layers of config.json only, found also 'layers/dense/vars/1'",
        ),
        (
            sequential().with("/config/layers/1/class_name", json!("GRU")),
            "layer 'simple_rnn' (GRU): kernel (model.weights.h5 'layers/gru/cell/vars/0'): expected shape [any, 12], found no such dataset",
        ),
        (
            sequential()
                .with("/config/layers/2/config/name", json!("renamed"))
                .with("/config/layers/2/class_name", json!("Embedding"))
                .with(&at(DENSE, "input_dim"), json!(4))
                .with(&at(DENSE, "output_dim"), json!(1)),
            "layer 'renamed' (Embedding): embeddings (model.weights.h5 'layers/embedding/vars/0'): expected shape [4, 1], found no such dataset",
        ),
        (
            sequential().without("/config/layers/2"),
            "model.weights.h5: expected the weights of the layers of config.json only, found also 'layers/dense/vars/0', 'layers/dense/vars/1'",
        ),
        (truncated(0), "model.weights.h5: expected an HDF5 file, found invalid HDF5 magic bytes"),
        (
            truncated(5),
            "model.weights.h5 '/': expected an HDF5 object, found unexpected end of data at offset 1504 (need 24 bytes, have 0)",
        ),
        (
            truncated(50),
            "model.weights.h5 '/': expected an HDF5 object, found child 'optimizer' at 0x397c: unexpected end of data at offset 14716 (need 4 bytes, have 0)",
        ),
        (
            hdf5("int8"),
            "model.weights.h5 'layers/dense/vars/0': the type int8 is not supported; save the model with dtype float32, not quantized",
        ),
        (
            hdf5("string"),
            "model.weights.h5 'layers/dense/vars/0': the type string is not supported; save the model with dtype float32, not quantized",
        ),
        (
            hdf5("opaque"),
            "model.weights.h5 'layers/dense/vars/0': the type opaque of 2 bytes is not supported; save the model with dtype float32, not quantized",
        ),
        (
            hdf5("too_large_float64"),
            "layer 'dense' (Dense): kernel (model.weights.h5 'layers/dense/vars/0')[0, 0]: value inf is not finite",
        ),
        (
            hdf5("unwritten"),
            "model.weights.h5 'layers/dense/vars/0': expected at most 4780 B, found a declared size of 17179869184 B (16384 MiB)",
        ),
        (
            hdf5("unwritten_chunks"),
            "model.weights.h5 'layers/dense/vars/0': expected the 24 B that it declares, found 12 B",
        ),
        (
            hdf5("chunked_without_chunks"),
            "model.weights.h5 'layers/dense/vars/0': expected the 1200 B that it declares, found 0 B",
        ),
        (
            hdf5("rank_9"),
            "model.weights.h5 'layers/dense/vars/0' needs 9, the limit is 8 (rank); raise Limits::rank if the file is to be trusted",
        ),
        (
            hdf5("soft_link"),
            "model.weights.h5 'layers/dense/vars/0': expected an object of its own, found a link to another one",
        ),
        (
            hdf5("hard_link"),
            "model.weights.h5 'layers/dense/vars/0': expected an object of its own, found a link to another one",
        ),
        (
            hdf5("cycle"),
            "model.weights.h5 'layers/dense/vars/again': expected an object of its own, found a link to another one",
        ),
        (
            hdf5("external_link"),
            "layer 'dense' (Dense): kernel (model.weights.h5 'layers/dense/vars/0'): expected shape [any, 3], found no such dataset",
        ),
        (
            hdf5("external_data"),
            "model.weights.h5 'layers/dense/vars/0': expected an HDF5 object, found 0: external raw data file 'float64.h5' could not be resolved",
        ),
        (
            hdf5("virtual"),
            "model.weights.h5 'layers/dense/vars': expected an HDF5 object, found child '0' at 0xf38: unsupported layout class 3",
        ),
        (
            hdf5("deep"),
            "the nesting of model.weights.h5 needs more than 32 levels, the limit is 32 (hdf5_depth); raise Limits::hdf5_depth if the file is to be trusted",
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
            "config.json: expected [layer, call, output] at layer 'lstm' (LSTM): inbound_nodes[0], found [\"a\",0]",
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
            "layer 'lstm' (LSTM): the argument 'mask' = a list is not supported; call the layer with its input, a mask or an initial state only",
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
            "config.json: expected an object at layer 'lstm' (LSTM): inbound_nodes[0], found a list",
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

#[test]
fn archives() {
    let members = || sequential().members().to_vec();
    let zip = |members: Vec<(&str, Vec<u8>)>| archive(&members, CompressionMethod::Stored);
    let without = |name: &str| zip(members().into_iter().filter(|(other, _)| *other != name).collect());
    let with = |name: &'static str, data: Vec<u8>| {
        let mut all = members();
        all.push((name, data));
        zip(all)
    };
    let metadata = |text: &str| {
        let mut all = members();
        all[0].1 = text.as_bytes().to_vec();
        zip(all)
    };
    let config = |text: String| {
        let mut all = members();
        all[1].1 = text.into_bytes();
        zip(all)
    };
    // A member under a name that the archive's writer would refuse.
    let renamed = |from: &'static str, to: &str| {
        assert_eq!(from.len(), to.len());
        let mut bytes = with(from, b"{}".to_vec());
        let places: Vec<usize> =
            bytes.windows(from.len()).enumerate().filter(|(_, w)| *w == from.as_bytes()).map(|(at, _)| at).collect();
        for at in places {
            bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        }
        bytes
    };
    let mut other = members();
    other[2].0 = "model.weights.npz";
    let cut = |part: usize| {
        let bytes = sequential().bytes();
        bytes[..bytes.len() * part / 100].to_vec()
    };
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (
            Vec::new(),
            "<bytes>: the file: expected a zip archive, as model.save('model.keras') writes, found other data",
        ),
        (
            b"hello".to_vec(),
            "<bytes>: the file: expected a zip archive, as model.save('model.keras') writes, found other data",
        ),
        (
            sequential().weights,
            "<bytes>: the file: the HDF5 format (.h5, .weights.h5) is not supported; load it with Keras 3 and save it with model.save('model.keras')",
        ),
        (cut(50), "<bytes>: the file: expected a zip archive, found invalid Zip archive: Could not find EOCD"),
        (cut(99), "<bytes>: the file: expected a zip archive, found invalid Zip archive: Could not find EOCD"),
        (without("config.json"), "<bytes>: the archive: expected a member config.json, found none"),
        (without("metadata.json"), "<bytes>: the archive: expected a member metadata.json, found none"),
        (without("model.weights.h5"), "<bytes>: the file: expected a member model.weights.h5, found none"),
        (
            zip(other),
            "<bytes>: the file: model.weights.npz in the place of model.weights.h5 is not supported; load it with Keras 3 and save it with model.save('model.keras')",
        ),
        (
            metadata("{\"keras_version\": \"2.15.0\"}"),
            "<bytes>: the file: the version '2.15.0' of Keras is not supported; load it with Keras 3 and save it with model.save('model.keras')",
        ),
        (
            metadata("{\"keras_version\": \"next\"}"),
            "<bytes>: metadata.json: expected a keras_version such as '3.15.1', found 'next'",
        ),
        (metadata("{}"), "<bytes>: metadata.json: expected a keras_version such as '3.15.1', found nothing"),
        (metadata("[1, 2"), "<bytes>: metadata.json: expected JSON, found EOF while parsing a list at line 1 column 5"),
        (
            config("{\"a\": 1, \"a\": 2}".to_owned()),
            "<bytes>: config.json: expected JSON, found the key 'a' twice at line 1 column 12",
        ),
        (
            config(format!("{}{}", "[".repeat(100), "]".repeat(100))),
            "<bytes>: the nesting of config.json needs more than 64 levels, the limit is 64 (json_depth); raise Limits::json_depth if the file is to be trusted",
        ),
        (
            config(format!("[{}1]", "1,".repeat(1 << 19))),
            "<bytes>: the JSON of config.json needs more than 524288 values, the limit is 524288 (json_values); raise Limits::json_values if the file is to be trusted",
        ),
        (
            config("{\"a\": 1e999}".to_owned()),
            "<bytes>: config.json: expected JSON, found number out of range at line 1 column 11",
        ),
        (
            config("{} {}".to_owned()),
            "<bytes>: config.json: expected JSON, found trailing characters at line 1 column 4",
        ),
        (config("{}".to_owned()), "<bytes>: config.json: expected a text at config.json.class_name, found nothing"),
        (
            renamed("config.jsoN", "config.json"),
            "<bytes>: the archive: expected members with names of their own, found two of one name",
        ),
        (
            renamed("aa/etc/pass", "../etc/pass"),
            "<bytes>: the archive: expected members inside it, found the name '../etc/pass'",
        ),
        (
            archive(
                &[("metadata.json", b"{}".to_vec()), ("config.json", vec![b' '; 3 << 20])],
                CompressionMethod::Deflated,
            ),
            "<bytes>: the member config.json needs more than 100 times its stored 3066 B, the limit is 100 times (expansion); raise Limits::expansion if the file is to be trusted",
        ),
    ];
    let mut wrong = 0;
    for (bytes, expected) in cases {
        let found = message(&bytes);
        if found != expected {
            println!("expected {expected}\n   found {found}");
            wrong += 1;
        }
    }
    assert_eq!(wrong, 0);
}
