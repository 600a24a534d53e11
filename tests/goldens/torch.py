#!/usr/bin/env python3
"""Makes the golden state dicts of tests/goldens/torch: safetensors files, and what PyTorch computes with them.

Needs torch (1.13 made the files here) and numpy. Each case has NAME.safetensors and NAME.npz; cases.json lists
them with their configurations. Outputs are computed in float64 from the weights as they are stored.
"""

import json
import struct
import sys
import zlib
from itertools import combinations, product
from pathlib import Path

HERE = Path(__file__).resolve().parent
FOLDER = HERE / "torch"
# This file is named like the package it imports.
sys.path = [p for p in sys.path if Path(p or ".").resolve() != HERE]

import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence  # noqa: E402

DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
NAMES = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64"}
CASES = []


def write(path, tensors):
    """A safetensors file, as the package of that name writes it."""
    header, blobs, at = {"__metadata__": {"format": "pt"}}, [], 0
    for name, tensor in tensors.items():
        tensor = tensor.detach().contiguous()
        raw = tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor
        blob = raw.numpy().tobytes()
        header[name] = {
            "dtype": NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [at, at + len(blob)],
        }
        at += len(blob)
        blobs.append(blob)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def stored(modules, dtype):
    """The tensors of modules by prefix, rounded to a dtype; the modules then compute with these in float64."""
    tensors = {}
    for prefix, module in modules:
        for name, tensor in module.state_dict().items():
            path = f"{prefix}.{name}" if prefix else name
            tensors[path] = tensor.to(dtype) if tensor.is_floating_point() else tensor
    for prefix, module in modules:
        module.double().eval()
        state = module.state_dict()
        for name in state:
            path = f"{prefix}.{name}" if prefix else name
            state[name] = tensors[path].to(state[name].dtype)
        module.load_state_dict(state)
    return tensors


def array(tensor):
    value = np.ascontiguousarray(tensor.detach().numpy())
    return value.astype(np.float32) if value.dtype.kind == "f" else value.astype(np.int32)


class Case:
    def __init__(self, name, config, file=None):
        self.name, self.config, self.file = name, config, file or name
        self.calls, self.arrays = [], {}

    def call(self, inputs, outputs, lengths=None):
        k = len(self.calls)
        for side, tensors in (("in", inputs), ("out", outputs)):
            for name, tensor in tensors.items():
                assert torch.isfinite(tensor.double()).all(), self.name
                self.arrays[f"{self.name}.{k}.{side}.{name}"] = array(tensor)
        call = {"inputs": list(inputs), "outputs": list(outputs)}
        if lengths is not None:
            call["lengths"] = lengths
        self.calls.append(call)

    def entry(self):
        return {"name": self.name, "file": self.file, "config": self.config, "calls": self.calls}


def data(*shape):
    """Inputs that float32 holds exactly, in float64."""
    return torch.randn(*shape).float().double()


def seed(name):
    torch.manual_seed(zlib.crc32(name.encode()))


def finish(case, tensors=None):
    CASES.append(case)
    if tensors is not None:
        write(FOLDER / f"{case.file}.safetensors", tensors)
        np.savez_compressed(FOLDER / f"{case.file}.npz", **case.arrays)


# Recurrent modules -----------------------------------------------------------------------------------------

KINDS = {
    "rnn_tanh": (nn.RNN, {}),
    "rnn_relu": (nn.RNN, {"nonlinearity": "relu"}),
    "lstm": (nn.LSTM, {}),
    "lstm_proj": (nn.LSTM, {"proj_size": 2}),
    "gru": (nn.GRU, {}),
}
OPTIONS = {
    "kind": list(KINDS),
    "num_layers": [1, 2, 3],
    "bidirectional": [False, True],
    "bias": [True, False],
    "batch_first": [False, True],
    "dtype": list(DTYPES),
    "prefix": ["", "lstm", "encoder.body.", "module.0"],
    "stated": ["all", "few"],
}


def pairwise(options):
    """Rows such that every two values of two options meet in one of them."""
    names = list(options)
    pairs = lambda row: {((a, row[a]), (b, row[b])) for a, b in combinations(names, 2)}
    rows = [dict(zip(names, values)) for values in product(*options.values())]
    left = set().union(*(pairs(row) for row in rows))
    chosen = []
    np.random.default_rng(1).shuffle(rows)
    while left:
        best = max(rows, key=lambda row: len(pairs(row) & left))
        chosen.append(best)
        left -= pairs(best)
    return chosen


