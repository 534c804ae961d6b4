"""The engine's step against onnxruntime-genai on the same weights, in the same process, on one thread.

``python -m innervate.models.bench_engine BUNDLE`` prints medians at two contexts for each variant. The rival gets the
bundle's own decode graph (same nodes, same bytes of weights) with what it needs around it: token ids in (a Gather
over ``embedding``), an attention mask instead of counters, ``classifier`` at the end. Our side of that comparison is one
append and the classifier in numpy with its argmax, so both sides go from a token to the next token. genai has no way to put a
latent in or to take one out between steps without a copy; its step here is the best it can do. ``step/genai`` compares
what a device does most (a latent in, a hidden state out), ``token/genai`` the same work on both sides.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from innervate.runtime.ali.errors import BundleError
from innervate.runtime.backbone.bench import engine_pass, medians_us
from innervate.runtime.backbone.bundle import Bundle
from innervate.runtime.backbone.engine import Engine, load_onnxruntime
from innervate.runtime.backbone.vocabulary import Vocabulary

FILLINGS = (1 / 2, 15 / 16)  # of the context: what a session slides back to, and where it is nearly full
TICK_ROWS = 10  # latents of one tick: audio 1, camera 6, force 1, pose 1, the query row


def contexts(bundle: Bundle) -> list[int]:
    """Positions at which steps are compared."""
    return [round(bundle.header.context * filling) for filling in FILLINGS]


def genai_graph(bundle: Bundle, variant: str) -> onnx.ModelProto:
    """The variant's decode graph from token ids to logits, with the inputs that onnxruntime-genai feeds."""
    model = onnx.load(bundle.variant_path(variant))  # external weights come along
    graph = model.graph
    embedding, classifier = bundle.rows()
    graph.initializer.append(onnx.numpy_helper.from_array(embedding, "embedding"))
    graph.initializer.append(onnx.numpy_helper.from_array(np.ascontiguousarray(classifier.T), "classifier"))
    graph.initializer.append(onnx.numpy_helper.from_array(np.array([1], np.int64), "one"))
    graph.initializer.append(onnx.numpy_helper.from_array(np.array(1, np.int64), "axis"))
    make = helper.make_node
    before = [
        make("Gather", ["embedding", "input_ids"], ["x"], name="x"),
        make("ReduceSum", ["attention_mask", "one"], ["valid"], name="valid", keepdims=0),
        make("Sub", ["valid", "one"], ["last"], name="last"),
        make("Cast", ["last"], ["seqlens_k"], name="seqlens_k", to=TensorProto.INT32),
        make("Shape", ["attention_mask"], ["mask_shape"], name="mask_shape"),
        make("Gather", ["mask_shape", "axis"], ["total"], name="total"),
        make("Cast", ["total"], ["total_sequence_length"], name="total_sequence_length", to=TensorProto.INT32),
    ]
    nodes = [*before, *graph.node, make("MatMul", ["h", "classifier"], ["logits"], name="logits")]
    inputs = [
        helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "T"]),
        helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ["batch", "total"]),
    ]
    for value in list(graph.input):
        if value.name.startswith("past_"):
            value.type.tensor_type.shape.dim[2].dim_param = "past"
            inputs.append(value)
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "T", len(embedding)])]
    for value in list(graph.output):
        if value.name.startswith("present_"):
            value.type.tensor_type.shape.dim[2].dim_param = "total"
            outputs.append(value)
    for field, values in (("node", nodes), ("input", inputs), ("output", outputs)):
        graph.ClearField(field)
        getattr(graph, field).extend(values)
    return model


def genai_config(bundle: Bundle, threads: int) -> dict[str, Any]:
    """``genai_config.json`` for that graph: greedy, shared past and present."""
    header = bundle.header
    decoder = {
        "session_options": {"log_id": "bench", "intra_op_num_threads": threads, "provider_options": []},
        "filename": "model.onnx",
        "head_size": header.head_width,
        "hidden_size": header.width,
        "inputs": {
            "input_ids": "input_ids",
            "attention_mask": "attention_mask",
            "past_key_names": "past_key_%d",
            "past_value_names": "past_value_%d",
        },
        "outputs": {"logits": "logits", "present_key_names": "present_key_%d", "present_value_names": "present_value_%d"},
        "num_attention_heads": header.heads,
        "num_hidden_layers": header.layers,
        "num_key_value_heads": header.heads,
    }
    model = {
        "type": "llama", "bos_token_id": 0, "eos_token_id": [0], "pad_token_id": 0, "context_length": header.context,
        "vocab_size": 256 + len(bundle.toml.tokens.control), "decoder": decoder,
    }  # fmt: skip
    search = {"do_sample": False, "num_beams": 1, "max_length": header.context, "past_present_share_buffer": True}
    return {"model": model, "search": search}


