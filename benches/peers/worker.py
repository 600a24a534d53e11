"""Runs one recurrent layer by PyTorch or ONNX Runtime, as the program `peers` asks for it.

A process is one peer (the argument: torch-cpu, torch-cuda, ort-cpu or ort-webgpu). It reads one JSON object per line
and answers each with one. `start` says the versions, or what is missing; `open` makes the layer; `run` times it from
a host's array to a host's array; `resident` and `on_device` time it without the transfers; `outputs` writes what the
last run gave. Arrays are files of little-endian f32.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

# Gates of the files stand in PyTorch's order; ONNX has another one. LSTM: input, forget, cell, output to input, output,
# forget, cell. GRU: reset, update, new to update, reset, new.
ONNX_GATES = {"lstm": (0, 3, 1, 2), "gru": (1, 0, 2)}


class Missing(Exception):
    """The peer is not here. Says why, and what to do about it."""

    def __init__(self, why: str, how: str) -> None:
        super().__init__(why)
        self.how = how


def module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise Missing(f"{error} ({sys.executable})", f"pip install {name}, or --python") from error


class Case:
    """A layer and its input, as the program wrote them."""

    def __init__(self, request: dict[str, Any]) -> None:
        np = module("numpy")
        self.cell: str = request["cell"]
        self.hidden_size: int = request["hidden_size"]
        self.input_size: int = request["input_size"]
        self.batch: int = request["batch"]
        self.seq_len: int = request["seq_len"]
        gates = len(ONNX_GATES[self.cell]) * self.hidden_size
        self.folder = Path(request["folder"])

        def array(name: str, *shape: int) -> Any:
            return np.fromfile(self.folder / f"{name}.f32", dtype="<f4").reshape(shape)

        self.weight_ih = array("weight_ih", gates, self.input_size)
        self.weight_hh = array("weight_hh", gates, self.hidden_size)
        self.bias_ih = array("bias_ih", gates)
        self.bias_hh = array("bias_hh", gates)
        x = array("x", self.batch, self.seq_len, self.input_size)
        # Both frameworks have time first; turning the arrays around is not their work.
        self.x = np.ascontiguousarray(x.transpose(1, 0, 2))  # [seq_len, batch, input_size]


class Peer:
    """What all peers have."""

    y: Any = None
    case: Case

    def start(self) -> dict[str, str]:
        """Versions by name."""
        raise NotImplementedError

    def open(self, case: Case) -> None:
        raise NotImplementedError

    def once(self) -> None:
        """From `case.x` on the host to `y` on the host."""
        raise NotImplementedError

    def resident_once(self) -> None:
        """From an input to an output that stay where the peer computes, and are there in the end."""
        raise NotImplementedError

    def run(self, runs: int) -> list[float]:
        return timed(self.once, runs)

    def resident(self, runs: int) -> list[float] | None:
        return None

    def on_device(self, runs: int) -> list[float] | None:
        return None

    def last(self) -> Any:
        """What the last run gave, [seq_len, batch, hidden_size]."""
        return self.y

    def outputs(self) -> Any:
        """The same, [batch, seq_len, hidden_size]"""
        np = module("numpy")
        expected = (self.case.seq_len, self.case.batch, self.case.hidden_size)
        y = np.asarray(self.last())
        if y.shape != expected or y.dtype != np.float32:
            raise ValueError(f"the output is {y.dtype} of shape {y.shape}, not float32 of shape {expected}")
        return np.ascontiguousarray(y.transpose(1, 0, 2)).astype("<f4")


def timed(call: Any, runs: int) -> list[float]:
    seconds = []
    for _ in range(runs):
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    return seconds


class Torch(Peer):
    """PyTorch's own module, without gradients."""

    def __init__(self, device: str, threads: int | None) -> None:
        self.device, self.threads = device, threads

    def start(self) -> dict[str, str]:
        torch = self.torch = module("torch")
        module("numpy")
        versions = {"PyTorch": torch.__version__}
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        if self.device == "cuda":
            if torch.version.cuda is None:
                raise Missing("this PyTorch is built without CUDA", "install a PyTorch with CUDA, or --python")
            if not torch.cuda.is_available():
                raise Missing("PyTorch finds no CUDA device", "run on a machine with an NVIDIA GPU and its driver")
            if not torch.backends.cudnn.is_available():
                raise Missing("this PyTorch has no cuDNN", "install a PyTorch with cuDNN, or --python")
            without_tf32(torch)
            torch.backends.cudnn.benchmark = True
            versions["CUDA"] = torch.version.cuda
            versions["cuDNN"] = str(torch.backends.cudnn.version())
            versions["CUDA device"] = torch.cuda.get_device_name()
        return versions

    def open(self, case: Case) -> None:
        torch, self.case, self.y = self.torch, case, None
        kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[case.cell]
        layer = kind(case.input_size, case.hidden_size)
        weights = {
            "weight_ih_l0": case.weight_ih,
            "weight_hh_l0": case.weight_hh,
            "bias_ih_l0": case.bias_ih,
            "bias_hh_l0": case.bias_hh,
        }
        layer.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
        self.layer = layer.to(self.device).eval()
        if self.device == "cuda":
            self.layer.flatten_parameters()
            # Pinned, which is what makes CUDA's transfers fast.
            self.host_x = torch.from_numpy(case.x).pin_memory()
            self.host_y = torch.empty(case.seq_len, case.batch, case.hidden_size).pin_memory()
            self.device_x = self.host_x.to("cuda")
            torch.cuda.synchronize()
        else:
            self.host_x = torch.from_numpy(case.x)

    def once(self) -> None:
        with self.torch.inference_mode():
            if self.device == "cuda":
                y, _ = self.layer(self.host_x.to("cuda", non_blocking=True))
                self.host_y.copy_(y, non_blocking=True)
                self.torch.cuda.synchronize()
                self.y = self.host_y
            else:
                self.y, _ = self.layer(self.host_x)

    def resident_once(self) -> None:
        with self.torch.inference_mode():
            self.layer(self.device_x)
            self.torch.cuda.synchronize()

    def resident(self, runs: int) -> list[float] | None:
        return timed(self.resident_once, runs) if self.device == "cuda" else None

    def on_device(self, runs: int) -> list[float] | None:
        if self.device != "cuda":
            return None
        torch, seconds = self.torch, []
        with torch.inference_mode():
            for _ in range(runs):
                first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
                torch.cuda.synchronize()
                first.record()
                self.layer(self.device_x)
                last.record()
                torch.cuda.synchronize()
                seconds.append(first.elapsed_time(last) / 1e3)
        return seconds


