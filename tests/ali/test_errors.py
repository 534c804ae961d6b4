import pickle

import pytest

from innervate.runtime.ali import errors
from innervate.runtime.ali.errors import DeviceError, InnervateError, nearest

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, InnervateError)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_says_who_came_expected_and_next_step(kind: type[InnervateError]) -> None:
    error = kind("motor.pan", "torque 3.2", "at most 2.0", "edit the board")
    assert str(error) == "motor.pan: torque 3.2; expected at most 2.0; edit the board"
    assert (error.who, error.came, error.expected, error.next_step) == ("motor.pan", "torque 3.2", "at most 2.0", "edit the board")


@pytest.mark.parametrize("kind", KINDS)
def test_errors_travel_between_processes(kind: type[InnervateError]) -> None:
    error = pickle.loads(pickle.dumps(kind("mic", "came", "expected")))
    assert type(error) is kind
    assert str(error) == "mic: came; expected expected"


def test_a_device_error_is_an_os_error() -> None:
    assert isinstance(DeviceError("mic", "gone"), OSError)
    assert str(DeviceError("mic", "gone")) == "mic: gone"


def test_nearest_names_one_or_all() -> None:
    assert nearest("duraton_s", ["duration_s", "seed"]) == "did you mean 'duration_s'?"
    assert nearest("zzz", ["b", "a"]) == "known: a, b"
    assert "nothing" in nearest("x", [])
