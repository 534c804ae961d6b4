"""The gradient of a bundle's backbone as an ONNX graph, reverse mode written by hand, from the deployed weights.

``python -m innervate.models.vjp BUNDLE`` adds the graphs to a bundle; :func:`innervate.models.export.write_bundle` does it by itself.

A graph has inputs ``x [T, D]`` and ``g [T, D]``, outputs ``y [T, D]`` (what the backbone gives for a sequence that begins with
``x``) and ``dx [T, D]`` (the gradient of ``sum(g * y)`` with respect to ``x``); T is free up to the context. It is built from a
variant's decode graph and refers to the same bytes of the same weight files: a gradient of another quantisation would be the
gradient of another model. Activations stay float32, for a rounded activation has no slope.

Theory, a layer at a time, ``d`` standing for "gradient with respect to":

- RMS norm ``z = x r``, ``r = 1 / sqrt(mean(x^2) + eps)``: ``dx = r (dz - z mean(dz z))``. Its gain is multiplied into the rows of the matrix
  that follows, once, when the session folds constants; only the last norm's stands alone.
- rotation: its transpose is the rotation by the opposite angle.
- attention ``o = p v``, ``p = softmax(q k' s)``: ``dp = do v'``, ``ds = p (dp - rowsum(do o))``, since ``rowsum(dp p) = rowsum(do o)``.
- gated feed-forward ``h = a u``, ``a = silu(b)``, ``e = sigmoid(b)``: ``db = dh u (e + a - a e)``.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from innervate.runtime.ali.errors import BundleError

OPSET = 21
MS = "com.microsoft"
ZERO_POINT = 128  # of nb8's unsigned bytes
RESIDUAL_STEPS = 254  # of fp32's second byte, in steps of the block's scale
MASKED = -1e30  # as good as minus infinity after a softmax, and no NaN where it meets a difference


def gradient_file(variant: str) -> str:
    """Name of a variant's gradient graph: ``vjp.onnx`` for dq8, whose scales stand a column, ``vjp.NAME.onnx`` for others."""
    return "vjp.onnx" if variant == "dq8" else f"vjp.{variant}.onnx"


@dataclass(frozen=True, slots=True)
class _Weight:
    """A matrix in the graph as float32: its name, and whether it stands as [outputs, inputs]."""

    name: str
    turned: bool


@dataclass(slots=True)
class _Kept:
    """Values of one layer that its backward pass reads."""

    names: dict[str, str] = field(default_factory=dict)

    def __getitem__(self, key: str) -> str:
        return self.names[key]

    def __setitem__(self, key: str, value: str) -> None:
        self.names[key] = value


