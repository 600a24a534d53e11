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
    op_*        small graphs of the other operators
    torch_*     models exported by torch.onnx (the classic exporter)
    dynamo_*    models exported by torch.onnx of PyTorch 2: `onnx_dynamo.py`
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
# Single operators
# --------------------------------------------------------------------------------------------------


def operators():
    import onnx
    from onnx import TensorProto, helper, numpy_helper, parser

    types = {"f": TensorProto.FLOAT, "i": TensorProto.INT64, "n": TensorProto.INT32, "b": TensorProto.BOOL}

    def op(name, nodes, opset=17, calls=({}, {"B": 2, "T": 7}), outputs="y:f", given=None, **constants):
        """`nodes` in ONNX' text syntax; `given` are inputs, a letter for the type and sizes."""
        name = f"op_{name}"
        if not wanted(name):
            return
        given = given or {"x": "f B T 4"}
        rng = rng_of(name)
        nodes = [parser.parse_node(text) for text in nodes.strip().splitlines()]
        infos = []
        for key, text in given.items():
            kind, *sizes = text.split()
            infos.append(helper.make_tensor_value_info(key, types[kind], [int(n) if n.isdigit() else n for n in sizes]))
        tensors = [numpy_helper.from_array(np.asarray(value), key) for key, value in constants.items()]
        asked = [text.split(":") for text in outputs.split()]
        results = [helper.make_tensor_value_info(key, types[kind], None) for key, kind in asked]
        graph = helper.make_graph(nodes, "op", infos, results, tensors)
        ir = {7: 3, 9: 4, 10: 5, 11: 6, 13: 7, 15: 8, 17: 8, 18: 8, 20: 9, 22: 10}[opset]
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)
        if ir < 4:
            graph.input.extend(helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in tensors)
            model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)
        model = model.SerializeToString()
        inputs = []
        for change in calls:
            sizes = {"B": 3, "T": 5, "S": 2} | change
            arrays = {}
            for key, text in given.items():
                kind, *shape = text.split()
                shape = [int(n) if n.isdigit() else sizes[n] for n in shape]
                if kind == "f":
                    arrays[key] = rng.uniform(-2, 2, shape).astype(np.float32)
                elif kind == "b":
                    arrays[key] = rng.integers(0, 2, shape).astype(bool)
                elif key == "lengths":
                    arrays[key] = rng.integers(1, sizes["T"] + 1, shape).astype(np.int64 if kind == "i" else np.int32)
                else:
                    arrays[key] = rng.integers(0, 11, shape).astype(np.int64 if kind == "i" else np.int32)
            inputs.append(arrays)
        try:
            run = session(model)
            [run.run(None, one) for one in inputs]
        except Exception as error:
            print('BAD', name, str(error)[:300])
            return
        write(name, model, [(one, run.run(None, one)) for one in inputs], [key for key, _ in asked], ["operator", f"opset {opset}"])

    i64 = lambda *values: np.array(values, np.int64)  # noqa: E731
    f32 = lambda *values: np.array(values, np.float32)  # noqa: E731
    scalar = lambda value: np.array(value, np.float32)  # noqa: E731

    # Of each element; an operator that is not defined everywhere gets what it is defined for.
    simple = ["Abs", "Ceil", "Cos", "Elu", "Erf", "Exp", "Floor", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Neg",
              "Relu", "Round", "Selu", "Sigmoid", "Sign", "Sin", "Softplus", "Softsign", "Tanh", "ThresholdedRelu", "Celu"]
    lines = [f"y{i} = {name}(x)" for i, name in enumerate(simple)]
    op("unary", "\n".join(lines), outputs=" ".join(f"y{i}:f" for i in range(len(simple))))
    op("unary_positive", "a = Abs(x)\ny0 = Sqrt(a)\ny1 = Log(a)\ny2 = Reciprocal(a)", outputs="y0:f y1:f y2:f")
    op("unary_options", "y0 = Elu<alpha=0.5>(x)\ny1 = HardSigmoid<alpha=0.25, beta=0.375>(x)\ny2 = LeakyRelu<alpha=0.25>(x)\n"
       "y3 = ThresholdedRelu<alpha=0.5>(x)\ny4 = Celu<alpha=0.5>(x)", outputs="y0:f y1:f y2:f y3:f y4:f")
    op("unary_new", "y0 = Gelu(x)\ny1 = Gelu<approximate=\"tanh\">(x)\ny2 = Mish(x)", opset=20, outputs="y0:f y1:f y2:f")
    op("clip_attributes", "y = Clip<min=-0.5, max=0.75>(x)", opset=9)
    op("clip_inputs", "y0 = Clip(x, a, b)\ny1 = Clip(x, a)\ny2 = Clip(x, , b)", a=scalar(-0.5), b=scalar(0.75), outputs="y0:f y1:f y2:f")
    two = {"x": "f B T 4", "z": "f B 1 4"}
    binary = ["Add", "Sub", "Mul", "Div", "Max", "Min"]
    op("binary", "\n".join(f"y{i} = {name}(x, z)" for i, name in enumerate(binary)), given=two, outputs=" ".join(f"y{i}:f" for i in range(6)))
    op("binary_constant", "\n".join(f"y{i} = {name}(x, c)\nz{i} = {name}(c, x)" for i, name in enumerate(binary)), c=f32(0.5, -1, 2, 3),
       outputs=" ".join(f"y{i}:f z{i}:f" for i in range(6)))
    op("binary_number", "\n".join(f"y{i} = {name}(x, c)\nz{i} = {name}(c, x)" for i, name in enumerate(binary)), c=scalar(3),
       outputs=" ".join(f"y{i}:f z{i}:f" for i in range(6)))
    op("binary_lower_rank", "y = Add(x, z)", given={"x": "f B T 4", "z": "f 4"}, calls=({},))
    op("binary_time", "t = Transpose<perm=[1, 0, 2]>(x)\na = Add(t, z)\ny = Mul(a, c)", given={"x": "f B T 4", "z": "f T B 4"}, c=f32(1, 2, 3, 4))
    op("binary_opset7", "y = Add(x, c)", opset=7, c=f32(1, 2, 3, 4))
    op("variadic", "y0 = Sum(x, z, c)\ny1 = Mean(x, z, c)\ny2 = Max(x, z, c)\ny3 = Min(x, z, c)\ny4 = Sum(x)", given=two, c=f32(0.5, -1, 2, 3),
       outputs="y0:f y1:f y2:f y3:f y4:f")
    op("pow", "y0 = Pow(x, two)\ny1 = Pow(x, three)\na = Abs(x)\ny2 = Pow(a, half)\ny3 = Pow(a, minus)", two=scalar(2), three=scalar(3), half=scalar(0.5),
       minus=scalar(-1), outputs="y0:f y1:f y2:f y3:f")
    op("prelu", "y = PRelu(x, c)", c=f32(0.5, -1, 2, 3))
    op("compare", "r = Round(x)\ns = Round(z)\na = Equal(r, s)\nb = Less(r, s)\nc = Greater(r, s)\nd = LessOrEqual(r, s)\ne = GreaterOrEqual(r, s)\nf = Not(a)\n"
       "g = And(b, f)\nh = Or(b, a)\ni = Xor(b, d)\n" + "\n".join(f"y{k} = Cast<to=1>({k})" for k in "abcdefghi"), given=two,
       outputs=" ".join(f"y{k}:f" for k in "abcdefghi"))
    op("where", "c = Less(x, z)\ny0 = Where(c, x, z)\ny1 = Where(c, x, k)\nm = Where(c, x, inf)\ny2 = Softmax<axis=-1>(m)\nw = Where(c, inf, x)\ny3 = Exp(w)", given=two,
       k=scalar(-3), inf=scalar(-np.inf), outputs="y0:f y1:f y2:f y3:f")
    op("where_not_finite", "c = Less(x, z)\nd = Less(z, x)\nl = Log(x)\np = Less(zero, x)\ny0 = Where(p, l, x)\nw = Where(c, inf, x)\nv = Div(one, w)\ny1 = Where(d, x, v)", given=two,
       zero=scalar(0), one=scalar(1), inf=scalar(np.inf), outputs="y0:f y1:f")
    op("where_input", "y = Where(c, x, z)", given={"c": "b B T 1", **two})
    op("cast", "a = Cast<to=7>(x)\ny0 = Cast<to=1>(a)\nb = Cast<to=9>(a)\ny1 = Cast<to=1>(b)", outputs="y0:f y1:f")
    for opset in (11, 13):
        op(f"softmax_opset{opset}", "y0 = Softmax<axis=2>(x)\ny1 = LogSoftmax<axis=-1>(x)\ny2 = Softmax<axis=1>(x)\ny3 = Softmax(x)", opset=opset,
           outputs="y0:f y1:f y2:f y3:f")
    for opset in (11, 13, 18):
        axes = (lambda a: f"axes=[{a}], ") if opset < 18 else (lambda a: "")
        extra = (lambda a: "") if opset < 18 else (lambda a: ", " + {"1": "one", "-1": "last", "1, 2": "both"}[a])
        lines, outs = [], []
        for i, (name, a, keep) in enumerate(itertools.product(["ReduceMean", "ReduceMax", "ReduceMin"], ["1", "-1", "1, 2"], [0, 1])):
            lines.append(f"y{i} = {name}<{axes(a)}keepdims={keep}>(x{extra(a)})")
            outs.append(f"y{i}:f")
        op(f"reduce_opset{opset}", "\n".join(lines), opset=opset, outputs=" ".join(outs), **({} if opset < 18 else {"one": i64(1), "last": i64(-1), "both": i64(1, 2)}))
    op("reduce_sum", "y0 = ReduceSum<keepdims=0>(x, one)\ny1 = ReduceSum(x, both)\ny2 = ReduceSum<noop_with_empty_axes=1>(x)", one=i64(1), both=i64(1, 2), outputs="y0:f y1:f y2:f")
    op("reduce_sum_square", "y = ReduceSumSquare<axes=[1], keepdims=0>(x)")
    op("layer_normalization", "y0 = LayerNormalization(x, s, b)\ny1 = LayerNormalization<axis=2, epsilon=0.01>(x, s)", s=f32(1, 2, 0.5, -1), b=f32(0, 0.5, 1, 0), outputs="y0:f y1:f")
    op("layer_normalization_two_axes", "y = LayerNormalization<axis=1>(x, s, b)", given={"x": "f B 3 4"}, s=np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4), b=f32(0, 0.5, 1, 0), calls=({}, {"B": 1}))
    norm = {"s": f32(1, 2, 0.5, -1), "b": f32(0, 0.5, 1, 0), "m": f32(0.1, -0.1, 0, 1), "v": f32(1, 0.5, 2, 0.25)}
    op("batch_normalization", "y = BatchNormalization<epsilon=0.01>(x, s, b, m, v)", given={"x": "f B 4 T"}, **norm)
    op("batch_normalization_opset9", "y = BatchNormalization(x, s, b, m, v)", opset=9, given={"x": "f B 4"}, **norm)
    w = np.random.default_rng(0).uniform(-0.5, 0.5, (6, 4, 3)).astype(np.float32)
    bias = f32(0, 0.1, 0.2, 0.3, 0.4, 0.5)
    conv = {"x": "f B 4 T"}
    op("conv", "y0 = Conv(x, w, b)\ny1 = Conv<pads=[1, 1], strides=[2]>(x, w)\ny2 = Conv<pads=[0, 4], dilations=[2]>(x, w, b)\ny3 = Conv<auto_pad=\"SAME_UPPER\">(x, w)\n"
       "y4 = Conv<group=2, kernel_shape=[3]>(x, g)", given=conv, w=w, b=bias, g=w[:, :2], outputs="y0:f y1:f y2:f y3:f y4:f")
    op("conv_flat", "a = Unsqueeze(x, two)\nc = Conv<kernel_shape=[1, 3], pads=[0, 1, 0, 1]>(a, w)\ny = Squeeze(c, two)", given=conv, w=w[:, :, None, :], two=i64(2))
    op("pool", "y0 = MaxPool<kernel_shape=[3]>(x)\ny1 = MaxPool<kernel_shape=[2], strides=[2]>(x)\ny2 = MaxPool<kernel_shape=[3], pads=[1, 1], dilations=[1]>(x)\n"
       "y3 = AveragePool<kernel_shape=[2], strides=[2]>(x)\ny4 = AveragePool<kernel_shape=[3], pads=[1, 1]>(x)\ny5 = AveragePool<kernel_shape=[3], pads=[1, 1], count_include_pad=1>(x)\n"
       "y6 = GlobalAveragePool(x)\ny7 = GlobalMaxPool(x)", given=conv, outputs=" ".join(f"y{i}:f" for i in range(8)))
    m = w.reshape(18, 4)[:4]
    op("gemm", "y0 = Gemm(x, m, b)\ny1 = Gemm<transB=1, alpha=0.5, beta=2.0>(x, m, b)\ny2 = Gemm(x, m)\ny3 = Gemm<beta=0.5>(x, m, x)\ny4 = Gemm(x, m, one)", given={"x": "f B 4"}, m=m, b=f32(1, 2, 3, 4),
       one=scalar(2), outputs="y0:f y1:f y2:f y3:f y4:f")
    op("matmul", "y0 = MatMul(x, m)\nt = Transpose<perm=[0, 2, 1]>(x)\ny1 = MatMul(x, t)\ny2 = MatMul(t, x)\nu = Transpose<perm=[1, 0, 2]>(x)\ny3 = MatMul(u, m)\ny4 = MatMul(x, v)", m=m, v=f32(1, 2, 3, 4),
       outputs="y0:f y1:f y2:f y3:f y4:f")
    op("concat", "y0 = Concat<axis=1>(x, z, x)\ny1 = Concat<axis=-1>(x, x)", given={"x": "f B T 4", "z": "f B S 4"}, outputs="y0:f y1:f", calls=({}, {"B": 2, "T": 7, "S": 1}))
    op("concat_states", "s = Shape(x)\nb = Slice(s, zero, one)\nd = Concat<axis=0>(b, n)\nf = ConstantOfShape<value = float[1] {0.5}>(d)\ny = Concat<axis=1>(x, f)", zero=i64(0), one=i64(1), n=i64(2, 4))
    op("slice", "y0 = Slice(x, a, b, c)\ny1 = Slice(x, d, e, c)\ny2 = Slice(x, a, e, c, two)\ny3 = Slice(x, minus, least, c, minus)\ny4 = Slice(x, two, most, c)\n"
       "y5 = Slice(x, pair, ends, axes)\ny6 = Slice(x, a, big, c)", a=i64(0), b=i64(3), c=i64(1), d=i64(-2), e=i64(2**63 - 1), two=i64(2), minus=i64(-1), least=i64(-(2**63)), most=i64(-1),
       pair=i64(1, 1), ends=i64(4, 3), axes=i64(1, 2), big=i64(100), outputs=" ".join(f"y{i}:f" for i in (0, 3, 4, 5, 6)))
    op("slice_opset9", "y = Slice<axes=[1, 2], starts=[1, -3], ends=[2147483647, -1]>(x)", opset=9)
    op("split", "a, b = Split<axis=2>(x)\ny0 = Mul(a, b)\nc, d, e = Split<axis=-1>(x, s)\ny1 = Mul(c, e)", opset=13, s=i64(1, 2, 1), outputs="y0:f y1:f d:f")
    op("split_opset11", "a, b = Split<axis=2, split=[1, 3]>(x)\ny = Mul(a, b)", opset=11)
    op("split_opset18", "a, b, c = Split<axis=2, num_outputs=3>(x)\ny = Concat<axis=1>(a, b)", opset=18, given={"x": "f B T 5"}, outputs="y:f c:f")
    op("gather", "y0 = Gather<axis=1>(x, last)\ny1 = Gather<axis=1>(x, list)\ny2 = Gather<axis=2>(x, zero)\ny3 = Gather<axis=2>(x, back)", last=np.array(-1), list=i64(0, 2, 4), zero=np.array(0), back=i64(3, 2, 1, 0),
       outputs="y0:f y1:f y2:f y3:f")
    op("gather_table", "y = Gather(m, ids)", given={"ids": "n B T"}, m=w.reshape(18, 4)[:11])
    op("gather_table_time_first", "e = Gather(m, ids)\ny, h, c = LSTM<hidden_size=3>(e, w, r)", given={"ids": "i T B"}, m=w.reshape(18, 4)[:11], w=np.resize(w, (1, 12, 4)), r=np.resize(w, (1, 12, 3)), outputs="y:f h:f c:f")
    op("reshape", "y0 = Reshape(x, a)\ny1 = Reshape(x, b)\ny2 = Reshape(x, c)\nf = Reshape(x, d)\ny3 = Reshape(f, e)\ny4 = Flatten(x)\ny5 = Flatten<axis=2>(x)\ny6 = Flatten<axis=-1>(x)", a=i64(0, 0, 2, 2), b=i64(0, -1),
       c=i64(-1, 4), d=i64(-1, 2), e=i64(0, 2, 1), outputs=" ".join(f"y{i}:f" for i in range(7)))
    op("reshape_shape", "s = Shape(x)\nb = Gather(s, zero)\nt = Gather(s, one)\np = Mul(b, t)\nq = Unsqueeze(p, axis)\nn = Concat<axis=0>(q, four)\nf = Reshape(x, n)\ng = Relu(f)\n"
       "b1 = Unsqueeze(b, axis)\nt1 = Unsqueeze(t, axis)\nm = Concat<axis=0>(b1, t1, two, minus)\ny0 = Reshape(g, m)\ny1 = Relu(f)", zero=np.array(0), one=np.array(1), axis=i64(0), four=i64(4), two=i64(2), minus=i64(-1),
       outputs="y0:f y1:f")
    op("squeeze", "a = Unsqueeze<axes=[1, -1]>(x)\ny0 = Relu(a)\ny1 = Squeeze<axes=[1, 4]>(y0)", opset=11, outputs="y0:f y1:f")
    op("expand", "e = Expand(c, s)\ny0 = Mul(x, e)\nt = Shape(x)\nz = Expand(k, t)\ny1 = Add(x, z)\nu = Unsqueeze(x, one)\ny2 = Expand(u, n)", c=f32(1, 2, 3, 4), s=i64(1, 1, 4), k=scalar(0.5), one=i64(1), n=i64(1, 2, 1, 1),
       outputs="y0:f y1:f y2:f")
    op("tile", "y0 = Tile(x, a)\nu = Unsqueeze(x, one)\ny1 = Tile(u, b)", a=i64(1, 2, 1), b=i64(1, 3, 1, 2), one=i64(1), outputs="y0:f y1:f")
    op("pad", "y0 = Pad(x, p, k)\ny1 = Pad(x, q)", p=i64(0, 1, 2, 0, 3, 0), k=scalar(0.5), q=i64(0, 0, 0, 0, 1, 1), outputs="y0:f y1:f")
    op("pad_opset9", "y = Pad<pads=[0, 1, 0, 0, 1, 2], value=1.5>(x)", opset=9)
    op("pad_axes", "y = Pad(x, p, , a)", opset=18, p=i64(1, 2), a=i64(-2))
    op("range", "s = Shape(x)\nt = Gather(s, one)\nr = Range(zero, t, one)\nf = Cast<to=1>(r)\nu = Unsqueeze(f, axis)\ny0 = Mul(x, u)\nd = Div(t, two)\nh = Slice(x, first, dd, axes)\ny1 = Relu(h)".replace("h = Slice(x, first, dd, axes)", "dd = Unsqueeze(d, first)\nh = Slice(x, first, dd, axes)"),
       one=np.array(1), zero=np.array(0), axis=i64(1), two=np.array(2), first=i64(0), axes=i64(1), outputs="y0:f")
    op("mask_of_lengths", "s = Shape(x)\nt = Gather(s, one)\nr = Range(zero, t, one)\nl = Unsqueeze(lengths, last)\nm = Less(r, l)\nf = Cast<to=1>(m)\nu = Unsqueeze(f, last)\ny = Mul(x, u)", given={"x": "f B T 4", "lengths": "i B"},
       one=np.array(1), zero=np.array(0), last=i64(-1))
    op("reverse_sequence", "y0 = ReverseSequence<batch_axis=0, time_axis=1>(x, lengths)", given={"x": "f B T 4", "lengths": "i B"}, outputs="y0:f")
    op("reverse_sequence_time_first", "y = ReverseSequence(x, lengths)", given={"x": "f T B 4", "lengths": "i B"})
    op("dropout", "a = Dropout(x)\ny = Identity(a)")
    op("dropout_opset9", "y = Dropout<ratio=0.5>(x)", opset=9)
    op("constants", "c = Constant<value = float[4] {1, 2, 3, 4}>()\nd = Constant<value_float=0.5>()\ne = Mul(c, d)\nf = Transpose(e)\ng = Sqrt(f)\nh = ReduceSum(g)\ni = Reshape(h, s)\nj = Add(g, i)\ny = Mul(x, j)", s=i64(-1))
    op("conv_lstm", "c = Conv<pads=[1, 1]>(x, w, b)\nr = Relu(c)\nt = Transpose<perm=[2, 0, 1]>(r)\ny, h, k = LSTM<hidden_size=3, direction=\"bidirectional\">(t, v, q)\nz = Transpose<perm=[2, 0, 1, 3]>(y)\nf = Reshape(z, s)\no = MatMul(f, m)", given=conv, w=w, b=bias,
       v=np.resize(w, (2, 12, 6)), q=np.resize(w, (2, 12, 3)), s=i64(0, 0, -1), m=np.resize(w, (6, 2)), outputs="o:f h:f")
    op("lengths_of_shape", "s = Shape(x)\nt = Gather(s, zero)\nb = Slice(s, one, two)\nl = Expand(t, b)\nn = Cast<to=6>(l)\nd = Concat<axis=0>(one, b, three)\ni = ConstantOfShape(d)\ny, h, c = LSTM<hidden_size=3, direction=\"reverse\">(x, w, r, , n, i, i)", given={"x": "f T B 4"},
       zero=np.array(0), one=i64(1), two=i64(2), three=i64(3), w=np.resize(w, (1, 12, 4)), r=np.resize(w, (1, 12, 3)), outputs="y:f h:f c:f")
    op("two_outputs_of_one", "a = Relu(x)\ny0 = Identity(a)\ny1 = Identity(a)", outputs="y0:f y1:f a:f")
    op("gru_stack", "a, g = GRU<hidden_size=4>(x, w, r)\nb = Squeeze(a, one)\nc, h = GRU<hidden_size=4, linear_before_reset=1>(b, w, r)\ny = Squeeze(c, one)", given={"x": "f T B 4"}, w=np.resize(w, (1, 12, 4)), r=np.resize(w[::-1], (1, 12, 4)), one=i64(1), outputs="y:f h:f g:f")


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
        makers = {"node": node_tests, "pairwise": pairwise, "op": operators, "torch": lambda: torch_models(args.torch_python), "tf": tf_models, "keras": keras_models}
        makers[args.make]()
        print(json.dumps(CASES), file=sys.stderr)
        return None
    # Each family in a process of its own: two versions of Keras do not share one.
    listed = FOLDER / "cases.json"
    known = {case["name"]: case for case in json.loads(listed.read_text())["cases"]} if listed.exists() else {}
    for family in ("node", "pairwise", "op", "torch", "tf", "keras"):
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
