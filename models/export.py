"""Torch weights to a bundle: hand-built graphs, their quantised variants, rows, hashes.

Nine nodes a layer, because on a small model the dispatch of a node (1.5 us) is what a step is made of::

    qkv -> GroupQueryAttention -> out -> SkipSimplifiedLayerNormalization -> gate|up -> Split -> QuickGelu -> Mul -> down

with the next layer's (or the final) norm fused into the residual add that follows ``down``.

Weights lie outside the graphs, in ``weights.*.bin``, so that files can share them:

- ``dq8``: int8, one scale a column (DynamicQuantizeMatMul). The gradient graph reads the same file.
- ``nb8``: 8 bits in blocks of 128 rows, one scale a block (MatMulNBits).
- ``fp32``: nb8's integers plus an int8 residual in steps of scale/254: 16 bits a weight, at most 1.6e-5 of the block's largest
  weight away from the trained one, for 3.5 MB instead of 14. Summed once when the session folds constants; the
  running graph holds plain float32 matrices.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from innervate.models.backbone import BackboneConfig, Nano, rope_tables
from innervate.models.vjp import gradient_bytes, gradient_file
from innervate.runtime.backbone.bundle import sealed

Variant = Literal["fp32", "nb8", "dq8"]
VARIANTS: tuple[Variant, ...] = ("dq8", "nb8", "fp32")
OPSET = 21
# Rows that share a scale in nb8: the largest that divides the matrix. Against 32, blocks of 128 are 8 % faster for one
# latent and 14 % for ten, at a hidden-state error of 0.0084 instead of 0.0065 (dq8: 0.018), on random weights.
BLOCKS = (128, 64, 32, 16)
RESIDUAL_STEPS = 254  # the residual of a rounded weight is within +-scale/2, so scale/254 steps fill +-127
ALIGNMENT = 64  # bytes; one cache line, so that a mapped tensor starts on its own
TAP, NORM = "final_norm", "rms"
COMMON, DQ8, NB8, RESIDUAL = "weights.common.bin", "weights.dq8.bin", "weights.nb8.bin", "weights.residual.bin"
READS: Mapping[Variant, tuple[str, ...]] = {"dq8": (DQ8, COMMON), "nb8": (NB8, COMMON), "fp32": (NB8, RESIDUAL, COMMON)}

Array = NDArray[np.generic]
Float = NDArray[np.float32]


@dataclass(slots=True)
class Store:
    """One ``weights.*.bin`` being filled: names to tensors, laid out in order, aligned."""

    location: str
    blob: bytearray = field(default_factory=bytearray)
    tensors: dict[str, TensorProto] = field(default_factory=dict)

    def add(self, name: str, array: Array) -> None:
        """Append ``array``; its tensor refers to this file by offset and length."""
        self.blob.extend(bytes(-len(self.blob) % ALIGNMENT))
        tensor = TensorProto(name=name, data_type=helper.np_dtype_to_tensor_dtype(array.dtype), dims=array.shape)
        tensor.data_location = TensorProto.EXTERNAL
        raw = np.ascontiguousarray(array).tobytes()
        for key, value in (("location", self.location), ("offset", str(len(self.blob))), ("length", str(len(raw)))):
            tensor.external_data.add(key=key, value=value)
        self.blob.extend(raw)
        self.tensors[name] = tensor


def matrices(nano: Nano) -> dict[str, Float]:
    """The weight matrices by graph name, each ``[inputs, outputs]`` float32."""
    found: dict[str, Float] = {}
    state = nano.backbone.state_dict()
    for i in range(nano.config.layers):
        for name in ("qkv", "out", "gate_up", "down"):
            found[f"{name}.{i}"] = np.ascontiguousarray(state[f"blocks.{i}.{name}.weight"].float().cpu().numpy().T)
    return found


def quantise_columns(w: Float) -> tuple[NDArray[np.int8], Float]:
    """Symmetric int8 with one scale a column: ``w [K, N]`` to integers ``[K, N]`` and scales ``[N]``."""
    scale = np.maximum(np.abs(w).max(axis=0), np.float32(1e-12)) / np.float32(127)
    return np.clip(np.rint(w / scale), -127, 127).astype(np.int8), scale.astype(np.float32)


def block_rows(rows: int) -> int:
    """Block size of a matrix with that many input rows. Raises ValueError when none divides it."""
    for block in BLOCKS:
        if rows % block == 0:
            return block
    raise ValueError(f"export: {rows} input rows are no multiple of {BLOCKS[-1]}; choose such a width")


def quantise_blocks(w: Float) -> tuple[NDArray[np.uint8], Float, NDArray[np.int8]]:
    """``w [K, N]`` in blocks of B rows: integers ``[N, K/B, B]`` with zero at 128, scales ``[N, K/B]``, residual like the first."""
    rows, columns = w.shape
    block = block_rows(rows)
    blocks = np.ascontiguousarray(w.T).reshape(columns, rows // block, block)
    scale = np.maximum(np.abs(blocks).max(axis=2, keepdims=True), np.float32(1e-12)) / np.float32(127)
    coarse = np.clip(np.rint(blocks / scale), -127, 127)
    fine = np.clip(np.rint((blocks - coarse * scale) / scale * RESIDUAL_STEPS), -127, 127)
    return (coarse + 128).astype(np.uint8), scale[..., 0].astype(np.float32), fine.astype(np.int8)


def make_stores(nano: Nano, config: BackboneConfig | None = None) -> dict[str, Store]:
    """All weight files of a bundle, by file name; `config`: with another context than the model's own."""
    stores = {name: Store(name) for name in (COMMON, DQ8, NB8, RESIDUAL)}
    config, state = config or nano.config, nano.backbone.state_dict()
    cos, sin = rope_tables(config, config.context)
    stores[COMMON].add("cos", cos.numpy())
    stores[COMMON].add("sin", sin.numpy())
    for i in range(config.layers):
        for norm in ("norm_attention", "norm_ffn"):
            stores[COMMON].add(f"{norm}.{i}", state[f"blocks.{i}.{norm}.weight"].float().cpu().numpy())
    stores[COMMON].add("norm", state["norm.weight"].float().cpu().numpy())
    for name, w in matrices(nano).items():
        integers, column_scale = quantise_columns(w)
        stores[DQ8].add(f"{name}.int8", integers)
        stores[DQ8].add(f"{name}.scale", column_scale)
        coarse, block_scale, fine = quantise_blocks(w)
        stores[NB8].add(f"{name}.blocks", coarse)
        stores[NB8].add(f"{name}.block_scale", block_scale)
        stores[RESIDUAL].add(f"{name}.residual", fine)
    return stores


