"""Encoders and decoders to component graphs, in float32 or in static int8.

The TorchScript exporter is used because it keeps a small conv or GRU step at a few dozen nodes of fixed shape. Int8 is static, calibrated
on given samples, per channel, QDQ form: right for dense convolutions; leave depthwise ones and tiny heads in float32.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import Tensor, nn

from innervate.runtime.backbone.engine import load_onnxruntime
from innervate.runtime.backbone.graph import Graph

OPSET = 18  # the newest that the TorchScript exporter writes without conversion
QUANTISED_OPS = ("Conv", "Gemm", "MatMul")

Floats = npt.NDArray[np.float32]
Feed = dict[str, Floats]


class ExportError(RuntimeError):
    """An exported graph that does not do what its torch module does."""


def export_component(
    module: nn.Module,
    path: Path,
    x: Tensor,
    states: Mapping[str, Tensor] | None = None,
    *,
    calibration: Sequence[Tensor] | None = None,
    keep_float: Sequence[str] = (),
    tolerance: float = 1e-4,
) -> float:
    """Export one step of ``module`` to ``path`` and compare it with torch.

    ``module(x, *states)`` returns ``y``, or ``(y, *next_states)`` in the same order. Graph names become ``x``,
    ``state_NAME``, ``y``, ``next_NAME``.

    :param x: an example input; its shape becomes the graph's. Use a real one: the comparison runs on it, twice, with states carried.
    :param states: initial states by NAME; they must be zeros, which is what the engine starts from.
    :param calibration: inputs in the order of time; when given, the graph becomes static int8, with the states that torch
        reaches on the way.
    :param keep_float: names of nodes that stay float32 (as ``onnx`` shows them in the float graph).
    :param tolerance: largest relative error (L2) of the float graph; int8 is measured, not judged.
    :returns: relative error (L2) of what was written against torch, on ``calibration`` when given, else on ``x``.
    :raises ExportError: the float graph differs from torch by more than ``tolerance``.
    """
    given = dict(states or {})
    for name, state in given.items():
        if bool(state.any()):
            raise ValueError(f"export: state {name!r} starts at other values than zero; the engine starts states at zero")
    module = module.eval()
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="component-") as folder:
        float_path = Path(folder) / "float.onnx"
        _export_float(module, float_path, x, given)
        error = _error(module, float_path, [x, x], given)
        if error > tolerance:
            raise ExportError(f"{path.name}: relative error {error:.2e} against torch exceeds {tolerance:.0e}; look for tracing of control flow")
        if calibration is None:
            path.write_bytes(float_path.read_bytes())
            return error
        _quantise(module, float_path, path, calibration, given, keep_float)
    return _error(module, path, calibration, given)


def _export_float(module: nn.Module, path: Path, x: Tensor, states: Mapping[str, Tensor]) -> None:
    inputs = ["x", *(f"state_{name}" for name in states)]
    outputs = ["y", *(f"next_{name}" for name in states)]
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporter announces its own retirement, and traces shapes as constants, which is wanted
        torch.onnx.export(
            module,
            (x, *states.values()),
            path,
            input_names=inputs,
            output_names=outputs,
            opset_version=OPSET,
            dynamo=False,
        )
    model = onnx.load(path)
    model.producer_name, model.producer_version = "innervate", ""
    for node in model.graph.node:
        node.doc_string = ""  # source lines of the tracing machine
    onnx.save(model, path)


def _steps(module: nn.Module, xs: Sequence[Tensor], states: Mapping[str, Tensor]) -> Iterator[tuple[Feed, Floats]]:
    """What torch is fed and what it answers, step by step, states carried."""
    now = dict(states)
    for x in xs:
        feed = {"x": x.numpy(), **{f"state_{name}": state.numpy() for name, state in now.items()}}
        with torch.no_grad():
            result: Any = module(x, *now.values())
        y, following = (result[0], result[1:]) if isinstance(result, tuple) else (result, ())
        now = dict(zip(now, following, strict=True))
        yield feed, y.numpy()


def _error(module: nn.Module, path: Path, xs: Sequence[Tensor], states: Mapping[str, Tensor]) -> float:
    """Relative L2 error of the graph at ``path``, states carried by the graph itself."""
    graph = Graph(path)
    wrong = right = 0.0
    for feed, y in _steps(module, xs, states):
        wrong += float(np.square(graph.run(np.ascontiguousarray(feed["x"])) - y).sum())
        right += float(np.square(y).sum())
    return float(np.sqrt(wrong / max(right, 1e-30)))


def _quantise(module: nn.Module, source: Path, target: Path, xs: Sequence[Tensor], states: Mapping[str, Tensor], keep_float: Sequence[str]) -> None:
    load_onnxruntime()  # telemetry off
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
        def __init__(self) -> None:
            self.steps = _steps(module, xs, states)

        def get_next(self) -> Feed | None:
            step = next(self.steps, None)
            return None if step is None else step[0]

    prepared = source.with_name("prepared.onnx")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own deprecations are no news to whoever exports
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        quantization.quantize_static(
            prepared,
            target,
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=list(QUANTISED_OPS),
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            nodes_to_exclude=list(keep_float),
        )