def genai_pass(bundle: Bundle, variant: str, context: int, folder: Path) -> Callable[[], None]:
    """A step of onnxruntime-genai from one token to the next that ends at ``context`` positions."""
    load_onnxruntime()  # telemetry off before the rival loads the same library
    og = importlib.import_module("onnxruntime_genai")  # no stubs are published

    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(genai_graph(bundle, variant), folder / "model.onnx")
    (folder / "genai_config.json").write_text(json.dumps(genai_config(bundle, threads=1)))
    model = og.Model(str(folder))
    params = og.GeneratorParams(model)
    params.set_search_options(max_length=bundle.header.context, do_sample=False)
    generator = og.Generator(model, params)
    ids = np.random.default_rng(0).integers(1, 256, context - 1)
    generator.append_tokens(ids.astype(np.int32))
    generator.generate_next_token()  # the pass over the prompt has been made; its choice is the last token so far

    token = np.array([1], np.int32)

    def run() -> None:
        generator.rewind_to(context - 1)
        generator.append_tokens(token)  # the graph's pass over one token
        generator.generate_next_token()  # argmax of its logits

    return run


def engine_token_pass(bundle: Bundle, engine: Engine, context: int) -> Callable[[], None]:
    """The engine's step from one token to the next that ends at ``context`` positions."""
    vocabulary = Vocabulary(bundle)
    engine_pass(engine, context, 1)  # fills the context
    engine.reset()
    ids = np.random.default_rng(0).integers(1, 256, context - 1)
    rows = vocabulary.rows(ids.astype(np.uint8).tobytes())
    for start in range(0, len(rows), engine.rows_max):
        engine.append(rows[start : start + engine.rows_max])
    snapshot = engine.snapshot()
    x = vocabulary.row(1)[None]

    def run() -> None:
        engine.rewind_to(snapshot)
        int(vocabulary.logits(engine.append(x, checked=True)[0]).argmax())

    return run


def compare(bundle: Bundle, variant: str, context: int, folder: Path, repeats: int) -> dict[str, float]:
    """Medians in microseconds of one variant at one context; a ratio below 1 means that the engine is faster."""
    step, tick, token = (Engine(bundle, variant) for _ in range(3))
    passes = [
        engine_pass(step, context, 1),
        engine_pass(tick, context, TICK_ROWS),
        engine_token_pass(bundle, token, context),
        genai_pass(bundle, variant, context, folder / f"{variant}-{context}"),
    ]
    names = ("step_us", "tick_us", "token_us", "genai_us")
    found = dict(zip(names, medians_us(passes, repeats), strict=True))
    ratios = {f"{name}_ratio": found[f"{name}_us"] / found["genai_us"] for name in ("step", "token")}
    return found | ratios


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 0 when the engine's step is no slower on average, 1 when it is, 2 for a bad bundle or no rival."""
    parser = argparse.ArgumentParser(prog="bench_engine", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("bundle", type=Path, help="bundle folder, e.g. models/nano")
    parser.add_argument("--repeats", type=int, default=1000, help="timed passes each (default 1000)")
    chosen = parser.parse_args(arguments)
    try:
        bundle = Bundle.open(chosen.bundle)
    except BundleError as error:
        print(error, file=sys.stderr)
        return 2
    if importlib.util.find_spec("onnxruntime_genai") is None:
        print("bench_engine: onnxruntime-genai is not installed; expected the rival; pip install 'innervate[bench]'", file=sys.stderr)
        return 2
    print("medians in us, 1 thread; step: 1 latent, tick: 10 latents, token: step + classifier + argmax")
    print(f"{'variant':8} {'context':>7} {'step':>8} {'tick':>8} {'token':>8} {'genai':>8} {'step/genai':>11} {'token/genai':>12}")
    ratios: list[float] = []
    with tempfile.TemporaryDirectory(prefix="bench-engine-") as folder:
        for variant in bundle.variants:
            for context in contexts(bundle):
                row = compare(bundle, variant, context, Path(folder), chosen.repeats)
                cells = " ".join(f"{row[name]:8.1f}" for name in ("step_us", "tick_us", "token_us", "genai_us"))
                print(f"{variant:8} {context:7} {cells} {row['step_ratio']:11.3f} {row['token_ratio']:12.3f}", flush=True)
                ratios.append(row["step_ratio"])
    mean = float(np.mean(ratios))  # one cell swings by 3 % with the load of the machine
    print(f"step/genai: mean {mean:.3f} (goal: at most 1), worst {max(ratios):.3f}")
    return 0 if mean <= 1.0 else 1


if __name__ == "__main__":
    raise SystemExit(main())
