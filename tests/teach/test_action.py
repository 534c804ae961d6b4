"""Latents that act: scenes, the search on deployed weights, and what it is judged by."""

from pathlib import Path

import numpy as np
import pytest

from innervate.runtime.ali.errors import InnervateError
from innervate.runtime.ali.registry import Registry
from innervate.runtime.backbone.bundle import Bundle
from innervate.runtime.backbone.engine import Engine
from innervate.runtime.backbone.gradient import Gradient
from innervate.runtime.backbone.vocabulary import Vocabulary
from innervate.runtime.board import load_board
from innervate.runtime.cli.run import default_bundle
from innervate.runtime.teach.action import Company, Search, Teacher, find_action
from innervate.runtime.teach.life import changed, live
from innervate.runtime.teach.recording import Moment
from innervate.runtime.teach.rehearsal import Rehearsal
from tests.bundles import EO_MOTOR, SO_MOTOR
from tests.teach.shows import WHOLE


def company(bundle: Bundle) -> Company:
    rng, width = np.random.default_rng(0), bundle.header.width
    drawn = (rng.standard_normal((80, 1, width)) * 0.3).astype(np.float32)
    ticks = [Moment(0, [("force", drawn[2 * i]), ("pose", drawn[2 * i + 1])], []) for i in range(40)]
    shown = [[np.zeros((1, width), np.float32)] * 7]
    return Company(ticks, "force", shown, np.zeros((1, width), np.float32), 0)


def test_a_rehearsal_emits_what_the_device_would(driving_bundle: Path) -> None:
    bundle = Bundle.open(driving_bundle)
    rehearsal = Rehearsal(Engine(bundle, "fp32"), Vocabulary(bundle))
    beat = rehearsal.tick([np.zeros((2, bundle.header.width), np.float32)])
    assert (beat.tokens[0], beat.open_before, beat.open_after) == (SO_MOTOR, None, "motor")
    assert len(rehearsal.rows) == 3 + len(beat.tokens)
    rehearsal.begin(rehearsal.rows, "motor")
    assert rehearsal.open == "motor"
    rehearsal.reset()
    assert len(rehearsal.rows) == 0


def test_the_gradient_of_the_loss_is_right(driving_bundle: Path) -> None:
    """Float weights and activations here, so that a finite difference means something."""
    bundle = Bundle.open(driving_bundle)
    engine, gradient, vocabulary = Engine(bundle, "fp32"), Gradient(bundle, "fp32"), Vocabulary(bundle)
    scene = Teacher(engine, vocabulary, company(bundle), [b"a\n"]).command("look left", 1)[0]
    search = Search(gradient, engine, vocabulary)
    rng = np.random.default_rng(1)
    latents = rng.standard_normal((3, engine.width)).astype(np.float32)
    way = rng.standard_normal(latents.shape).astype(np.float32)
    loss, grad, _ = search.loss(scene, latents)
    step = np.float32(2e-3)
    slope = (search.loss(scene, latents + step * way)[0] - search.loss(scene, latents - step * way)[0]) / (2 * float(step))
    assert loss > 0
    assert slope == pytest.approx(float((grad * way).sum()), rel=0.02, abs=1e-5)


def test_an_utterance_closes_what_is_open_first(driving_bundle: Path) -> None:
    bundle = Bundle.open(driving_bundle)
    scenes = Teacher(Engine(bundle, "fp32"), Vocabulary(bundle), company(bundle), [b"a\n"]).utterance("hi", 4)
    assert {scene.beats[0].tokens for scene in scenes} == {(EO_MOTOR, *b"hi\n")}


@pytest.mark.parametrize("text", ["", "x" * 49, "two\nlines"])
def test_what_cannot_be_said(text: str, quiet_bundle: Path) -> None:
    bundle = Bundle.open(quiet_bundle)
    with pytest.raises(InnervateError, match="one line of 1 to 48"):
        Teacher(Engine(bundle, "fp32"), Vocabulary(bundle), company(bundle), [b"a\n"]).utterance(text, 1)


def test_a_gradient_of_other_weights_is_refused(quiet_bundle: Path) -> None:
    bundle = Bundle.open(quiet_bundle)
    with pytest.raises(InnervateError, match="open the gradient with the same bundle and variant"):
        Search(Gradient(bundle, "dq8"), Engine(bundle, "fp32"), Vocabulary(bundle))


@pytest.mark.slow
def test_a_minute_is_the_same_every_time(quiet_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "board.toml").write_text(WHOLE.format(variant="fp32"))
    board, bundle = load_board(tmp_path / "board.toml"), Bundle.open(quiet_bundle)
    first, second = (live(board, bundle, Registry(), "force") for _ in range(2))
    assert changed(first, second) == 0.0
    assert first.faults == []
    assert len(first.recording.moments) == first.ticks == 700


@pytest.mark.slow
@pytest.mark.parametrize(("what", "says"), [("stop", False), ("hello", True)])
def test_latents_found_on_the_shipped_model_work_where_they_have_not_been(what: str, says: bool, tmp_path: Path) -> None:
    (tmp_path / "board.toml").write_text(WHOLE.format(variant="auto"))
    bundle = Bundle.open(default_bundle())
    engine = Engine(bundle)
    moments = live(load_board(tmp_path / "board.toml"), bundle, Registry(), "force").recording.moments
    rest = next(data for name, data in moments[5].packets if name == "force")
    around = Company(moments, "force", [[rest] * 7], rest, 0)
    action = find_action(engine, Gradient(bundle), Vocabulary(bundle), around, what, says)
    assert action.how == "learnt"
    assert len(action.latents) <= 16
    assert action.share >= (0.8 if says else action.typed)
