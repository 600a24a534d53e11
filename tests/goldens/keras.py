"""Makes the golden files of `tests/goldens/keras` with Keras itself.

    pip install keras==3.15.1 tensorflow-cpu==2.21.0 jax==0.10.2 h5py numpy
    python tests/goldens/keras.py             # write all cases (both backends, a few minutes)
    python tests/goldens/keras.py --check     # load every file again and compare its outputs
    python tests/goldens/keras.py --only lstm # only the cases whose name contains "lstm"
    python tests/goldens/keras.py --large     # only the two cases of about 1 MB each, left out else

The numbers are the same on every run (a case's weights and inputs depend on its name alone); only
the dates inside the `.keras` files change. Per case:

    <case>.keras        what `model.save` writes (a directory `unzipped` for the case of that name)
    <case>.npz          `call<k>.in.<input layer name>` and `call<k>.out.<i>`, i in flattened output order;
                        several calls only for stateful models: one after the other, without a reset
    <case>.summary.txt  what `model.summary(print_fn=...)` gives when it is not on a terminal

`cases.json` lists them, with the backend that gave the outputs. It matters for masked recurrent layers:
at a dead timestep TensorFlow repeats the previous output (zeros before the first live one), JAX repeats
the previous hidden state (so the initial state before the first live one). From a zero state, as in most
models, the two give the same numbers. Cases that end in `_jax` have the weights and inputs of the case
without it.
"""

import argparse
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

HERE = Path(__file__).resolve().parent
FOLDER = HERE / "keras"
# This file is named like the package it imports.
sys.path = [p for p in sys.path if Path(p or ".").resolve() != HERE]
# The summary takes its width from here: 80 columns is what Python answers without a terminal.
os.environ["COLUMNS"] = "80"
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["JAX_PLATFORMS"] = "cpu"
# rich draws its boxes in ASCII unless the standard output takes UTF-8.
sys.stdout.reconfigure(encoding="utf-8")

import numpy as np  # noqa: E402

BACKENDS = ("tensorflow", "jax")
CASES = {}  # name -> (covers, function giving (model, calls), backends)
rng = None  # of the case being made


def load_keras():
    """Keras reads KERAS_BACKEND when it is imported: only the child processes import it."""
    global keras, layers
    import keras
    from keras import layers

    return keras


# --------------------------------------------------------------------------------------------------
# Helpers of the cases
# --------------------------------------------------------------------------------------------------


def case(covers, name=None, backends=("tensorflow",)):
    """Registers a function as a case. It returns a model and its inputs, or a list of calls."""

    def register(make):
        key = name or make.__name__
        assert key not in CASES, key
        CASES[key] = (covers.split(), make, backends)
        return make

    return register


def normal(*shape):
    return rng.normal(size=shape).astype("float32")


def spread(*shape, limit=8.0):
    """Values evenly over [-limit, limit] in mixed order: both branches of every activation."""
    size = int(np.prod(shape))
    return rng.permutation(np.linspace(-limit, limit, size)).reshape(shape).astype("float32")


def token_ids(*shape, vocab=12):
    return rng.integers(0, vocab, size=shape).astype("int32")


LIVE = ("right", "left", "interior", "full", "ends")


def padded_ids(rows=(*LIVE, "empty")):
    """One sequence of 7 ids per row, 0 = dead, with the zeros where the row's word says."""
    kinds = {
        "right": [3, 5, 2, 7, 0, 0, 0],
        "left": [0, 0, 4, 1, 6, 2, 8],
        "interior": [2, 0, 3, 0, 0, 9, 1],
        "full": [8, 1, 9, 4, 4, 7, 5],
        "ends": [0, 4, 0, 5, 2, 0, 0],
        "empty": [0, 0, 0, 0, 0, 0, 0],
    }
    return np.array([kinds[r] for r in rows], dtype="int32")


def padded_floats(mask_value, features=3):
    """Float sequences dead where `padded_ids` is 0; some live steps hold the mask value in part."""
    ids = padded_ids()
    x = normal(*ids.shape, features)
    x[:, :, 0] = np.where(rng.random(ids.shape) < 0.3, mask_value, x[:, :, 0])
    x[ids == 0] = mask_value
    return x


def fill(model, kernel=1.0, recurrent=1.0):
    """Gives every weight a value: kernels as Keras' defaults would, all else neither 0 nor 1."""
    for weight in model.weights:
        shape, name = tuple(weight.shape), weight.name
        if name == "kernel":  # glorot uniform
            limit = kernel * np.sqrt(6.0 / (shape[0] + shape[-1]))
            value = rng.uniform(-limit, limit, shape)
        elif name == "recurrent_kernel":  # orthogonal
            q, r = np.linalg.qr(rng.normal(size=(max(shape), min(shape))))
            q = q * np.sign(np.diag(r))
            value = recurrent * (q if q.shape == shape else q.T)
        elif name == "embeddings":
            value = rng.uniform(-1.0, 1.0, shape)
        elif name in ("bias", "beta", "moving_mean"):
            value = rng.normal(0.0, 0.5, shape)
        elif name in ("gamma", "moving_variance"):
            value = rng.uniform(0.4, 1.8, shape)
        elif name == "rnn_state":  # of a stateful layer: starts at zero
            continue
        else:
            raise ValueError(f"{weight.path}: no rule for its values")
        weight.assign(value.astype("float32"))
    return model


def functional(inputs, outputs, **scales):
    return fill(keras.Model(inputs, outputs), **scales)


def sequential(*stack, **scales):
    return fill(keras.Sequential(list(stack)), **scales)


def flat(outputs):
    return keras.tree.flatten(outputs)


# --------------------------------------------------------------------------------------------------
# Recurrent cells
# --------------------------------------------------------------------------------------------------


def simple_rnn(*args, **kwargs):
    return layers.SimpleRNN(*args, **kwargs)


def lstm(*args, **kwargs):
    return layers.LSTM(*args, **kwargs)


def gru(*args, **kwargs):
    return layers.GRU(*args, **kwargs)


def gru_before(*args, **kwargs):
    return layers.GRU(*args, reset_after=False, **kwargs)


CELLS = [simple_rnn, lstm, gru, gru_before]


def state_inputs(cell, hidden_size, directions=1):
    names = ("h", "c") if cell is lstm else ("h",)
    if directions == 2:
        names = [f"{d}_{n}" for d in ("forward", "backward") for n in names]
    return [keras.Input((hidden_size,), name=n) for n in names]


def plain(cell):
    return sequential(keras.Input((5, 4)), cell(6)), [normal(3, 5, 4)]


def options(cell):
    x = keras.Input((5, 4), name="x")
    outputs = [
        cell(3, return_sequences=True, name="sequences")(x),
        *cell(3, return_state=True, name="state")(x),
        *cell(3, return_sequences=True, return_state=True, name="sequences_state")(x),
        cell(3, go_backwards=True, return_sequences=True, name="backwards_sequences")(x),
        *cell(3, go_backwards=True, return_state=True, name="backwards_state")(x),
        cell(3, use_bias=False, return_sequences=True, name="no_bias")(x),
        cell(3, unroll=True, return_sequences=True, name="unroll")(x),
        cell(3, dropout=0.2, recurrent_dropout=0.3, seed=1, name="dropout")(x),
        cell(1, return_sequences=True, name="one_unit")(x),
    ]
    if cell is lstm:
        regular = {"kernel_regularizer": "l2", "recurrent_constraint": "max_norm"}
        outputs.append(lstm(3, **regular, name="regularised")(x))
        outputs.append(lstm(3, unit_forget_bias=False, name="no_unit_forget_bias")(x))
    if cell is not simple_rnn:
        layer = cell(3, activation="relu", recurrent_activation="hard_sigmoid", name="keras_1")
        outputs.append(layer(x))
    return functional(x, outputs, recurrent=0.8), [normal(3, 5, 4)]


