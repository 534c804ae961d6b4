"""Tokens of components beside the base: their ids, their scores, their file, and that the bundle never changes."""

from __future__ import annotations

import errno
import hashlib
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from innervate.runtime.ali.errors import BundleError, InnervateError, LatentError, SpaceMismatch, VocabularyError
from innervate.runtime.backbone.bundle import Bundle
from innervate.runtime.backbone.engine import Engine
from innervate.runtime.backbone.side import SIDE_MAX, TOKENS_FILE, read_tokens
from innervate.runtime.backbone.vocabulary import Vocabulary
from tests.backbone.small import ONE_LAYER, inputs, make_bundle, make_nano

WIDTH, BASE, CONTROLS = 128, 259, 3


@pytest.fixture
def vocabulary(bundle: Bundle) -> Vocabulary:
    return Vocabulary(bundle)


def prints(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


def test_two_tokens_are_added_behind_the_base(vocabulary: Vocabulary) -> None:
    before = vocabulary.logits(inputs(1)[0]).copy()
    side = vocabulary.add_component("acme/ring")
    assert (side.start, side.end) == (BASE, BASE + 1)
    assert vocabulary.id("<so_acme/ring>") == BASE
    assert vocabulary.name(BASE + 1) == "<eo_acme/ring>"
    assert vocabulary.size == BASE + 2
    assert vocabulary.control[-2:] == ("<so_acme/ring>", "<eo_acme/ring>")
    assert vocabulary.control_ids[-2:] == (BASE, BASE + 1)
    logits = vocabulary.logits(inputs(1)[0])
    assert np.array_equal(logits[:BASE], before), "the base's scores are the same bits"
    np.testing.assert_allclose(logits[BASE:], side.classifier @ inputs(1)[0], rtol=1e-5)
    np.testing.assert_allclose(vocabulary.control_logits(inputs(1)[0]), logits[256:], rtol=1e-5)
    assert np.array_equal(vocabulary.row(BASE), side.embedding[0])


def test_rows_start_at_the_mean_of_the_control_rows(vocabulary: Vocabulary, bundle: Bundle) -> None:
    embedding, classifier = bundle.rows()
    side = vocabulary.add_component("wave")
    for row in (0, 1):
        np.testing.assert_allclose(side.embedding[row], embedding[256:].mean(0), atol=1e-6)
        np.testing.assert_allclose(side.classifier[row], classifier[256:].mean(0), atol=1e-6)


@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(1e-3, 1e3))
@settings(max_examples=50, deadline=None)
def test_a_fresh_component_is_never_chosen(bundle: Bundle, seed: int, scale: float) -> None:
    """Invariant: whatever the hidden state, the highest score is one of the base's."""
    vocabulary = Vocabulary(bundle)
    vocabulary.add_component("acme/ring")
    h = (np.random.default_rng(seed).standard_normal(WIDTH) * scale).astype(np.float32)
    assert vocabulary.logits(h).argmax() < BASE
    assert vocabulary.control_logits(h).argmax() < CONTROLS


def test_rows_are_trained_in_place_and_alone(vocabulary: Vocabulary, bundle: Bundle) -> None:
    before = prints(bundle.folder)
    base = vocabulary._embedding.tobytes(), vocabulary._classifier.tobytes()
    h = inputs(1)[0]
    side, other = vocabulary.add_component("acme/ring"), vocabulary.add_component("wave")
    kept = other.embedding.tobytes(), other.classifier.tobytes()
    side.classifier[0] += h * 10
    side.embedding[0] = 2.0
    assert vocabulary.logits(h).argmax() == side.start
    assert vocabulary.control_ids[int(vocabulary.control_logits(h).argmax())] == side.start
    assert np.array_equal(vocabulary.row(side.start), np.full(WIDTH, 2.0, np.float32))
    assert (other.embedding.tobytes(), other.classifier.tobytes()) == kept
    assert (vocabulary._embedding.tobytes(), vocabulary._classifier.tobytes()) == base
    assert prints(bundle.folder) == before


def test_the_base_cannot_be_written(vocabulary: Vocabulary) -> None:
    with pytest.raises(ValueError, match="read-only"):
        vocabulary.row(65)[0] = 1.0


def test_ids_stay_and_a_freed_place_is_used_again(vocabulary: Vocabulary) -> None:
    h = inputs(1)[0]
    first, second, third = (vocabulary.add_component(name) for name in ("a/one", "a/two", "a/three"))
    third.classifier[1] = h
    vocabulary.remove_component("a/two")
    assert vocabulary.components == ("a/one", "a/three")
    assert third.start == vocabulary.id("<so_a/three>") == BASE + 4
    assert vocabulary.size == BASE + 6
    logits = vocabulary.logits(h)
    assert np.isneginf(logits[second.start : second.end + 1]).all()
    assert logits.argmax() == third.end
    controls = vocabulary.control_logits(h)
    assert len(controls) == len(vocabulary.control_ids) == CONTROLS + 4
    np.testing.assert_allclose(controls, logits[list(vocabulary.control_ids)], rtol=1e-5)
    with pytest.raises(BundleError):
        vocabulary.id("<so_a/two>")
    with pytest.raises(LatentError):
        vocabulary.row(second.start)
    fourth = vocabulary.add_component("a/four")
    assert fourth.start == second.start
    second.classifier[:] = 1e6  # who still holds what was removed reaches nobody
    assert vocabulary.logits(h).argmax() == third.end
    vocabulary.remove_component("a/four")
    vocabulary.remove_component("a/three")
    assert vocabulary.size == BASE + 2
    vocabulary.remove_component("a/one")
    assert vocabulary.size == BASE
    assert first.embedding.shape == (2, WIDTH)


