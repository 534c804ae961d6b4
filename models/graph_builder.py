"""Hand-built component graphs: nodes in order of execution, weights by name, one file at the end.

Used where an exporter would write three times the nodes: at these sizes a node costs 1.5 us whatever it does.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import ArrayLike, NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 18
MS = "com.microsoft"
LEVELS = np.float32(127)  # of a symmetric int8


def quantise_symmetric(w: NDArray[np.float32], axis: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Symmetric int8 with one scale for each index of `axis`: integers of w's shape, scales [w.shape[axis]]."""
    rest = tuple(i for i in range(w.ndim) if i != axis)
    scale = np.maximum(np.abs(w).max(axis=rest), np.float32(1e-12)) / LEVELS
    shape = [1] * w.ndim
    shape[axis] = -1
    integers = np.clip(np.rint(w / scale.reshape(shape)), -LEVELS, LEVELS)
    return integers.astype(np.int8), scale.astype(np.float32)


@dataclass(frozen=True, slots=True)
class Step:
    """What a uint8 stands for: ``(integer - zero) * scale``."""

    scale: float
    zero: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Weights8:
    """A convolution in integers: weights [O, I, H, W], a scale an output [O], and the bias [O] in steps of input scale times weight scale."""

    integers: NDArray[np.int8]
    scale: NDArray[np.float32]
    bias: NDArray[np.int32]


class GraphBuilder:
    """Gathers one component graph; `node` and `constant` return names."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, TensorProto] = {}
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []

    def input(self, name: str, *shape: int) -> str:
        """Declare a float32 input."""
        self._inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        return name

    def output(self, name: str, *shape: int) -> str:
        """Declare a float32 output; a node must write it."""
        self._outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        return name

    def constant(self, name: str, value: ArrayLike, dtype: type[np.generic] = np.float32) -> str:
        """Add a weight."""
        self._constants[name] = numpy_helper.from_array(np.ascontiguousarray(value, dtype), name)
        return name

    def node(self, op: str, inputs: list[str], output: str, domain: str = "", **attributes: int | float | list[int]) -> str:
        """Add a node with one output."""
        made = helper.make_node(op, inputs, [output], name=output, domain=domain)
        made.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
        self._nodes.append(made)
        return output

    def split(self, value: str, outputs: list[str], sizes: list[int]) -> list[str]:
        """Split the last axis."""
        self.constant(f"{outputs[0]}.sizes", sizes, np.int64)
        self._nodes.append(helper.make_node("Split", [value, f"{outputs[0]}.sizes"], outputs, name=outputs[0], axis=-1))
        return outputs

    def slice(self, value: str, start: int, end: int, output: str, *, step: int = 1) -> str:
        """A part of axis 1."""
        bounds = [self.constant(f"{output}.{part}", [at], np.int64) for part, at in (("start", start), ("end", end), ("axis", 1), ("step", step))]
        return self.node("Slice", [value, *bounds], output)

    def reshape(self, value: str, output: str, *shape: int) -> str:
        """See the same numbers in another shape."""
        return self.node("Reshape", [value, self.constant(f"{output}.shape", shape, np.int64)], output)

    def top(self, value: str, count: str, output: str, *, largest: int = 1) -> list[str]:
        """The first values of [N], sorted, and where they stand."""
        outputs = [f"{output}.values", f"{output}.at"]
        self._nodes.append(helper.make_node("TopK", [value, count], outputs, name=output, axis=0, largest=largest))
        return outputs

    def dense(self, value: str, w: NDArray[np.float32], bias: NDArray[np.float32], output: str, *, int8: bool) -> str:
        """``value [N, K] @ w [K, M] + bias [M]``; in int8 the weights have a scale a column and the values one for each run."""
        offset = self.constant(f"{output}.bias", bias)
        if not int8:
            return self.node("Gemm", [value, self.constant(f"{output}.w", w), offset], output)
        integers, scale = quantise_symmetric(w, axis=1)
        weights, scales = self.constant(f"{output}.int8", integers, np.int8), self.constant(f"{output}.scale", scale)
        return self.node("DynamicQuantizeMatMul", [value, weights, scales, "", offset], output, MS)

    def conv8(self, value: str, steps: tuple[Step, Step], weights: Weights8, output: str, **attributes: int | list[int]) -> str:
        """Integer convolution of uint8 [N, H, W, C]; `steps`: of what comes in and goes out (at zero point 0 a ReLU is free)."""
        parts = [value]
        for side, step in zip(("in", "out"), steps, strict=True):
            scale = self.constant(f"{output}.{side}.scale", np.float32(step.scale))
            zero = self.constant(f"{output}.{side}.zero", np.uint8(step.zero), np.uint8)
            parts += [scale, zero]
        w = self.constant(f"{output}.int8", weights.integers, np.int8)
        scales = self.constant(f"{output}.scale", weights.scale)
        zeros = self.constant(f"{output}.zero", np.zeros(len(weights.scale)), np.int8)
        bias = self.constant(f"{output}.bias", weights.bias, np.int32)
        inputs = [*parts[:3], w, scales, zeros, *parts[3:], bias]
        return self.node("QLinearConv", inputs, output, MS, channels_last=1, **attributes)

    def save(self, path: Path) -> None:
        """Check and write the graph."""
        graph = helper.make_graph(self._nodes, self.name, self._inputs, self._outputs, list(self._constants.values()))
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(MS, 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10, producer_name="innervate")
        onnx.checker.check_model(model)
        path.parent.mkdir(parents=True, exist_ok=True)
        onnx.save(model, path)