def initial_state(cell):
    x, states = keras.Input((4, 3), name="x"), state_inputs(cell, 5)
    last = cell(5, return_state=True, name="state")(x, initial_state=states)
    sequences = cell(5, return_sequences=True, name="sequences")(x, initial_state=states)
    back = cell(5, go_backwards=True, name="backwards")(x, initial_state=states)
    model = functional([x, *states], [*last, sequences, back])
    return model, [normal(2, 4, 3)] + [normal(2, 5) for _ in states]


def stateful(cell):
    x = keras.Input(batch_shape=(2, 4, 3))
    model = sequential(x, cell(5, stateful=True, return_sequences=True))
    return model, [[normal(2, 4, 3)] for _ in range(3)]


def stateful_stack(cell):
    """Two stateful layers, the second one backwards, with its states as outputs."""
    x = keras.Input(batch_shape=(2, 3, 3), name="x")
    y = cell(4, stateful=True, return_sequences=True, name="first")(x)
    y = cell(4, stateful=True, return_state=True, go_backwards=True, name="second")(y)
    return functional(x, list(y)), [[normal(2, 3, 3)] for _ in range(3)]


def stack3(cell):
    model = sequential(
        keras.Input((6, 3)),
        cell(5, return_sequences=True),
        cell(4, return_sequences=True),
        cell(3),
    )
    return model, [normal(2, 6, 3)]


def bidirectional(cell):
    """Nearly all merges for the LSTM, a few for the others."""
    skipped = [("sum", False), ("mul", False)]
    some = [("concat", True), ("ave", False), (None, True)]
    x = keras.Input((4, 3), name="x")
    outputs = []
    for mode in ("concat", "sum", "mul", "ave", None):
        for sequences in (True, False):
            if (mode, sequences) in skipped or (cell is not lstm and (mode, sequences) not in some):
                continue
            name = f"{mode or 'none'}_{'sequences' if sequences else 'last'}"
            inner = cell(3, return_sequences=sequences)
            outputs += flat(layers.Bidirectional(inner, merge_mode=mode, name=name)(x))
    return functional(x, outputs), [normal(2, 4, 3)]


def bidirectional_options(cell):
    """Returned states, an inner layer that goes backwards, a backward layer of another kind."""
    x = keras.Input((4, 3), name="x")

    def both(name, forward, **kwargs):
        return flat(layers.Bidirectional(forward, name=name, **kwargs)(x))

    seq = {"return_sequences": True}
    outputs = [
        *both("state", cell(3, return_state=True)),
        *both(
            "other_activation",
            cell(3, **seq),
            backward_layer=cell(3, activation="relu", go_backwards=True, **seq),
            merge_mode="sum",
        ),
    ]
    if cell is lstm:
        forward, other = cell(3, go_backwards=True, **seq), cell(3, name="other", **seq)
        outputs += both("inner_backwards", forward, backward_layer=other)
        outputs += both("no_bias", cell(3, use_bias=False), merge_mode="ave")
        outputs += both("state_none", cell(3, return_state=True, **seq), merge_mode=None)
    return functional(x, outputs, recurrent=0.8), [normal(2, 4, 3)]


def bidirectional_initial_state(cell):
    x, states = keras.Input((4, 3), name="x"), state_inputs(cell, 3, directions=2)
    layer = layers.Bidirectional(cell(3, return_sequences=True, return_state=True), name="both")
    model = functional([x, *states], flat(layer(x, initial_state=states)))
    return model, [normal(2, 4, 3)] + [normal(2, 3) for _ in states]


def masks(cell):
    """An embedding that masks zeros, and everything a recurrent layer can do with its mask."""
    ids = keras.Input((7,), dtype="int32", name="ids")
    e = layers.Embedding(10, 3, mask_zero=True)(ids)
    seq = {"return_sequences": True}
    outputs = [
        *cell(3, return_state=True, name="last")(e),
        *cell(3, return_state=True, **seq, name="sequences")(e),
        *cell(3, go_backwards=True, return_state=True, name="backwards_last")(e),
        cell(3, go_backwards=True, **seq, name="backwards")(e),
        cell(3, zero_output_for_mask=True, name="zero_last")(e),
        cell(3, zero_output_for_mask=True, **seq, name="zero_sequences")(e),
        cell(3, name="second")(cell(3, **seq, name="first")(e)),
    ]
    if cell is lstm:
        zero = cell(3, zero_output_for_mask=True, go_backwards=True, **seq, name="zero_backwards")
        outputs.append(zero(e))
    return functional(ids, outputs), [padded_ids()]


def masks_bidirectional(cell):
    """Two in a row; the first returns all it has."""
    ids = keras.Input((7,), dtype="int32", name="ids")
    e = layers.Embedding(10, 3, mask_zero=True)(ids)
    first = layers.Bidirectional(cell(3, return_sequences=True, return_state=True), name="first")
    y = first(e)
    outputs = [*y, layers.Bidirectional(cell(3), name="second")(y[0])]
    if cell is lstm:
        none = cell(3, return_sequences=True, zero_output_for_mask=False)
        outputs += layers.Bidirectional(none, merge_mode=None, name="none")(e)
        outputs.append(layers.Bidirectional(cell(3), merge_mode="sum", name="last")(e))
    return functional(ids, outputs), [padded_ids()]


def masks_initial_state(cell):
    """What stands before the first live timestep when the state is not zero: here backends differ.

    Given an initial state, Keras drops the mask of the sequence (`implicit`), though the next layer
    still sees it (`after`); a mask given by name is used."""
    ids, states = keras.Input((7,), dtype="int32", name="ids"), state_inputs(cell, 3)
    embedding = layers.Embedding(10, 3, mask_zero=True)
    e, mask = embedding(ids), embedding.compute_mask(ids)
    given = {"initial_state": states, "mask": mask}
    implicit = cell(3, return_sequences=True, name="implicit")(e, initial_state=states)
    outputs = [
        *cell(3, return_sequences=True, return_state=True, name="sequences")(e, **given),
        cell(3, go_backwards=True, name="backwards_last")(e, **given),
        implicit,
        layers.GlobalAveragePooling1D(name="after")(implicit),
    ]
    model = functional([ids, *states], outputs)
    return model, [padded_ids(LIVE)] + [normal(len(LIVE), 3) for _ in states]


@case("simple_rnn lstm gru mask masking backwards")
def masking_layer():
    zero, two = keras.Input((7, 3), name="zero"), keras.Input((7, 3), name="two")
    a = layers.Masking(name="mask_zero")(zero)
    b = layers.Masking(mask_value=2.5, name="mask_two")(two)
    outputs = [
        lstm(3, return_sequences=True, name="zero_sequences")(a),
        gru(3, name="zero_last")(a),
        gru_before(3, return_sequences=True, name="two_sequences")(b),
        simple_rnn(3, go_backwards=True, name="two_backwards")(b),
        layers.Bidirectional(simple_rnn(3), name="two_both")(b),
        b,
    ]
    return functional([zero, two], outputs), [padded_floats(0.0), padded_floats(2.5)]


def masks_one_kind(cell, kind):
    ids = keras.Input((7,), dtype="int32", name="ids")
    e = layers.Embedding(10, 3, mask_zero=True)(ids)
    outputs = cell(4, return_sequences=True, return_state=True)(e)
    return functional(ids, list(outputs)), [padded_ids([kind, "full", kind])]


