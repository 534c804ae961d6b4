"""Training: it learns, stops in time, and goes on after an interruption as if there had been none."""

from pathlib import Path

import numpy as np
import pytest

from innervate.runtime.ali.errors import InnervateError
from innervate.runtime.teach.fit import Data, Settings, fit
from innervate.runtime.teach.layers import Net, make_net

SETTINGS = Settings(epochs_max=12, patience=12, batch=32, checkpoint_every=2)


def ring(seed: int, count: int = 200) -> Data:
    """Two classes that no line parts: inside and outside of a circle."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1.5, 1.5, (count, 1, 2)).astype(np.float32)
    inside = (x[:, 0] ** 2).sum(1) < 1.0
    return Data(x, inside.astype(np.int64), np.ones(count, np.float32))


def net_of(seed: int = 0) -> Net:
    return make_net("two-layer", 1, 2, 2, np.random.default_rng(seed), hidden=16)


def right(net: Net, data: Data) -> float:
    return float((net.forward(data.x)[:, 0].argmax(1) == data.targets).mean())


def test_it_learns_what_no_line_parts() -> None:
    net = net_of()
    course = fit(net, ring(1, 600), ring(2), Settings(epochs_max=60, patience=60, batch=32))
    assert right(net, ring(3)) > 0.95
    assert course.losses[course.best_epoch - 1] == min(course.losses)


def test_it_stops_when_the_check_gets_no_better() -> None:
    rng = np.random.default_rng(0)
    noise = Data(ring(1).x, rng.integers(0, 2, 200), np.ones(200, np.float32))
    course = fit(net_of(), noise, ring(2), Settings(epochs_max=500, patience=5, batch=32))
    assert len(course.losses) < 200
    assert len(course.losses) - course.best_epoch == 5


class Stop(Exception):  # noqa: N818 - stands for a Ctrl-C
    pass


def test_a_resumed_training_ends_with_the_same_bits(tmp_path: Path) -> None:
    whole, part, path = net_of(), net_of(), tmp_path / "state" / "check.npz"
    fit(whole, ring(1), ring(2), SETTINGS)

    def pull_the_plug(done: int, total: int, note: str) -> None:
        if done == 7:
            raise Stop

    with pytest.raises(Stop):
        fit(part, ring(1), ring(2), SETTINGS, path, pull_the_plug)
    again = net_of()
    course = fit(again, ring(1), ring(2), SETTINGS, path)
    assert course.resumed_at == 6
    assert all(np.array_equal(array, again.weights()[name]) for name, array in whole.weights().items())
    assert not path.exists()


@pytest.mark.parametrize("damage", [b"", b"no archive", b"PK\x03\x04 half of one"])
def test_a_checkpoint_of_something_else_is_not_used(damage: bytes, tmp_path: Path) -> None:
    path = tmp_path / "check.npz"
    path.write_bytes(damage)
    assert fit(net_of(), ring(1), ring(2), SETTINGS, path).resumed_at == 0


def test_a_gradient_that_explodes_is_named() -> None:
    huge = Data(ring(1).x * np.float32(1e30), ring(1).targets, np.ones(200, np.float32))
    with pytest.raises(InnervateError, match="training: a gradient of length"), np.errstate(all="ignore"):
        fit(net_of(), huge, huge, SETTINGS)
