"""From checkpoints to the shipped bundle: export every component, make weights small, seal it.

What costs the most runs in int8: the ear's products and the eye's convolutions, these calibrated on frames of the emulator.
The other large weights are stored as int8 per output channel and a scale, and turned to float32 when the file is
loaded (onnxruntime folds the product of constants), so the file is a quarter and the arithmetic stays float32.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from .checkpoint import load_checkpoint
from .export import write_bundle
from .export_component import export_component
from .export_hearing import export_ear
from .export_seeing import export_eye
from .policy import Policy
from .train_hearing import load_ear
from .train_seeing import load_eye

SMALL = 2048  # tensors with fewer numbers stay float32
EXACT = frozenset({"cosine", "sine", "mel"})  # of the ear's spectrum, whose quiet bands lie 60 dB below the loud ones
CALIBRATION_FRAMES = 256
CONTEXT = 256  # positions; half of training's: attention is most of a tick, and sequences are trained under windows from 90 positions on


def shrink(path: Path) -> None:
    """Replace large float32 weights in the file by int8 times a scale per output channel; the graph multiplies them at load."""
    model = onnx.load(path)
    graph = model.graph
    nodes, kept = [], []
    for tensor in graph.initializer:
        w = numpy_helper.to_array(tensor)
        if tensor.data_type != TensorProto.FLOAT or w.size < SMALL or w.ndim < 2 or tensor.name in EXACT:
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
        export_ear(ear, work / "mic.onnx")
        export_eye(eye, work / "camera.onnx", np.array(frames))
        export_component(policy.force, work / "force.onnx", torch.linspace(0, 30, 104)[None])
        export_component(policy.pose, work / "pose.onnx", torch.tensor([[10.0, -5.0, 30.0, 2.0]]))
        export_component(policy.motor, work / "motor.onnx", torch.linspace(-1, 1, 384)[None])
        for small in ("mic", "camera", "force", "pose", "motor"):
            shrink(work / f"{small}.onnx")
        parts = {
            "mic.encoder": work / "mic.onnx", "camera.encoder": work / "camera.onnx", "force.encoder": work / "force.onnx",
            "motor.pose_encoder": work / "pose.onnx", "motor.decoder": work / "motor.onnx",
        }
        rates = {"mic": 12.5, "camera": 75.0, "force": 12.5, "motor": 12.5}
        return write_bundle(target, policy.nano, parts, figures, rates_hz=rates, context=CONTEXT, version=version)
