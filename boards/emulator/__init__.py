"""The physical twin of the handheld: a world that can be seen, heard, felt and moved in.

`make_world` and `make_still` are what a board file names under `world`; nothing heavy is imported before they are
called.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from innervate.boards.emulator.still import StillWorld
    from innervate.boards.emulator.world import World

__all__ = ["make_still", "make_world"]


def make_world(scenario: Path | None, seed: int | None = None) -> World:
    """Build the world of a scenario file, or an empty silent one without an end when `scenario` is None.

    `seed` replaces the file's own seed when given. Raises ScenarioError for a file that does not hold,
    DeviceError for a machine that lacks a renderer or a synthesiser.
    """
    from innervate.boards.emulator.world import World

    return World.from_file(scenario, seed)


def make_still(scenario: Path | None, seed: int | None = None) -> StillWorld:
    """Build the same without MuJoCo: servos, sound, text and squeezes, and a camera that sees grey.

    Raises ScenarioError for a file that does not hold, DeviceError for a machine that lacks a synthesiser.
    """
    from innervate.boards.emulator.still import StillWorld

    return StillWorld.from_file(scenario, seed)
