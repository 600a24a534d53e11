"""Makes the golden files of `tests/goldens/keras_files`: every container and version of Keras' files, the
dtypes, the layers beyond the core, and a pairwise covering set of recurrent options.

    pip install keras==3.15.1 tf_keras==2.21.0 tensorflow-cpu==2.21.0 h5py numpy
    python tests/goldens/keras_files.py               # write all cases
    python tests/goldens/keras_files.py --only lstm   # only the cases whose name contains "lstm"

Cases of `keras.py` are made again with tf_keras, the Keras 2 that is still released, and saved as it does.
Per case: the file or folder, for Keras 3 what `model.summary` prints, `<case>.npz` with `call<k>.in.<input layer name>` and `call<k>.out.<i>`, and an
entry in `cases.json`. `.keras` files are packed again with compression, since HDF5 is mostly zeros.
"""

import argparse
import functools
import importlib.util
import json
import shutil
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

HERE = Path(__file__).resolve().parent
FOLDER = HERE / "keras_files"
spec = importlib.util.spec_from_file_location("goldens", HERE / "keras.py")
g = importlib.util.module_from_spec(spec)
spec.loader.exec_module(g)

import numpy as np  # noqa: E402

CASES = []  # (name, flavour, covers, function giving (model, calls), save)
FLAVOURS = ("keras", "tf_keras")


def case(name, flavour="keras", covers="", save="keras"):
    def register(make):
        assert name not in [c[0] for c in CASES], name
        CASES.append((name, flavour, covers.split(), make, save))
        return make

    return register


# --------------------------------------------------------------------------------------------------
# Values
# --------------------------------------------------------------------------------------------------


def fill(model, kernel=1.0, recurrent=1.0):
    """As `fill` of keras.py, with the names of both versions and those of more layers."""
    for weight in model.weights:
        shape = tuple(weight.shape)
        name = weight.name.split("/")[-1].split(":")[0]
        if name in ("kernel", "depthwise_kernel", "pointwise_kernel"):
            limit = kernel * np.sqrt(6.0 / (shape[0] + shape[-1]))
            value = g.rng.uniform(-limit, limit, shape)
        elif name == "recurrent_kernel":
            q, r = np.linalg.qr(g.rng.normal(size=(max(shape), min(shape))))
            q = q * np.sign(np.diag(r))
            value = recurrent * (q if q.shape == shape else q.T)
        elif name == "embeddings":
            value = g.rng.uniform(-1.0, 1.0, shape)
        elif name in ("bias", "beta", "moving_mean", "mean"):
            value = g.rng.normal(0.0, 0.5, shape)
        elif name in ("gamma", "moving_variance", "variance", "alpha", "scale", "concat_score_weight"):
            value = g.rng.uniform(0.4, 1.8, shape)
        elif name in ("rnn_state", "count", "Variable", "iteration", "learning_rate") or "seed" in name:
            continue
        else:
            raise ValueError(f"{weight.name}: no rule for its values")
        weight.assign(value.astype("float32"))
    for layer in model.layers:
        # Keras computes with what it has derived from the weights of this one.
        if type(layer).__name__ == "Normalization" and hasattr(layer, "adapt_mean"):
            layer.finalize_state()
    return model


g.fill = fill


def functional(inputs, outputs, **scales):
    return fill(g.keras.Model(inputs, outputs), **scales)


def sequential(*stack, **scales):
    return fill(g.keras.Sequential(list(stack)), **scales)


def L():
    return g.layers


# --------------------------------------------------------------------------------------------------
# Keras 2: the cases of keras.py that it can make
# --------------------------------------------------------------------------------------------------

# For each cell, of CELLS in keras.py.
CELL_CASES = (
    "", "_options", "_initial_state", "_stateful", "_stateful_stack", "_stack3", "_bidirectional",
    "_bidirectional_options", "_bidirectional_initial_state", "_masks", "_masks_bidirectional",
)  # fmt: skip
OTHER_CASES = (
    "masking_layer", "lstm_masks_left", "lstm_masks_interior", "bidirectional_stateful", "mixed_stack",
    "rnn_of_cells", "embedding_dense", "time_distributed", "time_distributed_model", "reshaping", "permute",
    "repeat_vector_autoencoder", "encoder_decoder_lstm", "encoder_decoder_gru", "extremes",
    "pooling", "batch_normalization", "layer_normalization", "several_inputs_and_outputs", "shared_layer",
    "shared_layer_chained", "nested_lists", "dict_inputs", "time_none", "time_none_ids", "fixed_batch",
    "nested_models", "sequential_of_sequentials", "sequential_without_input", "sequential_built_by_shape",
    "many_layers", "fitted", "compiled_only", "frozen_layer",
)  # fmt: skip


# Models whose numbers come from another one, of the same weights in float32.
COMPUTED_BY = {}


def again(name):
    _, make, _ = g.CASES[name]
    return make


for _cell in g.CELLS:
    for _suffix in CELL_CASES:
        _name = _cell.__name__ + _suffix
        # Keras 2 has no seeds.
        if _suffix == "_options" and _cell is g.simple_rnn:
            continue
        if _name in g.CASES and (_suffix in ("", "_masks", "_options", "_bidirectional") or _cell is g.lstm):
            case(f"tf_{_name}", "tf_keras", "h5", "h5")(again(_name))
for _name in OTHER_CASES:
    case(f"tf_{_name}", "tf_keras", "h5", "h5")(again(_name))
