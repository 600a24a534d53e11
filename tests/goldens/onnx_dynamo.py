"""Makes the family `dynamo` of `tests/goldens/onnx`: what PyTorch 2's exporter writes, with ONNX Runtime's outputs.

    pip install torch==2.15.0 onnx==1.23.2 onnxscript==0.7.2 onnxruntime==1.32.0 numpy==2.4.6
    python tests/goldens/onnx_dynamo.py              # write all cases
    python tests/goldens/onnx_dynamo.py --only gru   # only the cases whose name starts with "dynamo_gru"

`torch.onnx.export(..., dynamo=True)`, the default since PyTorch 2.9, follows a module with torch.export. The files and
the list are laid out as `onnx.py` does. ONNX Runtime computes every case, and is checked against PyTorch to 1e-5.

A case has one of four kinds of shapes: `dynamic` (batch and seq_len are open), `batch` (only the batch is), `fixed`,
and `one`: fixed, of a batch of 1. `nn.RNN` and a cell in a loop are written out, timestep by timestep, so that their
seq_len is always fixed. Not here: LSTM with `proj_size` (a file that ONNX Runtime refuses), packed sequences (not exported).

What the exporter notes about the source code of each node is left out, but for the names of scopes.
"""

import argparse
import json
import logging
import sys
import tempfile
import warnings
import zlib
from pathlib import Path

HERE = Path(__file__).resolve().parent
FOLDER = HERE / "onnx"
# A file beside this one is named like a package.
sys.path = [p for p in sys.path if Path(p or ".").resolve() != HERE]

import numpy as np  # noqa: E402
import onnx  # noqa: E402
import onnxruntime  # noqa: E402
import torch  # noqa: E402
from torch import nn  # noqa: E402

BATCH, SEQ = 3, 5
OTHERS = ((2, 8), (1, 1))  # further sizes for what is open: batch, seq_len
TOLERANCE = 1e-5
CASES = []
ONLY = ""


# --------------------------------------------------------------------------------------------------
# Modules
# --------------------------------------------------------------------------------------------------


class Layer(nn.Module):
    """A recurrent layer alone, with or without given states: output and final states, flat."""

    def __init__(self, rnn):
        super().__init__()
        self.rnn = rnn

    def forward(self, x):
        y, states = self.rnn(x)
        return (y, *states) if isinstance(states, tuple) else (y, states)


class WithHidden(Layer):
    def forward(self, x, h_0):
        return self.rnn(x, h_0)


class WithStates(Layer):
    def forward(self, x, h_0, c_0):
        y, (h, c) = self.rnn(x, (h_0, c_0))
        return y, h, c


class OutputOnly(Layer):
    def forward(self, x):
        return self.rnn(x)[0]


class ZeroStates(Layer):
    """Zero states made by hand, as many tutorials do."""

    def forward(self, x):
        zeros = torch.zeros(self.rnn.num_layers, x.size(0), self.rnn.hidden_size)
        return self.rnn(x, (zeros, zeros.clone()))[0][:, -1, :]


class Classifier(nn.Module):
    """Embedding, LSTM, last timestep, Linear, softmax."""

    def __init__(self, bidirectional=False, take="last"):
        super().__init__()
        self.embedding = nn.Embedding(11, 4)
        self.lstm = nn.LSTM(4, 6, batch_first=True, bidirectional=bidirectional)
        self.linear = nn.Linear(12 if bidirectional else 6, 3)
        self.take = take

    def forward(self, x):
        y, (h, _) = self.lstm(self.embedding(x))
        if self.take == "last":
            y = y[:, -1, :]
        elif self.take == "h_n":
            y = h[-1]
        else:
            y = torch.cat((h[-2], h[-1]), dim=1)
        return torch.softmax(self.linear(y), dim=-1)


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(11, 4)
        self.gru = nn.GRU(4, 5, batch_first=True, bidirectional=True)
        self.linear = nn.Linear(10, 3)

    def forward(self, x):
        return self.linear(self.gru(self.embedding(x))[0])