for _cell in CELLS:
    _name = _cell.__name__
    for _suffix, _make, _covers, _backends in [
        ("", plain, "sequential", ("tensorflow",)),
        ("_options", options, "sequences state backwards no_bias unroll dropout", ("tensorflow",)),
        ("_initial_state", initial_state, "initial_state several_inputs", ("tensorflow",)),
        ("_stateful", stateful, "stateful sequential", ("tensorflow",)),
        ("_stateful_stack", stateful_stack, "stateful stack state", ("tensorflow",)),
        ("_stack3", stack3, "stack sequential", ("tensorflow",)),
        ("_bidirectional", bidirectional, "bidirectional merge_mode", ("tensorflow",)),
        (
            "_bidirectional_options",
            bidirectional_options,
            "bidirectional state backwards backward_layer no_bias",
            ("tensorflow",),
        ),
        (
            "_bidirectional_initial_state",
            bidirectional_initial_state,
            "bidirectional initial_state state",
            ("tensorflow",),
        ),
        ("_masks", masks, "mask embedding state backwards zero_output stack", ("tensorflow",)),
        (
            "_masks_bidirectional",
            masks_bidirectional,
            "mask embedding bidirectional",
            ("tensorflow",),
        ),
        ("_masks_initial_state", masks_initial_state, "mask embedding initial_state", BACKENDS),
    ]:
        if _cell is gru_before and _make is bidirectional_options:
            continue
        if _cell is gru_before:
            _backends = ("tensorflow",)
        case(f"{_name} {_covers}", _name + _suffix, _backends)(functools.partial(_make, _cell))

for _kind in ("right", "left", "interior"):
    case(f"lstm mask embedding state mask_{_kind}", f"lstm_masks_{_kind}")(
        functools.partial(masks_one_kind, lstm, _kind)
    )


@case("lstm mask embedding bidirectional initial_state", backends=BACKENDS)
def lstm_masks_bidirectional_initial_state():
    ids, states = keras.Input((7,), dtype="int32", name="ids"), state_inputs(lstm, 3, directions=2)
    embedding = layers.Embedding(10, 3, mask_zero=True)
    e, mask = embedding(ids), embedding.compute_mask(ids)
    outputs = [
        layers.Bidirectional(lstm(3), name="last")(e, initial_state=states, mask=mask),
        layers.Bidirectional(lstm(3), name="implicit")(e, initial_state=states),
    ]
    return functional([ids, *states], outputs), [padded_ids()] + [normal(6, 3) for _ in states]


@case("lstm mask embedding unroll zero_output", backends=BACKENDS)
def lstm_masks_unroll():
    """Unrolled, JAX repeats the previous output too, and pays no heed to zero_output_for_mask."""
    ids = keras.Input((7,), dtype="int32", name="ids")
    e = layers.Embedding(10, 3, mask_zero=True)(ids)
    seq = {"return_sequences": True, "unroll": True}
    outputs = [
        lstm(3, **seq, name="sequences")(e),
        lstm(3, **seq, go_backwards=True, name="backwards")(e),
        lstm(3, **seq, zero_output_for_mask=True, name="zero_sequences")(e),
    ]
    return functional(ids, outputs), [padded_ids()]


@case("lstm stateful mask embedding", backends=BACKENDS)
def lstm_stateful_masks():
    ids = keras.Input(batch_shape=(6, 7), dtype="int32", name="ids")
    e = layers.Embedding(10, 3, mask_zero=True)(ids)
    outputs = lstm(3, stateful=True, return_sequences=True, return_state=True)(e)
    model = functional(ids, list(outputs))
    return model, [[padded_ids()], [padded_ids()[::-1].copy()], [padded_ids()]]


@case("lstm gru stateful bidirectional")
def bidirectional_stateful():
    model = sequential(
        keras.Input(batch_shape=(2, 4, 3)),
        layers.Bidirectional(lstm(3, stateful=True, return_sequences=True)),
        layers.Bidirectional(gru(3, stateful=True)),
    )
    return model, [[normal(2, 4, 3)] for _ in range(3)]


@case("lstm gru simple_rnn mixed_stack bidirectional sequential dense")
def mixed_stack():
    model = sequential(
        keras.Input((6, 3)),
        simple_rnn(5, return_sequences=True),
        layers.Bidirectional(gru(4, return_sequences=True)),
        layers.Dropout(0.3),
        layers.LSTM(5),
        layers.Dense(2),
    )
    return model, [normal(2, 6, 3)]


@case("rnn_wrapper cells stacked_cells lstm gru simple_rnn")
def rnn_of_cells():
    """The RNN layer around bare cells, one and several."""
    x = keras.Input((4, 3), name="x")
    several = [layers.LSTMCell(4), layers.GRUCell(3), layers.SimpleRNNCell(2)]
    outputs = [
        layers.RNN(layers.LSTMCell(3), return_sequences=True, name="one")(x),
        layers.RNN(several, return_sequences=True, name="several")(x),
    ]
    return functional(x, outputs), [normal(2, 4, 3)]


# --------------------------------------------------------------------------------------------------
# Activations
# --------------------------------------------------------------------------------------------------

# All that Keras names, without those over a whole axis (softmax, log_softmax, sparsemax, glu) and
# without `threshold`, which has arguments and therefore no use by name.
POINTWISE = (
    "celu elu exponential gelu hard_shrink hard_sigmoid hard_silu hard_tanh leaky_relu linear "
    "log_sigmoid mish relu relu6 selu sigmoid silu soft_shrink softplus softsign sparse_plus "
    "sparse_sigmoid squareplus tanh tanh_shrink"
).split()
BOUNDED = "hard_sigmoid hard_tanh sigmoid softsign sparse_sigmoid tanh".split()


def activation_cells(cell):
    """One small recurrent layer per activation. A gated cell's recurrent activation is another one,
    seven further on in the list, so that each stands once in both places."""
    x = keras.Input((4, 3), name="x")
    outputs = []
    for i, name in enumerate(POINTWISE):
        gates = POINTWISE[(i + 7) % len(POINTWISE)]
        options = {} if cell is simple_rnn else {"recurrent_activation": gates}
        layer_name = name if cell is simple_rnn else f"{name}_and_{gates}"
        layer = cell(2, return_sequences=True, activation=name, name=layer_name, **options)
        outputs.append(layer(x))
    model = functional(x, outputs)
    for i, layer in enumerate(model.layers[1:]):
        used = {POINTWISE[i]} if cell is simple_rnn else {POINTWISE[i], POINTWISE[(i + 7) % 25]}
        # Large sums reach every branch; without a bound they must stay small or the states explode.
        kernel, recurrent = (3.0, 1.0) if used <= set(BOUNDED) else (1.0, 0.3)
        if "soft_shrink" in used:
            kernel = 3.0
        if "exponential" in used:
            kernel, recurrent = 0.3, 0.1
            layer.cell.bias.assign(0.3 * layer.cell.bias)
        layer.cell.kernel.assign(kernel * layer.cell.kernel)
        layer.cell.recurrent_kernel.assign(recurrent * layer.cell.recurrent_kernel)
    return model, [normal(3, 4, 3)]


for _cell in (simple_rnn, lstm, gru):
    case(f"activation recurrent_activation {_cell.__name__}", f"activations_{_cell.__name__}")(
        functools.partial(activation_cells, _cell)
    )


@case("activation dense")
def activations_dense():
    x = keras.Input((3,), name="x")
    outputs = [layers.Dense(4, activation=name, name=name)(x) for name in POINTWISE]
    model = functional(x, outputs)
    exponential = model.get_layer("exponential").kernel
    exponential.assign(0.2 * exponential)
    return model, [3.0 * normal(4, 3)]


