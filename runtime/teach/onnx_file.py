"""ONNX files of small networks, written byte by byte.

The package `onnx` is no part of a device's installation (it pulls in protobuf and ml_dtypes, 20 MB for graphs of ten nodes), so the few
messages that such a graph needs are written here: https://onnx.ai/onnx/repo-docs/IR.html and onnx.proto, whose field numbers stand in the code.
tests/teach holds the files against `onnx.checker` and onnxruntime.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from innervate.runtime.teach.layers import Conv, Flatten, Floats, Linear, Net, Relu

IR_VERSION, OPSET = 8, 17  # what onnxruntime has read since 1.12
_FLOAT, _INT64 = 1, 7  # TensorProto.DataType
_INT, _INTS = 2, 7  # AttributeProto.AttributeType
_VARINT, _BYTES = 0, 2  # wire types


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3 | _VARINT) + _varint(value)


def _bytes(field: int, value: bytes | str) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return _varint(field << 3 | _BYTES) + _varint(len(raw)) + raw


class GraphFile:
    """A graph in the making; `encode` gives the bytes of its file.

    Names of values are chosen by the caller; weights are named by `weight`.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._nodes: list[bytes] = []
        self._weights: list[bytes] = []
        self._ports: list[bytes] = []

    def input(self, name: str, shape: Sequence[int]) -> str:
        """Declare a float32 input of fixed shape."""
        self._ports.append(_bytes(11, _port(name, shape)))
        return name

    def output(self, name: str, shape: Sequence[int]) -> None:
        """Declare the value `name` as a float32 output of fixed shape."""
        self._ports.append(_bytes(12, _port(name, shape)))

    def weight(self, array: Floats | npt.NDArray[np.int64]) -> str:
        """Store a constant (float32 or int64); return its name."""
        name = f"w{len(self._weights)}"
        whole = array.dtype.kind == "i"
        raw = np.ascontiguousarray(array, "<i8" if whole else "<f4").tobytes()
        dims = b"".join(_number(1, size) for size in array.shape)
        self._weights.append(_bytes(5, dims + _number(2, _INT64 if whole else _FLOAT) + _bytes(8, name) + _bytes(9, raw)))
        return name

    def node(self, kind: str, inputs: Sequence[str], output: str | None = None, **attributes: int | Sequence[int]) -> str:
        """Add an operator of one output; return the output's name."""
        result = output if output is not None else f"v{len(self._nodes)}"
        body = b"".join(_bytes(1, name) for name in inputs) + _bytes(2, result) + _bytes(3, f"n{len(self._nodes)}") + _bytes(4, kind)
        for name, value in attributes.items():
            if isinstance(value, int):
                body += _bytes(5, _bytes(1, name) + _number(3, value) + _number(20, _INT))
            else:
                body += _bytes(5, _bytes(1, name) + b"".join(_number(8, one) for one in value) + _number(20, _INTS))
        self._nodes.append(_bytes(1, body))
        return result

    def net(self, net: Net, x: str, shape: tuple[int, int, int]) -> tuple[str, tuple[int, int, int]]:
        """Add a network on the value `x` of shape [B, T, C]; return the name and shape of its output."""
        for layer in net.layers:
            x, shape = self._layer(layer, x, shape)
        return x, shape

    def _layer(self, layer: object, x: str, shape: tuple[int, int, int]) -> tuple[str, tuple[int, int, int]]:
        batch, steps, channels = shape
        if isinstance(layer, Relu):
            return self.node("Relu", [x]), shape
        if isinstance(layer, Flatten):
            shape = (batch, 1, steps * channels)
            return self.node("Reshape", [x, self.weight(np.array(shape, np.int64))]), shape
        if isinstance(layer, Linear):
            y = self.node("Add", [self.node("MatMul", [x, self.weight(layer.weights["w"])]), self.weight(layer.weights["b"])])
            return y, (batch, steps, layer.weights["w"].shape[1])
        if isinstance(layer, Conv):  # ONNX convolves [B, C, T] with [C', C, K]
            kernel = layer.weights["w"].transpose(2, 1, 0)
            turned = self.node("Transpose", [x], perm=[0, 2, 1])
            y = self.node("Conv", [turned, self.weight(kernel), self.weight(layer.weights["b"])])
            return self.node("Transpose", [y], perm=[0, 2, 1]), (batch, steps - kernel.shape[2] + 1, kernel.shape[0])
        raise TypeError(f"no ONNX operator is known for {type(layer).__name__}")

    def encode(self) -> bytes:
        """Return the file."""
        graph = b"".join(self._nodes) + _bytes(2, self._name) + b"".join(self._weights) + b"".join(self._ports)
        opset = _bytes(1, "") + _number(2, OPSET)
        return _number(1, IR_VERSION) + _bytes(2, "innervate") + _bytes(7, graph) + _bytes(8, opset)


def _port(name: str, shape: Sequence[int]) -> bytes:
    dims = b"".join(_bytes(1, _number(1, size)) for size in shape)
    return _bytes(1, name) + _bytes(2, _bytes(1, _number(1, _FLOAT) + _bytes(2, dims)))
