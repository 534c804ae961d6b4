import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from innervate.runtime.ali.errors import LatentError, SpaceMismatch
from innervate.runtime.ali.latents import Border, Latents
from innervate.runtime.ali.space import Adapter, Space, negotiate

from .parts import FOREIGN, SPACE, WIDTH, packet


def data(rows: int = 2) -> np.ndarray:
    return np.ones((rows, WIDTH), np.float32)


def stamps(*t_ns: int) -> np.ndarray:
    return np.array(t_ns, np.int64)


def test_a_packet_is_immutable() -> None:
    latents = packet(2)
    with pytest.raises(ValueError, match="read-only"):
        latents.data[0, 0] = 1.0
    with pytest.raises(ValueError, match="read-only"):
        latents.t_ns[0] = 1
    with pytest.raises(AttributeError):
        latents.seq = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (data().astype(np.float64), "dtype float64"),
        (np.ones((2, WIDTH + 1), np.float32), "shape"),
        (np.ones((0, WIDTH), np.float32), "shape"),
        (np.ones(WIDTH, np.float32), "shape"),
        (np.full((2, WIDTH), np.nan, np.float32), "16 non-finite"),
        (np.full((2, WIDTH), -np.inf, np.float32), "non-finite"),
    ],
)
def test_bad_data_is_refused(broken: np.ndarray, words: str) -> None:
    with pytest.raises(LatentError, match=words) as caught:
        Latents(broken, SPACE, np.zeros(broken.shape[0], np.int64), "mic", 0)
    assert caught.value.who == "mic"
    assert caught.value.next_step


@pytest.mark.parametrize("broken", [stamps(1), np.array([1.0, 2.0]), stamps(2, 1)])
def test_bad_stamps_are_refused(broken: np.ndarray) -> None:
    with pytest.raises(LatentError):
        Latents(data(), SPACE, broken, "mic", 0)


def test_the_border_refuses_a_foreign_space_with_both_identities() -> None:
    with pytest.raises(SpaceMismatch) as caught:
        Border(SPACE).admit(packet(space=FOREIGN))
    assert SPACE.space_id in str(caught.value)
    assert FOREIGN.space_id in str(caught.value)


def test_time_may_stand_still_but_not_go_back() -> None:
    border = Border(SPACE)
    border.admit(packet(t_ns=5))
    border.admit(packet(t_ns=5))
    border.admit(packet(t_ns=1, source="camera"))  # each source has a time of its own
    with pytest.raises(LatentError, match="captured at 4 ns after one of 5 ns"):
        border.admit(packet(t_ns=4))
    border.forget("mic")
    border.admit(packet(t_ns=4))


@given(st.lists(st.tuples(st.integers(0, 20), st.booleans()), max_size=30))
def test_a_refused_packet_changes_nothing(packets: list[tuple[int, bool]]) -> None:
    """Invariant: the border accepts exactly the same later packets whether or not refused ones came in between."""
    border, newest = Border(SPACE), -1
    for t_ns, foreign in packets:
        good = not foreign and t_ns >= newest
        try:
            border.admit(packet(t_ns=t_ns, space=FOREIGN if foreign else SPACE))
        except (LatentError, SpaceMismatch):
            assert not good
        else:
            assert good
            newest = t_ns


def test_negotiation() -> None:
    assert negotiate("mic", SPACE, Space(SPACE.space_id, "another quantisation", WIDTH)) is None
    with pytest.raises(SpaceMismatch, match="mic: speaks latent space"):
        negotiate("mic", FOREIGN, SPACE)
    adapter = Adapter(FOREIGN.space_id, SPACE, lambda x: x)
    assert negotiate("mic", FOREIGN, SPACE, [adapter]) is adapter
    with pytest.raises(SpaceMismatch):
        negotiate("mic", FOREIGN, Space("e" * 64, "e" * 64, WIDTH), [adapter])


def test_the_same_identity_with_another_width_is_not_the_same_space() -> None:
    with pytest.raises(SpaceMismatch):
        negotiate("mic", Space(SPACE.space_id, SPACE.exact_id, WIDTH + 1), SPACE)