@case("activation activation_layer")
def activations_layer():
    x, small = keras.Input((16,), name="x"), keras.Input((16,), name="small")
    outputs = [layers.Activation(name, name=name)(x) for name in POINTWISE if name != "exponential"]
    outputs.append(layers.Activation("exponential", name="exponential")(small))
    return functional([x, small], outputs), [spread(4, 16), spread(4, 16, limit=3.0)]


@case("softmax log_softmax dense softmax_layer axis")
def softmaxes():
    x, y = keras.Input((6,), name="x"), keras.Input((5, 3), name="y")
    outputs = [
        layers.Dense(5, activation="softmax", name="dense_softmax")(x),
        layers.Dense(5, activation="log_softmax", name="dense_log_softmax")(x),
        layers.Dense(4, activation="softmax", name="dense_sequence")(y),
        layers.Activation("softmax", name="activation_softmax")(y),
        layers.Activation("log_softmax", name="activation_log_softmax")(y),
        layers.Softmax(name="softmax_last")(y),
        layers.Softmax(axis=1, name="softmax_1")(y),
        layers.Softmax(axis=1, name="softmax_1_of_2")(x),
    ]
    return functional([x, y], outputs), [normal(3, 6), 3.0 * normal(3, 5, 3)]


@case("softmax large_values")
def softmax_large_values():
    """Logits of some hundreds: only a softmax that subtracts the maximum survives."""
    x = keras.Input((7,), name="x")
    outputs = [layers.Softmax()(x), layers.Activation("log_softmax")(x)]
    return functional(x, outputs), [spread(3, 7, limit=300.0)]


@case("relu leaky_relu elu activation_layer")
def activation_layers():
    x = keras.Input((16,), name="x")
    outputs = [
        layers.ReLU(name="relu")(x),
        layers.ReLU(max_value=4.0, negative_slope=0.3, threshold=1.5, name="relu_all")(x),
        layers.ReLU(max_value=6.0, name="relu_max")(x),
        layers.ReLU(threshold=2.0, name="relu_threshold")(x),
        layers.LeakyReLU(name="leaky_relu")(x),
        layers.LeakyReLU(negative_slope=0.05, name="leaky_relu_005")(x),
        layers.ELU(name="elu")(x),
        layers.ELU(alpha=0.4, name="elu_04")(x),
    ]
    return functional(x, outputs), [spread(4, 16)]


# --------------------------------------------------------------------------------------------------
# What comes after a masked sequence
# --------------------------------------------------------------------------------------------------


def masked_pair():
    """Two masked sequences of the same shape with different masks."""
    a = keras.Input((7,), dtype="int32", name="a")
    b = keras.Input((7,), dtype="int32", name="b")
    e = layers.Embedding(10, 3, mask_zero=True)
    y = lstm(3, return_sequences=True, name="rnn_a")(e(a))
    z = gru(3, return_sequences=True, name="rnn_b")(e(b))
    rows = ["right", "left", "interior", "full"]
    return a, b, y, z, [padded_ids(rows), padded_ids(["left", "ends", "full", "right"])]


@case("mask embedding dense time_distributed pooling flatten normalization lstm")
def masked_heads():
    """An average after each layer shows whether the layer hands the mask on.

    Not among them: Softmax, which takes the mask for one of the features and refuses its shape, and
    Reshape, which drops it on TensorFlow and keeps it on JAX where the shape stays the same."""
    a, b, y, _, inputs = masked_pair()
    outputs = [
        layers.Dense(2, name="dense_head")(y),
        layers.TimeDistributed(layers.Dense(2), name="time_distributed_head")(y),
        layers.GlobalAveragePooling1D(name="average_head")(y),
        layers.GlobalMaxPooling1D(name="max_head")(y),
        layers.Flatten(name="flatten_head")(y),
    ]
    for between in [
        layers.Dense(3, activation="tanh"),
        layers.TimeDistributed(layers.Dense(3)),
        layers.Activation("tanh"),
        layers.ReLU(),
        layers.Dropout(0.2),
        layers.SpatialDropout1D(0.2),
        layers.BatchNormalization(),
        layers.LayerNormalization(),
        layers.Identity(),
    ]:
        z = between(y)
        outputs.append(layers.GlobalAveragePooling1D(name=f"after_{between.name}")(z))
    return functional(a, outputs), inputs[:1]


@case("mask embedding concatenate add multiply average lstm gru")
def masked_merges():
    """Merged masked sequences, with the same and with different masks."""
    a, b, y, z, inputs = masked_pair()
    y2 = layers.Dense(3, name="dense")(y)
    outputs = []
    for name, merge in [
        ("concatenate", layers.Concatenate),
        ("add", layers.Add),
        ("multiply", layers.Multiply),
        ("average", layers.Average),
        ("subtract", layers.Subtract),
    ]:
        same, other = merge(name=f"{name}_same")([y, y2]), merge(name=f"{name}_other")([y, z])
        outputs += [
            same,
            layers.GlobalAveragePooling1D(name=f"{name}_same_average")(same),
            layers.GlobalAveragePooling1D(name=f"{name}_other_average")(other),
        ]
    joined = layers.Concatenate(axis=1, name="concatenate_time")([y, z])
    outputs += [joined, gru(2, name="concatenate_time_gru")(joined)]
    return functional([a, b], outputs), inputs


@case("mask embedding add concatenate lstm")
def masked_with_unmasked():
    """One masked and one unmasked sequence merged."""
    a, b, y, _, inputs = masked_pair()
    u = keras.Input((7, 3), name="u")
    # Keras gives the functions that merge the masks the names `concatenate`, `logical_or`, ...
    added = layers.Add(name="added")([y, u])
    joined = layers.Concatenate(name="joined")([y, u])
    outputs = [gru(2, name="add_gru")(added), gru(2, name="concatenate_gru")(joined)]
    return functional([a, u], outputs), [inputs[0], normal(4, 7, 3)]


@case("mask embedding pooling nan")
def masked_average_dead_row():
    """The average over no live timestep: 0/0, NaN in the first row."""
    ids = keras.Input((7,), dtype="int32", name="ids")
    y = layers.Embedding(10, 3, mask_zero=True)(ids)
    return functional(ids, layers.GlobalAveragePooling1D()(y)), [padded_ids(["empty", "left"])]


# --------------------------------------------------------------------------------------------------
# Other layers
# --------------------------------------------------------------------------------------------------


@case("embedding flatten dense sequential")
def embedding_dense():
    model = sequential(
        keras.Input((6,), dtype="int32"),
        layers.Embedding(12, 4),
        layers.Flatten(),
        layers.Dense(3, activation="tanh"),
        layers.Dense(1, activation="sigmoid", use_bias=False),
    )
    return model, [token_ids(3, 6)]


@case("time_distributed dense lstm")
def time_distributed():
    x = keras.Input((5, 3), name="x")
    y = lstm(4, return_sequences=True)(x)
    return functional(x, layers.TimeDistributed(layers.Dense(3, activation="relu"), name="dense")(y)), [normal(2, 5, 3)]


@case("time_distributed sequential")
def time_distributed_model():
    x = keras.Input((5, 4), name="x")
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(3, "relu"), layers.Dense(2)])
    return functional(x, layers.TimeDistributed(inner, name="model")(x)), [normal(2, 5, 4)]


@case("flatten reshape repeat_vector")
def reshaping():
    x, v = keras.Input((4, 6), name="x"), keras.Input((6,), name="v")
    outputs = [
        layers.Flatten(name="flatten")(x),
        layers.Flatten(name="flatten_vector")(v),
        layers.Reshape((6, 4), name="reshape")(x),
        layers.Reshape((-1, 3), name="reshape_unknown")(x),
        layers.Reshape((2, -1), name="reshape_vector")(v),
        layers.Reshape((2, 3, 4), name="reshape_rank_4")(x),
        layers.Reshape((-1,), name="reshape_flat")(x),
        layers.RepeatVector(3, name="repeat")(v),
    ]
    return functional([x, v], outputs), [normal(2, 4, 6), normal(2, 6)]