for _name in ("lstm", "gru_masks", "lstm_bidirectional", "nested_models", "rnn_of_cells", "mixed_stack", "shared_layer"):
    case(f"tf_zip_{_name}", "tf_keras", "zip", "keras")(again(_name))
# Keras 3 in the legacy format, which it cannot load itself where there are masks.
for _name in (
    "lstm_options", "gru_masks", "lstm_bidirectional", "nested_models", "rnn_of_cells", "mixed_stack", "fitted",
    "shared_layer_chained", "masked_merges", "lstm_stateful", "time_distributed_model", "several_inputs_and_outputs",
):  # fmt: skip
    case(f"h5_{_name}", "keras", "h5", "h5")(again(_name))


@case("tf_hard_sigmoid", "tf_keras", "hard_sigmoid", "h5")
def tf_hard_sigmoid():
    """0.2 x + 0.5, where Keras 3 has x / 6 + 0.5."""
    x = g.keras.Input((5, 4), name="x")
    layers = g.layers
    outputs = [
        layers.LSTM(3, recurrent_activation="hard_sigmoid", return_sequences=True, name="lstm")(x),
        layers.GRU(3, recurrent_activation="hard_sigmoid", reset_after=False, name="gru")(x),
        layers.Dense(3, activation="hard_sigmoid", name="dense")(x),
        layers.Activation("hard_sigmoid", name="layer")(x),
    ]
    return functional(x, outputs, kernel=3.0), [g.normal(3, 5, 4)]


@case("tf_cudnn", "tf_keras", "cudnn", "h5")
def tf_cudnn():
    """Layers that only run on a GPU; Keras itself loads their weights into the layers that run anywhere."""
    from tf_keras.src.layers.rnn import cudnn_gru, cudnn_lstm

    layers = g.layers

    def build(lstm, gru):
        x = g.keras.Input((5, 3), name="x")
        outputs = [
            lstm(4, return_sequences=True, name="lstm")(x),
            *lstm(4, return_state=True, name="lstm_state")(x),
            gru(4, return_sequences=True, name="gru")(x),
            gru(4, go_backwards=True, name="gru_back")(x),
            layers.Bidirectional(lstm(2, return_sequences=True), name="both")(x),
        ]
        return g.keras.Model(x, outputs)

    model = fill(build(cudnn_lstm.CuDNNLSTM, cudnn_gru.CuDNNGRU))
    from tf_keras.src.saving.legacy.hdf5_format import preprocess_weights_for_loading

    plain = build(layers.LSTM, layers.GRU)
    for there, here in zip(model.layers, plain.layers):
        here.set_weights(preprocess_weights_for_loading(here, there.get_weights(), "2"))
    COMPUTED_BY[id(model)] = plain
    return model, [g.normal(2, 5, 3)]


@case("tf_masked_heads", "tf_keras", "mask", "h5")
def tf_masked_heads():
    """Keras 2 hands masks on with the values, and refuses them where a layer has no use for one."""
    ids = g.keras.Input((7,), dtype="int32", name="ids")
    layers = g.layers
    y = layers.LSTM(3, return_sequences=True)(layers.Embedding(10, 3, mask_zero=True)(ids))
    outputs = [layers.GlobalAveragePooling1D(name="average_head")(y)]
    for between in [
        layers.Dense(3, activation="tanh"),
        layers.TimeDistributed(layers.Dense(3)),
        layers.Activation("tanh"),
        layers.ReLU(),
        layers.LeakyReLU(alpha=0.1),
        layers.ELU(alpha=0.5),
        layers.ThresholdedReLU(theta=0.1),
        layers.PReLU(),
        layers.Dropout(0.2),
        layers.SpatialDropout1D(0.2),
        layers.BatchNormalization(),
        layers.LayerNormalization(),
        layers.UnitNormalization(),
    ]:
        outputs.append(layers.GlobalAveragePooling1D(name=f"after_{between.name}")(between(y)))
    same = layers.Add(name="same")([y, layers.Dense(3)(y)])
    outputs.append(layers.GRU(2, name="after_same")(same))
    return functional(ids, outputs), [g.padded_ids(["right", "left", "interior", "full"])]


@case("tf_masked_initial_state", "tf_keras", "mask initial_state", "h5")
def tf_masked_initial_state():
    """Keras 2 keeps the mask of a sequence that comes with an initial state; Keras 3 drops it."""
    ids, states = g.keras.Input((7,), dtype="int32", name="ids"), g.state_inputs(g.lstm, 3)
    e = g.layers.Embedding(10, 3, mask_zero=True)(ids)
    outputs = [*g.lstm(3, return_sequences=True, return_state=True, name="lstm")(e, initial_state=states)]
    rows = ["right", "full", "right"]
    return functional([ids, *states], outputs), [g.padded_ids(rows)] + [g.normal(3, 3) for _ in states]


# --------------------------------------------------------------------------------------------------
# Containers of Keras 3
# --------------------------------------------------------------------------------------------------


def small():
    x = g.keras.Input((5, 3), name="x")
    y = g.layers.Bidirectional(g.lstm(3, return_sequences=True))(x)
    inner = g.keras.Sequential([g.keras.Input((5, 6)), g.gru(4), g.layers.BatchNormalization()], name="inner")
    return functional(x, g.layers.Dense(2)(inner(y))), [g.normal(2, 5, 3)]


for _save in ("folder", "pair", "sharded", "tf_pair", "tf_h5_weights", "tf_weights"):
    _flavour = "tf_keras" if _save.startswith("tf_") else "keras"
    case(f"as_{_save}", _flavour, "container", _save)(small)


