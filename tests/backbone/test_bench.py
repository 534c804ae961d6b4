"""The benchmark: the rival's graph computes what the engine computes, and the clockwork runs."""

from __future__ import annotations

import numpy as np
import pytest

from innervate.models.bench_engine import genai_config, genai_graph
from innervate.models.export import VARIANTS
from innervate.runtime.backbone.bench import engine_pass, medians_us
from innervate.runtime.backbone.bundle import Bundle
from innervate.runtime.backbone.engine import Engine, load_onnxruntime
from innervate.runtime.backbone.vocabulary import Vocabulary


@pytest.mark.parametrize("variant", VARIANTS)
def test_rival_has_the_same_weights(bundle: Bundle, variant: str) -> None:
    """The graph that onnxruntime-genai is given answers like the engine: token ids to logits."""
    session = load_onnxruntime().InferenceSession(genai_graph(bundle, variant).SerializeToString(), providers=["CPUExecutionProvider"])
    header, ids = bundle.header, np.arange(40, 60)
    empty = np.zeros((1, header.heads, header.context, header.head_width), np.float32)
    feed = {f"past_{part}_{layer}": empty for part in ("key", "value") for layer in range(header.layers)}
    feed |= {"input_ids": ids[None].astype(np.int64), "attention_mask": np.ones((1, len(ids)), np.int64)}
    logits = session.run(["logits"], feed)[0][0, -1]
    vocabulary = Vocabulary(bundle)
    h = Engine(bundle, variant).append(vocabulary.rows(bytes(ids.tolist())), checked=True)[-1]
    np.testing.assert_allclose(vocabulary.logits(h), logits, atol=1e-5)
    decoder = genai_config(bundle, threads=1)["model"]["decoder"]
    names = {value.name for value in session.get_inputs()}
    for layer in range(header.layers):
        assert {decoder["inputs"]["past_key_names"] % layer, decoder["inputs"]["past_value_names"] % layer} <= names


def test_medians(engine: Engine) -> None:
    run = engine_pass(engine, context=50, rows=4)
    median = medians_us([run], repeats=10, rounds=2)
    assert engine.length == 50
    assert len(median) == 1
    assert median[0] > 0
