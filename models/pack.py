"""From checkpoints to the shipped bundle: export every component, make weights small, seal it.

Weights of ear, skin and muscle are stored as int8 per output channel and a scale, and turned to float32 when the file is
loaded (onnxruntime folds the product of constants), so the file is a quarter and the arithmetic stays float32.  The eye's
convolutions, which cost the most, run in int8: static quantisation, calibrated on frames of the emulator.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from innervate.runtime.backbone.engine import load_onnxruntime

from .checkpoint import load_checkpoint
from .export import write_bundle
from .hearing import TICK_SAMPLES, EarStep
from .policy import Policy
from .seeing import SIZE, Eye
from .train_hearing import load_ear
from .train_seeing import load_eye

OPSET = 18
SMALL = 2048  # tensors with fewer numbers stay float32
CALIBRATION_FRAMES = 256


class OneEye(nn.Module):
    """The eye for one frame, [1, 3, 96, 96] -> [6, WIDTH]."""

    def __init__(self, eye: Eye) -> None:
        super().__init__()
        self.eye = eye

    def forward(self, x: Tensor) -> Tensor:
        """The six glimpses."""
        return self.eye(x)[0]


def export_graph(module: nn.Module, path: Path, x: Tensor, states: Mapping[str, tuple[int, ...]] | None = None) -> None:
    """Export `module(x, *states) -> (y, *next states)` with the names that the runtime's Graph expects."""
    states = states or {}
    inputs = (x, *(torch.zeros(shape) for shape in states.values()))
    names = ["x", *(f"state_{n}" for n in states)], ["y", *(f"next_{n}" for n in states)]
    with warnings.catch_warnings():  # the exporter that this deprecation recommends makes four times the nodes of a small graph
        warnings.simplefilter("ignore", DeprecationWarning)
        _export(module, path, inputs, names)


def _export(module: nn.Module, path: Path, inputs: tuple[Tensor, ...], names: tuple[list[str], list[str]]) -> None:
    torch.onnx.export(
        module.eval(), inputs, str(path), input_names=names[0], output_names=names[1], opset_version=OPSET, dynamo=False, do_constant_folding=True
    )


def shrink(path: Path) -> None:
    """Replace large float32 weights in the file by int8 times a scale per output channel; the graph multiplies them at load."""
    model = onnx.load(path)
    graph = model.graph
    nodes, kept = [], []
    for tensor in graph.initializer:
        w = numpy_helper.to_array(tensor)
        if tensor.data_type != TensorProto.FLOAT or w.size < SMALL or w.ndim < 2 or tensor.name.endswith(("fourier", "mel")):
            kept.append(tensor)
            continue
        axis = _channel_axis(graph, tensor.name)
        rest = tuple(i for i in range(w.ndim) if i != axis)
        scale = np.maximum(np.abs(w).max(axis=rest, keepdims=True), 1e-12) / 127.0
        kept.append(numpy_helper.from_array(np.rint(w / scale).astype(np.int8), tensor.name + ".q"))
        kept.append(numpy_helper.from_array(scale.astype(np.float32), tensor.name + ".scale"))
        nodes.append(helper.make_node("Cast", [tensor.name + ".q"], [tensor.name + ".f"], to=TensorProto.FLOAT))
        nodes.append(helper.make_node("Mul", [tensor.name + ".f", tensor.name + ".scale"], [tensor.name]))
    nodes += list(graph.node)
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(kept)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def _channel_axis(graph: onnx.GraphProto, name: str) -> int:
    """The axis of a weight that runs over outputs: 1 for MatMul and untransposed Gemm, else 0."""
    for node in graph.node:
        if name in node.input:
            transposed = any(a.name == "transB" and a.i for a in node.attribute)
            return 1 if node.op_type == "MatMul" or (node.op_type == "Gemm" and not transposed) else 0
    return 0


def quantise_eye(source: Path, target: Path, frames: np.ndarray) -> None:
    """Static int8 of the trunk's convolutions (all but the first, whose input is the picture itself), calibrated on frames [N, 96, 96, 3]."""
    load_onnxruntime()  # telemetry off before the tools load the library
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._rest = iter(frames)

        def get_next(self) -> dict[str, np.ndarray] | None:
            frame = next(self._rest, None)
            return None if frame is None else {"x": frame.transpose(2, 0, 1)[None].astype(np.float32) / 255.0}

    convs = [n.name for n in onnx.load(source).graph.node if n.op_type == "Conv" and "trunk" in n.name]
    ready = source.with_suffix(".ready.onnx")
    quant_pre_process(source, ready, skip_symbolic_shape=True)
    names = [n.name for n in onnx.load(ready).graph.node if n.op_type == "Conv"][: len(convs)]
    quantize_static(
        ready, target, Reader(), quant_format=QuantFormat.QDQ, per_channel=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        nodes_to_quantize=names, calibrate_method=CalibrationMethod.MinMax, extra_options={"ActivationSymmetric": False},
    )


def pack(folder: Path, target: Path, figures: Mapping[str, float], *, version: str = "0.1.0", policy_file: str = "policy.pt") -> Path:
    """Write the bundle `target` from the checkpoints and frames in `folder`."""
    policy = Policy()
    load_checkpoint(folder / policy_file, policy, None)
    policy.eval()
    ear, eye = load_ear(folder)[0], load_eye(folder)[0]
    ear.out.load_state_dict(policy.ear_out.state_dict())
    eye.out.load_state_dict(policy.eye_out.state_dict())
    with torch.no_grad():
        eye.place.copy_(policy.eye_place)
    frames = np.load(sorted(folder.glob("scenes_*_frames.npy"))[0], mmap_mode="r")[:CALIBRATION_FRAMES]
    with tempfile.TemporaryDirectory() as name, torch.no_grad():
        work = Path(name)
        export_graph(EarStep(ear), work / "mic.onnx", torch.zeros(1, TICK_SAMPLES), EarStep.STATES)
        export_graph(OneEye(eye), work / "camera32.onnx", torch.zeros(1, 3, SIZE, SIZE))
        quantise_eye(work / "camera32.onnx", work / "camera.onnx", np.array(frames))
        export_graph(policy.force, work / "force.onnx", torch.zeros(1, 104))
        export_graph(policy.pose, work / "pose.onnx", torch.zeros(1, 4))
        export_graph(policy.motor, work / "motor.onnx", torch.zeros(1, 384))
        for small in ("mic", "camera", "force", "pose", "motor"):
            shrink(work / f"{small}.onnx")
        parts = {
            "mic.encoder": work / "mic.onnx", "camera.encoder": work / "camera.onnx", "force.encoder": work / "force.onnx",
            "motor.pose_encoder": work / "pose.onnx", "motor.decoder": work / "motor.onnx",
        }
        rates = {"mic": 12.5, "camera": 75.0, "force": 12.5, "motor": 12.5}
        return write_bundle(target, policy.nano, parts, figures, rates_hz=rates, version=version)
