"""A miniature of the whole training in about a minute: every stage runs, resumes, and the bundle agrees with torch."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from innervate.models.checkpoint import load_checkpoint
from innervate.models.policy import Policy
from innervate.models.train import MINIATURE, make
from innervate.runtime.backbone.bundle import Bundle
from innervate.runtime.backbone.engine import Engine

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("train")
    make(folder, folder / "nano", MINIATURE, threads=1)
    return folder


def test_the_bundle_of_a_miniature_opens_and_is_small(made: Path) -> None:
    bundle = Bundle.open(made / "nano")
    assert set(bundle.variants) == {"dq8", "nb8", "fp32"}
    assert sum(p.stat().st_size for p in (made / "nano").rglob("*") if p.is_file()) <= 16_000_000


@pytest.mark.parametrize("length", [5, 43])
@pytest.mark.parametrize(("variant", "tolerance"), [("fp32", 1e-3), ("nb8", 0.03), ("dq8", 0.08)])
def test_exported_graphs_agree_with_torch(made: Path, variant: str, tolerance: float, length: int) -> None:
    policy = Policy()
    load_checkpoint(made / "policy.pt", policy, None)
    x = torch.randn(length, 384, generator=torch.Generator().manual_seed(length))
    with torch.no_grad():
        want = policy.eval().nano(x[None])[0].numpy()
    engine = Engine(Bundle.open(made / "nano"), variant)
    got = np.concatenate([engine.append(part.numpy()).copy() for part in x.split(20)])
    assert np.linalg.norm(got - want) <= tolerance * np.linalg.norm(want)


def test_training_goes_on_where_it_was_stopped(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (made / "ear.pt").read_bytes()
    make(made, made / "nano", MINIATURE, threads=1, stages=("ear",))
    assert (made / "ear.pt").read_bytes() == before  # nothing left to do
    more = dataclasses.replace(MINIATURE, hearing=dataclasses.replace(MINIATURE.hearing, steps=22))
    make(made, made / "nano", more, threads=1, stages=("ear",))
    assert "ear step 22" in capsys.readouterr().out