# --------------------------------------------------------------------------------------------------
# Dtypes
# --------------------------------------------------------------------------------------------------


def of_policy(policy):
    """Weights are rounded to the policy's precision by hand, so that f32 computes with the very same."""
    import ml_dtypes

    x = g.keras.Input((5, 3), name="x", dtype="float32")
    zeros = {"recurrent_initializer": "zeros"}  # others are not made in bfloat16
    y = g.lstm(3, return_sequences=True, dtype=policy, **zeros)(x)
    y = g.gru(3, return_sequences=True, dtype=policy, **zeros)(y)
    model = functional(x, g.layers.Dense(2, dtype=policy)(y))
    narrow = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}.get(policy)
    plain_x = g.keras.Input((5, 3), name="x")
    plain = g.lstm(3, return_sequences=True)(plain_x)
    plain = g.gru(3, return_sequences=True)(plain)
    plain = g.keras.Model(plain_x, g.layers.Dense(2)(plain))
    values = [np.asarray(g.keras.ops.convert_to_numpy(w)).astype("float32") for w in model.weights]
    if narrow is not None:
        assert all((v == v.astype(narrow).astype("float32")).all() for v in values)
    plain.set_weights(values)
    COMPUTED_BY[id(model)] = plain
    return model, [g.normal(2, 5, 3)]


for _policy in ("float64", "float16", "bfloat16", "mixed_float16", "mixed_bfloat16"):
    case(f"dtype_{_policy}", "keras", "dtype")(functools.partial(of_policy, _policy))
case("dtype_h5_float16", "keras", "dtype", "h5")(functools.partial(of_policy, "float16"))


# --------------------------------------------------------------------------------------------------
# Layers beyond the core
# --------------------------------------------------------------------------------------------------


@case("convolutions", covers="conv1d padding strides dilation groups")
def convolutions():
    x, open_x = g.keras.Input((11, 4), name="x"), g.keras.Input((None, 4), name="open")
    layers, outputs = g.layers, []
    for i, options in enumerate([
        {}, {"padding": "same"}, {"padding": "causal"}, {"strides": 2}, {"strides": 3, "padding": "same"},
        {"strides": 2, "padding": "causal"}, {"dilation_rate": 2}, {"dilation_rate": 3, "padding": "causal"},
        {"dilation_rate": 2, "padding": "same"}, {"groups": 2}, {"groups": 4, "padding": "same"},
        {"use_bias": False, "activation": "relu"}, {"activation": "softmax"},
    ]):  # fmt: skip
        for value, name in ((x, "fixed"), (open_x, "open")):
            outputs.append(layers.Conv1D(4, 3, name=f"conv_{i}_{name}", **options)(value))
    outputs.append(layers.Conv1D(6, 1, name="one")(x))
    outputs.append(layers.Conv1D(3, 4, padding="same", strides=2, name="even")(x))
    return functional([x, open_x], outputs), [g.normal(2, 11, 4), g.normal(2, 10, 4)]


@case("separable_convolutions", covers="separable_conv1d depthwise_conv1d")
def separable_convolutions():
    x, layers, outputs = g.keras.Input((9, 4), name="x"), g.layers, []
    for i, options in enumerate([
        {}, {"padding": "same", "depth_multiplier": 2}, {"dilation_rate": 2, "activation": "tanh"},
        {"strides": 2, "use_bias": False},
    ]):  # fmt: skip
        outputs.append(layers.SeparableConv1D(5, 3, name=f"separable_{i}", **options)(x))
        outputs.append(layers.DepthwiseConv1D(3, name=f"depthwise_{i}", **options)(x))
    return functional(x, outputs), [g.normal(2, 9, 4)]


@case("poolings", covers="max_pooling1d average_pooling1d")
def poolings():
    x, open_x = g.keras.Input((9, 3), name="x"), g.keras.Input((None, 3), name="open")
    layers, outputs = g.layers, []
    for i, options in enumerate([
        {"pool_size": 2}, {"pool_size": 3}, {"pool_size": 3, "strides": 1}, {"pool_size": 3, "padding": "same"},
        {"pool_size": 2, "strides": 3, "padding": "same"}, {"pool_size": 4, "strides": 2},
    ]):  # fmt: skip
        for value, name in ((x, "fixed"), (open_x, "open")):
            outputs.append(layers.MaxPooling1D(name=f"max_{i}_{name}", **options)(value))
            outputs.append(layers.AveragePooling1D(name=f"average_{i}_{name}", **options)(value))
    return functional([x, open_x], outputs), [g.normal(2, 9, 3), g.normal(2, 8, 3)]


@case("arrangements", covers="zero_padding1d cropping1d up_sampling1d permute")
def arrangements():
    x, open_x = g.keras.Input((6, 3), name="x"), g.keras.Input((None, 3), name="open")
    layers, outputs = g.layers, []
    for value, name in ((x, "fixed"), (open_x, "open")):
        outputs += [
            layers.ZeroPadding1D(2, name=f"pad_{name}")(value),
            layers.ZeroPadding1D((1, 3), name=f"pad_sides_{name}")(value),
            layers.Cropping1D(1, name=f"crop_{name}")(value),
            layers.Cropping1D((0, 3), name=f"crop_sides_{name}")(value),
            layers.UpSampling1D(3, name=f"up_{name}")(value),
            layers.Permute((2, 1), name=f"permute_{name}")(value),
            layers.Permute((1, 2), name=f"permute_same_{name}")(value),
        ]
    outputs.append(g.lstm(2, name="after")(layers.ZeroPadding1D(1, name="before")(open_x)))
    wide = g.keras.Input((2, 3, 4), name="wide")
    outputs.append(layers.Permute((3, 1, 2), name="permute_wide")(wide))
    return functional([x, open_x, wide], outputs), [g.normal(2, 6, 3), g.normal(2, 5, 3), g.normal(2, 2, 3, 4)]


