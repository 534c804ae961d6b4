"""Examples, detectors and verdicts on senses without a device."""

from pathlib import Path

import numpy as np
import pytest

from innervate.runtime.ali.component import Array
from innervate.runtime.ali.errors import InnervateError
from innervate.runtime.backbone.graph import Graph
from innervate.runtime.teach.detector import Prepared, prepare, train
from innervate.runtime.teach.examples import Material, examine
from innervate.runtime.teach.fit import Settings
from innervate.runtime.teach.recording import Recording
from innervate.runtime.teach.skill import NOTHING, Options, Trigger
from innervate.runtime.teach.streams import Source
from innervate.runtime.teach.verdict import judge, recognised
from tests.teach.shows import CHUNK, WaveEncoder, recording, waves

NAMES = tuple(f"g{label}" for label in range(1, 6))
QUICK = Settings(epochs_max=25, patience=6, batch=256)


def source_of(rec: Recording, columns: int = 6) -> Source:
    return Source(WaveEncoder(columns), [sample.data for sample in rec.samples()], "event")


def material_of(rec: Recording, names: tuple[str, ...], columns: int = 6) -> Material:
    return examine(rec, source_of(rec, columns), names)


@pytest.fixture(scope="module")
def five() -> Prepared:
    """Five gestures, eight examples each."""
    order = np.random.default_rng(0).permutation([1, 2, 3, 4, 5, 0] * 8)
    return prepare(material_of(waves([int(label) for label in order], 1), NAMES), variants=5)


def test_five_gestures_are_told_apart_by_who_has_not_seen_them(five: Prepared) -> None:
    detector, _ = train(five, settings=QUICK)
    fresh = waves([1, 2, 3, 4, 5, 0] * 10, 77)
    source = source_of(fresh)
    stream = [sample.data for sample in fresh.samples()]
    happened = recognised(detector, source.encode(stream))
    right = 0
    for span in fresh.spans:
        begin, end = span.t0_ns // 80_000_000, span.t1_ns // 80_000_000
        came = [detector.names[label - 1] for packet, label in happened if begin <= packet < end + 10]
        right += came == ([] if span.name == "other" else [span.name])
    assert right >= 0.95 * len(fresh.spans)


def test_the_graph_says_packet_by_packet_what_the_detector_says_at_once(five: Prepared, tmp_path: Path) -> None:
    detector, _ = train(five, settings=Settings(epochs_max=2, batch=256))
    (tmp_path / "detector.onnx").write_bytes(detector.encode())
    graph = Graph(tmp_path / "detector.onnx")
    latents = five.latents[0][:40]
    streamed = np.concatenate([graph.run(packet).copy() for packet in latents])
    np.testing.assert_allclose(streamed, detector.probabilities(latents), atol=1e-5)
    graph.reset()
    np.testing.assert_allclose(graph.run(latents[0]), streamed[:1], atol=1e-6)


def test_the_verdict_counts_every_held_out_trial(five: Prepared) -> None:
    verdict = judge(five, QUICK)
    assert len(verdict.confusion) == 6
    assert [sum(row) for row in verdict.confusion[1:]] == [8] * 5
    assert sum(row[i] for i, row in enumerate(verdict.confusion) if i) >= 0.9 * 40
    text = "\n".join(verdict.lines())
    assert "held out:" in text
    assert "something else" in text


def test_examples_that_are_like_nothing_get_a_bad_verdict() -> None:
    rec = waves([0] * 16, 3)
    rec.spans = [type(span)(span.t0_ns, span.t1_ns, "g1" if i % 2 else "other") for i, span in enumerate(rec.spans)]
    verdict = judge(prepare(material_of(rec, ("g1",)), variants=3), QUICK)
    assert not verdict.good
    assert verdict.wrong
    assert "not like the others: example" in "\n".join(verdict.lines())


def bump() -> Array:
    return np.full(CHUNK, 5.0, np.float32)


def stream(marks: list[tuple[int, int, str]], silent: tuple[int, ...] = (), packets: int = 140) -> Recording:
    data = [np.random.default_rng(i).standard_normal(CHUNK).astype(np.float32) * np.float32(0.01) for i in range(packets)]
    for number, (begin, end, _) in enumerate(marks):
        for i in range(begin, end):
            data[i] = data[i] if number in silent else bump()
    return recording(data, marks)


FIVE = [(20 + 20 * i, 24 + 20 * i, "tap") for i in range(5)]


def test_too_few_examples() -> None:
    with pytest.raises(InnervateError, match="teach: tap: 4 examples; expected at least 5; show it more often"):
        material_of(stream(FIVE[:4]), ("tap",), 1)


def test_a_silent_example_is_named() -> None:
    with pytest.raises(InnervateError, match=r"example 3 \(tap\): is silent; .*show it again"):
        material_of(stream(FIVE, silent=(2,)), ("tap",), 1)


def test_all_of_one_kind() -> None:
    marks = [(i, i + 20, "tap") for i in range(0, 140, 20)]
    with pytest.raises(InnervateError, match=r"in which nothing is shown; .*leave pauses"):
        material_of(stream(marks), ("tap",), 1)


def test_one_moment_cannot_be_two_things() -> None:
    with pytest.raises(InnervateError, match=r"tap and knock at 1\.76 s at once; .*contradict"):
        material_of(stream([*FIVE, (22, 30, "knock")]), ("tap",), 1)


def test_a_sense_that_gave_nothing() -> None:
    with pytest.raises(InnervateError, match="teach: wave: gave no sample"):
        examine(Recording("wave"), source_of(stream(FIVE), 1), ("tap",))


def test_an_example_is_trimmed_to_what_happened() -> None:
    marks = [(begin - 3, end + 4, name) for begin, end, name in FIVE]
    rec = stream(FIVE)
    rec.spans = recording([bump()] * 140, marks).spans
    assert [(begin, end) for begin, end, _ in material_of(rec, ("tap",), 1).shown] == [(begin, end) for begin, end, _ in FIVE]


def test_a_trigger_fires_once_and_again_only_after_a_rest() -> None:
    trigger = Trigger(Options(sure=0.6, packets=2, rest_packets=3))
    yes, no = np.array([0.1, 0.9], np.float32), np.array([0.9, 0.1], np.float32)
    fired = [trigger.see(p) for p in [yes, yes, yes, no, yes, yes, no, no, no, yes, no, yes, yes]]
    assert fired == [NOTHING, 1, NOTHING, NOTHING, NOTHING, NOTHING, NOTHING, NOTHING, NOTHING, NOTHING, NOTHING, NOTHING, 1]
    unsure = Trigger(Options())
    assert [unsure.see(np.array([0.45, 0.55], np.float32)) for _ in range(9)] == [NOTHING] * 9