def test_after_the_last_one_left_scores_are_the_same_bits(vocabulary: Vocabulary) -> None:
    h = inputs(1)[0]
    before = vocabulary.logits(h).tobytes(), vocabulary.control_logits(h).tobytes(), vocabulary.control
    vocabulary.add_component("wave")
    vocabulary.remove_component("wave")
    assert (vocabulary.logits(h).tobytes(), vocabulary.control_logits(h).tobytes(), vocabulary.control) == before


@pytest.mark.parametrize("name", ["", "Ring", "a/b/c", "/ring", "acme/", "a b", "ring>", "x" * 33, "a/../b", "acme/rïng"])
def test_bad_names_are_refused(vocabulary: Vocabulary, name: str) -> None:
    with pytest.raises(VocabularyError, match="VENDOR/NAME"):
        vocabulary.add_component(name)
    assert vocabulary.size == BASE


def test_taken_names_are_refused(vocabulary: Vocabulary) -> None:
    vocabulary.add_component("acme/ring")
    with pytest.raises(VocabularyError, match="remove that component first"):
        vocabulary.add_component("acme/ring")
    with pytest.raises(VocabularyError, match="the bundle's own"):
        vocabulary.add_component("motor")
    with pytest.raises(VocabularyError, match="did you mean 'acme/ring'"):
        vocabulary.component("acme/rign")


def test_the_budget(vocabulary: Vocabulary) -> None:
    for index in range(SIDE_MAX):
        vocabulary.add_component(f"acme/part{index}")
    with pytest.raises(VocabularyError, match=f"at most {SIDE_MAX}; remove one of acme/part0"):
        vocabulary.add_component("acme/more")
    assert vocabulary.size == BASE + 2 * SIDE_MAX
    vocabulary.remove_component("acme/part3")
    assert vocabulary.add_component("acme/more").start == BASE + 6


def test_rows_are_saved_and_loaded(vocabulary: Vocabulary, bundle: Bundle, tmp_path: Path) -> None:
    side = vocabulary.add_component("acme/ring")
    side.embedding[:], side.classifier[:] = inputs(2), inputs(2, seed=1)
    side.save(tmp_path / "ring" / TOKENS_FILE)
    other = Vocabulary(bundle)
    other.add_component("wave")
    again = other.load_component(tmp_path / "ring" / TOKENS_FILE)
    assert (again.name, again.start) == ("acme/ring", BASE + 2)
    assert again.embedding.tobytes() == side.embedding.tobytes()
    assert again.classifier.tobytes() == side.classifier.tobytes()
    with pytest.raises(VocabularyError, match="is there already"):
        other.load_component(tmp_path / "ring" / TOKENS_FILE)


def test_rows_of_another_space_are_refused(vocabulary: Vocabulary, tmp_path: Path) -> None:
    vocabulary.add_component("wave").save(tmp_path / TOKENS_FILE)
    other = Bundle.open(make_bundle(tmp_path / "other", make_nano(ONE_LAYER, seed=7)))
    with pytest.raises(SpaceMismatch, match=r"latent space .* train the component again"):
        Vocabulary(other).load_component(tmp_path / TOKENS_FILE)


def test_damaged_files_are_refused(vocabulary: Vocabulary, tmp_path: Path) -> None:
    path = tmp_path / TOKENS_FILE
    with pytest.raises(VocabularyError, match="cannot be read"):
        vocabulary.load_component(path)
    vocabulary.add_component("wave").save(path)
    vocabulary.remove_component("wave")
    whole = path.read_bytes()
    for at in range(0, len(whole), 97):
        for damaged in (whole[:at], whole[:at] + bytes([whole[at] ^ 0x41]) + whole[at + 1 :]):
            path.write_bytes(damaged)
            try:
                vocabulary.load_component(path)
            except (VocabularyError, SpaceMismatch):
                pass
            else:  # what is left in the ZIP's own fields that nobody reads
                vocabulary.remove_component("wave")
            assert vocabulary.size == BASE


def test_a_file_that_would_unpack_to_gigabytes_is_refused(vocabulary: Vocabulary, tmp_path: Path) -> None:
    path = tmp_path / TOKENS_FILE
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("embedding.npy", bytes(1 << 24))
    with pytest.raises(VocabularyError, match="16777216 bytes"):
        vocabulary.load_component(path)


def test_non_finite_rows_are_not_saved(vocabulary: Vocabulary, tmp_path: Path) -> None:
    side = vocabulary.add_component("wave")
    side.save(tmp_path / TOKENS_FILE)
    side.classifier[0, 0] = np.nan
    with pytest.raises(VocabularyError, match="lower learning rate"):
        side.save(tmp_path / TOKENS_FILE)
    assert read_tokens(tmp_path / TOKENS_FILE, WIDTH, side.space_id)[0] == "wave", "the old file stays"


def test_a_full_disc_leaves_the_old_file(vocabulary: Vocabulary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    side = vocabulary.add_component("wave")
    side.save(tmp_path / TOKENS_FILE)
    before = (tmp_path / TOKENS_FILE).read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InnervateError, match="free some space"):
        side.save(tmp_path / TOKENS_FILE)
    assert [path.name for path in tmp_path.iterdir()] == [TOKENS_FILE]
    assert (tmp_path / TOKENS_FILE).read_bytes() == before


def test_the_engine_runs_and_pins_a_token_of_the_side(bundle: Bundle, vocabulary: Vocabulary) -> None:
    engine = Engine(bundle, "fp32")
    side = vocabulary.add_component("acme/ring")
    side.embedding[0] = inputs(1)[0]
    engine.append(inputs(10))
    engine.append(vocabulary.row(side.start)[None], pin="acme/ring")
    for _ in range(10):
        engine.append(inputs(20))
    assert engine.pins == {"acme/ring": 0}