@case("more_normalizations", covers="unit_normalization group_normalization rescaling normalization")
def more_normalizations():
    x, open_x = g.keras.Input((5, 6), name="x"), g.keras.Input((None, 6), name="open")
    v, layers = g.keras.Input((6,), name="v"), g.layers
    outputs = [
        layers.UnitNormalization(name="unit")(x),
        layers.UnitNormalization(axis=1, name="unit_time")(x),
        layers.GroupNormalization(groups=3, name="group")(x),
        layers.GroupNormalization(groups=2, epsilon=0.1, name="group_open")(open_x),
        layers.GroupNormalization(groups=-1, scale=False, name="group_each")(open_x),
        layers.GroupNormalization(groups=1, center=False, name="group_all")(x),
        layers.GroupNormalization(groups=2, name="group_vector")(v),
        layers.Rescaling(0.5, offset=-1.0, name="rescaling")(x),
        layers.Normalization(name="normalization")(x),
        layers.Normalization(axis=None, name="normalization_all")(x),
        layers.Normalization(axis=1, name="normalization_time")(x),
        layers.Normalization(invert=True, name="normalization_back")(v),
        layers.Normalization(mean=[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], variance=[0.5] * 6, name="given")(v),
        layers.Normalization(mean=0.5, variance=2.0, axis=None, name="given_all")(v),
    ]
    return functional([x, open_x, v], outputs), [g.normal(3, 5, 6), g.normal(3, 4, 6), g.normal(3, 6)]


@case("more_activations", covers="prelu activation layers objects")
def more_activations():
    x, open_x, layers = g.keras.Input((5, 6), name="x"), g.keras.Input((None, 6), name="open"), g.layers
    v = g.keras.Input((6,), name="v")
    outputs = [
        layers.PReLU(name="prelu")(x),
        layers.PReLU(shared_axes=[1], name="prelu_shared")(x),
        layers.PReLU(shared_axes=[1], name="prelu_open")(open_x),
        layers.PReLU(name="prelu_vector")(v),
        layers.Dense(4, activation=layers.LeakyReLU(0.1), name="leaky")(x),
        layers.Dense(4, activation=layers.ReLU(max_value=1.0), name="capped")(x),
        layers.Activation(layers.ELU(alpha=0.3), name="elu")(x),
        g.simple_rnn(3, activation=layers.LeakyReLU(0.2), return_sequences=True, name="rnn")(x),
    ]
    return functional([x, open_x, v], outputs), [g.normal(3, 5, 6), g.normal(3, 4, 6), g.normal(3, 6)]


@case("masked_more", covers="mask prelu unit_normalization group_normalization conv1d time_distributed extremes")
def masked_more():
    """What each of these layers does with the mask that its input carries."""
    a, b, y, z, inputs = g.masked_pair()
    layers, outputs = g.layers, []
    for between in [
        layers.PReLU(shared_axes=[1]),
        layers.UnitNormalization(),
        layers.GroupNormalization(groups=3),
        layers.Rescaling(2.0, 0.5),
        layers.Normalization(),
        layers.Conv1D(3, 3, padding="same"),
        layers.SeparableConv1D(3, 3, padding="same"),
        layers.DepthwiseConv1D(3, padding="same"),
        layers.MaxPooling1D(2),
        layers.ZeroPadding1D(1),
        layers.Cropping1D(1),
        layers.UpSampling1D(2),
        layers.Permute((1, 2)),
        layers.TimeDistributed(layers.LayerNormalization()),
    ]:
        value = between(y)
        outputs += [value, layers.GlobalAveragePooling1D(name=f"after_{between.name}")(value)]
    for merge in (layers.Maximum, layers.Minimum):
        name = merge.__name__.lower()
        both = merge(name=name)([y, z])
        outputs += [both, layers.GlobalAveragePooling1D(name=f"after_{name}")(both)]
        three = merge(name=f"{name}_same")([y, layers.Dense(3, name=f"{name}_dense")(y), z])
        outputs.append(three)
    outputs.append(layers.Dot(axes=2, name="dot")([y, z]))
    return functional([a, b], outputs), inputs


@case("dots", covers="dot")
def dots():
    x, y = g.keras.Input((4, 5), name="x"), g.keras.Input((3, 5), name="y")
    v, w = g.keras.Input((5,), name="v"), g.keras.Input((5,), name="w")
    open_x, layers = g.keras.Input((None, 5), name="open"), g.layers
    outputs = [
        layers.Dot(axes=1, name="vectors")([v, w]),
        layers.Dot(axes=1, normalize=True, name="cosine")([v, w]),
        layers.Dot(axes=2, name="sequences")([x, y]),
        layers.Dot(axes=-1, normalize=True, name="sequences_cosine")([x, y]),
        layers.Dot(axes=(2, 1), name="sequence_vector")([x, v]),
        layers.Dot(axes=(1, 2), name="vector_sequence")([v, open_x]),
        layers.Dot(axes=(1, 1), name="time")([x, layers.ZeroPadding1D((0, 1), name="padded")(y)]),
    ]
    shapes = [(2, 4, 5), (2, 3, 5), (2, 5), (2, 5), (2, 6, 5)]
    return functional([x, y, v, w, open_x], outputs), [g.normal(*shape) for shape in shapes]