def recurrent_calls(case, module, batch_first, features, layers):
    is_lstm = isinstance(module, nn.LSTM)
    sizes = [module.proj_size or module.hidden_size] + [module.hidden_size] * is_lstm
    cells = layers * (2 if module.bidirectional else 1)

    def call(x, states, lengths=None):
        given = None
        if states:
            given = (states["h_0"], states["c_0"]) if is_lstm else states["h_0"]
        packed = x
        if lengths is not None:
            packed = pack_padded_sequence(x, torch.tensor(lengths), batch_first, enforce_sorted=False)
        output, finals = module(packed, given)
        if lengths is not None:
            total = x.shape[1 if batch_first else 0]
            output, _ = pad_packed_sequence(output, batch_first, total_length=total)
        outputs = {"output": output}
        outputs.update(zip(("h_n", "c_n"), finals if is_lstm else (finals,)))
        case.call({"input": x, **(states or {})}, outputs, lengths)

    def sequence(batch, length):
        return data(batch, length, features) if batch_first else data(length, batch, features)

    def states(*batch):
        return {name: data(cells, *batch, size) for name, size in zip(("h_0", "c_0"), sizes)}

    call(sequence(2, 5), None)
    call(sequence(3, 4), states(3))
    call(data(4, features), None)
    call(data(1, features), states())
    call(sequence(4, 6), None, [6, 2, 1, 4])
    call(sequence(2, 3), states(2), [1, 3])


def recurrent():
    for index, row in enumerate(pairwise(OPTIONS)):
        name = f"recurrent_{index:02}_{row['kind']}"
        seed(name)
        kind, extra = KINDS[row["kind"]]
        options = {key: row[key] for key in ("num_layers", "bidirectional", "bias", "batch_first")}
        module = kind(3, 4, **options, **extra)
        tensors = stored([(row["prefix"].rstrip("."), module)], DTYPES[row["dtype"]])
        config = {"kind": kind.__name__}
        if row["stated"] == "all":
            config.update(input_size=3, hidden_size=4, dropout=0.25, **options, **extra)
        else:
            config.update({k: v for k, v in {**options, **extra}.items() if k in ("batch_first", "nonlinearity") and v})
        if row["prefix"] and row["stated"] == "all":
            config["prefix"] = row["prefix"]
        case = Case(name, config)
        recurrent_calls(case, module, row["batch_first"], 3, row["num_layers"])
        finish(case, tensors)


def without_configuration():
    for kind, prefix, options in [
        (nn.LSTM, "core.lstm", {"num_layers": 2, "bidirectional": True}),
        (nn.LSTM, "", {"proj_size": 2, "bias": False}),
        (nn.GRU, "", {}),
        (nn.RNN, "rnn", {"num_layers": 2}),
    ]:
        name = f"lone_{kind.__name__.lower()}" + ("_proj" if "proj_size" in options else "")
        seed(name)
        module = kind(3, 4, **options)
        tensors = stored([(prefix, module)], torch.float32)
        case = Case(name, None)
        recurrent_calls(case, module, False, 3, options.get("num_layers", 1))
        finish(case, tensors)
    for kind in (nn.RNNCell, nn.LSTMCell, nn.GRUCell):
        cell(f"lone_{kind.__name__.lower()}", kind, {}, None, "cell", torch.float32)


def cell(name, kind, options, config, prefix, dtype):
    seed(name)
    module = kind(3, 4, **options)
    tensors = stored([(prefix, module)], dtype)
    case = Case(name, config)
    is_lstm = kind is nn.LSTMCell
    for shape, given in [((2,), False), ((3,), True), ((), True)]:
        x = data(*shape, 3)
        states = {"h_0": data(*shape, 4), **({"c_0": data(*shape, 4)} if is_lstm else {})}
        hx = (states["h_0"], states["c_0"]) if is_lstm else states["h_0"]
        finals = module(x, hx if given else None)
        finals = finals if is_lstm else (finals,)
        outputs = {"output": finals[0], **dict(zip(("h_n", "c_n"), finals))}
        case.call({"input": x, **(states if given else {})}, outputs)
    finish(case, tensors)