class GradientGraph:
    """Builds the gradient graph of one decode graph (external weights not loaded)."""

    def __init__(self, decode: onnx.ModelProto) -> None:
        self.known = {tensor.name: tensor for tensor in decode.graph.initializer}
        attention = [node for node in decode.graph.node if node.op_type == "GroupQueryAttention"]
        norm = next(node for node in decode.graph.node if node.op_type == "SimplifiedLayerNormalization")
        self.layers = len(attention)
        self.heads = next(int(a.i) for a in attention[0].attribute if a.name == "num_heads")
        self.eps = next(float(a.f) for a in norm.attribute if a.name == "epsilon")
        self.width = int(self.known["norm"].dims[0])
        self.head_width = self.width // self.heads
        self.nodes: list[onnx.NodeProto] = []
        self.initialisers: dict[str, TensorProto] = {}
        self._weights: dict[str, _Weight] = {}

    # -- small parts

    def node(self, op: str, inputs: list[str], outputs: list[str], domain: str = "", **attributes: Any) -> str:
        """Append a node, named after its first output, and return that."""
        self.nodes.append(helper.make_node(op, inputs, outputs, name=outputs[0], domain=domain, **attributes))
        return outputs[0]

    def constant(self, name: str, value: npt.NDArray[Any]) -> str:
        """A small constant inside the graph file, made once."""
        if name not in self.initialisers:
            self.initialisers[name] = onnx.numpy_helper.from_array(value, name)
        return name

    def tensor(self, name: str, dims: Sequence[int] | None = None) -> str:
        """A tensor of the weight files, with other dimensions over the same bytes if ``dims`` says so."""
        tensor = TensorProto()
        tensor.CopyFrom(self.known[name])
        if dims is not None:
            del tensor.dims[:]
            tensor.dims.extend(dims)
        self.initialisers[name] = tensor
        return name

    def weight(self, name: str, gain: str = "") -> _Weight:
        """The float32 matrix that the decode graph's bytes stand for; one value for the forward and the backward pass."""
        if name not in self._weights:
            weight = self._columns(name) if f"{name}.int8" in self.known else self._blocks(name)
            if gain:
                shape = self.constant("a_row" if weight.turned else "a_column", np.array([1, -1] if weight.turned else [-1, 1], np.int64))
                rows = self.node("Reshape", [self.tensor(gain), shape], [f"{gain}.rows"])
                weight = _Weight(self.node("Mul", [weight.name, rows], [f"{name}.gained"]), weight.turned)
            self._weights[name] = weight
        return self._weights[name]

    def _columns(self, name: str) -> _Weight:
        operands = [self.tensor(f"{name}.int8"), self.tensor(f"{name}.scale")]
        return _Weight(self.node("DequantizeLinear", operands, [f"{name}.w"], axis=1), turned=False)

    def _blocks(self, name: str) -> _Weight:
        outputs, blocks, block = self.known[f"{name}.blocks"].dims
        flat, scale = [outputs, blocks * block], self.tensor(f"{name}.block_scale")
        shape = self.constant(f"scales.{outputs}.{blocks}", np.array([outputs, blocks], np.int64))
        middle = helper.make_tensor("value", TensorProto.UINT8, [1], [ZERO_POINT])
        zero = self.node("ConstantOfShape", [shape], [f"{name}.zero"], value=middle)
        operands = [self.tensor(f"{name}.blocks", flat), scale, zero]
        coarse = self.node("DequantizeLinear", operands, [f"{name}.coarse"], axis=1, block_size=int(block))
        if f"{name}.residual" not in self.known:
            return _Weight(coarse, turned=True)
        steps = self.constant("residual_steps", np.array(1 / RESIDUAL_STEPS, np.float32))
        finer = self.node("Mul", [scale, steps], [f"{name}.fine_scale"])
        operands = [self.tensor(f"{name}.residual", flat), finer]
        fine = self.node("DequantizeLinear", operands, [f"{name}.fine"], axis=1, block_size=int(block))
        return _Weight(self.node("Add", [coarse, fine], [f"{name}.w"]), turned=True)

    def times(self, x: str, name: str, out: str, *, gain: str = "", back: bool = False) -> str:
        """``x @ W``, or ``x @ W'`` on the way back; ``gain`` names the norm whose gain stands before ``W``."""
        weight = self.weight(name, gain)
        return self.node("Gemm", [x, weight.name], [out], transB=int(weight.turned != back))

    def fused(self, a: str, b: str, out: str, *, turn_a: bool = False, turn_b: bool = False, alpha: float = 1.0) -> str:
        """Batched ``alpha a @ b`` with either side transposed in place."""
        return self.node("FusedMatMul", [a, b], [out], MS, transA=int(turn_a), transB=int(turn_b), alpha=alpha)

    def norm(self, x: str, out: str) -> tuple[str, str]:
        """RMS norm of ``x [T, D]`` without its gain: ``z [T, D]`` and ``r [T, 1]``."""
        ones = self.constant("ones", np.ones(self.width, np.float32))
        outputs = [out, f"{out}.r"]
        self.nodes.append(helper.make_node("SimplifiedLayerNormalization", [x, ones], outputs, name=out, axis=-1, epsilon=self.eps))
        return out, f"{out}.r"

    def norm_back(self, dz: str, z: str, r: str, out: str) -> str:
        """Gradient of the norm's input."""
        product = self.node("Mul", [dz, z], [f"{out}.product"])
        axis = self.constant("last_axis", np.array([-1], np.int64))
        mean = self.node("ReduceMean", [product, axis], [f"{out}.mean"], keepdims=1)
        along = self.node("Mul", [z, mean], [f"{out}.along"])
        across = self.node("Sub", [dz, along], [f"{out}.across"])
        return self.node("Mul", [across, r], [out])

    def rotate(self, x: str, sin: str, out: str) -> str:
        """Turn heads ``[1, count, T, d]`` by their positions' angles, whose sines are ``sin``."""
        operands = [x, self.constant("first_position", np.array([0], np.int64)), self.tensor("cos"), sin]
        return self.node("RotaryEmbedding", operands, [out], MS, interleaved=0)

    def heads_of(self, x: str, out: str, count: int) -> str:
        """``[T, count * d]`` to ``[1, count, T, d]``."""
        shape = self.constant(f"heads.{count}", np.array([1, -1, count, self.head_width], np.int64))
        rows = self.node("Reshape", [x, shape], [f"{out}.rows"])
        return self.node("Transpose", [rows], [out], perm=[0, 2, 1, 3])

    def rows_of(self, x: str, out: str, count: int) -> str:
        """``[1, count, T, d]`` to ``[T, count * d]``."""
        turned = self.node("Transpose", [x], [f"{out}.turned"], perm=[0, 2, 1, 3])
        shape = self.constant(f"rows.{count}", np.array([-1, count * self.head_width], np.int64))
        return self.node("Reshape", [turned, shape], [out])

    # -- the two passes

    def mask(self) -> str:
        """``[T, T]``: 0 where row may look at column, MASKED above the diagonal."""
        length = self.node("Shape", ["x"], ["length"], start=0, end=1)
        square = self.node("Concat", [length, length], ["square"], axis=0)
        low = helper.make_tensor("value", TensorProto.FLOAT, [1], [MASKED])
        full = self.node("ConstantOfShape", [square], ["masked"], value=low)
        return self.node("Trilu", [full, self.constant("one", np.array(1, np.int64))], ["mask"], upper=1)

    def forward(self, i: int, x: str, mask: str) -> tuple[str, _Kept]:
        """Layer ``i``: the residual after it, and what its backward pass needs."""
        kept = _Kept()
        kept["z1"], kept["r1"] = self.norm(x, f"in.{i}")
        qkv = self.times(kept["z1"], f"qkv.{i}", f"qkv.{i}.y", gain=f"norm_attention.{i}")
        heads = self.heads_of(qkv, f"qkv.{i}.heads", 3 * self.heads)
        self.node("Split", [heads], [f"q.{i}.straight", f"k.{i}.straight", f"v.{i}"], axis=1, num_outputs=3)
        kept["q"], kept["k"] = (self.rotate(f"{part}.{i}.straight", self.tensor("sin"), f"{part}.{i}") for part in "qk")
        kept["v"] = f"v.{i}"
        scores = self.fused(kept["q"], kept["k"], f"scores.{i}", turn_b=True, alpha=self.head_width**-0.5)
        masked = self.node("Add", [scores, mask], [f"scores_masked.{i}"])
        kept["p"] = self.node("Softmax", [masked], [f"p.{i}"], axis=-1)
        kept["o"] = self.node("MatMul", [kept["p"], kept["v"]], [f"o.{i}"])
        mixed = self.rows_of(kept["o"], f"mixed.{i}", self.heads)
        middle = self.node("Add", [x, self.times(mixed, f"out.{i}", f"out.{i}.y")], [f"middle.{i}"])
        kept["z2"], kept["r2"] = self.norm(middle, f"ffn_in.{i}")
        both = self.times(kept["z2"], f"gate_up.{i}", f"gate_up.{i}.y", gain=f"norm_ffn.{i}")
        kept["up"] = f"up.{i}"
        self.node("Split", [both], [f"gate.{i}", f"up.{i}"], axis=1, num_outputs=2)
        kept["e"] = self.node("Sigmoid", [f"gate.{i}"], [f"e.{i}"])
        kept["a"] = self.node("Mul", [f"gate.{i}", kept["e"]], [f"a.{i}"])
        hidden = self.node("Mul", [kept["a"], kept["up"]], [f"hidden.{i}"])
        return self.node("Add", [middle, self.times(hidden, f"down.{i}", f"down.{i}.y")], [f"after.{i}"]), kept

    def backward(self, i: int, g: str, kept: _Kept, last: str) -> str:
        """Gradient before layer ``i`` from ``g``, the one after it; ``last`` names the result."""
        dh = self.times(g, f"down.{i}", f"dhidden.{i}", back=True)
        dup = self.node("Mul", [dh, kept["a"]], [f"dup.{i}"])
        da = self.node("Mul", [dh, kept["up"]], [f"da.{i}"])
        ae = self.node("Mul", [kept["a"], kept["e"]], [f"ae.{i}"])
        rest = self.node("Sub", [kept["a"], ae], [f"rest.{i}"])
        slope = self.node("Add", [kept["e"], rest], [f"slope.{i}"])
        dgate = self.node("Mul", [da, slope], [f"dgate.{i}"])
        dboth = self.node("Concat", [dgate, dup], [f"dboth.{i}"], axis=1)
        dfed = self.times(dboth, f"gate_up.{i}", f"dffn_in.{i}", back=True)
        through = self.norm_back(dfed, kept["z2"], kept["r2"], f"through_ffn.{i}")
        g = self.node("Add", [g, through], [f"dmiddle.{i}"])
        dmixed = self.times(g, f"out.{i}", f"dmixed.{i}", back=True)
        dqkv = self.attention_back(i, self.heads_of(dmixed, f"do.{i}", self.heads), kept)
        din = self.times(dqkv, f"qkv.{i}", f"din.{i}", back=True)
        through = self.norm_back(din, kept["z1"], kept["r1"], f"through_attention.{i}")
        return self.node("Add", [g, through], [last])

    def attention_back(self, i: int, do: str, kept: _Kept) -> str:
        """Gradient of qkv ``[T, 3D]`` from that of the heads' outputs ``[1, H, T, d]``."""
        scale = self.head_width**-0.5
        dv = self.fused(kept["p"], do, f"dv.{i}", turn_a=True)
        dp = self.fused(do, kept["v"], f"dp.{i}", turn_b=True)
        product = self.node("Mul", [do, kept["o"]], [f"doo.{i}"])
        axis = self.constant("last_axis", np.array([-1], np.int64))
        share = self.node("ReduceSum", [product, axis], [f"share.{i}"], keepdims=1)
        ds = self.node("Mul", [kept["p"], self.node("Sub", [dp, share], [f"dp_rest.{i}"])], [f"ds.{i}"])
        dq = self.fused(ds, kept["k"], f"dq.{i}", alpha=scale)
        dk = self.fused(ds, kept["q"], f"dk.{i}", turn_a=True, alpha=scale)
        back = self.node("Neg", [self.tensor("sin")], ["minus_sin"]) if i == self.layers - 1 else "minus_sin"
        straight = [self.rotate(part, back, f"{part}.straight") for part in (dq, dk)]
        whole = self.node("Concat", [*straight, dv], [f"dqkv.{i}.heads"], axis=1)
        return self.rows_of(whole, f"dqkv.{i}", 3 * self.heads)

    def build(self) -> onnx.ModelProto:
        """The whole graph; inputs ``x`` and ``g``, outputs ``y`` and ``dx``, each ``[T, D]``."""
        mask, x, kept = self.mask(), "x", []
        for i in range(self.layers):
            x, keep = self.forward(i, x, mask)
            kept.append(keep)
        z, r = self.norm(x, "last")
        gain = self.tensor("norm")
        self.node("Mul", [z, gain], ["y"])
        g = self.norm_back(self.node("Mul", ["g", gain], ["dlast"]), z, r, "dafter")
        for i in reversed(range(self.layers)):
            g = self.backward(i, g, kept[i], "dx" if i == 0 else f"dafter.{i}")
        shape: list[int | str | None] = ["T", self.width]
        inputs, outputs = ([helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in names] for names in (("x", "g"), ("y", "dx")))
        graph = helper.make_graph(self.nodes, "vjp", inputs, outputs, list(self.initialisers.values()))
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(MS, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10, producer_name="innervate")