class Convolved(nn.Module):
    """Conv1d over [batch, channels, seq_len], ReLU, LSTM, Linear."""

    def __init__(self, pool=False, norm=False):
        super().__init__()
        self.conv = nn.Conv1d(4, 7, 3, padding=1)
        self.norm = nn.BatchNorm1d(7) if norm else nn.Identity()
        self.pool = nn.MaxPool1d(2) if pool else nn.Identity()
        self.lstm = nn.LSTM(7, 6, batch_first=True)
        self.linear = nn.Linear(6, 2)

    def forward(self, x):
        y = self.pool(torch.relu(self.norm(self.conv(x))))
        return self.linear(self.lstm(y.transpose(1, 2))[0])


class Normalized(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(4, 6, batch_first=True)
        self.norm = nn.LayerNorm(6)
        self.linear = nn.Linear(6, 2)

    def forward(self, x):
        return self.linear(self.norm(self.lstm(x)[0]))


class Dropped(nn.Module):
    """Dropout between layers and behind them, for inference."""

    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(4, 6, num_layers=2, dropout=0.3, batch_first=True)
        self.dropout = nn.Dropout(0.5)
        self.linear = nn.Linear(6, 2)

    def forward(self, x):
        return self.linear(self.dropout(self.gru(x)[0]))


class Pooled(nn.Module):
    def __init__(self, how):
        super().__init__()
        self.lstm = nn.LSTM(4, 6, batch_first=True)
        self.linear = nn.Linear(12 if how == "both" else 6, 2)
        self.how = how

    def forward(self, x):
        y = self.lstm(x)[0]
        if self.how == "mean":
            y = y.mean(dim=1)
        elif self.how == "max":
            y = y.max(dim=1).values
        elif self.how == "adaptive":
            y = nn.functional.adaptive_avg_pool1d(y.transpose(1, 2), 1).squeeze(-1)
        else:
            y = torch.cat((y.mean(dim=1), y.amax(dim=1)), dim=-1)
        return self.linear(y)


class Masked(nn.Module):
    """The mean over the timesteps that a mask of ones and zeros keeps."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(4, 6, batch_first=True)

    def forward(self, x, mask):
        y = self.lstm(x)[0] * mask.unsqueeze(-1)
        return y.sum(dim=1) / mask.sum(dim=1, keepdim=True).clamp(min=1.0)


class Attention(nn.Module):
    """Additive attention over the timesteps of a GRU."""

    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(4, 6, batch_first=True)
        self.score = nn.Linear(6, 1)
        self.linear = nn.Linear(6, 2)

    def forward(self, x):
        y = self.gru(x)[0]
        weights = torch.softmax(self.score(torch.tanh(y)), dim=1)
        return self.linear((weights * y).sum(dim=1))


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(4, 4, batch_first=True)
        self.gru = nn.GRU(8, 5, batch_first=True)

    def forward(self, x):
        y = x + self.lstm(x)[0]
        return self.gru(torch.cat((x, y), dim=-1))[0]


class Activations(nn.Module):
    """One LSTM, then the activations that PyTorch users put behind one."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(4, 6, batch_first=True)
        functions = (nn.GELU(), nn.SiLU(), nn.ELU(), nn.LeakyReLU(0.2), nn.Hardswish(), nn.Softplus(), nn.LogSoftmax(-1))
        self.parts = nn.Sequential(*[part for function in functions for part in (nn.Linear(6, 6), function)])

    def forward(self, x):
        return self.parts(self.lstm(x)[0])


class Translator(nn.Module):
    """An encoder whose final states start a decoder."""

    def __init__(self):
        super().__init__()
        self.source = nn.Embedding(11, 4)
        self.target = nn.Embedding(11, 5)
        self.encoder = nn.LSTM(4, 6, batch_first=True)
        self.decoder = nn.LSTM(5, 6, batch_first=True)
        self.linear = nn.Linear(6, 11)

    def forward(self, x, given):
        _, states = self.encoder(self.source(x))
        return self.linear(self.decoder(self.target(given), states)[0])


class Step(nn.Module):
    """One step of an LSTMCell."""

    def __init__(self):
        super().__init__()
        self.cell = nn.LSTMCell(4, 6)

    def forward(self, x, h_0, c_0):
        return self.cell(x, (h_0, c_0))


class Unrolled(nn.Module):
    """A GRUCell in a loop of Python: the number of steps is the example's."""

    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(4, 6)

    def forward(self, x):
        h = torch.zeros(x.size(0), 6)
        for t in range(x.size(1)):
            h = self.cell(x[:, t], h)
        return h


# --------------------------------------------------------------------------------------------------
# Exporting
# --------------------------------------------------------------------------------------------------


def draw(rng, inputs, batch, seq):
    """Inputs of `shape` by name; "B", "T" and "U" are batch and seq_lens, "ids" and "mask" say what is in them."""
    sizes = {"B": batch, "T": seq, "U": seq + 2}
    arrays = {}
    for name, shape in inputs.items():
        kind = shape[0] if shape[0] in ("ids", "mask") else None
        shape = [sizes.get(size, size) for size in shape[1 if kind else 0 :]]
        if kind == "ids":
            arrays[name] = rng.integers(0, 11, shape)
        elif kind == "mask":
            arrays[name] = (np.arange(seq) < rng.integers(1, seq + 1, (batch, 1))).astype(np.float32)
        else:
            arrays[name] = rng.uniform(-1, 1, shape).astype(np.float32)
    return arrays


def axes_of(inputs, kind):
    names = {"dynamic": {"B": "batch", "T": "seq_len", "U": "target_len"}, "batch": {"B": "batch"}}[kind]
    shapes = {name: shape[1:] if shape[0] in ("ids", "mask") else shape for name, shape in inputs.items()}
    return {name: {i: names[size] for i, size in enumerate(shape) if size in names} for name, shape in shapes.items()}


def stripped(model):
    """Without what the exporter notes of the source code: it has paths of this machine."""

    def strip(message):
        for field, value in message.ListFields():
            if field.name == "metadata_props":
                kept = [(entry.key, entry.value) for entry in value if entry.key == "pkg.torch.onnx.name_scopes"]
                message.ClearField("metadata_props")
                for key, text in kept:
                    message.metadata_props.add(key=key, value=text)
            elif field.name == "doc_string":
                message.ClearField("doc_string")
            elif field.message_type is not None:
                for part in value if hasattr(value, "__len__") else [value]:
                    strip(part)

    strip(model)
    data = model.SerializeToString()
    assert not any(text in data for text in (b".py", b"site-packages", str(HERE.parent).encode()))
    return data


def export(kind, model, example, inputs, outputs, options):
    args = tuple(torch.from_numpy(array) for array in example.values())
    options = {"input_names": list(inputs), "output_names": outputs, "external_data": False, "verbose": False} | options
    if kind in ("dynamic", "batch"):
        options["dynamic_shapes"] = axes_of(inputs, kind)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = Path(folder) / "model.onnx"
        torch.onnx.export(model, args, str(file), dynamo=True, **options)
        return stripped(onnx.load(str(file)))


def case(name, kind, make, inputs, outputs, covers, others=OTHERS, **options):
    name = f"dynamo_{name}"
    if not name.startswith(f"dynamo_{ONLY}"):
        return
    seed = zlib.crc32(name.encode())
    torch.manual_seed(seed)
    module = make().eval()
    with torch.no_grad():
        for key, value in module.state_dict().items():
            if key.endswith(("running_mean", "running_var")):
                value.copy_(torch.rand(value.shape) + 0.5)
    rng = np.random.default_rng(seed)
    sizes = [(1 if kind == "one" else BATCH, SEQ)]
    if kind == "dynamic":
        sizes += others
    elif kind == "batch":
        sizes += [(batch, SEQ) for batch, _ in others]
    calls = [draw(rng, inputs, *size) for size in sizes]
    model = export(kind, module, calls[0], inputs, outputs, options)
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3
    settings.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
    assert [info.name for info in session.get_outputs()] == outputs, name
    arrays = {}
    for k, call in enumerate(calls):
        found = session.run(outputs, call)
        with torch.no_grad():
            expected = module(*(torch.from_numpy(array) for array in call.values()))
        for i, (ours, theirs) in enumerate(zip(found, expected if isinstance(expected, tuple) else (expected,))):
            assert ours.shape == tuple(theirs.shape), name
            assert np.abs(ours - theirs.numpy()).max() <= TOLERANCE, name
            arrays[f"call{k}.out.{i}"] = ours
        arrays |= {f"call{k}.in.{key}": value for key, value in call.items()}
    (FOLDER / f"{name}.onnx").write_bytes(model)
    np.savez_compressed(FOLDER / f"{name}.npz", **arrays)
    covers = ["torch.onnx, dynamo", kind, *covers.split(", ")]
    CASES.append({"name": name, "calls": len(calls), "outputs": outputs, "covers": covers})
    print(name, len(model))


# --------------------------------------------------------------------------------------------------
# Cases
# --------------------------------------------------------------------------------------------------

STEPS = {"x": ("T", "B", 4)}
ROWS = {"x": ("B", "T", 4)}
IDS = {"x": ("ids", "B", "T")}
H_0, C_0 = {"h_0": (1, "B", 6)}, {"c_0": (1, "B", 6)}
ALL = ["y", "h", "c"]


def layers():
    deep = {"num_layers": 2, "bidirectional": True, "batch_first": True}
    case("lstm", "dynamic", lambda: Layer(nn.LSTM(4, 6)), STEPS, ALL, "LSTM")
    case("lstm_deep", "dynamic", lambda: Layer(nn.LSTM(4, 6, **deep)), ROWS, ALL, "LSTM, two layers, bidirectional, batch_first")
    case("lstm_bidirectional", "batch", lambda: Layer(nn.LSTM(4, 6, bidirectional=True)), STEPS, ALL, "LSTM, bidirectional")
    case("lstm_stacked", "fixed", lambda: Layer(nn.LSTM(4, 6, 2)), STEPS, ALL, "LSTM, two layers")
    case("lstm_states", "dynamic", lambda: WithStates(nn.LSTM(4, 6)), STEPS | H_0 | C_0, ALL, "LSTM, states")
    states = {"h_0": (4, "B", 6), "c_0": (4, "B", 6)}
    case("lstm_states_deep", "dynamic", lambda: WithStates(nn.LSTM(4, 6, **deep)), ROWS | states, ALL, "LSTM, two layers, states")
    case("lstm_unbatched", "dynamic", lambda: OutputOnly(nn.LSTM(4, 6)), {"x": ("T", 4)}, ["y"], "LSTM, no batch")
    for kind in ("dynamic", "fixed"):
        case(f"lstm_zeros_{kind}", kind, lambda: ZeroStates(nn.LSTM(4, 6, 2, batch_first=True)), ROWS, ["y"], "LSTM, states of zeros")
    case("gru", "dynamic", lambda: Layer(nn.GRU(4, 6)), STEPS, ["y", "h"], "GRU")
    case("gru_deep", "dynamic", lambda: Layer(nn.GRU(4, 6, **deep)), ROWS, ["y", "h"], "GRU, two layers, bidirectional, batch_first")
    case("gru_one", "one", lambda: Layer(nn.GRU(4, 6, batch_first=True)), ROWS, ["y", "h"], "GRU, batch_first")
    case("gru_states", "fixed", lambda: WithHidden(nn.GRU(4, 6)), STEPS | H_0, ["y", "h"], "GRU, states")
    case("gru_no_bias", "dynamic", lambda: OutputOnly(nn.GRU(4, 3, bias=False)), STEPS, ["y"], "GRU, no bias")
    # Written out; states of zeros are folded into the first step where the batch is fixed.
    for kind in ("batch", "fixed", "one"):
        case(f"rnn_{kind}", kind, lambda: Layer(nn.RNN(4, 6)), STEPS, ["y", "h"], "RNN")
    for kind in ("batch", "fixed"):
        case(f"rnn_deep_{kind}", kind, lambda: Layer(nn.RNN(4, 6, **deep)), ROWS, ["y", "h"], "RNN, two layers, bidirectional, batch_first")
    case("rnn_relu", "batch", lambda: Layer(nn.RNN(4, 6, nonlinearity="relu", bidirectional=True)), STEPS, ["y", "h"], "RNN relu, bidirectional")
    case("rnn_states", "batch", lambda: WithHidden(nn.RNN(4, 6, batch_first=True)), ROWS | H_0, ["y", "h"], "RNN, states")


def networks():
    case("classifier", "dynamic", Classifier, IDS, ["y"], "Embedding, LSTM, last timestep")
    case("classifier_h_n", "batch", lambda: Classifier(take="h_n"), IDS, ["y"], "Embedding, LSTM, h_n")
    case("classifier_bidirectional", "dynamic", lambda: Classifier(True, "both"), IDS, ["y"], "Embedding, LSTM, h_n of both directions")
    case("tagger", "dynamic", Tagger, IDS, ["y"], "Embedding, GRU, Linear")
    channels = {"x": ("B", 4, "T")}
    case("conv", "dynamic", Convolved, channels, ["y"], "Conv1d, LSTM")
    case("conv_norm", "fixed", lambda: Convolved(norm=True), channels, ["y"], "Conv1d, BatchNorm1d, LSTM")
    case("conv_pool", "batch", lambda: Convolved(pool=True), channels, ["y"], "Conv1d, MaxPool1d, LSTM")
    case("layer_norm", "dynamic", Normalized, ROWS, ["y"], "LSTM, LayerNorm")
    case("dropout", "dynamic", Dropped, ROWS, ["y"], "GRU, Dropout")
    for how, kind in (("mean", "dynamic"), ("max", "batch"), ("both", "dynamic"), ("adaptive", "dynamic")):
        case(f"pool_{how}", kind, lambda how=how: Pooled(how), ROWS, ["y"], f"LSTM, pooling over time: {how}")
    case("masked_mean", "dynamic", Masked, ROWS | {"mask": ("mask", "B", "T")}, ["y"], "LSTM, mean by a mask")
    case("attention", "dynamic", Attention, ROWS, ["y"], "GRU, attention")
    case("residual", "dynamic", Residual, ROWS, ["y"], "LSTM, GRU, sum, concatenation")
    case("activations", "dynamic", Activations, ROWS, ["y"], "LSTM, activations")
    case("translator", "dynamic", Translator, IDS | {"given": ("ids", "B", "U")}, ["y"], "encoder, decoder")
    cell = {"x": ("B", 4), "h_0": ("B", 6), "c_0": ("B", 6)}
    case("cell", "batch", Step, cell, ["h", "c"], "LSTMCell")
    for kind in ("batch", "fixed"):
        case(f"unrolled_{kind}", kind, Unrolled, ROWS, ["y"], "GRUCell in a loop")
    case("classifier_unoptimized", "dynamic", Classifier, IDS, ["y"], "Embedding, LSTM, last timestep, not optimized", optimize=False)
    case("gru_unoptimized", "dynamic", lambda: Layer(nn.GRU(4, 6, 2)), STEPS, ["y", "h"], "GRU, two layers, not optimized", optimize=False)
    case("lstm_opset18", "dynamic", lambda: Layer(nn.LSTM(4, 6)), STEPS, ALL, "LSTM, opset 18", opset_version=18)
    case("tagger_opset22", "dynamic", Tagger, IDS, ["y"], "GRU, opset 22", opset_version=22)
    case("lstm_opset25", "dynamic", lambda: Layer(nn.LSTM(4, 6)), STEPS, ALL, "LSTM, opset 25", opset_version=25)


def main():
    global ONLY
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="")
    ONLY = parser.parse_args().only
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    layers()
    networks()
    listed = FOLDER / "cases.json"
    known = {entry["name"]: entry for entry in json.loads(listed.read_text())["cases"]}
    if not ONLY:
        # What this no longer makes.
        for name in [name for name in known if name.startswith("dynamo_")]:
            if name not in {entry["name"] for entry in CASES}:
                del known[name]
                for file in FOLDER.glob(f"{name}.*"):
                    file.unlink()
    known |= {entry["name"]: entry for entry in CASES}
    lines = ",\n".join("  " + json.dumps(known[name]) for name in sorted(known))
    listed.write_text('{"cases": [\n' + lines + "\n]}\n")


if __name__ == "__main__":
    main()
