"""Tracks of speech: labels stand where the words are, and drawing is reproducible."""


from pathlib import Path

import numpy as np
import pytest

from innervate.models.language import COLOURS, HELD_OUT, SHAPES, VERBS, command, named, shuffled
from innervate.models.revoice import PHONE_CLASSES
from innervate.models.speech import TICKS, make_track
from innervate.models.train_hearing import commands_heard
from innervate.models.utterances import IGNORE, WORD_CLASSES, Pool, render_pool


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    path = tmp_path_factory.mktemp("pool") / "pool.npz"
    render_pool(path, 60, 7, processes=1)
    return Pool.load(path)


def test_a_pool_holds_commands_and_other_sentences(pool: Pool) -> None:
    assert len(pool.commands) > 20 and len(pool.others) > 5
    assert (pool.end <= np.diff(pool.start)).all()
    assert set(np.unique(pool.word)) <= {*range(WORD_CLASSES), IGNORE}


def test_the_same_seed_gives_the_same_track(pool: Pool) -> None:
    one, two = (make_track(np.random.default_rng(4), pool) for _ in range(2))
    assert np.array_equal(one.mel, two.mel) and np.array_equal(one.verb, two.verb)
    assert np.isfinite(one.mel).all()


def test_an_intent_is_due_after_its_sentence_and_not_before(pool: Pool) -> None:
    rng, seen = np.random.default_rng(0), 0
    for _ in range(60):
        track = make_track(rng, pool)
        tick_end = (np.arange(TICKS) + 1) * 8
        for end, ids in track.spoken:
            assert not np.isin(track.verb[(tick_end < end - 8) & (tick_end > end - 40)], [ids[0]]).any() or len(track.spoken) > 1
            seen += int((track.verb[(tick_end >= end + 20) & (tick_end < end + 60)] == ids[0]).any())
    assert seen > 20


def test_hearing_is_judged_by_the_first_intent_named() -> None:
    verb = np.zeros(TICKS, int)
    find = (VERBS.index("find"), 1, 1)
    verb[15:20] = find[0]
    ones = np.ones(TICKS, int)
    assert commands_heard(verb, ones, ones, [(100, find)]) == (1, 1, 0)
    assert commands_heard(verb, ones * 2, ones, [(100, find)]) == (0, 1, 0)
    verb[60:62] = 1
    assert commands_heard(verb, ones, ones, [(100, find)]) == (1, 1, 1)


def test_phonemes_are_known_where_somebody_speaks_english(pool: Pool) -> None:
    rng = np.random.default_rng(2)
    tracks = [make_track(rng, pool) for _ in range(20)]
    phones = np.stack([t.phone for t in tracks])
    assert phones.shape == (20, TICKS, 2)
    assert set(np.unique(phones)) <= {IGNORE, *range(PHONE_CLASSES)}
    words = np.stack([t.word for t in tracks])
    spoken = (words > 0)[..., None] & (phones != IGNORE)
    assert (phones[spoken] > 0).mean() > 0.8


def test_a_pool_on_disk_is_what_numpy_reads(tmp_path: Path) -> None:
    path = tmp_path / "two.npz"
    render_pool(path, 2, 3, processes=1)
    with np.load(path) as stored:
        pool = Pool.load(path)
        for name in stored.files:
            assert np.array_equal(stored[name], getattr(pool, name)), name


def test_shuffled_words_are_no_command_and_name_no_held_out_pair() -> None:
    rng = np.random.default_rng(0)
    texts = [shuffled(rng) for _ in range(500)]
    commands = {command(rng, pairs=tuple((c, s) for c in COLOURS for s in SHAPES))[0] for _ in range(2000)}
    assert not commands & set(texts)
    assert not any(text.endswith((" stop", " look left", " find the red cube")) for text in texts)
    assert not {named(text) for text in texts} & HELD_OUT
    assert named("a red ball and a blue sky") == ("blue", "ball") and named("hello") == (None, None)