@case("permute")
def permute():
    x = keras.Input((4, 6), name="x")
    return functional(x, layers.Permute((2, 1), name="permute")(x)), [normal(2, 4, 6)]


@case("repeat_vector encoder_decoder lstm time_distributed sequential")
def repeat_vector_autoencoder():
    model = sequential(
        keras.Input((5, 3)),
        lstm(4),
        layers.RepeatVector(6),
        lstm(4, return_sequences=True),
        layers.TimeDistributed(layers.Dense(2)),
    )
    return model, [normal(2, 5, 3)]


def encoder_decoder(cell):
    """The encoder's states start the decoder; two inputs of different lengths."""
    source = keras.Input((6,), dtype="int32", name="source")
    target = keras.Input((None, 3), name="target")
    e = layers.Embedding(12, 4, mask_zero=True, name="embedding")(source)
    states = cell(5, return_state=True, name="encoder")(e)[1:]
    decoder = cell(5, return_sequences=True, return_state=True, name="decoder")
    y = decoder(target, initial_state=list(states))
    outputs = [layers.Dense(4, activation="softmax", name="head")(y[0]), *y[1:]]
    ids = token_ids(2, 6)
    ids[0, 4:] = 0
    return functional([source, target], outputs), [ids, normal(2, 4, 3)]


for _cell in (lstm, gru):
    case(f"encoder_decoder initial_state mask embedding {_cell.__name__} dense softmax",
         f"encoder_decoder_{_cell.__name__}")(functools.partial(encoder_decoder, _cell))


@case("concatenate add multiply subtract average broadcast")
def merges():
    x, y = keras.Input((4, 3), name="x"), keras.Input((4, 3), name="y")
    z, one = keras.Input((4, 3), name="z"), keras.Input((1, 3), name="one")
    wide, long = keras.Input((4, 2), name="wide"), keras.Input((2, 3), name="long")
    outputs = [
        layers.Concatenate(name="concatenate")([x, wide]),
        layers.Concatenate(axis=1, name="concatenate_time")([x, long, y]),
        layers.Concatenate(axis=2, name="concatenate_2")([x, y, wide]),
        layers.Add(name="add")([x, y, z]),
        layers.Add(name="add_broadcast")([one, x]),
        layers.Multiply(name="multiply")([x, y, z]),
        layers.Multiply(name="multiply_broadcast")([x, one]),
        layers.Subtract(name="subtract")([x, y]),
        layers.Subtract(name="subtract_broadcast")([one, y]),
        layers.Average(name="average")([x, y, z]),
        layers.Average(name="average_broadcast")([x, one]),
        layers.Add(name="add_itself")([x, x]),
    ]
    inputs = [normal(2, 4, 3) for _ in range(3)]
    inputs += [normal(2, 1, 3), normal(2, 4, 2), normal(2, 2, 3)]
    return functional([x, y, z, one, wide, long], outputs), inputs


@case("maximum minimum")
def extremes():
    x, y = keras.Input((4, 3), name="x"), keras.Input((4, 3), name="y")
    outputs = [layers.Maximum(name="maximum")([x, y]), layers.Minimum(name="minimum")([x, y])]
    return functional([x, y], outputs), [normal(2, 4, 3), normal(2, 4, 3)]


@case("pooling keepdims lstm")
def pooling():
    x = keras.Input((5, 3), name="x")
    y = lstm(4, return_sequences=True)(x)
    outputs = [
        layers.GlobalAveragePooling1D(name="average")(y),
        layers.GlobalMaxPooling1D(name="max")(y),
        layers.GlobalAveragePooling1D(keepdims=True, name="average_keepdims")(y),
        layers.GlobalMaxPooling1D(keepdims=True, name="max_keepdims")(y),
    ]
    return functional(x, outputs), [normal(2, 5, 3)]


@case("batch_normalization dense lstm axis")
def batch_normalization():
    v, x = keras.Input((3,), name="v"), keras.Input((5, 3), name="x")
    d = layers.Dense(4, activation="relu")(v)
    y = lstm(4, return_sequences=True)(x)
    outputs = [
        layers.BatchNormalization(name="dense_bn")(d),
        layers.BatchNormalization(name="sequences")(y),
        layers.BatchNormalization(scale=False, name="no_scale")(y),
        layers.BatchNormalization(center=False, name="no_center")(y),
        layers.BatchNormalization(scale=False, center=False, name="neither")(y),
        layers.BatchNormalization(axis=1, epsilon=0.1, name="axis_1")(y),
    ]
    return functional([v, x], outputs), [normal(3, 3), normal(3, 5, 3)]


@case("batch_normalization stack dense lstm sequential")
def batch_normalization_between():
    """A normalisation before and after recurrent layers, where it could be folded."""
    model = sequential(
        keras.Input((5, 3)),
        layers.BatchNormalization(),
        lstm(4, return_sequences=True),
        layers.BatchNormalization(),
        gru(4),
        layers.BatchNormalization(),
        layers.Dense(3),
        layers.BatchNormalization(),
    )
    return model, [normal(3, 5, 3)]


@case("layer_normalization axis lstm")
def layer_normalization():
    x = keras.Input((5, 3), name="x")
    y = lstm(4, return_sequences=True)(x)
    outputs = [
        layers.LayerNormalization(name="last")(y),
        layers.LayerNormalization(axis=[1, 2], name="axes_1_2")(y),
        layers.LayerNormalization(axis=1, name="axis_1")(y),
        layers.LayerNormalization(scale=False, name="no_scale")(y),
        layers.LayerNormalization(center=False, name="no_center")(y),
        layers.LayerNormalization(scale=False, center=False, epsilon=0.1, name="neither")(y),
        layers.LayerNormalization(name="raw_input")(x),
    ]
    return functional(x, outputs), [normal(3, 5, 3)]


@case("dropout noise regularization identity lstm sequential")
def training_only_layers():
    """Layers that do nothing outside training."""
    model = sequential(
        keras.Input((5, 3)),
        layers.SpatialDropout1D(0.2),
        layers.GaussianNoise(0.3),
        lstm(4, return_sequences=True),
        layers.GaussianDropout(0.2),
        layers.AlphaDropout(0.1),
        layers.ActivityRegularization(l1=0.01, l2=0.02),
        layers.Identity(),
        lstm(3),
        layers.Dropout(0.5),
        layers.Dropout(0.5, noise_shape=(None, 3), seed=3),
        layers.Dense(2, kernel_regularizer=keras.regularizers.L1L2(0.1, 0.2)),
    )
    return model, [normal(2, 5, 3)]


# --------------------------------------------------------------------------------------------------
# Shapes of models
# --------------------------------------------------------------------------------------------------


@case("several_inputs several_outputs lstm dense concatenate embedding")
def several_inputs_and_outputs():
    ids = keras.Input((5,), dtype="int32", name="ids")
    signal = keras.Input((4, 3), name="signal")
    extra = keras.Input((2,), name="extra")
    text = lstm(4, name="text")(layers.Embedding(12, 3, name="embedding")(ids))
    wave = gru(4, name="wave")(signal)
    joined = layers.Concatenate(name="joined")([text, wave, extra])
    hidden = layers.Dense(5, activation="tanh", name="hidden")(joined)
    outputs = [
        layers.Dense(1, activation="sigmoid", name="yes_no")(hidden),
        layers.Dense(3, activation="softmax", name="kind")(hidden),
        wave,
    ]
    # not in the order in which the layers were made
    inputs = [token_ids(3, 5), normal(3, 2), normal(3, 4, 3)]
    return functional([ids, extra, signal], outputs), inputs