def cells():
    for kind, bias, dtype, extra in [
        (nn.RNNCell, True, "F64", {"nonlinearity": "relu"}),
        (nn.RNNCell, False, "F16", {}),
        (nn.LSTMCell, True, "BF16", {}),
        (nn.LSTMCell, False, "F32", {}),
        (nn.GRUCell, True, "F32", {}),
        (nn.GRUCell, False, "F64", {}),
    ]:
        name = kind.__name__.lower() + ("" if bias else "_no_bias")
        options = {"bias": bias, **extra}
        config = {"kind": kind.__name__, "input_size": 3, "hidden_size": 4, **options}
        cell(name, kind, options, config, "", DTYPES[dtype])


# Chains ----------------------------------------------------------------------------------------------------


def run_chain(steps, x, batch_first, take_second=False):
    """Modules over [batch, seq_len, features], or [batch, features] behind a "take"."""
    for module, take in steps:
        if isinstance(module, (nn.RNN, nn.LSTM, nn.GRU)):
            y = x if module.batch_first else x.transpose(0, 1)
            output, finals = module(y)
            output = output if module.batch_first else output.transpose(0, 1)
            hidden = finals[0] if isinstance(module, nn.LSTM) else finals
            if take == "last":
                x = output[:, -1]
            elif take == "h_n":
                x = torch.cat((hidden[-2], hidden[-1]), 1) if module.bidirectional else hidden[-1]
            else:
                x = output
        elif isinstance(module, (nn.Conv1d, nn.BatchNorm1d, nn.PReLU)) and x.dim() == 3:
            x = module(x.transpose(1, 2)).transpose(1, 2)
        else:
            x = module(x)
    return x


def described(prefix, module, extra=None):
    return {"kind": type(module).__name__, **({"prefix": prefix} if prefix is not None else {}), **(extra or {})}


def chain(name, steps, x, batch_first=True, first="last", last="last", dtype="F32", unbatched=True):
    """`steps`: (prefix or None, module, options); `first`, `last`: where the ends have their features."""
    seed(name)
    for _, module, _ in steps:
        module.eval()
        for p in list(module.parameters()):
            nn.init.uniform_(p, -0.7, 0.7)
        if isinstance(module, nn.BatchNorm1d):
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 2.0)
    tensors = stored([(p.rstrip("."), m) for p, m, _ in steps if p is not None], DTYPES[dtype])
    config = {"layers": [described(p, m, o) for p, m, o in steps]}
    case = Case(name, config)
    pairs = [(m, o.get("take")) for _, m, o in steps]

    def order(value, where):
        if value.dim() == 3 and where == "second":
            return value.transpose(1, 2)
        if value.dim() >= 2 and not batch_first:
            return value.transpose(0, 1) if value.dim() == 3 or value.dtype == torch.int64 else value
        return value

    for rows in (2, 3):
        value = x(rows)
        y = run_chain(pairs, value, batch_first)
        case.call({"input": order(value, first)}, {"output": order(y, last)})
    if unbatched:
        value = x(1)
        y = run_chain(pairs, value, batch_first)
        turned = lambda t, where: (t[0].transpose(0, 1) if t.dim() == 3 and where == "second" else t[0])
        case.call({"input": turned(value, first)}, {"output": turned(y, last)})
    finish(case, tensors)


