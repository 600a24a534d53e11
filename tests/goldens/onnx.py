"""Makes the golden files of `tests/goldens/onnx` with ONNX Runtime.

    pip install onnx==1.23.2 onnxruntime==1.32.0 keras==3.15.1 tf_keras==2.21.0 tensorflow-cpu==2.21.0 tf2onnx==1.17.0
    python tests/goldens/onnx.py                 # write all cases; torch cases with --torch-python (PyTorch 1.13)
    python tests/goldens/onnx.py --only pairwise # only the cases whose name starts with "pairwise"

Per case:

    <case>.onnx   the model
    <case>.npz    `call<k>.in.<input name>` and `call<k>.out.<i>`

`cases.json` lists them with their outputs' names, and with what each covers.

    node_*      the 18 recurrent node tests of the onnx package (Copyright ONNX Project Contributors, Apache-2.0;
                `node_LICENSE`), whose expected values are the ones of the package
    pairwise_*  a pairwise covering set of the attributes of RNN, GRU and LSTM
    torch_*     models exported by torch.onnx (the classic exporter)
    tf_*        tf_keras 2 models converted by tf2onnx
    keras_*     Keras 3 models exported by `model.export(format="onnx")`

ONNX Runtime has no kernels for layout 1, nor for all operators in float16, bfloat16 and float64: the expected
values are then those of the same model in layout 0, transposed, or in float32 with the same weights.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

HERE = Path(__file__).resolve().parent
FOLDER = HERE / "onnx"
# This file is named like the package it imports.
sys.path = [p for p in sys.path if Path(p or ".").resolve() != HERE]
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import numpy as np  # noqa: E402

CASES = []
ONLY = ""


def rng_of(name):
    return np.random.default_rng(zlib.crc32(name.encode()))


def wanted(name):
    return name.startswith(ONLY)


def write(name, model, calls, outputs, covers):
    """`calls` are pairs of inputs by name and outputs in order; `model` bytes, or None if it is written already."""
    if model is not None:
        (FOLDER / f"{name}.onnx").write_bytes(model)
    arrays = {}
    for k, (inputs, results) in enumerate(calls):
        arrays.update({f"call{k}.in.{key}": value for key, value in inputs.items()})
        arrays.update({f"call{k}.out.{i}": np.asarray(value) for i, value in enumerate(results)})
    np.savez_compressed(FOLDER / f"{name}.npz", **arrays)
    CASES.append({"name": name, "calls": len(calls), "outputs": outputs, "covers": covers})
    print(name)


def session(model):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


# --------------------------------------------------------------------------------------------------
# Node tests
# --------------------------------------------------------------------------------------------------


def node_tests():
    from onnx.backend.test.case.node import collect_testcases

    count = 0
    for case in collect_testcases(None):
        model = case.model
        ops = [node.op_type for node in model.graph.node]
        if ops in (["RNN"], ["GRU"], ["LSTM"]) and case.kind == "node":
            (op,) = ops
            ((inputs, expected),) = case.data_sets
            given = [info.name for info in model.graph.input]
            outputs = [info.name for info in model.graph.output]
            count += 1
            name = f"node_{op.lower()}_{case.name.removeprefix('test_').removeprefix(op.lower() + '_')}"
            if wanted(name):
                write(name, model.SerializeToString(), [(dict(zip(given, inputs)), expected)], outputs, ["node test"])
    assert count == 18, count


# --------------------------------------------------------------------------------------------------
# Pairwise
# --------------------------------------------------------------------------------------------------

FUNCTIONS = {
    "Relu": (None, None),
    "Tanh": (None, None),
    "Sigmoid": (None, None),
    "Affine": (0.75, 0.125),
    "LeakyRelu": (0.25, None),
    "ThresholdedRelu": (0.0625, None),
    "ScaledTanh": (1.25, 0.5),
    "HardSigmoid": (0.375, 0.25),
    "Elu": (0.5, None),
    "Softsign": (None, None),
    "Softplus": (None, None),
}
FACTORS = {
    "op": ["RNN", "GRU", "LSTM"],
    "direction": ["forward", "reverse", "bidirectional"],
    "function": ["default", *FUNCTIONS],
    "slot": [0, 1, 2],
    "constants": ["default", "given"],
    "clip": [None, 0.25, 2.0],
    "lengths": ["none", "full", "shorter", "zero"],
    "initial": ["none", "h", "all"],
    "peepholes": [False, True],
    "input_forget": [0, 1],
    "linear_before_reset": [0, 1],
    "bias": [False, True],
    "outputs": ["all", "Y", "Y_h", "last"],
    "opset": [7, 14, 22],
    "dtype": ["float32", "float16", "bfloat16", "float64"],
    "layout": [0, 1],
    "weights": ["initializer", "constant", "input"],
}


def valid(case):
    return not (
        (case["op"] != "LSTM" and (case["peepholes"] or case["input_forget"] or case["slot"] == 2))
        or (case["op"] == "RNN" and case["slot"] != 0)
        or (case["op"] != "GRU" and case["linear_before_reset"])
        or (case["opset"] < 14 and case["layout"])
        or (case["opset"] < 22 and case["dtype"] == "bfloat16")
        or (case["function"] == "default" and (case["constants"] == "given" or case["slot"] != 0))
        or (case["constants"] == "given" and FUNCTIONS[case["function"]] == (None, None))
        or (case["outputs"] == "last" and case["op"] != "LSTM")
    )


def covering():
    """A list of cases in which each pair of values that can meet does."""
    rng = np.random.default_rng(3)
    names = list(FACTORS)

    def pairs(case):
        return {(a, case[a], b, case[b]) for a, b in itertools.combinations(names, 2)}

    def draw(fixed):
        for _ in range(2000):
            case = {name: values[rng.integers(len(values))] for name, values in FACTORS.items()} | fixed
            if valid(case):
                return case
        return None

    left = set()
    for a, b in itertools.combinations(names, 2):
        for x, y in itertools.product(FACTORS[a], FACTORS[b]):
            if draw({a: x, b: y}):
                left.add((a, x, b, y))
    cases = []
    while left:
        a, x, b, y = min(left, key=str)
        candidates = [draw({a: x, b: y}) for _ in range(60)]
        best = max((case for case in candidates if case), key=lambda case: len(pairs(case) & left))
        cases.append(best)
        left -= pairs(best)
    return cases


def recurrent_model(case, rng, layout, dtype, names=None):
    """A model of one node and its inputs by name, `layout` and `dtype` being those of the file."""
    import ml_dtypes
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    seq, batch, features, hidden = 5, 3, 2, 4
    dirs = 2 if case["direction"] == "bidirectional" else 1
    gates = {"RNN": 1, "GRU": 3, "LSTM": 4}[case["op"]]
    through = {"float32": np.float32, "float64": np.float64, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
    kind = {"float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE, "float16": TensorProto.FLOAT16, "bfloat16": TensorProto.BFLOAT16}[dtype]
    stored = through[case["dtype"]]

    def draw(*shape, scale=0.6):
        # Rounded as the file with that type has it, whatever the type of this one.
        return rng.uniform(-scale, scale, shape).astype(np.float32).astype(stored).astype(np.float32)

    def swap(x):
        return np.swapaxes(x, 0, 1) if layout else x

    tensors = {
        "X": swap(draw(seq, batch, features, scale=1.0)),
        "W": draw(dirs, gates * hidden, features),
        "R": draw(dirs, gates * hidden, hidden),
    }
    biases = draw(dirs, 2 * gates * hidden)
    if case["bias"]:
        tensors["B"] = biases
    lengths = {"full": [seq] * 3, "shorter": [2, seq, 1], "zero": [3, 0, seq]}.get(case["lengths"])
    if lengths:
        tensors["sequence_lens"] = np.array(lengths, np.int32)
    states = [draw(dirs, batch, hidden), draw(dirs, batch, hidden)]
    if case["initial"] != "none":
        tensors["initial_h"] = swap(states[0])
    if case["initial"] == "all" and case["op"] == "LSTM":
        tensors["initial_c"] = swap(states[1])
    if case["peepholes"]:
        tensors["P"] = draw(dirs, 3 * hidden)
    slots = ["X", "W", "R", "B", "sequence_lens", "initial_h"] + (["initial_c", "P"] if case["op"] == "LSTM" else [])
    inputs = [name if name in tensors else "" for name in slots]
    while not inputs[-1]:
        inputs.pop()

    attributes = {"hidden_size": hidden, "direction": case["direction"]}
    if case["function"] != "default":
        functions = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}[case["op"]]
        functions = functions * dirs
        functions[case["slot"]] = case["function"]
        attributes["activations"] = functions
        if case["constants"] == "given":
            for attribute, value in zip(("activation_alpha", "activation_beta"), FUNCTIONS[case["function"]]):
                if value is not None:
                    attributes[attribute] = [value]
    if case["clip"] is not None:
        attributes["clip"] = case["clip"]
    if case["input_forget"]:
        attributes["input_forget"] = 1
    if case["linear_before_reset"]:
        attributes["linear_before_reset"] = 1
    if layout:
        attributes["layout"] = 1
    names = ["Y", "Y_h"] + (["Y_c"] if case["op"] == "LSTM" else [])
    asked = {"all": names, "Y": ["Y"], "Y_h": ["Y_h"], "last": names[-1:]}[case["outputs"]]
    outputs = [name if name in asked else "" for name in names]
    while not outputs[-1]:
        outputs.pop()
    node = helper.make_node(case["op"], inputs, outputs, "cell", **attributes)

    def typed(name, value):
        if name == "sequence_lens":
            return numpy_helper.from_array(value, name)
        return numpy_helper.from_array(value.astype(through[dtype]), name)

    weights = {name: value for name, value in tensors.items() if name in ("W", "R", "B", "P")}
    given = {name: value for name, value in tensors.items() if name not in weights}
    initializers, nodes = [], [node]
    if case["weights"] == "initializer":
        initializers = [typed(name, value) for name, value in weights.items()]
    elif case["weights"] == "constant":
        nodes = [helper.make_node("Constant", [], [name], value=typed(name, value)) for name, value in weights.items()] + nodes
    else:
        given = tensors
    order = [name for name in slots if name in given]
    shapes = {"X": ["seq", "batch", features], "initial_h": [dirs, "batch", hidden], "initial_c": [dirs, "batch", hidden]}
    if layout:
        shapes = {name: [shape[1], shape[0], shape[2]] for name, shape in shapes.items()}
    shapes["sequence_lens"] = ["batch"]
    infos = [
        helper.make_tensor_value_info(
            name, TensorProto.INT32 if name == "sequence_lens" else kind, shapes.get(name, tensors[name].shape)
        )
        for name in order
    ]
    size = {"Y": ["seq", dirs, "batch", hidden], "Y_h": [dirs, "batch", hidden], "Y_c": [dirs, "batch", hidden]}
    if layout:
        size = {"Y": ["batch", "seq", dirs, hidden], "Y_h": ["batch", dirs, hidden], "Y_c": ["batch", dirs, hidden]}
    results = [helper.make_tensor_value_info(name, kind, size[name]) for name in asked]
    graph = helper.make_graph(nodes, "pairwise", infos, results, initializers)
    ir = {7: 3, 14: 7, 22: 10}[case["opset"]]
    if ir < 4 and initializers:
        # Initializers were inputs too.
        graph.input.extend(helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", case["opset"])], ir_version=ir)
    onnx.checker.check_model(model)
    return model.SerializeToString(), {name: given[name] for name in order}, asked


def pairwise():
    for index, case in enumerate(covering()):
        name = f"pairwise_{index:03}_{case['op'].lower()}"
        if not wanted(name):
            continue
        model, inputs, asked = recurrent_model(case, rng_of(name), case["layout"], case["dtype"])
        twin, twin_inputs, _ = recurrent_model(case, rng_of(name), 0, "float32")
        expected = session(twin).run(asked, twin_inputs)
        if case["layout"]:
            order = {"Y": (2, 0, 1, 3), "Y_h": (1, 0, 2), "Y_c": (1, 0, 2)}
            expected = [np.transpose(value, order[output]) for value, output in zip(expected, asked)]
        write(name, model, [(inputs, expected)], asked, [f"{key}={value}" for key, value in case.items()])


# --------------------------------------------------------------------------------------------------
# Whole models
# --------------------------------------------------------------------------------------------------


def run_exported(name, model, calls, covers):
    """Asks ONNX Runtime for the outputs of an exported model."""
    run = session(model)
    outputs = [output.name for output in run.get_outputs()]
    done = []
    for k, inputs in enumerate(calls):
        try:
            done.append((inputs, run.run(None, inputs)))
        except Exception as error:  # noqa: BLE001
            # Some exporters write the size of the example into the file: other sizes fail.
            if k == 0:
                raise
            print(f"{name}, call {k}: {str(error)[:200]}")
    write(name, model, done, outputs, covers)


def torch_models(python):
    """The models are made by another Python, which has PyTorch."""
    with tempfile.TemporaryDirectory() as folder:
        # Its own output is of no use here but where it fails.
        subprocess.run([python, "-W", "ignore", __file__, "--export-torch", folder, "--only", ONLY], check=True)
        for file in sorted(Path(folder).glob("*.onnx")):
            arrays = np.load(file.with_suffix(".npz"))
            count = 1 + max(int(key.split(".")[0][4:]) for key in arrays)
            calls = [{key.split(".", 1)[1]: arrays[key] for key in arrays if key.startswith(f"call{k}.")} for k in range(count)]
            covers = json.loads(file.with_suffix(".json").read_text())
            model = file.read_bytes()
            names = {value.name for value in session(model).get_inputs()}
            calls = [{key: value for key, value in call.items() if key in names} for call in calls]
            run_exported(file.stem, model, calls, covers)


def export_torch(folder):
    import torch
    from torch import nn
    from torch.nn import functional as F

    folder = Path(folder)

    class Module(nn.Module):
        def __init__(self, parts, forward):
            super().__init__()
            for name, part in parts.items():
                setattr(self, name, part)
            self.run = forward

        def forward(self, *args):
            return self.run(self, *args)

    def export(name, parts, forward, shapes, covers="", opset=13, axes=None, calls=None, outputs=("y",)):
        """`shapes` by input name; letters are sizes that each call sets, where `axes` lists them as open."""
        name = f"torch_{name}"
        if not wanted(name):
            return
        torch.manual_seed(zlib.crc32(name.encode()))
        model = Module(parts(), forward).eval()
        with torch.no_grad():
            for key, value in model.state_dict().items():
                if key.endswith(("running_mean", "running_var")):
                    value.copy_(torch.rand(value.shape) + 0.5)
        rng = rng_of(name)
        sizes = {"T": 5, "B": 3}
        calls = calls or [{}, {"T": 8, "B": 2}, {"T": 1, "B": 1}]

        def draw(sizes):
            arrays = {}
            for key, (kind, *shape) in shapes.items():
                shape = [sizes.get(size, size) for size in shape]
                if kind == "ids":
                    arrays[key] = rng.integers(0, 11, shape)
                elif kind == "lengths":
                    arrays[key] = np.sort(rng.integers(1, sizes["T"] + 1, shape))[::-1].copy()
                    arrays[key][0] = sizes["T"]
                else:
                    arrays[key] = rng.uniform(-1, 1, shape).astype(np.float32)
            return arrays

        sizes |= calls[0]
        example = draw(sizes)
        args = tuple(torch.from_numpy(value) for value in example.values())
        dynamic = {}
        if axes != "fixed":
            for key, (_, *shape) in shapes.items():
                dynamic[key] = {i: size for i, size in enumerate(shape) if isinstance(size, str)}
        torch.onnx.export(
            model, args, str(folder / f"{name}.onnx"), input_names=list(shapes), output_names=list(outputs),
            dynamic_axes=dynamic, opset_version=opset, verbose=False,
        )
        arrays = {f"call0.{key}": value for key, value in example.items()}
        if axes != "fixed":
            for k, change in enumerate(calls[1:], 1):
                arrays.update({f"call{k}.{key}": value for key, value in draw(sizes | change).items()})
        np.savez(folder / f"{name}.npz", **arrays)
        (folder / f"{name}.json").write_text(json.dumps(["torch.onnx", f"opset {opset}", *covers.split(",")]))

    x = {"x": ("f", "T", "B", 4)}
    xb = {"x": ("f", "B", "T", 4)}
    first = lambda m, x: m.rnn(x)[0]  # noqa: E731
    three = ("y", "h", "c")

    def flat(m, x, *states):
        y, states = m.rnn(x, *states)
        return (y, *states) if isinstance(states, tuple) else (y, states)

    for opset in (9, 11, 13, 16):
        export(f"lstm_opset{opset}", lambda: {"rnn": nn.LSTM(4, 6)}, flat, x, "LSTM", opset, outputs=three)
    export("lstm_batch_first", lambda: {"rnn": nn.LSTM(4, 6, batch_first=True)}, flat, xb, "batch_first", outputs=three)
    export("lstm_fixed", lambda: {"rnn": nn.LSTM(4, 6)}, flat, x, "fixed axes", axes="fixed", outputs=three)
    export("lstm_fixed_one", lambda: {"rnn": nn.LSTM(4, 6, batch_first=True)}, flat, {"x": ("f", 1, 5, 4)}, "fixed batch of 1", axes="fixed", outputs=three)
    export("gru", lambda: {"rnn": nn.GRU(4, 6)}, flat, x, "GRU", outputs=("y", "h"))
    export("gru_no_bias", lambda: {"rnn": nn.GRU(4, 6, bias=False)}, flat, x, "bias=False", outputs=("y", "h"))
    export("rnn_tanh", lambda: {"rnn": nn.RNN(4, 6)}, flat, x, "RNN", outputs=("y", "h"))
    export("rnn_relu", lambda: {"rnn": nn.RNN(4, 6, nonlinearity="relu", batch_first=True)}, flat, xb, "relu", outputs=("y", "h"))
    export("lstm_bidirectional", lambda: {"rnn": nn.LSTM(4, 6, bidirectional=True)}, flat, x, "bidirectional", outputs=three)
    export("gru_bidirectional_fixed", lambda: {"rnn": nn.GRU(4, 6, bidirectional=True, batch_first=True)}, flat, xb, "bidirectional, fixed axes", axes="fixed", outputs=("y", "h"))
    export("gru_stacked", lambda: {"rnn": nn.GRU(4, 6, num_layers=3, dropout=0.5, batch_first=True)}, flat, xb, "stacked", outputs=("y", "h"))
    export("lstm_stacked_bidirectional", lambda: {"rnn": nn.LSTM(4, 5, num_layers=2, bidirectional=True, batch_first=True)}, flat, xb, "stacked, bidirectional", outputs=three)
    export("lstm_stacked_bidirectional_fixed", lambda: {"rnn": nn.LSTM(4, 5, num_layers=2, bidirectional=True)}, flat, x, "stacked, bidirectional, fixed axes", opset=16, axes="fixed", outputs=three)
    export("lstm_states", lambda: {"rnn": nn.LSTM(4, 6)}, lambda m, x, h, c: (lambda r: (r[0], *r[1]))(m.rnn(x, (h, c))),
           {**x, "h0": ("f", 1, "B", 6), "c0": ("f", 1, "B", 6)}, "initial states", outputs=three)
    export("lstm_states_bidirectional", lambda: {"rnn": nn.LSTM(4, 3, num_layers=2, bidirectional=True, batch_first=True)},
           lambda m, x, h, c: (lambda r: (r[0], *r[1]))(m.rnn(x, (h, c))),
           {**xb, "h0": ("f", 4, "B", 3), "c0": ("f", 4, "B", 3)}, "initial states, stacked, bidirectional", outputs=three)

    def packed(m, x, lengths):
        sequence = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=m.rnn.batch_first)
        y, h = m.rnn(sequence)
        y, _ = nn.utils.rnn.pad_packed_sequence(y, batch_first=m.rnn.batch_first)
        return (y, h[0]) if isinstance(h, tuple) else (y, h)

    lengths = {"lengths": ("lengths", "B")}
    export("lstm_packed", lambda: {"rnn": nn.LSTM(4, 6)}, packed, {**x, **lengths}, "packed sequences", outputs=("y", "h"))
    export("gru_packed_bidirectional", lambda: {"rnn": nn.GRU(4, 6, bidirectional=True, batch_first=True)}, packed, {**xb, **lengths}, "packed sequences, bidirectional", outputs=("y", "h"))

    ids = {"ids": ("ids", "B", "T")}
    export("classifier_last", lambda: {"embed": nn.Embedding(11, 4), "rnn": nn.LSTM(4, 6, batch_first=True), "out": nn.Linear(6, 3)},
           lambda m, x: m.out(m.rnn(m.embed(x))[0][:, -1]), ids, "Embedding, last timestep, Linear")
    export("classifier_last_slice", lambda: {"embed": nn.Embedding(11, 4, padding_idx=0), "rnn": nn.GRU(4, 6, batch_first=True), "out": nn.Linear(6, 3)},
           lambda m, x: torch.softmax(m.out(m.rnn(m.embed(x))[0][:, -1:, :].squeeze(1)), 1), ids, "Embedding, slice, Softmax")
    export("classifier_state", lambda: {"embed": nn.Embedding(11, 4), "rnn": nn.LSTM(4, 6, bidirectional=True, batch_first=True), "out": nn.Linear(12, 3)},
           lambda m, x: (lambda h: m.out(torch.cat([h[-2], h[-1]], 1)))(m.rnn(m.embed(x))[1][0]), ids, "final states of both directions, Concat")
    export("classifier_ids_time_first", lambda: {"embed": nn.Embedding(11, 4), "rnn": nn.LSTM(4, 6), "out": nn.Linear(6, 3)},
           lambda m, x: F.log_softmax(m.out(m.rnn(m.embed(x))[0][-1]), dim=1), {"ids": ("ids", "T", "B")}, "ids [seq_len, batch], LogSoftmax")
    export("tagger", lambda: {"embed": nn.Embedding(11, 4), "rnn": nn.LSTM(4, 6, bidirectional=True, batch_first=True), "out": nn.Linear(12, 3)},
           lambda m, x: F.log_softmax(m.out(m.rnn(m.embed(x))[0]), dim=-1), ids, "Linear at every timestep")
    export("tagger_merged", lambda: {"rnn": nn.GRU(4, 6), "out": nn.Linear(6, 3)},
           lambda m, x: (lambda y: m.out(y.reshape(-1, 6)).view(y.shape[0], y.shape[1], 3))(m.rnn(x)[0]), x, "timesteps and batch merged and apart again")
    export("tagger_merged_output", lambda: {"rnn": nn.GRU(4, 6), "out": nn.Linear(6, 3)},
           lambda m, x: F.log_softmax(m.out(m.rnn(x)[0].view(-1, 6)), 1), x, "timesteps and batch merged in the output")
    export("tagger_fixed", lambda: {"rnn": nn.GRU(4, 6, batch_first=True), "out": nn.Linear(6, 3)},
           lambda m, x: (lambda y: m.out(y.reshape(-1, 6)).view(3, 5, 3))(m.rnn(x)[0]), xb, "fixed axes, merged", axes="fixed")
    export("layer_norm", lambda: {"norm": nn.LayerNorm(4), "rnn": nn.GRU(4, 6, batch_first=True), "after": nn.LayerNorm(6), "out": nn.Linear(6, 2)},
           lambda m, x: torch.sigmoid(m.out(F.gelu(m.after(m.rnn(m.norm(x))[0])))), xb, "LayerNorm in parts, Gelu in parts")
    export("batch_norm", lambda: {"rnn": nn.LSTM(4, 6, batch_first=True), "norm": nn.BatchNorm1d(6), "out": nn.Linear(6, 2)},
           lambda m, x: m.out(F.relu(m.norm(m.rnn(x)[0].transpose(1, 2)).transpose(1, 2))), xb, "BatchNorm1d")
    export("batch_norm_last", lambda: {"rnn": nn.LSTM(4, 6, batch_first=True), "norm": nn.BatchNorm1d(6)},
           lambda m, x: F.elu(m.norm(m.rnn(x)[0][:, -1])), xb, "BatchNorm1d of the last timestep")
    export("conv", lambda: {"conv": nn.Conv1d(4, 8, 3, padding=1), "rnn": nn.LSTM(8, 6, batch_first=True), "out": nn.Linear(6, 2)},
           lambda m, x: m.out(m.rnn(F.relu(m.conv(x.transpose(1, 2))).transpose(1, 2))[0][:, -1]), xb, "Conv1d")
    export("conv_pool", lambda: {"conv": nn.Conv1d(4, 8, 3, stride=2, dilation=2, padding=2, groups=2), "rnn": nn.GRU(8, 6), "out": nn.Linear(6, 2)},
           lambda m, x: m.out(m.rnn(F.max_pool1d(F.leaky_relu(m.conv(x)), 2).permute(2, 0, 1))[1][0]), {"x": ("f", "B", 4, "T")}, "Conv1d with all options, MaxPool",
           calls=[{"T": 16}, {"T": 23, "B": 2}, {"T": 8, "B": 1}])
    export("pooled", lambda: {"rnn": nn.LSTM(4, 6, batch_first=True), "out": nn.Linear(18, 2)},
           lambda m, x: (lambda y: m.out(torch.cat([y.mean(1), y.max(1)[0], y.sum(1)], 1)))(m.rnn(x)[0]), xb, "mean, max and sum over time")
    export("adaptive_pool", lambda: {"rnn": nn.LSTM(4, 6, batch_first=True), "out": nn.Linear(6, 2)},
           lambda m, x: m.out(F.adaptive_avg_pool1d(m.rnn(x)[0].transpose(1, 2), 1).squeeze(-1)), xb, "pooling over all of time")
    export("attention", lambda: {"rnn": nn.GRU(4, 6, bidirectional=True, batch_first=True), "score": nn.Linear(12, 1), "out": nn.Linear(12, 2)},
           lambda m, x: (lambda y: m.out((torch.softmax(m.score(torch.tanh(y)), 1) * y).sum(1)))(m.rnn(x)[0]), xb, "attention over time by sums")
    export("attention_matmul", lambda: {"rnn": nn.LSTM(4, 6, batch_first=True), "out": nn.Linear(6, 2)},
           lambda m, x: (lambda r: m.out(torch.bmm(torch.softmax(torch.bmm(r[0], r[1][0][-1].unsqueeze(2)).squeeze(2), 1).unsqueeze(1), r[0]).squeeze(1)))(m.rnn(x)), xb, "attention by products of two values")
    export("encoder_decoder", lambda: {"enc": nn.LSTM(4, 6), "rnn": nn.LSTM(3, 6), "out": nn.Linear(6, 3)},
           lambda m, x, y: m.out(m.rnn(y, m.enc(x)[1])[0]), {**x, "y_in": ("f", "S", "B", 3)}, "states of one layer into another",
           calls=[{"S": 4}, {"T": 8, "B": 2, "S": 2}, {"T": 1, "B": 1, "S": 3}])
    export("residual", lambda: {"a": nn.GRU(4, 4, batch_first=True), "b": nn.GRU(4, 4, batch_first=True), "scale": nn.PReLU(4)},
           lambda m, x: (lambda y: y + m.b(y)[0] * 0.5)(x - m.a(x)[0]), xb, "residuals")
    export("halves", lambda: {"rnn": nn.LSTM(4, 6, bidirectional=True, batch_first=True), "out": nn.Linear(6, 2)},
           lambda m, x: (lambda y: m.out(y[:, :, :6] * torch.sigmoid(y[:, :, 6:]) + torch.stack(y.chunk(2, -1), 0).sum(0)))(m.rnn(x)[0]), xb, "slices of features, Split, stacked directions")
    export("clamped", lambda: {"rnn": nn.RNN(4, 6), "out": nn.Linear(6, 4)},
           lambda m, x: torch.clamp(F.hardtanh(m.out(m.rnn(x)[0])), -0.5, 0.25) + F.softplus(x).abs().sqrt() / 3, x, "Clip, Softplus, Sqrt, Abs, Div")
    export("flattened", lambda: {"rnn": nn.LSTM(4, 3, batch_first=True), "out": nn.Linear(15, 2)},
           lambda m, x: m.out(torch.flatten(m.rnn(x)[0], 1)), {"x": ("f", "B", 5, 4)}, "Flatten", calls=[{}, {"B": 2}])
    export("unbatched", lambda: {"rnn": nn.LSTM(4, 6), "out": nn.Linear(6, 2)},
           lambda m, x: m.out(m.rnn(x)[0]), {"x": ("f", "T", 4)}, "a sample without a batch", calls=[{}, {"T": 8}])
    export("reversed", lambda: {"rnn": nn.GRU(4, 6, batch_first=True)},
           lambda m, x: torch.flip(m.rnn(torch.flip(x, [1]))[0], [1]), xb, "time reversed outside")


def tf_models():
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    import tensorflow as tf
    import tf2onnx
    import tf_keras as keras
    from tf_keras import layers

    def convert(name, make, spec, covers, calls=((3, 5), (2, 8), (1, 1)), opset=15):
        name = f"tf_{name}"
        if not wanted(name):
            return
        keras.backend.clear_session()
        keras.utils.set_random_seed(zlib.crc32(name.encode()) % 2**31)
        model = make()
        rng = rng_of(name)
        for weight in model.weights:
            if "bias" in weight.name or "moving" in weight.name:
                weight.assign(rng.uniform(0.1, 0.6, weight.shape))
        kind, shape = spec
        signature = [tf.TensorSpec([None, *shape], tf.int32 if kind == "ids" else tf.float32, name="x")]
        exported, _ = tf2onnx.convert.from_keras(model, signature, opset=opset)
        inputs = []
        for batch, seq in calls:
            size = [batch, *(seq if axis is None else axis for axis in shape)]
            inputs.append({"x": rng.integers(1, 11, size).astype(np.int32) if kind == "ids" else rng.uniform(-1, 1, size).astype(np.float32)})
        run_exported(name, exported.SerializeToString(), inputs, ["tf2onnx", f"opset {opset}", *covers.split(",")])

    sequence = ("f", [None, 4])
    model = lambda *parts: (lambda: keras.Sequential([layers.Input([None, 4]), *[part() for part in parts]]))  # noqa: E731
    tokens = lambda *parts: (lambda: keras.Sequential([layers.Input([None], dtype="int32"), *[part() for part in parts]]))  # noqa: E731
    for opset in (9, 13, 18):
        convert(f"lstm_opset{opset}", model(lambda: layers.LSTM(6), lambda: layers.Dense(3, activation="softmax")), sequence, "LSTM, last output", opset=opset)
    convert("lstm_sequences", model(lambda: layers.LSTM(6, return_sequences=True), lambda: layers.Dense(3, activation="relu")), sequence, "LSTM, sequences")
    convert("gru", model(lambda: layers.GRU(6, return_sequences=True), lambda: layers.GRU(5)), sequence, "GRU reset_after, stacked")
    convert("gru_reset_before", model(lambda: layers.GRU(6, return_sequences=True, reset_after=False)), sequence, "GRU reset before")
    convert("lstm_bidirectional", model(lambda: layers.Bidirectional(layers.LSTM(6, return_sequences=True)), lambda: layers.Bidirectional(layers.LSTM(4))), sequence, "Bidirectional")
    convert("gru_bidirectional_sum", model(lambda: layers.Bidirectional(layers.GRU(6, return_sequences=True), merge_mode="sum")), sequence, "Bidirectional, sum")
    convert("lstm_backwards", model(lambda: layers.LSTM(6, return_sequences=True, go_backwards=True)), sequence, "go_backwards")
    convert("embedding", tokens(lambda: layers.Embedding(11, 4), lambda: layers.LSTM(6), lambda: layers.Dense(2, activation="sigmoid")), ("ids", [None]), "Embedding")
    convert("conv", model(lambda: layers.Conv1D(8, 3, padding="same", activation="relu"), lambda: layers.MaxPooling1D(2), lambda: layers.LSTM(6), lambda: layers.Dense(2)), sequence, "Conv1D, MaxPooling1D", calls=((3, 6), (2, 9)))
    convert("pooled", model(lambda: layers.GRU(6, return_sequences=True), lambda: layers.GlobalAveragePooling1D(), lambda: layers.Dense(2, activation="tanh")), sequence, "GlobalAveragePooling1D")
    convert("normalized", model(lambda: layers.LSTM(6, return_sequences=True), lambda: layers.LayerNormalization(), lambda: layers.BatchNormalization(), lambda: layers.TimeDistributed(layers.Dense(2))), sequence, "LayerNormalization, BatchNormalization, TimeDistributed")
    convert("fixed", lambda: keras.Sequential([layers.Input([5, 4]), layers.LSTM(6, return_sequences=True), layers.Flatten(), layers.Dense(2)]), ("f", [5, 4]), "fixed seq_len, Flatten", calls=((3, 5), (1, 5)))
    convert("repeat", lambda: keras.Sequential([layers.Input([5, 4]), layers.LSTM(6), layers.RepeatVector(5), layers.LSTM(6, return_sequences=True), layers.TimeDistributed(layers.Dense(4))]), ("f", [5, 4]), "RepeatVector", calls=((3, 5), (1, 5)))


def keras_models():
    import keras
    from keras import layers

    def export(name, make, spec, covers, calls=((3, 5), (2, 8), (1, 1))):
        name = f"keras_{name}"
        if not wanted(name):
            return
        keras.backend.clear_session()
        keras.utils.set_random_seed(zlib.crc32(name.encode()) % 2**31)
        model = make()
        # What was never called is not exported.
        model(np.ones([1, *(8 if axis is None else axis for axis in spec[1])], np.float32))
        rng = rng_of(name)
        for weight in model.weights:
            if "bias" in weight.path or "moving" in weight.path:
                weight.assign(rng.uniform(0.1, 0.6, weight.shape))
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "model.onnx"
            model.export(str(file), format="onnx", verbose=False)
            exported = file.read_bytes()
        (info,) = session(exported).get_inputs()
        kind, shape = spec
        inputs = []
        for batch, seq in calls:
            size = [batch, *(seq if axis is None else axis for axis in shape)]
            ids = rng.integers(1, 11, size).astype(np.int32 if "32" in info.type else np.int64)
            inputs.append({info.name: ids if kind == "ids" and "int" in info.type else (ids if kind == "ids" else rng.uniform(-1, 1, size)).astype(np.float32)})
        run_exported(name, exported, inputs, ["Keras 3", *covers.split(",")])

    sequence = ("f", [None, 4])
    model = lambda *parts: (lambda: keras.Sequential([layers.Input([None, 4]), *[part() for part in parts]]))  # noqa: E731
    export("lstm", model(lambda: layers.LSTM(6, return_sequences=True), lambda: layers.LSTM(5), lambda: layers.Dense(3, activation="softmax")), sequence, "LSTM, stacked")
    export("lstm_bidirectional", model(lambda: layers.Bidirectional(layers.LSTM(6, return_sequences=True)), lambda: layers.Dense(3)), sequence, "Bidirectional")
    export("embedding", lambda: keras.Sequential([layers.Input([None], dtype="int32"), layers.Embedding(11, 4), layers.LSTM(6), layers.Dense(2, activation="sigmoid")]), ("ids", [None]), "Embedding")
    export("conv", model(lambda: layers.Conv1D(8, 3, padding="causal", activation="relu"), lambda: layers.LSTM(6, return_sequences=True), lambda: layers.GlobalMaxPooling1D(), lambda: layers.Dense(2)), sequence, "Conv1D causal, GlobalMaxPooling1D", calls=((3, 6), (2, 9)))
    export("normalized", model(lambda: layers.LSTM(6, return_sequences=True), lambda: layers.LayerNormalization(), lambda: layers.BatchNormalization(), lambda: layers.Dense(2, activation="silu")), sequence, "LayerNormalization, BatchNormalization")
    export("gru_loop", model(lambda: layers.GRU(6)), sequence, "GRU as a Loop")


def main():
    global ONLY
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="")
    parser.add_argument("--torch-python", default="python3", help="a Python with PyTorch 1.13")
    parser.add_argument("--export-torch", metavar="FOLDER", help=argparse.SUPPRESS)
    parser.add_argument("--make", help=argparse.SUPPRESS)
    args = parser.parse_args()
    ONLY = args.only
    FOLDER.mkdir(exist_ok=True)
    if args.export_torch:
        return export_torch(args.export_torch)
    if args.make:
        makers = {"node": node_tests, "pairwise": pairwise, "torch": lambda: torch_models(args.torch_python), "tf": tf_models, "keras": keras_models}
        makers[args.make]()
        print(json.dumps(CASES), file=sys.stderr)
        return None
    # Each family in a process of its own: two versions of Keras do not share one.
    listed = FOLDER / "cases.json"
    known = {case["name"]: case for case in json.loads(listed.read_text())["cases"]} if listed.exists() else {}
    for family in ("node", "pairwise", "torch", "tf", "keras"):
        if ONLY and not ONLY.startswith(family):
            continue
        command = [sys.executable, __file__, "--make", family, "--only", ONLY, "--torch-python", args.torch_python]
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
        if done.returncode != 0:
            print(done.stderr[-3000:])
            raise SystemExit(f"{family} failed")
        for case in json.loads(done.stderr.splitlines()[-1]):
            known[case["name"]] = case
    known = {name: case for name, case in known.items() if (FOLDER / f"{name}.onnx").exists()}
    lines = ",\n".join("  " + json.dumps(known[name]) for name in sorted(known))
    listed.write_text('{"cases": [\n' + lines + "\n]}\n")
    return None


if __name__ == "__main__":
    main()
