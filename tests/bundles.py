"""Small real bundles for the tests: random weights, real graphs, the real exporter, and a classifier that follows a script.

A random backbone's hidden state is mostly its input row, so a linear classifier can be solved that answers each token with a
chosen next one. That gives a model whose every emission is known, running through the real engine.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from innervate.runtime.backbone.bundle import Bundle

WIDTH = 64
CONTEXT = 128
CONTROL = ("<idle>", "<so_motor>", "<eo_motor>")
IDLE, SO_MOTOR, EO_MOTOR = 256, 257, 258
SHAPES: dict[str, tuple[list[int], list[int]]] = {
    "mic.encoder": ([1, 1280], [1, WIDTH]),
    "camera.encoder": ([1, 3, 96, 96], [6, WIDTH]),
    "force.encoder": ([1, 104], [1, WIDTH]),
    "motor.pose_encoder": ([1, 4], [1, WIDTH]),
    "motor.decoder": ([1, WIDTH], [1, 2]),
}

Floats = npt.NDArray[np.float32]


def projection(path: Path, x_shape: list[int], y_shape: list[int], scale: float, seed: int = 0) -> None:
    """Write a component graph y = tanh(flatten(x) @ W) * scale."""
    rows, columns = int(np.prod(x_shape)), int(np.prod(y_shape))
    draws = np.random.default_rng(seed)
    weights = (draws.standard_normal((rows, columns)) / np.sqrt(rows)).astype(np.float32)
    constants = [
        numpy_helper.from_array(weights, "w"),
        numpy_helper.from_array(np.array([1, rows], np.int64), "flat"),
        numpy_helper.from_array(np.array(y_shape, np.int64), "shape"),
        numpy_helper.from_array(np.array(scale, np.float32), "scale"),
    ]
    nodes = [
        helper.make_node("Reshape", ["x", "flat"], ["row"]),
        helper.make_node("MatMul", ["row", "w"], ["raw"]),
        helper.make_node("Tanh", ["raw"], ["bounded"]),
        helper.make_node("Mul", ["bounded", "scale"], ["scaled"]),
        helper.make_node("Reshape", ["scaled", "shape"], ["y"]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, x_shape)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, y_shape)
    graph = helper.make_graph(nodes, "component", [x], [y], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)


def scripted_bundle(folder: Path, script: Mapping[int, int]) -> Path:
    """Write a bundle whose model answers token `a` with token `script[a]`; tokens that are not in it with `<idle>`.

    `<idle>` stands for the query row, so `script[IDLE]` is what a tick begins with.
    """
    import torch

    from innervate.models.backbone import BackboneConfig, Nano
    from innervate.models.export import write_bundle
    from innervate.runtime.backbone.bundle import Bundle

    torch.manual_seed(0)
    nano = Nano(BackboneConfig(width=WIDTH, layers=1, heads=1, ffn=64, context=CONTEXT))
    parts: dict[str, Path] = {}
    folder.parent.mkdir(parents=True, exist_ok=True)
    for index, (name, (x_shape, y_shape)) in enumerate(SHAPES.items()):
        parts[name] = folder.parent / f"{name}.onnx"
        projection(parts[name], x_shape, y_shape, scale=20.0 if name == "motor.decoder" else 0.5, seed=index)
    write_bundle(folder, nano, parts, {}, rates_hz={"mic": 12.5})
    with torch.no_grad():
        nano.classifier[:] = torch.from_numpy(_classifier(Bundle.open(folder), script))
    return write_bundle(folder, nano, parts, {}, rates_hz={"mic": 12.5})


def _classifier(bundle: "Bundle", script: Mapping[int, int]) -> Floats:
    """Solve for rows that score script[token] highest after token, over many random contexts; ridge regression."""
    from innervate.runtime.backbone.engine import Engine
    from innervate.runtime.backbone.vocabulary import Vocabulary

    engine, vocabulary = Engine(bundle, "fp32"), Vocabulary(bundle)
    draws = np.random.default_rng(1)
    tokens = sorted({IDLE, SO_MOTOR, EO_MOTOR, *script, *script.values()})
    hidden, wanted = [], []
    for _ in range(60):
        engine.append((draws.standard_normal((9, WIDTH)) * draws.uniform(0.0, 0.7)).astype(np.float32))
        for token in draws.permutation(tokens):
            hidden.append(engine.append(vocabulary.row(int(token))[None])[-1].copy())
            row = np.zeros(vocabulary.size, np.float32)
            row[script.get(int(token), IDLE)] = 1.0
            wanted.append(row)
    h, y = np.array(hidden), np.array(wanted)  # [N, D], [N, V]
    solved = np.linalg.solve(h.T @ h + 1e-2 * np.eye(WIDTH), h.T @ y)
    return np.ascontiguousarray(solved.T, dtype=np.float32)  # [V, D]