def chains():
    ids = lambda n: torch.randint(0, 7, (n, 5))
    chain(
        "chain_embedding_lstm_linear",
        [
            ("embed", nn.Embedding(7, 3, padding_idx=0), {"num_embeddings": 7, "embedding_dim": 3, "padding_idx": 0}),
            (None, nn.Dropout(0.3), {"p": 0.3}),
            ("lstm.", nn.LSTM(3, 4, batch_first=True), {"batch_first": True, "take": "last", "input_size": 3}),
            ("out", nn.Linear(4, 3), {"in_features": 4, "out_features": 3}),
            (None, nn.LogSoftmax(-1), {"dim": -1}),
        ],
        ids,
    )
    chain(
        "chain_tagger",
        [
            ("embed", nn.Embedding(7, 3), {}),
            ("rnn", nn.GRU(3, 4, num_layers=2, bidirectional=True), {"num_layers": 2, "bidirectional": True}),
            ("norm", nn.LayerNorm(8), {"normalized_shape": [8]}),
            ("out", nn.Linear(8, 3, bias=False), {"bias": False}),
            (None, nn.Softmax(2), {"dim": 2}),
        ],
        ids,
        batch_first=False,
        dtype="F16",
    )
    for take in ("last", "h_n"):
        for kind in (nn.LSTM, nn.GRU, nn.RNN):
            for both in (False, True):
                name = f"chain_take_{take}_{kind.__name__.lower()}{'_bidirectional' if both else ''}"
                options = {"num_layers": 2, "bidirectional": both, "batch_first": both}
                steps = [
                    ("body", kind(3, 4, **options), {"take": take, **options}),
                    ("head", nn.Linear(8 if both else 4, 2), {}),
                ]
                chain(name, steps, lambda n: data(n, 4, 3), batch_first=both)
    chain(
        "chain_take_last_proj",
        [("a", nn.LSTM(3, 4, proj_size=2, batch_first=True), {"batch_first": True, "take": "last", "proj_size": 2})],
        lambda n: data(n, 4, 3),
    )
    chain(
        "chain_conv_first",
        [
            (
                "conv",
                nn.Conv1d(4, 6, 3, padding="same", groups=2),
                {"in_channels": 4, "out_channels": 6, "kernel_size": 3, "padding": "same", "groups": 2},
            ),
            ("bn", nn.BatchNorm1d(6), {"num_features": 6}),
            (None, nn.ReLU(inplace=True), {"inplace": True}),
            ("lstm", nn.LSTM(6, 4, batch_first=True), {"batch_first": True}),
            ("out", nn.Linear(4, 2), {}),
        ],
        lambda n: data(n, 7, 4),
        first="second",
        unbatched=False,
    )
    chain(
        "chain_conv_between",
        [
            ("embed", nn.Embedding(9, 4), {}),
            (
                "conv",
                nn.Conv1d(4, 5, 3, stride=2, padding=2, dilation=2, bias=False),
                {"kernel_size": [3], "stride": [2], "padding": [2], "dilation": 2, "bias": False},
            ),
            (None, nn.GELU(), {}),
            ("gru", nn.GRU(5, 4), {"take": "h_n"}),
            ("bn", nn.BatchNorm1d(4, affine=False, eps=1e-3), {"affine": False, "eps": 1e-3}),
        ],
        lambda n: torch.randint(0, 9, (n, 9)),
        batch_first=False,
        dtype="BF16",
        unbatched=False,
    )
    chain(
        "chain_conv_last",
        [
            ("in", nn.Linear(3, 4), {}),
            (None, nn.Tanh(), {}),
            ("rnn", nn.RNN(4, 4, nonlinearity="relu", batch_first=True), {"nonlinearity": "relu", "batch_first": True}),
            ("conv", nn.Conv1d(4, 2, 2), {}),
        ],
        lambda n: data(n, 6, 3),
        last="second",
        dtype="F64",
    )
    chain(
        "chain_stacked",
        [
            ("a", nn.LSTM(3, 4, batch_first=True), {"batch_first": True}),
            ("norm", nn.LayerNorm(4, elementwise_affine=False), {"normalized_shape": 4, "elementwise_affine": False}),
            ("b", nn.GRU(4, 5, batch_first=True), {"batch_first": True}),
            ("input", nn.RNN(5, 3, batch_first=True), {"batch_first": True, "take": "h_n"}),
        ],
        lambda n: data(n, 5, 3),
    )
    chain(
        "chain_head",
        [
            ("0", nn.Linear(3, 4), {}),
            ("1", nn.BatchNorm1d(4), {}),
            ("2", nn.PReLU(4), {"num_parameters": 4}),
            ("3", nn.Linear(4, 4), {}),
            ("4", nn.PReLU(), {}),
            (None, nn.Identity(), {}),
        ],
        lambda n: data(n, 3),
        unbatched=False,
    )
    chain(
        "chain_prelu_sequence",
        [
            ("rnn", nn.RNN(3, 4, batch_first=True), {"batch_first": True}),
            ("act", nn.PReLU(4), {}),
        ],
        lambda n: data(n, 6, 3),
        last="second",
        unbatched=False,
    )


