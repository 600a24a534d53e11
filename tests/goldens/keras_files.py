"""Makes the golden files of `tests/goldens/keras_files`: every container and version of Keras' files, the
dtypes, the layers beyond the core, and a pairwise covering set of recurrent options.

    pip install keras==3.15.1 tf_keras==2.21.0 tensorflow-cpu==2.21.0 h5py numpy
    python tests/goldens/keras_files.py               # write all cases
    python tests/goldens/keras_files.py --only lstm   # only the cases whose name contains "lstm"

Cases of `keras.py` are made again with tf_keras, the Keras 2 that is still released, and saved as it does.
Per case: the file or folder, `<case>.npz` with `call<k>.in.<input layer name>` and `call<k>.out.<i>`, and an
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


def again(name):
    _, make, _ = g.CASES[name]
    return make


for _cell in g.CELLS:
    for _suffix in CELL_CASES:
        _name = _cell.__name__ + _suffix
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


for _save in ("npz", "folder", "folder_npz", "pair", "sharded", "tf_pair", "tf_h5_weights", "tf_weights"):
    _flavour = "tf_keras" if _save.startswith("tf_") else "keras"
    case(f"as_{_save}", _flavour, "container", _save)(small)


# --------------------------------------------------------------------------------------------------
# Dtypes
# --------------------------------------------------------------------------------------------------


def of_policy(policy):
    """Weights are rounded to the policy's precision by hand, so that f32 computes with the very same."""
    import ml_dtypes

    x = g.keras.Input((5, 3), name="x", dtype="float32")
    y = g.lstm(3, return_sequences=True, dtype=policy)(x)
    y = g.gru(3, return_sequences=True, dtype=policy)(y)
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
    model.computed_by = plain
    return model, [g.normal(2, 5, 3)]


for _policy in ("float64", "float16", "bfloat16", "mixed_float16", "mixed_bfloat16"):
    case(f"dtype_{_policy}", "keras", "dtype")(functools.partial(of_policy, _policy))
case("dtype_h5_bfloat16", "keras", "dtype", "h5")(functools.partial(of_policy, "float16"))


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
    if how in ("npz", "folder", "folder_npz"):
        from keras.src.saving import saving_lib

        kind = "npz" if "npz" in how else "h5"
        if how == "npz":
            saving_lib.save_model(model, FOLDER / f"{name}.keras", weights_format="npz")
            packed(FOLDER / f"{name}.keras")
            return f"{name}.keras"
        saving_lib.save_model(model, fresh(FOLDER / name), weights_format=kind, zipped=False)
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
    model, inputs = function()
    calls = g.as_calls(inputs)
    computed = getattr(model, "computed_by", model)
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
        if flavour != arguments.flavour or arguments.only not in name:
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
    parser.add_argument("--only", default="", help="only cases with this text in their name")
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