def without_tf32(torch: Any) -> None:
    """Products in f32. What this leaves in TF32 the comparison with the reference finds: that errs by 1e-3."""
    # The newer switches (fp32_precision) must not be mixed with these, which old versions know too.
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


class OnnxRuntime(Peer):
    """A model of one node."""

    def __init__(self, provider: str, threads: int | None) -> None:
        self.provider, self.threads = provider, threads

    def start(self) -> dict[str, str]:
        self.onnx, self.runtime = module("onnx"), module("onnxruntime")
        versions = {"ONNX Runtime": self.runtime.__version__}
        self.plugin_device = None
        if self.provider == "webgpu":
            versions |= self.find_webgpu()
            # Some adapters are refused only when they are used.
            try:
                self.try_webgpu()
            except Exception as error:
                raise Missing(f"refused: {error}", "run where its WebGPU provider takes the adapter") from error
        return versions

    def find_webgpu(self) -> dict[str, str]:
        """The provider in the package itself, or the one that is a package of its own."""
        if "WebGpuExecutionProvider" in self.runtime.get_available_providers():
            return {}
        how = "pip install onnxruntime-ep-webgpu"
        try:
            plugin = importlib.import_module("onnxruntime_ep_webgpu")
        except ImportError as error:
            raise Missing("this ONNX Runtime has no WebGPU provider", how) from error
        try:
            self.runtime.register_execution_provider_library("webgpu", plugin.get_library_path())
        except Exception as error:
            raise Missing(f"its WebGPU provider does not load: {error}", how) from error
        devices = [device for device in self.runtime.get_ep_devices() if device.ep_name == plugin.get_ep_name()]
        if not devices:
            raise Missing("refused: its WebGPU provider finds no adapter", "run on a machine with a hardware GPU")
        self.plugin_device = devices[0]
        return {"its WebGPU provider": importlib.metadata.version("onnxruntime-ep-webgpu")}

    def try_webgpu(self) -> None:
        np = module("numpy")
        case = Case.__new__(Case)
        case.cell, case.hidden_size, case.input_size, case.batch, case.seq_len = "lstm", 4, 4, 1, 2
        case.weight_ih, case.weight_hh = np.zeros((16, 4), np.float32), np.zeros((16, 4), np.float32)
        case.bias_ih, case.bias_hh = np.zeros(16, np.float32), np.zeros(16, np.float32)
        case.x = np.zeros((2, 1, 4), np.float32)
        self.open(case)
        self.once()
        self.outputs()

    def open(self, case: Case) -> None:
        runtime, self.case, self.y = self.runtime, case, None
        options = runtime.SessionOptions()
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = 3
        if self.threads is not None:
            options.intra_op_num_threads = self.threads
            options.inter_op_num_threads = 1
        providers = ["CPUExecutionProvider"]
        if self.provider == "webgpu":
            # Else it would compute on the CPU what the provider does not take, and not say so.
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
            providers = ["WebGpuExecutionProvider"]
        if self.plugin_device is not None:
            options.add_provider_for_devices([self.plugin_device], {})
            providers = None
        self.session = runtime.InferenceSession(self.model(case), options, providers=providers)

    def model(self, case: Case) -> bytes:
        np, onnx = module("numpy"), self.onnx
        helper, f32 = onnx.helper, onnx.TensorProto.FLOAT

        def gates(array: Any) -> Any:
            parts = np.split(array, len(ONNX_GATES[case.cell]))
            return np.concatenate([parts[gate] for gate in ONNX_GATES[case.cell]])

        weights = {
            "W": gates(case.weight_ih)[None],  # [1, gates * hidden_size, input_size]
            "R": gates(case.weight_hh)[None],  # [1, gates * hidden_size, hidden_size]
            "B": np.concatenate([gates(case.bias_ih), gates(case.bias_hh)])[None],  # [1, 2 * gates * hidden_size]
        }
        # PyTorch's GRU resets after the recurrent product.
        reset = {"linear_before_reset": 1} if case.cell == "gru" else {}
        node = helper.make_node(case.cell.upper(), ["X", "W", "R", "B"], ["Y"], hidden_size=case.hidden_size, **reset)
        graph = helper.make_graph(
            [node],
            "layer",
            [helper.make_tensor_value_info("X", f32, [case.seq_len, case.batch, case.input_size])],
            [helper.make_tensor_value_info("Y", f32, [case.seq_len, 1, case.batch, case.hidden_size])],
            [onnx.numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in weights.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
        return model.SerializeToString()

    def once(self) -> None:
        (self.y,) = self.session.run(["Y"], {"X": self.case.x})

    def last(self) -> Any:
        return self.y[:, 0]  # of its one direction


PEERS = {
    "torch-cpu": lambda threads: Torch("cpu", threads),
    "torch-cuda": lambda threads: Torch("cuda", None),
    "ort-cpu": lambda threads: OnnxRuntime("cpu", threads),
    "ort-webgpu": lambda threads: OnnxRuntime("webgpu", None),
}


def answer(peer: Peer, request: dict[str, Any]) -> dict[str, Any]:
    match request["do"]:
        case "start":
            return {"versions": peer.start()}
        case "open":
            peer.open(Case(request))
            return {}
        case "run":
            return {"seconds": peer.run(request["runs"])}
        case "resident":
            return {"seconds": peer.resident(request["runs"])}
        case "on_device":
            return {"seconds": peer.on_device(request["runs"])}
        case "outputs":
            peer.outputs().tofile(request["file"])
            return {}
        case other:
            raise ValueError(f"unknown request {other}")


def main() -> None:
    # What libraries print goes to standard error: standard output is for answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    name, threads = sys.argv[1], int(sys.argv[2])
    peer = PEERS[name](threads or None)
    for line in sys.stdin:
        try:
            reply = answer(peer, json.loads(line))
        except Missing as missing:
            reply = {"missing": str(missing), "how": missing.how}
        except Exception as error:  # whatever a framework raises is the program's to report
            reply = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(reply) + "\n")
        answers.flush()


main()
