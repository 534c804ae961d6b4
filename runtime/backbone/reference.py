"""The backbone in numpy float64, read from a variant's decode graph: slow, exact, for checks.

It shares nothing with the graphs but their bytes of weights: the integers and scales that the decode graph refers to are what it multiplies
with, activations are never rounded. Differences of its answers have nine digits, so they tell whether a gradient is that of the
deployed weights. The package `onnx` is no part of a device, so the few fields that are needed are read here; their numbers are those of
onnx.proto (https://onnx.ai/onnx/repo-docs/IR.html).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from innervate.runtime.ali.errors import BundleError
from innervate.runtime.backbone.bundle import Bundle

Doubles = npt.NDArray[np.float64]
Array = npt.NDArray[Any]

_DTYPES = {1: np.float32, 2: np.uint8, 3: np.int8, 7: np.int64}  # TensorProto.DataType
ZERO_POINT, RESIDUAL_STEPS = 128, 254  # of weights in blocks, see models/export.py


class Reference:
    """A variant's backbone with float64 activations.

    Raises BundleError when the decode graph is not what models/export.py writes.
    """

    def __init__(self, bundle: Bundle, variant: str) -> None:
        path = bundle.variant_path(variant)
        try:
            model = _Model(path.read_bytes())
            self._tensors = {name: tensor.array(bundle.folder) for name, tensor in model.tensors.items()}
            self._eps = model.epsilon
            self._layers = range(bundle.header.layers)
            self._weights = {f"{name}.{i}": self._weight(f"{name}.{i}") for i in self._layers for name in ("qkv", "out", "gate_up", "down")}
        except (OSError, ValueError, KeyError, IndexError, struct.error) as error:
            raise BundleError(str(path), f"cannot be read ({error})", "a decode graph of models/export.py", "export the bundle again") from error
        self._heads = bundle.header.heads

    def __call__(self, x: npt.NDArray[np.floating]) -> Doubles:
        """Answers ``[T, D]`` to a sequence ``x [T, D]`` that begins at position 0."""
        residual = x.astype(np.float64)
        for i in self._layers:
            residual = residual + self._attended(self._norm(residual, f"norm_attention.{i}"), i)
            gate, up = np.split(self._norm(residual, f"norm_ffn.{i}") @ self._weights[f"gate_up.{i}"], 2, axis=1)
            residual = residual + (gate / (1 + np.exp(-gate)) * up) @ self._weights[f"down.{i}"]
        return self._norm(residual, "norm")

    def _norm(self, x: Doubles, gain: str) -> Doubles:
        normed: Doubles = x / np.sqrt((x * x).mean(axis=1, keepdims=True) + self._eps) * self._tensors[gain]
        return normed

    def _attended(self, normed: Doubles, i: int) -> Doubles:
        rows, width = normed.shape
        qkv = (normed @ self._weights[f"qkv.{i}"]).reshape(rows, 3, self._heads, -1).transpose(1, 2, 0, 3)  # [3, H, T, d]
        q, k, v = self._turned(qkv[0]), self._turned(qkv[1]), qkv[2]
        scores = q @ k.transpose(0, 2, 1) / np.sqrt(q.shape[2])  # [H, T, T]
        scores = np.where(np.tri(rows, dtype=bool), scores, -np.inf)
        odds = np.exp(scores - scores.max(axis=2, keepdims=True))
        odds /= odds.sum(axis=2, keepdims=True)
        mixed = (odds @ v).transpose(1, 0, 2).reshape(rows, width)
        attended: Doubles = mixed @ self._weights[f"out.{i}"]
        return attended

    def _turned(self, heads: Doubles) -> Doubles:
        """Half-split rotation of ``[H, T, d]``."""
        cos, sin = (self._tensors[name][: heads.shape[1]].astype(np.float64) for name in ("cos", "sin"))
        first, second = np.split(heads, 2, axis=2)
        return np.concatenate((first * cos - second * sin, second * cos + first * sin), axis=2)

    def _weight(self, name: str) -> Doubles:
        """The matrix ``[inputs, outputs]`` that the integers stand for."""
        found = self._tensors
        if f"{name}.int8" in found:
            columns: Doubles = found[f"{name}.int8"].astype(np.float64) * found[f"{name}.scale"]
            return columns
        blocks = found[f"{name}.blocks"].astype(np.float64) - ZERO_POINT  # [outputs, blocks, rows]
        if f"{name}.residual" in found:
            blocks += found[f"{name}.residual"].astype(np.float64) / RESIDUAL_STEPS
        whole: Doubles = (blocks * found[f"{name}.block_scale"][..., None]).reshape(len(blocks), -1).T
        return whole


@dataclass(slots=True)
class _Tensor:
    """A TensorProto: where its numbers lie."""

    name: str = ""
    dtype: int = 0
    dims: list[int] = field(default_factory=list)
    place: dict[str, str] = field(default_factory=dict)
    raw: bytes = b""

    def array(self, folder: Path) -> Array:
        """The numbers. Raises KeyError for a type that no bundle has, ValueError for a file that is too short."""
        dtype = np.dtype(_DTYPES[self.dtype])
        if not self.place:
            return np.frombuffer(self.raw, dtype).reshape(self.dims)
        count = int(self.place["length"]) // dtype.itemsize
        return np.fromfile(folder / self.place["location"], dtype, count, offset=int(self.place["offset"])).reshape(self.dims)


class _Model:
    """Of a ModelProto, the initialisers by name and the norms' epsilon."""

    def __init__(self, raw: bytes) -> None:
        self.tensors: dict[str, _Tensor] = {}
        self.epsilon = 0.0
        for number, graph in _fields(raw):
            if number == 7:  # ModelProto.graph
                for kind, value in _fields(graph):
                    if kind == 1:  # GraphProto.node
                        self._node(value)
                    elif kind == 5:  # GraphProto.initializer
                        tensor = _tensor(value)
                        self.tensors[tensor.name] = tensor

    def _node(self, raw: bytes) -> None:
        for number, attribute in _fields(raw):
            if number == 5:  # NodeProto.attribute
                parts = dict(_fields(attribute))
                if parts.get(1) == b"epsilon":
                    self.epsilon = struct.unpack("<f", parts[2])[0]


def _tensor(raw: bytes) -> _Tensor:
    tensor = _Tensor()
    for number, value in _fields(raw):
        if number == 1:  # dims, packed or one by one
            tensor.dims += list(_varints(value))
        elif number == 2:
            tensor.dtype = next(_varints(value))
        elif number == 8:
            tensor.name = value.decode()
        elif number == 9:
            tensor.raw = value
        elif number == 13:  # external_data: pairs of key and value
            pair = dict(_fields(value))
            tensor.place[pair[1].decode()] = pair[2].decode()
    return tensor


def _fields(raw: bytes) -> Iterator[tuple[int, bytes]]:
    """The fields of a message: number, and the value's bytes (of a number, as it is encoded)."""
    at = 0
    while at < len(raw):
        key, at = _varint(raw, at)
        wire, start = key & 7, at
        if wire == 0:
            _, at = _varint(raw, at)
        elif wire == 2:
            size, start = _varint(raw, at)
            at = start + size
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire}")
        if at > len(raw):
            raise ValueError("a field longer than its message")
        yield key >> 3, raw[start:at]


def _varints(raw: bytes) -> Iterator[int]:
    at = 0
    while at < len(raw):
        value, at = _varint(raw, at)
        yield value


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = raw[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
