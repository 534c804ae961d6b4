"""`innervate eval --ear`: the read-out reads what is there, and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from innervate.models.evaluation.ear import Heard, ReadOut, fitted, heard, judge, read, sentences, training_voice, voices_of
from innervate.models.evaluation.sound import HELD_OUT, OTHER_MAKES
from innervate.models.language import VERBS
from innervate.models.voices import HELD_OUT_VARIANTS
from innervate.runtime.ali.errors import DeviceError
from innervate.runtime.backbone.bundle import Bundle
from innervate.runtime.cli import main

TICK = 1280


def test_the_read_out_finds_what_is_linear_and_not_what_is_absent() -> None:
    rng = np.random.default_rng(0)
    asked = [intent.ids for _ in range(20) for _, intent in sentences(rng, 8, 4)]
    labels = np.array(asked)
    codes = rng.standard_normal((16, 48)).astype(np.float32)
    told = codes[labels[:, 0]] + codes[labels[:, 1]][:, ::-1] + 0.5 * np.roll(codes[labels[:, 2]], 7, 1)
    latents = (told + 0.3 * rng.standard_normal(told.shape)).astype(np.float32)
    half = len(labels) // 2
    right = (ReadOut(latents[:half], labels[:half]).intents(latents[half:]) == labels[half:]).all(1)
    assert right.mean() > 0.9
    noise = rng.standard_normal(latents.shape).astype(np.float32)
    assert (ReadOut(noise[:half], labels[:half]).intents(noise[half:]) == labels[half:]).all(1).mean() < 0.2


def test_colour_and_shape_count_only_where_a_thing_is_named() -> None:
    rng = np.random.default_rng(1)
    labels = np.array([(VERBS.index("stop"), 0, 0), (VERBS.index("find"), 3, 2)] * 50)
    latents = (labels @ rng.standard_normal((3, 8)) + 0.05 * rng.standard_normal((100, 8))).astype(np.float32)
    found = ReadOut(latents, labels).intents(latents)
    assert (found == labels).all()


def test_a_voice_is_asked_for_every_verb() -> None:
    asked = sentences(np.random.default_rng(2))
    assert len(asked) == 32 and {intent.verb for _, intent in asked} == set(VERBS[1:])
    assert not any(training_voice(np.random.default_rng(k)).endswith(tuple(f"+{name}" for name in HELD_OUT_VARIANTS)) for k in range(200))


def test_a_sentence_is_heard_in_noise_of_ten_decibels() -> None:
    pcm, end_s = heard(np.random.default_rng(3), "look left", "gmw/en+f4", TICK)
    assert pcm.dtype == np.float32 and len(pcm) % TICK == 0 and abs(pcm).max() <= 1.0
    start, end = round(1.1 * 16000), round(end_s * 16000)
    assert end + 0.55 * 16000 < len(pcm)
    noise, speech = np.square(pcm[:15000]).mean(), np.square(pcm[start:end]).mean()
    assert 3.0 < speech / noise < 30.0


def test_the_ear_of_a_bundle_is_judged_by_its_latents(quiet_bundle: Path) -> None:
    graph = Bundle.open(quiet_bundle).component("mic", "encoder")
    latent = read(graph, *heard(np.random.default_rng(4), "stop", "gmw/en+f4", graph.x_shape[1]))
    assert latent.shape == graph.y_shape[1:] and np.isfinite(latent).all()
    found = judge(graph, fitted(graph, seed=0, count=60), "+f4", seed=0, named=1, plain=1)
    assert isinstance(found, Heard) and found.total == 10 and 0 <= found.right <= 10


def test_other_makes_need_a_synthesiser_and_say_which(monkeypatch: pytest.MonkeyPatch) -> None:
    assert voices_of([HELD_OUT]) == {HELD_OUT: [f"+{name}" for name in HELD_OUT_VARIANTS]}
    monkeypatch.setattr(shutil, "which", lambda program: None)
    with pytest.raises(DeviceError, match="apt-get install flite festival"):
        voices_of([OTHER_MAKES])


def test_the_command_prints_a_line_a_voice(quiet_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "--bundle", str(quiet_bundle), "--ear", "--count", "40"]) == 0
    shown = capsys.readouterr().out
    assert "read-out fitted on 40 commands" in shown and all(f"+{name}" in shown for name in HELD_OUT_VARIANTS)
