"""The engine against torch, its borders, and what it refuses."""

from __future__ import annotations

import gc
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from innervate.models.backbone import BackboneConfig, Nano
from innervate.models.export import VARIANTS
from innervate.runtime.ali.errors import BundleError, LatentError, SpaceMismatch
from innervate.runtime.ali.latents import Border, Latents
from innervate.runtime.ali.space import Space
from innervate.runtime.backbone.bundle import Bundle
from innervate.runtime.backbone.cache import PINS_MAX
from innervate.runtime.backbone.engine import Engine
from innervate.runtime.backbone.variant import choose_variant, cpu_features, preferred, self_test_us
from tests.backbone.small import ERROR_MAX, SMALL, append_all, inputs, make_bundle, make_nano, relative_error, torch_hidden


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("rows", [7, 61])
@pytest.mark.parametrize("parts", [[32], [1], [5, 1, 9]], ids=["long", "single", "mixed"])
def test_agrees_with_torch(bundle: Bundle, nano: Nano, variant: str, rows: int, parts: list[int]) -> None:
    x = inputs(rows)
    found = append_all(Engine(bundle, variant), x, parts)
    assert relative_error(found, torch_hidden(nano, x)) < ERROR_MAX[variant]


def test_full_size_agrees_with_torch(tmp_path: Path) -> None:
    nano = make_nano(BackboneConfig())
    bundle = Bundle.open(make_bundle(tmp_path / "nano", nano))
    x = inputs(300, nano.config.width)
    right = torch_hidden(nano, x)
    for variant in VARIANTS:
        found = append_all(Engine(bundle, variant), x, [250, 1, 9])
        assert relative_error(found, right) < ERROR_MAX[variant]
    stored = sum(path.stat().st_size for path in bundle.folder.rglob("*") if path.is_file())
    assert stored < 12.8e6  # leaves 3.2 MB of the 16 for encoders and the gradient graph


def test_fp32_in_parts_is_fp32_in_one(bundle: Bundle) -> None:
    x = inputs(30)
    engine = Engine(bundle, "fp32")
    whole = append_all(engine, x)
    engine.reset()
    assert relative_error(append_all(engine, x, [1]), whole) < 1e-6


def test_session_without_end_stays_bounded(engine: Engine) -> None:
    x = inputs(500)
    for part in (1, 9, 32):
        append_all(engine, x, [part])
    buffers = [key.ctypes.data for key in engine._cache.keys]
    gc.collect()
    tracemalloc.start()
    try:
        append_all(engine, x[:100], [1])
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(8):
            for at in range(len(x)):
                h = engine.append(x[at : at + 1])
                assert engine.length <= engine.context
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert np.isfinite(h).all()
    assert grown < 16384
    assert [key.ctypes.data for key in engine._cache.keys] == buffers
    assert len(engine._lanes) <= engine.rows_max


def test_answer_is_read_only(engine: Engine) -> None:
    h = engine.append(inputs(3))
    with pytest.raises(ValueError, match="read-only"):
        h[0, 0] = 1.0


