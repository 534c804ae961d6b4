"""The expert: absolute for directions, visual for things, a scan for what is out of view."""

import numpy as np
import pytest

from innervate.boards.emulator.scene import SceneObject
from innervate.models.expert import CENTRED_DEG, SCAN_STEP_DEG, UNNAMED, act, is_meant
from innervate.models.language import Intent
from innervate.models.scenes import bearing, cell_labels, pixel

FIND = Intent("find", "red", "cube")


def pose(pan: float = 0.0, tilt: float = 0.0, pan_rate: float = 0.0, tilt_rate: float = 0.0) -> np.ndarray:
    return np.array([pan, tilt, pan_rate, tilt_rate])


@pytest.mark.parametrize(
    ("verb", "turn"), [("left", (50.0, 5.0)), ("right", (-70.0, 5.0)), ("up", (-10.0, 25.0)), ("down", (-10.0, -15.0)), ("ahead", (-10.0, 5.0))]
)
def test_a_direction_is_a_place_to_look_at(verb: str, turn: tuple[float, float]) -> None:
    action = act(Intent(verb), pose(10.0, -5.0), None)
    assert (action.pan_deg, action.tilt_deg) == turn
    assert not action.done


def test_a_direction_is_done_when_there_and_still() -> None:
    assert act(Intent("left"), pose(60.5, 0.5), None).done
    assert not act(Intent("left"), pose(60.5, 0.5, pan_rate=30.0), None).done


def test_a_thing_in_view_is_turned_to_and_a_find_ends_there() -> None:
    cube = SceneObject("cube", "red", 20.0, -5.0)
    action = act(FIND, pose(), [cube])
    assert (action.pan_deg, action.tilt_deg, action.done, action.visible) == (20.0, -5.0, False, True)
    near = pose(20.0 - CENTRED_DEG / 2, -5.0)
    assert act(FIND, near, [cube]).done
    assert not act(Intent("follow", "red", "cube"), near, [cube]).done


def test_what_is_out_of_view_cannot_be_known() -> None:
    hidden = [SceneObject("cube", "red", -80.0, 0.0)]
    assert act(FIND, pose(), hidden) == act(FIND, pose(), [])


def test_a_scan_reaches_every_object_from_anywhere() -> None:
    """Play the scan with a head that follows at once: whatever the start, both ends of the range come into view."""
    for start in (-85.0, -40.0, 0.0, 55.0, 85.0):
        pan, rate, seen = start, 0.0, set()
        for _ in range(60):
            turn = act(FIND, pose(pan, 0.0, rate), []).pan_deg
            assert abs(turn) == SCAN_STEP_DEG
            rate, pan = turn / 0.08, pan + turn
            seen |= {side for side in (-1, 1) if abs(side * 88.0 - pan) < 29.0}
        assert seen == {-1, 1}


def test_a_tick_without_a_frame_stands_still() -> None:
    action = act(FIND, pose(12.0, 3.0, 40.0), None)
    assert (action.pan_deg, action.tilt_deg, action.done) == (0.0, 0.0, False)


def test_bearing_and_pixel_agree_with_the_frame() -> None:
    assert pixel(0.0, 0.0) == (48.0, 48.0)
    assert pixel(30.0, 0.0)[0] == pytest.approx(0.0, abs=1e-6)
    assert bearing(70.0, 0.0, 50.0, 0.0) == pytest.approx((20.0, 0.0))
    assert bearing(10.0, 12.0, 10.0, 12.0) == pytest.approx((0.0, 0.0), abs=1e-9)


def test_labels_name_trained_pairs_and_leave_held_out_ones_nameless() -> None:
    labels = cell_labels([SceneObject("cube", "red", 12.0, 0.0), SceneObject("cube", "purple", -12.0, 0.0)], (0.0, 0.0))
    things = labels[labels[:, 0] == 1]
    assert len(things) == 2
    assert sorted(things[:, 1].tolist()) == [-1.0, 0.0]
    assert sorted(things[:, 2].tolist()) == [-1.0, 0.0]


def test_a_thing_without_a_name_may_be_meant_or_not() -> None:
    yellow, cone = SceneObject(UNNAMED, "yellow", 5.0), SceneObject("cone", UNNAMED, 5.0)  # type: ignore[arg-type]
    assert is_meant(Intent("find", "yellow"), yellow) is True
    assert is_meant(Intent("find", "red", "cube"), yellow) is False
    assert is_meant(Intent("find", "yellow", "cube"), yellow) is None
    assert is_meant(Intent("find", None, "cone"), cone) is True
    assert act(Intent("find", None, "cone"), pose(), [cone]).pan_deg == 5.0
    assert not act(Intent("find", "yellow", "cube"), pose(), [yellow]).known


def test_half_a_name_never_makes_a_held_out_pair_a_target() -> None:
    assert is_meant(Intent("find", "yellow"), SceneObject("cone", "yellow", 0.0)) is None
    assert is_meant(Intent("find", "yellow", "cone"), SceneObject("cone", "yellow", 0.0)) is True