@case("attentions", covers="attention additive_attention causal scores")
def attentions():
    q, v, k = (g.keras.Input((t, 4), name=n) for n, t in (("q", 3), ("v", 5), ("k", 5)))
    open_q, open_v = (g.keras.Input((None, 4), name=n) for n in ("open_q", "open_v"))
    layers, outputs = g.layers, []
    for name, layer in [
        ("dot", layers.Attention), ("scaled", functools.partial(layers.Attention, use_scale=True)),
        ("concat", functools.partial(layers.Attention, score_mode="concat")),
        ("concat_scaled", functools.partial(layers.Attention, use_scale=True, score_mode="concat")),
        ("additive", layers.AdditiveAttention),
        ("additive_plain", functools.partial(layers.AdditiveAttention, use_scale=False)),
    ]:  # fmt: skip
        outputs += [
            layer(name=name)([q, v]),
            layer(name=f"{name}_key")([q, v, k]),
            layer(name=f"{name}_causal")([q, v], use_causal_mask=True),
            *layer(name=f"{name}_scores")([q, v], return_attention_scores=True),
            layer(name=f"{name}_open")([open_q, open_v]),
        ]
    inputs = [g.normal(2, 3, 4), g.normal(2, 5, 4), g.normal(2, 5, 4), g.normal(2, 4, 4), g.normal(2, 6, 4)]
    return functional([q, v, k, open_q, open_v], outputs), inputs


@case("masked_attentions", covers="attention additive_attention mask causal")
def masked_attentions():
    a, b, y, z, inputs = g.masked_pair()
    plain = g.keras.Input((7, 3), name="plain")
    embedding = g.layers.Embedding(10, 3, mask_zero=True)
    mask = embedding.compute_mask(a)
    e = embedding(a)
    layers, outputs = g.layers, []
    for name, layer in (("dot", layers.Attention), ("additive", layers.AdditiveAttention)):
        values = [
            layer(name=name)([y, z]),
            layer(name=f"{name}_self")([y, y]),
            layer(name=f"{name}_query_only")([y, plain]),
            layer(name=f"{name}_value_only")([plain, y]),
            layer(name=f"{name}_causal")([y, z], use_causal_mask=True),
            layer(name=f"{name}_given")([e, plain], mask=[mask, mask]),
        ]
        outputs += values
        outputs += [layers.GlobalAveragePooling1D(name=f"{name}_after_{i}")(v) for i, v in enumerate(values)]
    return functional([a, b, plain], outputs), [*inputs, g.normal(4, 7, 3)]


@case("seq2seq_attention", covers="encoder_decoder attention initial_state concatenate")
def seq2seq_attention():
    source, target = g.keras.Input((6,), dtype="int32", name="source"), g.keras.Input((None, 3), name="target")
    e = g.layers.Embedding(12, 4, mask_zero=True, name="embedding")(source)
    y, h, c = g.lstm(4, return_sequences=True, return_state=True, name="encoder")(e)
    z = g.lstm(4, return_sequences=True, name="decoder")(target, initial_state=[h, c])
    context = g.layers.AdditiveAttention(name="attention")([z, y])
    joined = g.layers.Concatenate(name="joined")([z, context])
    ids = g.token_ids(2, 6)
    ids[0, 4:] = 0
    return functional([source, target], g.layers.Dense(3, activation="softmax", name="head")(joined)), [ids, g.normal(2, 5, 3)]


@case("distributed", covers="time_distributed of others")
def distributed():
    x, layers = g.keras.Input((3, 5, 4), name="x"), g.layers
    open_x, y = g.keras.Input((None, 5, 4), name="open"), g.keras.Input((3, 4), name="y")
    inner = g.keras.Model(*(lambda i: (i, layers.GlobalMaxPooling1D()(g.gru(3, return_sequences=True)(i))))(g.keras.Input((5, 4))))
    outputs = [
        layers.TimeDistributed(g.lstm(3), name="lstm")(x),
        layers.TimeDistributed(layers.Bidirectional(g.gru(2, return_sequences=True)), name="both")(open_x),
        layers.TimeDistributed(layers.Conv1D(3, 3, padding="same"), name="conv")(x),
        layers.TimeDistributed(layers.MaxPooling1D(2), name="pool")(x),
        layers.TimeDistributed(layers.Flatten(), name="flatten")(open_x),
        layers.TimeDistributed(layers.GlobalAveragePooling1D(), name="average")(x),
        layers.TimeDistributed(layers.BatchNormalization(), name="batch")(y),
        layers.TimeDistributed(layers.LayerNormalization(), name="layer")(y),
        layers.TimeDistributed(layers.Reshape((2, 2)), name="reshape")(y),
        layers.TimeDistributed(layers.Softmax(), name="softmax")(y),
        layers.TimeDistributed(layers.PReLU(), name="prelu")(y),
        layers.TimeDistributed(inner, name="model")(x),
        layers.TimeDistributed(layers.TimeDistributed(layers.Dense(2)), name="twice")(x),
    ]
    return functional([x, open_x, y], outputs), [g.normal(2, 3, 5, 4), g.normal(2, 4, 5, 4), g.normal(2, 3, 4)]