class DecodeGraph:
    """Builds one decode graph; nodes and initialisers gather in order of execution."""

    def __init__(self, config: BackboneConfig, variant: Variant, stores: Mapping[str, Store]) -> None:
        self.config, self.variant = config, variant
        self.nodes: list[onnx.NodeProto] = []
        self.initialisers: dict[str, TensorProto] = {}
        self.known = {name: tensor for store in stores.values() for name, tensor in store.tensors.items()}

    def weight(self, name: str) -> str:
        """Declare a tensor of the stores as used by this graph."""
        self.initialisers[name] = self.known[name]
        return name

    def node(self, op: str, inputs: list[str], outputs: list[str], domain: str = "", **attributes: Any) -> str:
        """Append a node, named after its first output, and return that."""
        self.nodes.append(helper.make_node(op, inputs, outputs, name=outputs[0], domain=domain, **attributes))
        return outputs[0]

    def constant(self, name: str, value: Array) -> str:
        """A small constant inside the graph file."""
        self.initialisers[name] = onnx.numpy_helper.from_array(value, name)
        return name

    def matmul(self, x: str, name: str, k: int, n: int) -> str:
        """``x [1, T, k] @ weight [k, n]`` in this graph's variant."""
        out = f"{name}.y"
        if self.variant == "dq8":
            operands = [x, self.weight(f"{name}.int8"), self.weight(f"{name}.scale")]
            return self.node("DynamicQuantizeMatMul", operands, [out], "com.microsoft")
        if self.variant == "nb8":
            operands = [x, self.weight(f"{name}.blocks"), self.weight(f"{name}.block_scale")]
            # without accuracy_level 4 (int8 activations) the kernel takes a path that is 40 times slower
            return self.node("MatMulNBits", operands, [out], "com.microsoft", K=k, N=n, bits=8, block_size=block_rows(k), accuracy_level=4)
        return self.node("MatMul", [x, self.summed(name, k, n)], [out])

    def summed(self, name: str, k: int, n: int) -> str:
        """Constant sub-graph: nb8's integers plus the residual as one float32 matrix ``[k, n]``."""
        shape = self.constant("block_scale_shape." + str(k) + "." + str(n), np.array([n, k // block_rows(k), 1], np.int64))
        zero = self.constant("zero_point", np.array(128, np.float32))
        steps = self.constant("residual_steps", np.array(1 / RESIDUAL_STEPS, np.float32))
        scale = self.node("Reshape", [self.weight(f"{name}.block_scale"), shape], [f"{name}.scale3"])
        raw = self.node("Cast", [self.weight(f"{name}.blocks")], [f"{name}.raw"], to=TensorProto.FLOAT)
        coarse = self.node("Sub", [raw, zero], [f"{name}.coarse"])
        fine = self.node("Cast", [self.weight(f"{name}.residual")], [f"{name}.fine"], to=TensorProto.FLOAT)
        part = self.node("Mul", [fine, steps], [f"{name}.part"])
        whole = self.node("Mul", [self.node("Add", [coarse, part], [f"{name}.sum"]), scale], [f"{name}.scaled"])
        flat_shape = self.constant("flat_shape." + str(k) + "." + str(n), np.array([n, k], np.int64))
        flat = self.node("Reshape", [whole, flat_shape], [f"{name}.flat"])
        return self.node("Transpose", [flat], [f"{name}.w"], perm=[1, 0])

    def skip_norm(self, x: str, residual: str, gain: str, normed: str) -> tuple[str, str]:
        """Residual add and RMS norm in one node: (normed, sum)."""
        outputs = [normed, "", "", f"{normed}.sum"]
        operands = [x, residual, self.weight(gain)]
        self.node("SkipSimplifiedLayerNormalization", operands, outputs, "com.microsoft", epsilon=self.config.norm_eps)
        return normed, f"{normed}.sum"

    def layer(self, i: int, normed: str, residual: str) -> tuple[str, str]:
        """Layer ``i`` with the norm that follows it: (normed, residual) in and out."""
        c = self.config
        qkv = self.matmul(normed, f"qkv.{i}", c.width, 3 * c.width)
        operands = [qkv, "", "", f"past_key_{i}", f"past_value_{i}", "seqlens_k", "total_sequence_length"]
        operands += [self.weight("cos"), self.weight("sin")]
        outputs = [f"mixed.{i}", f"present_key_{i}", f"present_value_{i}"]
        mixed = self.node(
            "GroupQueryAttention", operands, outputs, "com.microsoft",
            num_heads=c.heads, kv_num_heads=c.heads, do_rotary=1, rotary_interleaved=0,
        )  # fmt: skip
        attended = self.matmul(mixed, f"out.{i}", c.width, c.width)
        normed, residual = self.skip_norm(attended, residual, f"norm_ffn.{i}", f"ffn_in.{i}")
        both = self.matmul(normed, f"gate_up.{i}", c.width, 2 * c.ffn)
        self.node("Split", [both], [f"gate.{i}", f"up.{i}"], axis=-1, num_outputs=2)
        gate = self.node("QuickGelu", [f"gate.{i}"], [f"gated.{i}"], "com.microsoft", alpha=1.0)
        hidden = self.node("Mul", [gate, f"up.{i}"], [f"hidden.{i}"])
        fed = self.matmul(hidden, f"down.{i}", c.ffn, c.width)
        last = i == c.layers - 1
        return self.skip_norm(fed, residual, "norm" if last else f"norm_attention.{i + 1}", "h" if last else f"in.{i + 1}")

    def build(self) -> onnx.ModelProto:
        """The whole graph: inputs ``x``, past, counters; outputs ``h``, present."""
        c = self.config
        normed = self.node("SimplifiedLayerNormalization", ["x", self.weight("norm_attention.0")], ["in.0"], axis=-1, epsilon=c.norm_eps)
        residual = "x"
        for i in range(c.layers):
            normed, residual = self.layer(i, normed, residual)
        self.nodes[-1].output[3] = ""  # nobody reads the residual after the last layer
        kv = [1, c.heads, c.context, c.head_width]
        float_, int_ = TensorProto.FLOAT, TensorProto.INT32
        inputs = [helper.make_tensor_value_info("x", float_, [1, "T", c.width])]
        outputs = [helper.make_tensor_value_info("h", float_, [1, "T", c.width])]
        for i in range(c.layers):
            for part in ("key", "value"):
                inputs.append(helper.make_tensor_value_info(f"past_{part}_{i}", float_, kv))
                outputs.append(helper.make_tensor_value_info(f"present_{part}_{i}", float_, kv))
        inputs.append(helper.make_tensor_value_info("seqlens_k", int_, [1]))
        inputs.append(helper.make_tensor_value_info("total_sequence_length", int_, [1]))
        graph = helper.make_graph(self.nodes, "decode", inputs, outputs, list(self.initialisers.values()))
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10, producer_name="innervate")


def space_id(nano: Nano) -> str:
    """Identity of the latent space: SHA-256 over the float32 weights by name, the tap and the norm."""
    digest = hashlib.sha256(f"{TAP}\n{NORM}\n{nano.config}\n".encode())
    for name, tensor in sorted(nano.state_dict().items()):
        digest.update(f"{name}{tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _toml_value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml_value(item) for item in value) + "]"
    return json.dumps(str(value), ensure_ascii=False)  # a JSON string is a TOML basic string


def _toml(tables: Mapping[str, Mapping[str, object]]) -> str:
    lines: list[str] = []
    for table, entries in tables.items():
        lines.append(f"[{table}]")
        for key, value in entries.items():
            bare = key.isascii() and key.replace("_", "").replace("-", "").isalnum()
            lines.append(f"{key if bare else json.dumps(key)} = {_toml_value(value)}")
        lines.append("")
    return "\n".join(lines)


def write_bundle(
    folder: Path,
    nano: Nano,
    components: Mapping[str, Path],
    figures: Mapping[str, float],
    *,
    rates_hz: Mapping[str, float] | None = None,
    context: int | None = None,
    control: tuple[str, ...] = ("<idle>", "<so_motor>", "<eo_motor>"),
    name: str = "nano",
    version: str = "0.1.0",
    tick_ms: int = 80,
) -> Path:
    """Write a whole bundle, or nothing: it is built beside ``folder`` and takes its place by rename.

    :param components: graph files by ``"mic.encoder"``-like names; copied to ``components/mic/encoder.onnx``.
    :param figures: measured numbers for ``[figures]``.
    :param rates_hz: latents a second by component, e.g. ``{"mic": 12.5}``.
    :param context: positions that the device keeps, when they are fewer than the configuration's; the weights, and so the space, are the same.
    :returns: ``folder``.
    """
    config = nano.config if context is None else replace(nano.config, context=context)
    if config.rows != 256 + len(control):
        raise ValueError(f"export: {config.rows} rows for 256 bytes and {len(control)} control tokens; they must agree")
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        os.chmod(work, 0o755)  # mkdtemp makes it private; a bundle is to be read by anyone
        tables: dict[str, dict[str, object]] = {
            "bundle": {
                "name": name, "version": version, "licence": "Apache-2.0", "format": 1, "width": config.width,
                "layers": config.layers, "heads": config.heads, "head_width": config.head_width,
                "context": config.context, "rope_base": config.rope_base, "tick_ms": tick_ms,
                "space_id": space_id(nano), "tap": TAP, "norm": NORM,
            },
            "tokens": {"control": list(control)},
        }  # fmt: skip
        stores = make_stores(nano, config)
        for location, store in stores.items():
            (work / location).write_bytes(store.blob)
        for variant in VARIANTS:
            decode = DecodeGraph(config, variant, stores).build()
            raw = decode.SerializeToString(deterministic=True)
            (work / f"decode.{variant}.onnx").write_bytes(raw)
            (work / gradient_file(variant)).write_bytes(gradient_bytes(decode))
            exact = hashlib.sha256(raw)
            for location in READS[variant]:
                exact.update(stores[location].blob)
            tables[f"variant.{variant}"] = {
                "file": f"decode.{variant}.onnx", "weights": list(READS[variant]), "exact_id": exact.hexdigest(),
                "gradient": gradient_file(variant),
            }  # fmt: skip
        rows = {key: getattr(nano, key).detach().float().cpu().numpy() for key in ("embedding", "classifier")}
        np.savez(work / "rows.npz", **rows)
        for full, source in components.items():
            component, part = full.split(".")
            target = f"components/{component}/{part}.onnx"
            (work / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, work / target)
            entry = tables.setdefault(f"component.{component}", {})
            entry[part] = target
            if rates_hz and component in rates_hz:
                entry["rate_hz"] = float(rates_hz[component])
        _seal(work, tables, figures)
        _swap(work, folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return folder


def _seal(work: Path, tables: dict[str, dict[str, object]], figures: Mapping[str, float]) -> None:
    """Hash every file under ``work`` into ``bundle.toml``, written last and whole."""
    paths = sorted(path for path in work.rglob("*") if path.is_file() and path != work / "bundle.toml")
    tables["files"] = {path.relative_to(work).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    tables["figures"] = {key: float(value) for key, value in figures.items()}
    beside = work.with_name(work.name + ".toml")
    beside.write_text(sealed(_toml(tables)), encoding="utf-8")
    os.replace(beside, work / "bundle.toml")


def reseal(folder: Path, figures: Mapping[str, float] | None = None, variants: Mapping[str, Mapping[str, str]] | None = None) -> None:
    """Hash the files of a bundle anew, after a deliberate edit or to put measured ``figures`` in (None keeps those there).

    Identities stay as they are: a changed decode graph or weight file needs :func:`write_bundle`. ``variants`` adds keys to the tables
    of variants.
    """
    with (folder / "bundle.toml").open("rb") as file:
        raw = tomllib.load(file)
    tables: dict[str, dict[str, object]] = {"bundle": raw["bundle"], "tokens": raw["tokens"]}
    for group in ("variant", "component"):
        tables |= {f"{group}.{name}": entry for name, entry in raw.get(group, {}).items()}
    for name, keys in (variants or {}).items():
        tables[f"variant.{name}"] |= keys
    _seal(folder, tables, raw.get("figures", {}) if figures is None else figures)


def _swap(work: Path, folder: Path) -> None:
    """Put ``work`` where ``folder`` is; the old bundle is whole until the moment it is moved aside."""
    old = work.with_name(work.name + ".old")
    if folder.exists():
        os.replace(folder, old)
    try:
        os.replace(work, folder)
    except OSError:
        if old.exists():
            os.replace(old, folder)
        raise
    shutil.rmtree(old, ignore_errors=True)
