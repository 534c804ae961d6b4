"""The devices' library, built once."""

from __future__ import annotations

import ctypes
import shutil

import pytest

from tests.firmware_bridge.devices.bench import build, load


@pytest.fixture(scope="session")
def lib(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    if shutil.which("cc") is None:
        pytest.fail("no C compiler; expected `cc`; install gcc or clang (apt-get install gcc)")
    return load(build(tmp_path_factory.mktemp("devices")))