@case("functions", covers="ops")
def functions():
    ops = g.keras.ops
    x, y = g.keras.Input((4, 3), name="x"), g.keras.Input((4, 3), name="y")
    z = g.keras.Input((None, 3), name="z")
    outputs = [
        ops.mean(x, axis=1), ops.sum(x, axis=-1, keepdims=True), ops.max(x, axis=1), ops.min(x, axis=[1, 2]),
        x + y, x - y, x * y, x / (ops.square(y) + 1.0), x * 2.0, 1.0 - x, x - 0.5, 2.0 / (ops.abs(x) + 1.0), x / 4.0,
        x[:, -1, :], x[:, 1:3], x[:, ::2, :1], x[:, 0], x[..., 0:1], x[:, None, :], x[:, ::-1],
        z[:, -1], z[:, 1:], z[:, :-1], z[:, ::2], z[:, ::-1],
        ops.exp(x), ops.tanh(x), ops.sigmoid(x), ops.relu(x), ops.softmax(x), ops.gelu(x), ops.silu(x), ops.sqrt(ops.abs(x)),
        ops.maximum(x, y), ops.maximum(x, 0.0), ops.minimum(x, y), -x, ops.clip(x, -0.5, 0.5), ops.sign(x),
        ops.concatenate([x, y], axis=1), ops.stack([x, y], axis=1), ops.transpose(x, [0, 2, 1]),
        ops.swapaxes(x, 1, 2), ops.reshape(x, (-1, 12)), ops.squeeze(ops.expand_dims(x, 1), 1),
        ops.matmul(x, ops.transpose(y, [0, 2, 1])), ops.flip(x, axis=1), ops.mean(z, axis=1),
    ]  # fmt: skip
    return functional([x, y, z], outputs), [g.normal(2, 4, 3), g.normal(2, 4, 3), g.normal(2, 5, 3)]


@case("functions_tail", covers="ops open")
def functions_tail():
    """The last two of an open number of timesteps: two, where Keras does not know how many."""
    z = g.keras.Input((None, 3), name="z")
    return functional(z, z[:, -2:]), [g.normal(2, 5, 3)]


@case("masked_functions", covers="ops mask")
def masked_functions():
    """Functions of masked values: the mask ends there."""
    a, b, y, z, inputs = g.masked_pair()
    average = g.layers.GlobalAveragePooling1D
    outputs = [average(name="after_sum")(y + z), average(name="after_scaled")(y * 2.0), y * z, g.keras.ops.mean(y, axis=1)]
    return functional([a, b], outputs), inputs


@case("masked_nested", covers="nested_model mask")
def masked_nested():
    """A mask goes into a model with its input, and out of it with what its layers give."""
    a, _, y, _, inputs = g.masked_pair()
    x = g.keras.Input((7, 3))
    graph = g.keras.Model(x, g.gru(3, return_sequences=True)(x), name="graph")
    last = g.keras.Sequential([g.keras.Input((7, 3)), g.lstm(2)], name="last")
    outputs = [last(y), graph(y), g.layers.GlobalAveragePooling1D(name="after_graph")(graph(y)), last(graph(y))]
    return functional(a, outputs), inputs[:1]


@case("nested_deep", covers="nested_model shared several_inputs")
def nested_deep():
    """Models in models, called twice, with several inputs and outputs, and a layer of the same name as outside."""
    layers = g.layers
    a, b = g.keras.Input((4, 3), name="a"), g.keras.Input((4, 3), name="b")
    leaf_x = g.keras.Input((4, 3), name="leaf_x")
    leaf = g.keras.Model(leaf_x, g.lstm(3, return_sequences=True, name="rnn")(leaf_x), name="leaf")
    p, q = g.keras.Input((4, 3), name="p"), g.keras.Input((4, 3), name="q")
    sum_ = layers.Add(name="sum")([leaf(p), leaf(q)])
    middle = g.keras.Model([p, q], [sum_, g.gru(2, name="rnn")(sum_)], name="middle")
    first, second = middle([a, b]), middle([b, layers.Add(name="leaf")([a, b])])
    outputs = [first[0], second[1], layers.Dense(2, name="rnn")(first[1])]
    return functional([a, b], outputs), [g.normal(2, 4, 3), g.normal(2, 4, 3)]


@case("cells", covers="rnn cells stacked state backwards bidirectional mask stateful")
def cells():
    layers = g.layers
    x, ids = g.keras.Input((4, 3), name="x"), g.keras.Input((7,), dtype="int32", name="ids")
    states = [g.keras.Input((n,), name=f"state_{i}") for i, n in enumerate((4, 4, 3, 2))]
    e = layers.Embedding(10, 3, mask_zero=True)(ids)

    def stack():
        return [layers.LSTMCell(4), layers.GRUCell(3), layers.SimpleRNNCell(2)]

    outputs = [
        layers.RNN(layers.GRUCell(3, reset_after=False), name="gru_before")(x),
        *layers.RNN(layers.LSTMCell(3), return_state=True, name="lstm_state")(x),
        layers.RNN(layers.LSTMCell(3), go_backwards=True, return_sequences=True, name="backwards")(x),
        *layers.RNN(stack(), return_sequences=True, return_state=True, name="state")(x),
        *layers.RNN(layers.StackedRNNCells(stack()), return_state=True, name="masked")(e),
        layers.RNN(stack(), return_sequences=True, name="masked_sequences")(e),
        layers.RNN(stack(), return_sequences=True, zero_output_for_mask=True, name="masked_zero")(e),
        layers.RNN([layers.LSTMCell(3)], name="one_of_one")(x),
    ]
    return functional([x, ids, *states[:0]], outputs), [g.normal(2, 4, 3), g.padded_ids(["left", "right"])]


