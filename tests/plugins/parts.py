"""What the tests of this room share: contexts, a world with something in it, small real graphs."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from innervate.boards.emulator.scenario import Scenario
from innervate.boards.emulator.still import StillWorld
from innervate.runtime.ali.component import Bench, Context
from innervate.runtime.ali.registry import Registry
from innervate.runtime.ali.space import Space
from innervate.runtime.backbone.graph import Graph
from innervate.runtime.loop.clock import RealClock, VirtualClock

WIDTH = 8
SPACE = Space("5" * 64, "6" * 64, WIDTH)
TICK_NS = 80_000_000


def context(plugin: str, name: str, clock: VirtualClock | RealClock, world: Bench | None = None, **options: Any) -> Context:
    """A component's context as a board gives it: the manifest's options with `options` over them."""
    entry = Registry(entry_points=False).component(plugin, name)
    return Context(name, clock, {**entry.options, **options}, world)


class Room(StillWorld):
    """A still world with sound, force and typing that are functions of time, so that a test can say what must come."""

    def __init__(self) -> None:
        super().__init__(Scenario(duration_s=None))

    def audio(self, t0_ns: int, t1_ns: int) -> npt.NDArray[np.int16]:
        return np.arange(t0_ns // 62_500, t1_ns // 62_500).astype(np.int16)  # each sample is its own number

    def force(self, t0_ns: int, t1_ns: int) -> npt.NDArray[np.float32]:
        return np.arange(t0_ns // 10_000_000 + 1, t1_ns // 10_000_000 + 1).astype(np.float32) / np.float32(10)

    def typed(self, t0_ns: int, t1_ns: int) -> bytes:
        return b"stop\n" if t0_ns <= 200_000_000 < t1_ns else b""


class Time:
    """A virtual clock and the world that lives by it."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.world = Room()

    def advance(self, seconds: float) -> None:
        self.clock.advance_s(seconds)
        self.world.advance_to(self.clock.now_ns())

    def tick(self) -> None:
        self.advance(TICK_NS / 1e9)


def projection(path: Path, shape: list[int], rows: int, decay: float | None = None, seed: int = 0) -> Graph:
    """A real component graph: y = flatten(x) @ W, [rows, WIDTH]; with `decay` a state keeps a running mean of y.

    The shapes and names are those of the bundle's component graphs.
    """
    size = int(np.prod(shape))
    weights = np.random.default_rng(seed).standard_normal((size, rows * WIDTH)).astype(np.float32) / size**0.5
    inits = [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(np.array([rows, WIDTH], np.int64), "s")]
    flat = numpy_helper.from_array(np.array([1, size], np.int64), "f")
    nodes = [
        helper.make_node("Reshape", ["x", "f"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["wide"]),
        helper.make_node("Reshape", ["wide", "s"], ["now"]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [rows, WIDTH])
    inputs, outputs = [x], [y]
    if decay is None:
        nodes.append(helper.make_node("Identity", ["now"], ["y"]))
    else:
        inits.append(numpy_helper.from_array(np.array(decay, np.float32), "d"))
        inputs.append(helper.make_tensor_value_info("state_mean", TensorProto.FLOAT, [rows, WIDTH]))
        outputs.append(helper.make_tensor_value_info("next_mean", TensorProto.FLOAT, [rows, WIDTH]))
        nodes += [
            helper.make_node("Mul", ["state_mean", "d"], ["old"]),
            helper.make_node("Add", ["now", "old"], ["y"]),
            helper.make_node("Add", ["now", "old"], ["next_mean"]),
        ]
    return _graph(path, nodes, inputs, outputs, [*inits, flat])


def turn(path: Path, pan_deg: float, tilt_deg: float) -> Graph:
    """A motor decoder that answers every latent with the same turn: y = 0 * x @ W + (pan, tilt), [1, 2]."""
    inits = [
        numpy_helper.from_array(np.zeros((WIDTH, 2), np.float32), "w"),
        numpy_helper.from_array(np.array([[pan_deg, tilt_deg]], np.float32), "b"),
    ]
    nodes = [helper.make_node("MatMul", ["x", "w"], ["z"]), helper.make_node("Add", ["z", "b"], ["y"])]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, WIDTH])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])
    return _graph(path, nodes, [x], [y], inits)


def _graph(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    inits: list[onnx.TensorProto],
) -> Graph:
    model = helper.make_model(helper.make_graph(nodes, "part", inputs, outputs, inits), opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(path))
    return Graph(path)