def bad_inputs() -> dict[str, object]:
    nan, inf = inputs(3), inputs(1)
    nan[1, 5], inf[0, 0] = np.nan, -np.inf
    return {
        "nan": nan,
        "inf": inf,
        "width": inputs(2, SMALL.width + 1),
        "flat": inputs(1)[0],
        "empty": inputs(0),
        "too long": inputs(SMALL.context // 2 + 1),
        "float64": inputs(2).astype(np.float64),
        "big endian": inputs(2).astype(">f4"),
        "list": inputs(1).tolist(),
    }


@pytest.mark.parametrize("case", list(bad_inputs()))
def test_bad_input_changes_nothing(engine: Engine, case: str) -> None:
    for start in (5, SMALL.context):  # with room, and where a good pass would slide
        engine.reset()
        append_all(engine, inputs(start))
        before = engine.snapshot()
        keys = [key.copy() for key in engine._cache.keys]
        with pytest.raises(LatentError, match="expected"):
            engine.append(bad_inputs()[case], pin="motor")  # type: ignore[arg-type]
        assert engine.length == start
        assert engine.pins == {}
        assert all(np.array_equal(now, was) for now, was in zip(engine._cache.keys, keys, strict=True))
        after = engine.append(inputs(2, seed=3)).copy()
        engine.rewind_to(before)
        assert np.array_equal(engine.append(inputs(2, seed=3)), after)


def test_pass_that_fails_changes_nothing(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failing pass may have written beyond the length, and nowhere else."""
    append_all(engine, inputs(40))
    before = engine.snapshot()
    right = engine.append(inputs(3, seed=3)).copy()
    engine.rewind_to(before)

    def fail(binding: object) -> None:
        for buffer in engine._cache.keys + engine._cache.values:
            buffer[:, :, engine.length :] = np.nan
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="out of memory"):
        patch.setattr(engine, "_run", fail)
        engine.append(inputs(20), pin="motor")
    assert engine.length == 40
    assert engine.pins == {}
    assert np.array_equal(engine.append(inputs(3, seed=3)), right)


def test_large_finite_values_do_no_harm(engine: Engine) -> None:
    assert np.isfinite(engine.append(np.full((1, SMALL.width), 3e19, np.float32))).all()  # their squares overflow
    assert np.isfinite(engine.append(inputs(1))).all()


def test_foreign_space_stops_at_the_border(engine: Engine) -> None:
    border = Border(engine.space)
    stamp = np.zeros(1, np.int64)
    own = Latents(inputs(1), engine.space, stamp, "mic", 0)
    foreign = Latents(inputs(1), Space("f" * 64, "e" * 64, SMALL.width), stamp, "mic", 0)
    engine.append(border.admit(own))
    with pytest.raises(SpaceMismatch, match=engine.space.space_id):
        engine.append(border.admit(foreign))
    assert engine.length == 1


def test_too_many_pins(engine: Engine) -> None:
    for i in range(PINS_MAX):
        engine.append(inputs(1), pin=f"component{i}")
    engine.append(inputs(1), pin="component3")  # moving a pin is no new one
    with pytest.raises(LatentError, match="at most"):
        engine.append(inputs(1), pin="one more")
    assert engine.length == PINS_MAX + 1


def test_variant_names(bundle: Bundle) -> None:
    assert [Engine(bundle, variant).variant for variant in VARIANTS] == list(VARIANTS)
    assert Engine(bundle).variant in VARIANTS
    assert choose_variant(bundle, "measure") in VARIANTS
    assert self_test_us(bundle, "dq8", 1) > 0
    with pytest.raises(BundleError, match="did you mean 'nb8'"):
        Engine(bundle, "nb80")
    spaces = [Engine(bundle, variant).space for variant in VARIANTS]
    assert len({space.space_id for space in spaces}) == 1
    assert len({space.exact_id for space in spaces}) == len(VARIANTS)


CPUINFO = {
    "pi 5": ("aarch64", "Features\t: fp asimd evtstrm aes sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp", "nb8"),
    "pi 4": ("aarch64", "Features\t: fp asimd evtstrm crc32 cpuid", "dq8"),
    "laptop": ("x86_64", "flags\t\t: fpu sse2 avx avx2 fma avx_vnni", "dq8"),
    "server": ("x86_64", "flags\t\t: fpu sse2 avx2 avx512f avx512bw avx512_vnni amx_int8", "dq8"),
    "before VNNI": ("x86_64", "flags\t\t: fpu sse2 avx2 fma avx512bw", "nb8"),
    "old x86": ("x86_64", "flags\t\t: fpu sse2 ssse3", None),
    "unknown": ("riscv64", "isa\t\t: rv64imafdc", None),
}


@pytest.mark.parametrize("name", list(CPUINFO))
def test_variant_by_processor(tmp_path: Path, name: str) -> None:
    machine, line, expected = CPUINFO[name]
    path = tmp_path / "cpuinfo"
    path.write_text(f"processor\t: 0\n{line}\n\nprocessor\t: 1\n")
    assert preferred(machine, cpu_features(path)) == expected
    assert cpu_features(tmp_path / "absent") == frozenset()


def test_engines_on_one_set_of_weights_have_contexts_of_their_own(bundle: Bundle) -> None:
    x, other = inputs(12), inputs(12, seed=1)
    alone = append_all(Engine(bundle, "dq8"), x, [3])
    first = Engine(bundle, "dq8")
    second = Engine(bundle, like=first)
    assert second.variant == "dq8"
    found = []
    for start in range(0, 12, 3):
        found.append(first.append(x[start : start + 3]).copy())
        second.append(other[start : start + 3])
    assert np.array_equal(np.concatenate(found), alone)