# Keras 2 has them too, with options of its own.
LAYER_CASES = (
    convolutions, separable_convolutions, poolings, arrangements, more_normalizations, more_activations, dots,
    attentions, seq2seq_attention, distributed, nested_deep,
)  # fmt: skip
for _make in LAYER_CASES:
    case(f"tf_{_make.__name__}", "tf_keras", "h5 layers", "h5")(_make)


# --------------------------------------------------------------------------------------------------
# All pairs of recurrent options
# --------------------------------------------------------------------------------------------------

OPTIONS = {
    "cell": ["SimpleRNN", "LSTM", "GRU"],
    "activation": ["tanh", "relu", "softsign"],
    "recurrent_activation": ["sigmoid", "hard_sigmoid"],
    "use_bias": [True, False],
    "return_sequences": [True, False],
    "return_state": [True, False],
    "go_backwards": [False, True],
    "stateful": [False, True],
    "zero_output_for_mask": [False, True],
    "reset_after": [True, False],
    "mask": ["none", "masking", "embedding"],
    "wrapper": [None, "concat", "sum", "mul", "ave", "separate"],
    "initial_state": [False, True],
    "unroll": [False, True],
    "dtype": ["float32", "float64"],
}


def allowed(row):
    """Keras itself does not take these together."""
    # A layer that is stateful starts from the state that is given, once: not a question of this set.
    if row["stateful"] and row["initial_state"]:
        return False
    # TensorFlow's loop zeroes the outputs of these by a mask that is the wrong way round: refused.
    if row["unroll"] and row["mask"] != "none" and row["return_sequences"]:
        if row["wrapper"] or (row["go_backwards"] and row["zero_output_for_mask"]):
            return False
    # The wrapper makes the second direction itself, always backwards; that it cannot return the states of
    # stateful layers is a fault of Keras 3.15.
    if row["wrapper"] and row["go_backwards"]:
        return False
    return not (row["wrapper"] and row["stateful"] and row["return_state"])


def covering():
    """Rows in which every two values of two options stand together, where that is allowed; greedy, seeded."""
    generator = np.random.default_rng(5)
    keys = list(OPTIONS)
    pairs = {
        ((a, x), (b, y))
        for i, a in enumerate(keys) for b in keys[i + 1 :]
        for x in range(len(OPTIONS[a])) for y in range(len(OPTIONS[b]))
        if allowed({**{k: v[0] for k, v in OPTIONS.items()}, "return_sequences": False, a: OPTIONS[a][x], b: OPTIONS[b][y]})
    }  # fmt: skip
    rows = []
    while pairs:
        best, best_new = None, set()
        for _ in range(60):
            (a, x), (b, y) = sorted(pairs)[generator.integers(len(pairs))]
            row = {k: int(generator.integers(len(v))) for k, v in OPTIONS.items()}
            row[a], row[b] = x, y
            if not allowed({k: OPTIONS[k][i] for k, i in row.items()}):
                continue
            items = [(k, row[k]) for k in keys]
            new = {p for i, p0 in enumerate(items) for p1 in items[i + 1 :] if (p := (p0, p1)) in pairs}
            if len(new) > len(best_new):
                best, best_new = row, new
        if best is not None:
            pairs -= best_new
            rows.append({k: OPTIONS[k][i] for k, i in best.items()})
    return rows


def pair(row):
    layers, n = g.layers, 3
    batch = {"batch_size": 2} if row["stateful"] else {}
    dtype = {"dtype": row["dtype"]}
    if row["mask"] == "embedding":
        x = g.keras.Input((7,), dtype="int32", name="x", **batch)
        value = layers.Embedding(10, 3, mask_zero=True)(x)
        data = [g.padded_ids(["left", "interior"]) for _ in range(2)]
    else:
        x = g.keras.Input((7, 3), name="x", **batch)
        value = layers.Masking()(x) if row["mask"] == "masking" else x
        data = [g.padded_floats(0.0)[[0, 2]] for _ in range(2)]
    options = {
        k: row[k] for k in ("activation", "use_bias", "return_sequences", "return_state", "go_backwards", "stateful",
                            "zero_output_for_mask", "unroll")
    }  # fmt: skip
    if row["cell"] != "SimpleRNN":
        options["recurrent_activation"] = row["recurrent_activation"]
    if row["cell"] == "GRU":
        options["reset_after"] = row["reset_after"]
    layer = getattr(layers, row["cell"])(n, **options, **dtype)
    sides, count = 1, 2 if row["cell"] == "LSTM" else 1
    if row["wrapper"]:
        mode = None if row["wrapper"] == "separate" else row["wrapper"]
        layer, sides = layers.Bidirectional(layer, merge_mode=mode, **dtype), 2
    states = [g.keras.Input((n,), name=f"state_{i}") for i in range(count * sides if row["initial_state"] else 0)]
    y = layer(value, initial_state=states) if states else layer(value)
    outputs = g.flat(y)
    if row["return_sequences"]:
        outputs.append(layers.GlobalAveragePooling1D(name="after")(outputs[0]))
    model = functional([x, *states], outputs, recurrent=0.7)
    values = [g.normal(2, n) for _ in states]
    if not row["stateful"]:
        return model, [data[0], *values]
    return model, [[data[0], *values], [data[1], *values]]


