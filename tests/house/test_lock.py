"""The lock files answer setup.cfg, whole and with hashes."""

from __future__ import annotations

import importlib.metadata
import re

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.house.tree import ROOT, load_house

house = load_house()
PROFILES = sorted(house.PROFILES)


def pins(profile: str) -> dict[str, list[tuple[Version, Marker | None, int]]]:
    """Return name -> (version, marker, number of hashes) of every line of a lock."""
    text = house.lock_path(ROOT, profile).read_text(encoding="utf-8")
    found: dict[str, list[tuple[Version, Marker | None, int]]] = {}
    for block in re.split(r"\n(?=\S)", text):
        if block.startswith("#"):
            continue
        requirement = Requirement(block.split("\\")[0].split("--hash")[0].strip())
        (specifier,) = requirement.specifier
        assert specifier.operator == "=="
        hashes = len(re.findall(r"--hash=sha256:[0-9a-f]{64}\b", block))
        found.setdefault(canonicalize_name(requirement.name), []).append((Version(specifier.version), requirement.marker, hashes))
    return found


@pytest.mark.parametrize("profile", PROFILES)
def test_lock_was_made_from_this_setup_cfg(profile: str) -> None:
    text = house.lock_path(ROOT, profile).read_text(encoding="utf-8")
    assert text.startswith(house.lock_header(ROOT, profile)), "run: make lock"


@pytest.mark.parametrize("profile", PROFILES)
def test_lock_meets_every_requirement(profile: str) -> None:
    locked = pins(profile)
    for line in house.lock_inputs(ROOT, profile):
        wanted = Requirement(line)
        versions = locked.get(canonicalize_name(wanted.name), [])
        assert versions, f"{line} is not in the lock; run: make lock"
        for version, _, _ in versions:
            assert wanted.specifier.contains(version), f"{line} is locked at {version}; run: make lock"


@pytest.mark.parametrize("profile", PROFILES)
def test_every_pin_has_hashes(profile: str) -> None:
    assert [name for name, versions in pins(profile).items() if any(hashes == 0 for _, _, hashes in versions)] == []


@pytest.mark.parametrize("profile", PROFILES)
def test_lock_holds_what_its_packages_need(profile: str) -> None:
    locked = pins(profile)
    for name, versions in locked.items():
        if any(marker is not None and not marker.evaluate() for _, marker, _ in versions):
            continue
        try:
            needs = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # of another profile than the one installed here
        for line in needs:
            need = Requirement(line)
            if need.marker is None or need.marker.evaluate({"extra": ""}):
                assert canonicalize_name(need.name) in locked, f"{name} needs {need.name}"


def test_small_locks_agree_with_the_large_one() -> None:
    large = {name: {version for version, _, _ in versions} for name, versions in pins("dev").items()}
    for profile in set(PROFILES) - {"dev"}:
        for name, versions in pins(profile).items():
            assert {version for version, _, _ in versions} <= large[name]


def test_torch_is_pinned_exactly_outside_the_locks_and_its_needs_inside() -> None:
    train = house.lines(house.setup_cfg(ROOT)["options.extras_require"]["train"])
    (torch,) = (Requirement(line) for line in train if line.startswith("torch"))
    assert re.fullmatch(r"==\d+\.\d+\.\d+", str(torch.specifier))
    for profile in PROFILES:
        assert "torch" not in pins(profile)
    locked = pins("dev")
    for line in importlib.metadata.requires("torch") or []:
        need = Requirement(line)
        if need.name.startswith(("nvidia", "cuda", "triton")):
            continue  # the CUDA builds' own
        if need.marker is None or need.marker.evaluate({"extra": ""}):
            assert canonicalize_name(need.name) in locked
