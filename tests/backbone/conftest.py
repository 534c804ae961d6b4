"""Bundles that are written once for the whole folder; a test that changes files copies one first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from innervate.models.backbone import Nano
from innervate.runtime.backbone.bundle import Bundle
from innervate.runtime.backbone.engine import Engine
from tests.backbone.small import ONE_LAYER, make_bundle, make_ear, make_nano


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def nano() -> Nano:
    return make_nano()


@pytest.fixture(scope="session")
def bundle_folder(tmp_path_factory: pytest.TempPathFactory, nano: Nano) -> Path:
    folder = tmp_path_factory.mktemp("bundles")
    make_ear(folder / "ear.onnx")
    return make_bundle(folder / "small", nano, {"mic.encoder": folder / "ear.onnx"})


@pytest.fixture(scope="session")
def bundle(bundle_folder: Path) -> Bundle:
    return Bundle.open(bundle_folder)


@pytest.fixture(scope="session")
def one_layer(tmp_path_factory: pytest.TempPathFactory) -> tuple[Nano, Bundle]:
    nano = make_nano(ONE_LAYER, seed=2)
    return nano, Bundle.open(make_bundle(tmp_path_factory.mktemp("one") / "layer", nano))


@pytest.fixture
def engine(bundle: Bundle) -> Engine:
    return Engine(bundle, "fp32")
