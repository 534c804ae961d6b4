"""What is asked, and above all what is never asked in training."""

import numpy as np

from innervate.models.language import COLOURS, HELD_OUT, SHAPES, TRAINED_PAIRS, VERBS, Intent, command, describe, other


def test_the_four_held_out_pairs_never_occur_in_a_training_command_or_sentence() -> None:
    rng = np.random.default_rng(0)
    for _ in range(5000):
        text, intent = command(rng)
        assert (intent.colour, intent.shape) not in HELD_OUT
        for colour, shape in HELD_OUT:
            assert f"{colour} {shape}" not in text
            assert f"{colour} {shape}" not in other(rng)


def test_trained_and_held_out_pairs_are_all_pairs() -> None:
    assert len(HELD_OUT) == 4
    assert set(TRAINED_PAIRS) | HELD_OUT == {(c, s) for c in COLOURS for s in SHAPES}


def test_every_command_says_its_intent() -> None:
    rng = np.random.default_rng(1)
    seen = set()
    for _ in range(800):
        text, intent = command(rng)
        seen.add(intent.verb)
        if intent.colour is not None and intent.shape is not None:
            assert text.endswith(f"the {intent.colour} {intent.shape}")
            assert text.startswith(("look at", "find")) == (intent.verb == "find")
    assert seen == set(VERBS[1:])


def test_intent_ids_leave_zero_for_nothing() -> None:
    assert Intent("none").ids == (0, 0, 0)
    assert Intent("follow", "red", "cone").ids == (VERBS.index("follow"), 1, 4)


def test_answers_read_as_english() -> None:
    assert describe([]) == "nothing"
    assert describe([("red", "cube")]) == "a red cube"
    assert describe([("red", "cube"), ("blue", "ball")]) == "a red cube and a blue ball"
    assert describe([("red", "cube"), ("blue", "ball"), ("white", "cone")]) == "a red cube, a blue ball and a white cone"