for _index, _row in enumerate(covering()):
    _covers = " ".join(f"{k}={v}" for k, v in _row.items())
    case(f"pair_{_index:02}", covers=_covers)(functools.partial(pair, _row))


# --------------------------------------------------------------------------------------------------
# Saving
# --------------------------------------------------------------------------------------------------


def packed(path):
    """The archive again, with compression and without dates."""
    with zipfile.ZipFile(path) as old:
        members = [(name, old.read(name)) for name in old.namelist()]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as new:
        for name, data in members:
            if name == "metadata.json":
                data = json.dumps({**json.loads(data), "date_saved": "2026-01-01@00:00:00"})
            new.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), data, zipfile.ZIP_DEFLATED, 9)


def fresh(folder):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def save(model, name, how):
    """Saves the model; returns the file or folder, relative to FOLDER."""
    if how == "keras":
        model.save(FOLDER / f"{name}.keras")
        packed(FOLDER / f"{name}.keras")
        return f"{name}.keras"
    if how == "h5":
        model.save(FOLDER / f"{name}.h5")
        return f"{name}.h5"
    if how == "folder":
        model.save(fresh(FOLDER / name), zipped=False)
        return name
    folder = fresh(FOLDER / name)
    (folder / ("model.json" if how == "tf_pair" else "config.json")).write_text(model.to_json(), encoding="utf-8")
    if how == "sharded":
        model.save_weights(folder / "x.weights.json", max_shard_size=4e-7)
        return f"{name}/x.weights.json"
    if how == "tf_h5_weights":
        model.save_weights(folder / "weights.h5")
        return f"{name}/weights.h5"
    model.save_weights(folder / "x.weights.h5")
    return name


def make(name, flavour, covers, function, how):
    g.keras.backend.clear_session()
    g.keras.utils.set_random_seed(1)
    g.rng = np.random.default_rng(zlib.crc32(name.encode()))
    COMPUTED_BY.clear()
    model, inputs = function()
    calls = g.as_calls(inputs)
    computed = COMPUTED_BY.get(id(model), model)
    if flavour == "tf_keras":
        if not model.built:
            model(calls[0][0])
        input_names = list(model.input_names)
        output_names = g.unique_names(list(model.output_names))
        # Keras 2 makes names of outputs unique as it pleases; here they are those of the layers.
        layers = [t._keras_history.layer.name for t in g.flat(model.outputs)]
        output_names = g.unique_names(layers)
    else:
        input_names = [t._keras_history.operation.name for t in g.flat(g.graph(model).input)]
        output_names = g.unique_names([t._keras_history.operation.name for t in g.flat(g.graph(model).output)])
    path = save(model, name, how)
    if flavour == "keras" and not name.startswith("pair_") and name != "functions_tail":
        (FOLDER / f"{name}.summary.txt").write_text(g.summary(model), encoding="utf-8")
    members = {}
    for k, arrays in enumerate(calls):
        for input_name, array in zip(input_names, arrays):
            members[f"call{k}.in.{input_name}"] = array
        for i, output in enumerate(call(computed, arrays, flavour)):
            output = np.asarray(output).astype("float32")
            assert np.isfinite(output).all() and np.abs(output).max() < 100.0, (name, output_names[i])
            members[f"call{k}.out.{i}"] = output
    np.savez_compressed(FOLDER / f"{name}.npz", **members)
    return {
        "name": name, "path": path, "covers": covers, "inputs": input_names, "outputs": output_names,
        "calls": len(calls),
    }  # fmt: skip


def call(model, arrays, flavour):
    if flavour == "keras":
        return g.call(model, arrays)
    import tensorflow as tf

    x = arrays[0]
    if not isinstance(model, g.keras.Sequential):
        x = tf.nest.pack_sequence_as(model._nested_inputs, arrays)
    return [y.numpy() for y in tf.nest.flatten(model(x, training=False))]


def child(arguments):
    if arguments.flavour == "keras":
        g.load_keras()
    else:
        import tensorflow as tf
        import tf_keras

        g.keras, g.layers = tf_keras, tf_keras.layers
        g.flat = tf.nest.flatten
    entries, failed = {}, []
    for name, flavour, covers, function, how in CASES:
        if flavour != arguments.flavour or not any(part in name for part in arguments.only.split(",")):
            continue
        try:
            entries[name] = make(name, flavour, covers, function, how)
        except Exception as error:  # noqa: BLE001
            failed.append(name)
            print(f"{name}: {type(error).__name__}: {str(error)[:300]}", flush=True)
    path = FOLDER / f".{arguments.flavour}.json"
    path.write_text(json.dumps(entries), encoding="utf-8")
    return 1 if failed else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="only cases with one of these texts, with commas between them, in their name")
    parser.add_argument("--flavour", choices=FLAVOURS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.flavour:
        return child(arguments)
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / "cases.json"
    entries, failed = {}, False
    if path.exists():
        entries = {e["name"]: e for e in json.loads(path.read_text(encoding="utf-8"))}
    import os

    for flavour in FLAVOURS:
        options = ["--flavour", flavour, "--only", arguments.only]
        environment = {**os.environ, "KERAS_BACKEND": "tensorflow"}
        run = subprocess.run([sys.executable, __file__, *options], env=environment)
        failed |= run.returncode != 0
        found = FOLDER / f".{flavour}.json"
        if found.exists():
            entries.update(json.loads(found.read_text(encoding="utf-8")))
            found.unlink()
    lines = [json.dumps(entries[c[0]], ensure_ascii=False) for c in CASES if c[0] in entries]
    path.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
