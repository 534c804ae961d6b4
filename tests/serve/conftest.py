"""A served backbone and a served device, one each for a module: both take a second to start."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from innervate.runtime.serve.client import Client, connect
from innervate.runtime.serve.server import Server
from tests.serve.parts import TOKEN, Served, served_backbone


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A folder with a path short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="innervate-") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def server(place: Path, quiet_bundle: Path) -> Iterator[Server]:
    with served_backbone(place, quiet_bundle) as server:
        yield server


@pytest.fixture(params=["unix", "ws"])
def client(server: Server, request: pytest.FixtureRequest) -> Iterator[Client]:
    (address,) = [one for one in server.addresses if one.startswith(request.param)]
    with connect(address, token=TOKEN) as client:
        yield client


@pytest.fixture(scope="module")
def driving(place: Path, driving_bundle: Path) -> Iterator[Served]:
    """A device whose model opens the motor in every tick."""
    served = Served(place, driving_bundle)
    yield served
    served.close()
