//! Classes and options.

use serde_json::json;

use super::{DENSE, File, RNN, at, check, class, layer, option, sequential};

#[test]
fn classes() {
    check(vec![
        (
            class("keras.layers", "Lambda", json!(null)),
            "layer 'dense' (Lambda): Python code, which is never run from model files, is not supported; replace it with a layer of Keras' own",
        ),
        (
            class("keras.layers", "RNN", json!(null)),
            "config.json: expected an object at layer 'dense' (RNN): cell, found null",
        ),
        (
            class("keras.layers", "Conv2D", json!(null)),
            "layer 'dense' (Conv2D): the layer Conv2D is not supported; use a layer that docs/formats.md lists",
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
        (class("keras", "Sequential", json!(null)), "config.json: expected a list at config.layers, found nothing"),
        (
            class("keras.layers", &"X\n".repeat(100), json!(null)),
            "layer 'dense' (X\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\...): the layer X\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\nX\\... is not supported; use a layer that docs/formats.md lists",
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
            "layer 'td' (TimeDistributed): expected an input of 3 to 6 axes, found (None, 4)",
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
            option(DENSE, "dtype", json!("int8")),
            "layer 'dense' (Dense): the dtype policy 'int8' is not supported; build the model anew with a float dtype, not quantized, load_weights into it and save that",
        ),
        (
            option(DENSE, "dtype", policy("DTypePolicy", "float8")),
            "layer 'dense' (Dense): the dtype policy 'float8' is not supported; build the model anew with a float dtype, not quantized, load_weights into it and save that",
        ),
        (
            option(DENSE, "dtype", policy("QuantizedDTypePolicy", "int8_from_float32")),
            "layer 'dense' (Dense): the dtype policy 'int8_from_float32' is not supported; build the model anew with a float dtype, not quantized, load_weights into it and save that",
        ),
        (option(DENSE, "dtype", json!(16)), "layer 'dense' (Dense): dtype: expected a dtype policy, found 16"),
        (
            option(DENSE, "quantization_config", json!({"class_name": "Int8QuantizationConfig"})),
            "layer 'dense' (Dense): quantization_config = an object of class 'Int8QuantizationConfig' is not supported; build the model anew with a float dtype, not quantized, load_weights into it and save that",
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
            "layer 'r' (Reshape): target_shape: expected a shape of whole numbers, found [2, -2]",
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
            file().with(&at(layer, "layer/config/dtype"), json!("int4")),
            "layer 'bidirectional' (Bidirectional): forward layer 'forward_lstm' (LSTM): the dtype policy 'int4' is not supported; build the model anew with a float dtype, not quantized, load_weights into it and save that",
        ),
        (
            file().with(&at(layer, "layer/config/frobnicate"), json!(1)),
            "layer 'bidirectional' (Bidirectional): forward layer 'forward_lstm' (LSTM): the option 'frobnicate' = 1 is not supported; save the model without it",
        ),
        (
            file().with(&at(layer, "backward_layer/config/go_backwards"), json!(false)),
            "layer 'bidirectional': expected one of the two layers with go_backwards, found both alike",
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