@case("shared_layer repeated_output_name lstm dense subtract")
def shared_layer():
    """One LSTM and one Dense called twice; both outputs have the Dense's name."""
    a, b = keras.Input((4, 3), name="a"), keras.Input((6, 3), name="b")
    shared, head = lstm(4), layers.Dense(2)
    y, z = shared(a), shared(b)
    outputs = [head(y), head(z), layers.Subtract()([y, z])]
    return functional([a, b], outputs), [normal(2, 4, 3), normal(2, 6, 3)]


@case("shared_layer chained dense bidirectional")
def shared_layer_chained():
    """A layer applied to its own output, and a shared Bidirectional."""
    x = keras.Input((4, 6), name="x")
    again = layers.Bidirectional(gru(3, return_sequences=True))
    dense = layers.Dense(6, activation="tanh")
    y = dense(dense(again(again(x))))
    return functional(x, y), [normal(2, 4, 6)]


@case("nested_lists several_inputs several_outputs dense lstm")
def nested_lists():
    a, b, c = (keras.Input((3,), name=n) for n in "abc")
    d = layers.Dense(2, name="dense")
    outputs = [[d(a), layers.Add(name="sum")([a, b])], layers.Subtract(name="difference")([b, c])]
    return functional([[a, b], c], outputs), [normal(2, 3) for _ in range(3)]


@case("repeated_output input_as_output dense")
def repeated_outputs():
    """The same tensor twice, and an input handed out as it came."""
    x = keras.Input((3,), name="x")
    y = layers.Dense(2, name="dense")(x)
    return functional(x, [y, x, y]), [normal(2, 3)]


@case("dict_inputs dict_outputs dense lstm concatenate")
def dict_inputs():
    """The keys of the dictionaries are sorted; one differs from its input's name."""
    x = keras.Input((4, 3), name="x")
    extra = keras.Input((2,), name="other_name")
    y = layers.Concatenate(name="joined")([lstm(3, name="lstm")(x), extra])
    outputs = {"probability": layers.Dense(1, "sigmoid", name="head")(y), "joined": y}
    return functional({"x": x, "extra": extra}, outputs), [normal(2, 2), normal(2, 4, 3)]


@case("time_none lstm gru bidirectional dense")
def time_none():
    x = keras.Input((None, 3), name="x")
    y = layers.Bidirectional(lstm(3, return_sequences=True))(x)
    y = gru(4, return_sequences=True)(y)
    outputs = [layers.Dense(2)(y), layers.GlobalAveragePooling1D()(y), simple_rnn(3)(y)]
    return functional(x, outputs), [normal(2, 6, 3)]


@case("time_none embedding mask lstm sequential dense")
def time_none_ids():
    model = sequential(
        keras.Input((None,), dtype="int32"),
        layers.Embedding(10, 3, mask_zero=True),
        lstm(4),
        layers.Dense(1, activation="sigmoid"),
    )
    return model, [padded_ids()]


@case("fixed_batch lstm dense sequential")
def fixed_batch():
    model = sequential(keras.Input(batch_shape=(4, 5, 3)), lstm(4), layers.Dense(2))
    return model, [normal(4, 5, 3)]


@case("nested_model sequential functional lstm dense shared_layer")
def nested_models():
    a = keras.Input((4, 3), name="inner_a")
    inner_outputs = [gru(3, name="inner_gru")(a), layers.GlobalMaxPooling1D()(a)]
    inner = keras.Model(a, inner_outputs, name="inner")
    encoder = keras.Sequential(
        [keras.Input((4, 3)), lstm(3), layers.BatchNormalization(), layers.Dense(2)], name="encoder"
    )
    x, y = keras.Input((4, 3), name="x"), keras.Input((4, 3), name="y")
    first, second = inner(x)
    outputs = [layers.Concatenate()([encoder(x), encoder(y), first]), second]
    return functional([x, y], outputs), [normal(2, 4, 3), normal(2, 4, 3)]


@case("nested_model sequential lstm dense")
def sequential_of_sequentials():
    front = keras.Sequential([keras.Input((4, 3)), lstm(3, return_sequences=True)])
    back = keras.Sequential([gru(3), layers.Dense(2)])
    return sequential(keras.Input((4, 3)), front, back, layers.Dense(1)), [normal(2, 4, 3)]


@case("sequential no_input lstm dense")
def sequential_without_input():
    """Built by its first call."""
    model, x = keras.Sequential([lstm(4), layers.Dense(2)]), normal(3, 5, 2)
    model(x)
    return fill(model), [x]


@case("sequential no_input embedding simple_rnn dense")
def sequential_without_input_ids():
    model = keras.Sequential([layers.Embedding(12, 3), simple_rnn(4), layers.Dense(1)])
    ids = token_ids(3, 5)
    model(ids)
    return fill(model), [ids]


@case("sequential build lstm dense")
def sequential_built_by_shape():
    model = keras.Sequential([lstm(4), layers.Dense(2)])
    model.build((None, 5, 2))
    return fill(model), [normal(3, 5, 2)]


@case("named unicode sequential lstm dense")
def odd_names():
    """Names with spaces, slashes of words and letters outside ASCII."""
    x = keras.Input((4, 3), name="signal in")
    y = lstm(3, name="Zustände")(x)
    y = layers.Dense(2, name="vars")(y)
    y = layers.Dense(2, name="layers")(y)
    model = fill(keras.Model(x, y, name="Mein Modell [1]"))
    return model, [normal(2, 4, 3)]


@case("many_layers dense sequential")
def many_layers():
    """More than ten layers of one class: `dense_10` sorts before `dense_2`."""
    dense = [layers.Dense(3, "tanh") for _ in range(12)]
    return sequential(keras.Input((3,)), *dense), [normal(2, 3)]


@case("compiled fitted optimizer lstm dense batch_normalization sequential")
def fitted():
    """Trained by one batch: the file holds the optimizer's variables, the summary counts them."""
    model = sequential(
        keras.Input((5, 3)), lstm(4), layers.BatchNormalization(), layers.Dense(1)
    )
    model.compile(optimizer="adam", loss="mse", metrics=["mae"])
    x = normal(4, 5, 3)
    model.fit(x, normal(4, 1), batch_size=4, epochs=1, shuffle=False, verbose=0)
    return model, [x]


@case("compiled sequential simple_rnn dense")
def compiled_only():
    model = sequential(keras.Input((5, 3)), simple_rnn(4), layers.Dense(1))
    model.compile(optimizer="rmsprop", loss=keras.losses.BinaryCrossentropy(from_logits=True))
    return model, [normal(2, 5, 3)]


@case("frozen sequential lstm dense")
def frozen_layer():
    """A layer that is not trainable: counted apart in the summary."""
    model = sequential(keras.Input((5, 3)), lstm(4), layers.Dense(1))
    model.layers[0].trainable = False
    return model, [normal(2, 5, 3)]


@case("directory sequential lstm dense")
def unzipped():
    """Saved with `zipped=False`: `unzipped` is a directory, without an ending."""
    return sequential(keras.Input((4, 3)), lstm(3), layers.Dense(2)), [normal(2, 4, 3)]


@case("ops mean lstm")
def ops_mean():
    """A function of `keras.ops` in the graph instead of a layer."""
    x = keras.Input((4, 3), name="x")
    y = lstm(3, return_sequences=True)(x)
    return functional(x, keras.ops.mean(y, axis=1)), [normal(2, 4, 3)]


