"""Gists: files that belong to one model, and the search on the deployed weights."""

from pathlib import Path

import numpy as np
import pytest

from innervate.runtime.ali.errors import InnervateError, SpaceMismatch
from innervate.runtime.ali.registry import Registry
from innervate.runtime.ali.space import Space
from innervate.runtime.backbone.bundle import Bundle
from innervate.runtime.backbone.engine import Engine
from innervate.runtime.backbone.gradient import Gradient
from innervate.runtime.backbone.vocabulary import Vocabulary
from innervate.runtime.board import load_board
from innervate.runtime.cli import main
from innervate.runtime.cli.run import default_bundle
from innervate.runtime.teach.gist import Compressor, Context, Gist, Match, instruction, load, save
from innervate.runtime.teach.life import live
from innervate.runtime.teach.recording import Moment
from tests.teach.shows import BOARD, WHOLE

SPACE = Space("a" * 64, "b" * 64, 4)


def made(space: Space = SPACE) -> Gist:
    return Gist(np.ones((2, 4), np.float32), space.space_id, space.exact_id, 90, Match(0.01, 0.98))


def test_a_gist_comes_back_as_it_was(tmp_path: Path) -> None:
    save(made(), tmp_path / "a.gist")
    again = load(tmp_path / "a.gist", SPACE)
    np.testing.assert_array_equal(again.latents, made().latents)
    assert (again.stands_for, again.match) == (90, Match(0.01, 0.98))


def test_another_quantisation_is_refused(tmp_path: Path) -> None:
    save(made(), tmp_path / "a.gist")
    with pytest.raises(SpaceMismatch, match=r"gist: made on aaaaaaaaaaaa, exact bbbbbbbbbbbb; .*make it again on this bundle and variant"):
        load(tmp_path / "a.gist", Space("a" * 64, "c" * 64, 4))


@pytest.mark.parametrize("damage", [b"", b"not a gist", b"PK\x03\x04"])
def test_a_damaged_file_is_refused(damage: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.gist").write_bytes(damage)
    with pytest.raises(InnervateError, match="is no gist"):
        load(tmp_path / "a.gist", SPACE)


def moments(bundle: Bundle) -> list[Moment]:
    """Ticks of two latents."""
    rng = np.random.default_rng(0)
    return [Moment(0, [("force", rng.standard_normal((2, bundle.header.width)).astype(np.float32))], []) for _ in range(40)]


def test_a_context_has_its_bounds(quiet_bundle: Path) -> None:
    bundle = Bundle.open(quiet_bundle)
    engine, gradient, vocabulary = Engine(bundle, "fp32"), Gradient(bundle, "fp32"), Vocabulary(bundle)
    for rows, message in ((1, "there is nothing to compress"), (401, "give it in parts")):
        context = Context(np.zeros((rows, engine.width), np.float32), None)
        with pytest.raises(InnervateError, match=message):
            Compressor(engine, gradient, vocabulary, context, moments(bundle))
    with pytest.raises(InnervateError, match="latents up to line 'line'; expected at most 400"):
        instruction(engine, vocabulary, [b"line"] * 80, moments(bundle))


def test_the_context_itself_is_a_perfect_match(quiet_bundle: Path) -> None:
    bundle = Bundle.open(quiet_bundle)
    engine, gradient, vocabulary = Engine(bundle, "fp32"), Gradient(bundle, "fp32"), Vocabulary(bundle)
    context = instruction(engine, vocabulary, [b"hello"], moments(bundle))
    compressor = Compressor(engine, gradient, vocabulary, context, moments(bundle))
    assert compressor.judge(context.rows).kl < 1e-5
    found = compressor.compress(2, steps=3)
    assert found.latents.shape == (2, engine.width)
    assert found.exact_id == engine.space.exact_id


def test_a_run_refuses_the_gist_of_another_model(quiet_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "board.toml").write_text(BOARD.format(variant="fp32"))
    save(made(), tmp_path / "a.gist")
    words = ["run", "--board", str(tmp_path / "board.toml"), "--bundle", str(quiet_bundle), "--duration", "0.4", "--gist", str(tmp_path / "a.gist")]
    assert main(words) == 1
    assert "gist: made on aaaaaaaaaaaa" in capsys.readouterr().err


@pytest.mark.slow
def test_eight_latents_stand_for_a_goal(tmp_path: Path) -> None:
    """Nothing of the context: most ticks go another way. Eight latents: they go as they would have."""
    (tmp_path / "board.toml").write_text(WHOLE.format(variant="auto"))
    bundle = Bundle.open(default_bundle())
    engine, gradient, vocabulary = Engine(bundle), Gradient(bundle), Vocabulary(bundle)
    company = live(load_board(tmp_path / "board.toml"), bundle, Registry(), "").recording.moments
    context = instruction(engine, vocabulary, [b"the guests come at eight", b"look left"], company)
    compressor = Compressor(engine, gradient, vocabulary, context, company)
    none, found = compressor.judge(np.zeros((0, engine.width), np.float32)), compressor.compress(8)
    assert found.match.agreement > max(0.8, none.agreement + 0.3)
    assert found.match.kl < none.kl / 4


def test_the_verb_writes_what_a_run_can_begin_with(quiet_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "board.toml").write_text(BOARD.format(variant="fp32"))
    (tmp_path / "what.txt").write_text("the kettle is on\n\nlook left\n")
    common = ["--board", str(tmp_path / "board.toml"), "--bundle", str(quiet_bundle), "--variant", "fp32"]
    assert main(["gist", str(tmp_path / "what.txt"), "--k", "2,3", "--steps", "2", "--out", str(tmp_path / "a.gist"), *common]) == 0
    out = capsys.readouterr().out
    assert "2 lines are" in out
    assert "a.gist: 3 latents for" in out
    assert main(["run", "--duration", "0.4", "--gist", str(tmp_path / "a.gist"), *common]) == 0
    (tmp_path / "what.txt").write_text("\n")
    assert main(["gist", str(tmp_path / "what.txt"), *common]) == 1
    assert "is empty" in capsys.readouterr().err
    assert main(["gist", str(tmp_path / "nothing.txt"), *common]) == 1
