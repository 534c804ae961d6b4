"""Teaching a component over the wire: what is cut, what is refused, and that training examples are learnt."""

from __future__ import annotations

import numpy as np
import pytest

from innervate.runtime.ali.errors import LatentError
from innervate.runtime.serve.client import Client, connect
from innervate.runtime.serve.lessons import Moment, cut, learn
from innervate.runtime.serve.server import Server
from innervate.runtime.serve.wire import Floats
from tests.bundles import WIDTH
from tests.serve.parts import TOKEN

LINES = {"red": 0, "blue": 1, "stop": None, "hello": None}


def life(client: Client, turns: int) -> Floats:
    """A recording: three latents and the query, turn after turn."""
    draws, idle = np.random.default_rng(0), client.rows([256])
    return np.concatenate([np.concatenate([0.3 * draws.standard_normal((3, WIDTH)).astype(np.float32), idle]) for _ in range(turns)])


def moments(client: Client) -> list[Moment]:
    recent = life(client, 20)
    return cut(recent, client.rows([256])[0])


def test_a_recording_is_cut_at_its_turns(server: Server) -> None:
    with connect(server.addresses[0], token=TOKEN) as client:
        found, idle = moments(client), client.rows([256])[0]
        assert len(found) >= 4
        assert all(np.array_equal(one.context[-1], idle) and one.senses.shape == (3, WIDTH) for one in found)
        with pytest.raises(LatentError, match="a recording of 3 turns; expected 4 or more"):
            cut(life(client, 3), idle)


def test_what_was_learnt_has_its_form_and_the_base_is_as_it_was(server: Server) -> None:
    with connect(server.addresses[0], token=TOKEN) as client:
        before = client.logits(client.rows(b"x"))
        learnt = learn(client, LINES, moments(client))
        assert (learnt.side.shape, learnt.decoder.shape) == ((4, WIDTH), (WIDTH + 1, 2))
        assert np.isfinite(learnt.side).all() and np.isfinite(learnt.decoder).all()
        assert all(0.0 <= share <= 1.0 for share in (learnt.opened, learnt.false, learnt.right))
        assert np.array_equal(client.logits(client.rows(b"x")), before)


@pytest.mark.parametrize("lines", [{"red": 0, "blue": 1}, {"red": 1, "stop": None}, {"stop": None}])
def test_examples_that_are_missing(server: Server, lines: dict[str, int | None]) -> None:
    with connect(server.addresses[0], token=TOKEN) as client:
        with pytest.raises(LatentError, match=r"expected values 0, 1, .* a line that opens nothing, and 5 moments; add examples"):
            learn(client, lines, moments(client))