def singles():
    for name, module, shape, x in [
        ("single_linear", nn.Linear(3, 2), None, data(2, 3)),
        ("single_embedding", nn.Embedding(5, 3, padding_idx=1), None, torch.randint(0, 5, (4,))),
        ("single_conv", nn.Conv1d(3, 2, 2, padding=1), None, data(2, 3, 5)),
        ("single_layer_norm", nn.LayerNorm(3), None, data(2, 3)),
        ("single_batch_norm", nn.BatchNorm1d(3), None, data(4, 3)),
    ]:
        seed(name)
        tensors = stored([("", module)], torch.float32)
        config = {"kind": "nn." + type(module).__name__}
        if name == "single_conv":
            config["padding"] = 1
        case = Case(name, config)
        case.call({"input": x}, {"output": module(x)})
        finish(case, tensors)


def activations():
    seed("activations")
    linear = nn.Linear(3, 5)
    nn.init.uniform_(linear.weight, -3, 3)
    tensors = stored([("in", linear)], torch.float32)
    x = data(12, 3)
    shared = {}
    for name, module, options in [
        ("ReLU", nn.ReLU(), {}),
        ("ReLU6", nn.ReLU6(), {}),
        ("LeakyReLU", nn.LeakyReLU(), {}),
        ("LeakyReLU_slope", nn.LeakyReLU(0.3), {"negative_slope": 0.3}),
        ("RReLU", nn.RReLU(), {}),
        ("ELU", nn.ELU(0.7), {"alpha": 0.7}),
        ("SELU", nn.SELU(), {}),
        ("CELU", nn.CELU(1.5), {"alpha": 1.5}),
        ("GELU", nn.GELU(), {}),
        ("GELU_tanh", nn.GELU("tanh"), {"approximate": "tanh"}),
        ("SiLU", nn.SiLU(), {}),
        ("Mish", nn.Mish(), {}),
        ("Sigmoid", nn.Sigmoid(), {}),
        ("LogSigmoid", nn.LogSigmoid(), {}),
        ("Tanh", nn.Tanh(), {}),
        ("Tanhshrink", nn.Tanhshrink(), {}),
        ("Hardsigmoid", nn.Hardsigmoid(), {}),
        ("Hardswish", nn.Hardswish(), {}),
        ("Hardtanh", nn.Hardtanh(), {}),
        ("Hardtanh_bounds", nn.Hardtanh(-0.5, 2.0), {"min_val": -0.5, "max_val": 2.0}),
        ("Hardshrink", nn.Hardshrink(), {}),
        ("Softshrink", nn.Softshrink(0.25), {"lambd": 0.25}),
        ("Softplus", nn.Softplus(), {}),
        ("Softplus_beta", nn.Softplus(2.0, 30.0), {"beta": 2.0, "threshold": 30}),
        ("Softsign", nn.Softsign(), {}),
        ("Threshold", nn.Threshold(0.5, 0), {"threshold": 0.5, "value": 0}),
        ("Softmax", nn.Softmax(1), {"dim": 1}),
        ("Softmin", nn.Softmin(-1), {"dim": -1}),
        ("LogSoftmax", nn.LogSoftmax(None), {}),
    ]:
        config = {"layers": [described("in", linear), described(None, module, options)]}
        case = Case(f"activation_{name}", config, "activations")
        with torch.no_grad():
            y = module.eval()(linear(x)) if name != "LogSoftmax" else torch.log_softmax(linear(x), 1)
        case.call({"input": x}, {"output": y})
        shared.update(case.arrays)
        CASES.append(case)
    write(FOLDER / "activations.safetensors", tensors)
    np.savez_compressed(FOLDER / "activations.npz", **shared)


def main():
    FOLDER.mkdir(exist_ok=True)
    for path in FOLDER.iterdir():
        path.unlink()
    for make in (recurrent, without_configuration, cells, chains, singles, activations):
        make()
    lines = ",\n".join(json.dumps(case.entry()) for case in CASES)
    version = torch.__version__
    (FOLDER / "cases.json").write_text(f'{{"torch": "{version}", "cases": [\n{lines}\n]}}\n', encoding="utf-8")
    print(len(CASES), "cases")


if __name__ == "__main__":
    main()