@case("ops operators slice lstm")
def ops_operators():
    """Python operators and an index in the graph."""
    x = keras.Input((4, 3), name="x")
    y = lstm(3, return_sequences=True)(x)
    return functional(x, [y + x, y * 2.0, 1.0 - y, y[:, -1, :]]), [normal(2, 4, 3)]


# --------------------------------------------------------------------------------------------------
# Models of the notebooks
# --------------------------------------------------------------------------------------------------


@case("notebook simple_rnn sequential")
def notebook_simple_rnn():
    return sequential(keras.Input((2, 10)), simple_rnn(3)), [normal(2, 2, 10)]


@case("notebook simple_rnn stack sequential")
def notebook_two_simple_rnns():
    first = simple_rnn(3, return_sequences=True)
    return sequential(keras.Input((10, 5)), first, simple_rnn(3)), [normal(2, 10, 5)]


@case("notebook embedding simple_rnn dense sequential")
def notebook_sentiment():
    model = sequential(
        keras.Input((20,), dtype="int32"),
        layers.Embedding(50, 8),
        simple_rnn(32),
        layers.Dense(1, activation="sigmoid"),
    )
    return model, [token_ids(3, 20, vocab=50)]


@case("notebook simple_rnn dense sequential")
def notebook_stock_simple_rnn():
    model = sequential(keras.Input((3, 100)), simple_rnn(32), layers.Dense(1))
    return model, [normal(2, 3, 100)]


@case("notebook lstm dense sequential")
def notebook_stock_lstm():
    return sequential(keras.Input((3, 100)), lstm(32), layers.Dense(1)), [normal(2, 3, 100)]


def notebook_bidirectional(sequences):
    """All weights 0.1, biases 0 and 1 for the forget gate; the last h is 0.6303138 and 0.7038734."""
    x = keras.Input((4, 5), name="x")
    inner = lstm(
        3,
        return_sequences=sequences,
        kernel_initializer=keras.initializers.Constant(0.1),
        recurrent_initializer=keras.initializers.Constant(0.1),
    )
    model = keras.Model(x, layers.Bidirectional(inner, merge_mode=None)(x))
    sequence = [
        [0.1, 4.2, 1.5, 1.1, 2.8],
        [1.0, 3.1, 2.5, 0.7, 1.1],
        [0.3, 2.1, 1.5, 2.1, 0.1],
        [2.2, 1.4, 0.5, 0.9, 1.1],
    ]
    return model, [np.array([sequence], dtype="float32")]


case("notebook lstm bidirectional", "notebook_bidirectional_last")(
    functools.partial(notebook_bidirectional, False)
)
case("notebook lstm bidirectional sequences", "notebook_bidirectional_sequences")(
    functools.partial(notebook_bidirectional, True)
)


@case("notebook simple_rnn dense softmax sequential")
def notebook_dense_head():
    model = sequential(
        keras.Input((5, 4)),
        simple_rnn(8),
        layers.Dense(6, activation="tanh"),
        layers.Dense(4, activation="softmax"),
    )
    return model, [normal(3, 5, 4)]


@case("notebook lstm pooling dense sequential")
def notebook_mean_over_time():
    model = sequential(
        keras.Input((6, 4)),
        lstm(8, return_sequences=True),
        layers.GlobalAveragePooling1D(),
        layers.Dense(2),
    )
    return model, [normal(3, 6, 4)]


# --------------------------------------------------------------------------------------------------
# Larger than a workgroup, longer than a hundred timesteps
# --------------------------------------------------------------------------------------------------


def large(cell, hidden_size, seq_len):
    """Weights are multiples of 1/1024, so that the files compress well."""
    model = sequential(keras.Input((seq_len, 3)), cell(hidden_size))
    for weight in model.weights:
        value = np.asarray(weight)
        weight.assign(np.round(value * 1024.0) / 1024.0)
    return model, [normal(2, seq_len, 3)]


LARGE = ("large_lstm", "large_gru")  # made on request only
for _cell, _hidden, _time in [(simple_rnn, 260, 120), (lstm, 257, 110), (gru, 258, 105)]:
    case(f"large {_cell.__name__} sequential", f"large_{_cell.__name__}")(
        functools.partial(large, _cell, _hidden, _time)
    )


# --------------------------------------------------------------------------------------------------
# Summaries without a file
# --------------------------------------------------------------------------------------------------

# A layer is [class, arguments..., options]; a wrapper's first argument is a layer. `call` is the
# shape the unbuilt model is called with, if it is.
SUMMARY_ONLY = {
    "summary_imdb_simple_rnn": {
        "layers": [["Input", [20]], ["Embedding", 5000, 100], ["SimpleRNN", 128], ["Dense", 1]]
    },
    "summary_imdb_lstm": {
        "layers": [
            ["Input", [None]],
            ["Embedding", 10000, 32],
            ["LSTM", 32],
            ["Dense", 1, {"activation": "sigmoid"}],
        ]
    },
    "summary_reuters": {
        "layers": [
            ["Input", [80]],
            ["Embedding", 20000, 128],
            ["Bidirectional", ["LSTM", 64, {"return_sequences": True}]],
            ["Dropout", 0.5],
            ["Bidirectional", ["GRU", 64], {"merge_mode": "sum"}],
            ["BatchNormalization"],
            ["Dense", 46, {"activation": "softmax"}],
        ]
    },
    "summary_stock": {
        "layers": [
            ["Input", [60, 1]],
            ["LSTM", 50, {"return_sequences": True}],
            ["Dropout", 0.2],
            ["LSTM", 50, {"return_sequences": True, "return_state": False}],
            ["GRU", 50, {"reset_after": False, "return_sequences": True}],
            ["TimeDistributed", ["Dense", 25]],
            ["Flatten"],
            ["Dense", 1],
        ]
    },
    "summary_large_counts": {
        "layers": [
            ["Input", [200]],
            ["Embedding", 400000, 300],
            ["LSTM", 1024, {"return_sequences": True}],
            ["LayerNormalization"],
            ["LSTM", 1024],
            ["Dense", 400000, {"activation": "softmax"}],
        ]
    },
    "summary_fixed_batch": {
        "layers": [
            ["Input", [10, 4], {"batch_size": 32}],
            ["GRU", 16, {"stateful": True}],
            ["Dense", 3],
        ]
    },
    "summary_merge_none": {
        "layers": [["Input", [10, 4]], ["Bidirectional", ["LSTM", 8], {"merge_mode": None}]]
    },
    "summary_unbuilt": {"layers": [["LSTM", 32], ["Dense", 1]]},
    "summary_long_names": {
        "layers": [
            ["Input", [10, 4]],
            ["LSTM", 8, {"name": "a_recurrent_layer_with_a_name_too_long_for_its_column"}],
            ["Dense", 1, {"name": "out [bold]"}],
        ]
    },
}


def described_layer(entry):
    kind, *arguments = entry
    options = arguments.pop() if arguments and isinstance(arguments[-1], dict) else {}
    if kind == "Input":
        return keras.Input(tuple(arguments[0]), **options)
    arguments = [described_layer(a) if isinstance(a, list) else a for a in arguments]
    return getattr(layers, kind)(*arguments, **options)


def write_summaries():
    for name, description in SUMMARY_ONLY.items():
        keras.backend.clear_session()
        model = keras.Sequential([described_layer(e) for e in description["layers"]])
        (FOLDER / f"{name}.summary.txt").write_text(summary(model), encoding="utf-8")


# --------------------------------------------------------------------------------------------------
# Writing and checking
# --------------------------------------------------------------------------------------------------


