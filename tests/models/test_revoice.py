"""Drawn speakers: the words stay where they are said, no two speakers are alike, and every phoneme of English is known."""

import numpy as np
import pytest

from innervate.boards.emulator.speech import Utterance, synthesiser
from innervate.models.hearing import BANDS, MEL
from innervate.models.revoice import PHONE_CLASSES, PHONES, SILENT, phone_class, revoice
from innervate.models.voices import ACCENTS


@pytest.fixture(scope="module")
def said() -> Utterance:
    return synthesiser().say("find the purple cylinder", "gmw/en-US")


def test_phonemes_of_all_accents_have_a_class() -> None:
    text = "the bird sat near a pure white toy boat, hear how fair years chew judge measure thing over vision bottle water you"
    for accent in sorted(set(ACCENTS)):
        names = {phone.name for phone in synthesiser().say(text, accent).phones}
        assert {n for n in names if phone_class(n) == SILENT} <= {n for n in names if n[:1] in "_;"}, accent


def test_a_variant_of_a_phoneme_falls_back_to_its_base() -> None:
    assert phone_class("i:") == phone_class("i") == PHONES.index("i") + 1
    assert phone_class("@2") == phone_class("@") and phone_class("@L") != phone_class("@")
    assert phone_class("_:") == phone_class("") == SILENT


def test_words_and_phonemes_keep_their_order(said: Utterance) -> None:
    for seed in range(20):
        by = revoice(said, np.random.default_rng(seed))
        assert by.power.shape == (len(by.word), 201) and len(by.word) == len(by.phone)
        assert np.isfinite(by.power).all() and (by.power >= 0).all()
        heard = by.word[by.word >= 0]
        assert (np.diff(heard) >= 0).all() and set(heard) == {0, 1, 2, 3}
        assert 0 <= by.phone.min() and by.phone.max() < PHONE_CLASSES
        assert 0.3 < len(by.word) / (len(said.pcm) / 160) < 3.0


def test_the_same_seed_is_the_same_speaker_and_another_is_not(said: Utterance) -> None:
    one, two, three = (revoice(said, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(one.power, two.power)
    assert one.power.shape != three.power.shape or not np.allclose(one.power, three.power)


def test_friction_is_high_and_vowels_are_low(said: Utterance) -> None:
    middles = []
    for seed in range(12):
        by = revoice(said, np.random.default_rng(seed))
        bands = by.power @ MEL.numpy()
        middle = (bands * np.arange(BANDS)).sum(1) / bands.sum(1)
        middles.append((middle[by.phone == phone_class("s")].mean(), middle[by.phone == phone_class("3")].mean()))
    assert np.diff(np.array(middles), axis=1).mean() < -6
