"""Fixtures that several rooms share: real bundles whose models follow a script (see `bundles.py`)."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bundles import IDLE, SO_MOTOR, scripted_bundle


@pytest.fixture(scope="session", autouse=True)
def no_skills(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What the developer has taught is no part of the tests, nor of the programs that they start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INNERVATE_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="session")
def quiet_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that never does anything."""
    return scripted_bundle(tmp_path_factory.mktemp("quiet") / "bundle", {})


@pytest.fixture(scope="session")
def driving_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that opens the motor in every tick and steers it."""
    return scripted_bundle(tmp_path_factory.mktemp("driving") / "bundle", {IDLE: SO_MOTOR, SO_MOTOR: IDLE})


@pytest.fixture(scope="session")
def speaking_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that says "hi" in every tick."""
    script = {IDLE: ord("h"), ord("h"): ord("i"), ord("i"): ord("\n"), ord("\n"): IDLE}
    return scripted_bundle(tmp_path_factory.mktemp("speaking") / "bundle", script)