def summary(model):
    """With a print function Keras gives plain text without colours, 76 wide for 80 columns."""
    lines = []
    model.summary(print_fn=lines.append)
    text = "".join(lines)
    assert "\x1b" not in text
    return text


def graph(model):
    """The functional model inside a Sequential, or the model itself."""
    return model._functional if isinstance(model, keras.Sequential) else model


def unique_names(names):
    """A name that stood before gets _1, _2, ..."""
    seen, unique = {}, []
    for name in names:
        count = seen.get(name, 0)
        seen[name] = count + 1
        unique.append(f"{name}_{count}" if count else name)
    return unique


def as_calls(inputs):
    return inputs if isinstance(inputs[0], list) else [inputs]


def call(model, arrays):
    structure = graph(model).input if not isinstance(model, keras.Sequential) else None
    x = arrays[0] if structure is None else keras.tree.pack_sequence_as(structure, arrays)
    return [keras.ops.convert_to_numpy(y) for y in flat(model(x, training=False))]


def file_of(name):
    return FOLDER / name if name == "unzipped" else FOLDER / f"{name}.keras"


def make(name, covers, function, backend):
    """Writes the three files of a case and returns its entry in the list."""
    global rng
    keras.backend.clear_session()
    keras.utils.set_random_seed(1)
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    model, inputs = function()
    calls = as_calls(inputs)
    if backend == "jax":
        name += "_jax"
    if name == "unzipped":  # Keras wants an empty directory
        shutil.rmtree(FOLDER / name, ignore_errors=True)
        (FOLDER / name).mkdir()
    model.save(file_of(name), zipped=name != "unzipped")
    (FOLDER / f"{name}.summary.txt").write_text(summary(model), encoding="utf-8")

    input_names = [t._keras_history.operation.name for t in flat(graph(model).input)]
    output_names = [t._keras_history.operation.name for t in flat(graph(model).output)]
    output_names = unique_names(output_names)
    members = {}
    for k, arrays in enumerate(calls):
        assert len(arrays) == len(input_names), name
        for input_name, array in zip(input_names, arrays):
            assert array.dtype in ("float32", "int32")
            members[f"call{k}.in.{input_name}"] = array
        outputs = call(model, arrays)
        assert len(outputs) == len(output_names), name
        for i, output in enumerate(outputs):
            assert output.dtype == "float32"
            assert "nan" in covers or np.isfinite(output).all(), (name, output_names[i])
            limit = 1000.0 if "large_values" in covers else 50.0
            assert "nan" in covers or np.abs(output).max() < limit, (name, output_names[i])
            members[f"call{k}.out.{i}"] = output
    np.savez(FOLDER / f"{name}.npz", **members)
    return {
        "name": name,
        "backend": backend,
        "covers": covers,
        "inputs": input_names,
        "outputs": output_names,
        "calls": len(calls),
    }


def check(entry):
    """Loads the files of a case as a user would; returns what does not agree."""
    keras.backend.clear_session()
    name, found = entry["name"], []
    model = keras.models.load_model(file_of(name))
    if summary(model) != (FOLDER / f"{name}.summary.txt").read_text(encoding="utf-8"):
        found.append("note: another summary after loading")
    with np.load(FOLDER / f"{name}.npz") as data:
        for k in range(entry["calls"]):
            arrays = [data[f"call{k}.in.{n}"] for n in entry["inputs"]]
            outputs = call(model, arrays)
            if len(outputs) != len(entry["outputs"]):
                found.append(f"{len(outputs)} outputs, {len(entry['outputs'])} expected")
            for i, output in enumerate(outputs):
                expected = data[f"call{k}.out.{i}"]
                if output.shape != expected.shape:
                    found.append(f"call {k} output {i}: shape {output.shape}, not {expected.shape}")
                elif not np.allclose(output, expected, rtol=1e-5, atol=1e-6, equal_nan=True):
                    worst = np.abs(output - expected).max()
                    found.append(f"call {k} output {i}: differs by {worst}")
        expected = entry["calls"] * (len(entry["inputs"]) + len(entry["outputs"]))
        if len(data.files) != expected:
            found.append(f"{len(data.files)} arrays in the npz, {expected} expected")
    return found


def child(arguments):
    """The work of one backend; Keras takes one backend per process."""
    assert load_keras().backend.backend() == arguments.backend
    if arguments.check:
        entries = json.loads((FOLDER / "cases.json").read_text(encoding="utf-8"))["cases"]
        failed = False
        for entry in entries:
            if entry["backend"] == arguments.backend and arguments.only in entry["name"]:
                found = check(entry)
                failed |= any(not f.startswith("note") for f in found)
                print(f"{entry['name']}: {'; '.join(found) or 'ok'}", flush=True)
        return 1 if failed else 0
    made = []
    for name, (covers, function, backends) in CASES.items():
        if arguments.backend not in backends or (name in LARGE) != arguments.large:
            continue
        if arguments.only in name:
            print(f"{arguments.backend}: {name}", flush=True)
            made.append(make(name, covers, function, arguments.backend))
    if arguments.backend == "tensorflow":
        write_summaries()
    result = {"keras": keras.__version__, "cases": made}
    Path(arguments.result).write_text(json.dumps(result), encoding="utf-8")
    return 0


def write_list(results):
    """Merges the cases of the backends into cases.json: old entries stay unless made anew."""
    path = FOLDER / "cases.json"
    entries = {}
    if path.exists():
        entries = {e["name"]: e for e in json.loads(path.read_text(encoding="utf-8"))["cases"]}
    for result in results:
        entries.update({e["name"]: e for e in result["cases"]})
    order = [n + s for n in CASES for s in ("", "_jax")]
    cases = [json.dumps(entries[n], ensure_ascii=False) for n in order if n in entries]
    summaries = [json.dumps({"name": n, **d}) for n, d in SUMMARY_ONLY.items()]
    version = json.dumps(results[0]["keras"])
    text = f'{{"keras": {version}, "cases": [\n' + ",\n".join(cases)
    text += '\n], "summary_only": [\n' + ",\n".join(summaries) + "\n]}\n"
    path.write_text(text, encoding="utf-8")


def strays():
    """Files in the folder that belong to no case of the list, such as those of a renamed case."""
    listed = json.loads((FOLDER / "cases.json").read_text(encoding="utf-8"))
    known = {"cases.json", "unzipped"} | {e["name"] + ".summary.txt" for e in listed["summary_only"]}
    for entry in listed["cases"]:
        known |= {entry["name"] + ending for ending in (".keras", ".npz", ".summary.txt")}
    return sorted(p.name for p in FOLDER.iterdir() if p.name not in known)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="load the files and compare")
    parser.add_argument("--only", default="", help="only cases with this text in their name")
    parser.add_argument("--large", action="store_true", help="make the two large cases")
    parser.add_argument("--backend", choices=BACKENDS, help=argparse.SUPPRESS)
    parser.add_argument("--result", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.backend:
        return child(arguments)
    FOLDER.mkdir(exist_ok=True)
    results, failed = [], False
    with tempfile.TemporaryDirectory() as folder:
        for backend in BACKENDS:
            result = Path(folder) / f"{backend}.json"
            options = ["--backend", backend, "--result", str(result), "--only", arguments.only]
            options += ["--check"] if arguments.check else []
            options += ["--large"] if arguments.large else []
            environment = {**os.environ, "KERAS_BACKEND": backend}
            run = subprocess.run([sys.executable, __file__, *options], env=environment)
            failed |= run.returncode != 0
            if result.exists():
                results.append(json.loads(result.read_text(encoding="utf-8")))
    if arguments.check:
        for name in strays():
            print(f"{name}: belongs to no case")
            failed = True
    if not arguments.check and not failed:
        write_list(results)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