def gradient_bytes(decode: onnx.ModelProto) -> bytes:
    """The gradient graph's file for a decode graph whose external weights are not loaded."""
    raw: bytes = GradientGraph(decode).build().SerializeToString(deterministic=True)
    return raw


def add_gradients(folder: Path) -> list[str]:
    """Write the gradient graph of each variant of the bundle in ``folder`` and seal it anew; names of the files.

    :raises BundleError: when the bundle is damaged.
    """
    from innervate.models.export import reseal  # which imports this module
    from innervate.runtime.backbone.bundle import Bundle

    bundle = Bundle.open(folder)
    files: dict[str, str] = {}
    for variant in bundle.variants:
        decode = onnx.load(bundle.variant_path(variant), load_external_data=False)
        files[variant] = gradient_file(variant)
        beside = folder.with_name(f"{folder.name}.{files[variant]}")
        beside.write_bytes(gradient_bytes(decode))
        os.replace(beside, folder / files[variant])
    reseal(folder, variants={variant: {"gradient": name} for variant, name in files.items()})
    return list(files.values())


def main(arguments: Sequence[str] | None = None) -> int:
    """Add the gradient graphs to a bundle; 2 when it is damaged."""
    parser = argparse.ArgumentParser(prog="vjp", description="Add the gradient graphs to a bundle, built from its deployed weights.")
    parser.add_argument("bundle", type=Path, help="bundle folder, e.g. models/nano")
    chosen = parser.parse_args(arguments)
    try:
        names = add_gradients(chosen.bundle)
    except BundleError as error:
        print(error, file=sys.stderr)
        return 2
    for name in names:
        print(f"{chosen.bundle / name}: {(chosen.bundle / name).stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
