"""Ear, eye and skin: what is exported does what was trained."""

from pathlib import Path

import numpy as np
import pytest
import torch

from innervate.models.export_component import export_component
from innervate.models.export_hearing import export_ear
from innervate.models.export_seeing import export_eye
from innervate.models.feeling import ForceEncoder, MotorDecoder, PoseEncoder
from innervate.models.hearing import BANDS, TICK_SAMPLES, Ear, mel_power
from innervate.models.pack import shrink
from innervate.models.seeing import GLIMPSES, GRID, Eye
from innervate.runtime.backbone.graph import Graph


def samples(ticks: int) -> torch.Tensor:
    return torch.randn(1, TICK_SAMPLES * ticks, generator=torch.Generator().manual_seed(3)) * 0.1


def whole_track(ear: Ear, pcm: torch.Tensor) -> torch.Tensor:
    mel = torch.log(mel_power(torch.cat([torch.zeros(240), pcm[0]])) + 1e-8)
    with torch.no_grad():
        latents: torch.Tensor = ear(mel[None])[0]
    return latents


def test_white_noise_has_its_variance_in_every_band() -> None:
    power = mel_power(torch.randn(160_000, generator=torch.Generator().manual_seed(0)) * 0.5).mean(0)
    assert power.shape == (BANDS,)
    assert torch.allclose(power, torch.full((BANDS,), 0.25), rtol=0.15)


def hear(path: Path, pcm: torch.Tensor) -> np.ndarray:
    graph = Graph(path)
    ticks = pcm.shape[1] // TICK_SAMPLES
    return np.concatenate([graph.run(pcm[:, i * TICK_SAMPLES : (i + 1) * TICK_SAMPLES].numpy()).copy() for i in range(ticks)])


def test_the_exported_ear_follows_the_trained_one_tick_by_tick(tmp_path: Path) -> None:
    torch.manual_seed(0)
    ear, pcm = Ear().eval(), samples(12)
    export_ear(ear, tmp_path / "ear.onnx", int8=False)
    assert np.abs(hear(tmp_path / "ear.onnx", pcm) - whole_track(ear, pcm).numpy()).max() < 2e-5


def test_the_ear_in_int8_stays_within_two_percent(tmp_path: Path) -> None:
    torch.manual_seed(0)
    ear, pcm = Ear().eval(), samples(30)
    export_ear(ear, tmp_path / "float.onnx", int8=False)
    export_ear(ear, tmp_path / "ear.onnx")
    want = whole_track(ear, pcm).numpy()
    assert np.linalg.norm(hear(tmp_path / "ear.onnx", pcm) - want) < 0.02 * np.linalg.norm(want)
    assert (tmp_path / "ear.onnx").stat().st_size < 0.4 * (tmp_path / "float.onnx").stat().st_size


def test_an_ear_that_is_reset_hears_as_if_new(tmp_path: Path) -> None:
    torch.manual_seed(0)
    export_ear(Ear().eval(), tmp_path / "ear.onnx")
    graph, block = Graph(tmp_path / "ear.onnx"), samples(1).numpy()
    first = graph.run(block).copy()
    assert not np.array_equal(graph.run(block), first)
    graph.reset()
    assert np.array_equal(graph.run(block), first)


def test_shrunk_weights_stay_within_half_a_percent(tmp_path: Path) -> None:
    torch.manual_seed(0)
    part, x = MotorDecoder().eval(), torch.randn(1, 384, generator=torch.Generator().manual_seed(1))
    path = tmp_path / "motor.onnx"
    export_component(part, path, x)
    before = path.stat().st_size
    shrink(path)
    with torch.no_grad():
        want = part(x).numpy()
    assert np.linalg.norm(Graph(path).run(x.numpy()) - want) < 0.01 * np.linalg.norm(want)
    assert path.stat().st_size < 0.4 * before


def scenes(count: int) -> np.ndarray:
    """Discs of plain colours on grey: a saliency map with clear maxima, where noise would leave the order of cells to rounding."""
    rng = np.random.default_rng(0)
    frames = np.full((count, 96, 96, 3), 110, np.uint8)
    row, column = np.ogrid[:96, :96]
    for frame in frames:
        for _ in range(3):
            y, x = rng.integers(10, 86, 2)
            frame[(row - y) ** 2 + (column - x) ** 2 < 60] = rng.integers(0, 256, 3)
    return frames


def test_the_eye_in_int8_sees_what_it_saw_in_float(tmp_path: Path) -> None:
    torch.manual_seed(0)
    eye, frames = Eye().eval(), scenes(12)
    export_eye(eye, tmp_path / "eye.onnx", frames)
    graph, near = Graph(tmp_path / "eye.onnx"), []
    for frame in frames:
        x = frame.transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255)
        with torch.no_grad():
            want = eye(torch.from_numpy(x))[0].numpy()
        got = graph.run(np.ascontiguousarray(x))
        assert got.shape == want.shape == (GLIMPSES, 384)
        # a near tie may be ranked otherwise after rounding: each glimpse against the nearest one
        gap = np.linalg.norm(got[:, None] - want[None], axis=2) / np.linalg.norm(want, axis=1)
        near.extend(gap.min(1))
    assert np.median(near) < 0.03
    assert (tmp_path / "eye.onnx").stat().st_size < 1_000_000


def test_glimpses_are_local_maxima_from_left_to_right() -> None:
    saliency = torch.full((1, GRID * GRID), -5.0)
    places = [(2, 3), (7, 0), (5, 9), (0, 6)]  # row, column
    for height, (row, column) in enumerate(places):
        saliency[0, row * GRID + column] = 1.0 + height
        saliency[0, row * GRID + column + 1] = 0.5 + height  # beside a better one: not chosen before the others
    chosen = Eye().choose(saliency)[0].tolist()
    columns = [cell % GRID for cell in chosen]
    assert columns == sorted(columns)
    assert {row * GRID + column for row, column in places} <= set(chosen)


@pytest.mark.parametrize(("module", "shape"), [(ForceEncoder, (1, 104)), (PoseEncoder, (1, 4)), (MotorDecoder, (1, 384))])
def test_small_parts_export_exactly(module: type[torch.nn.Module], shape: tuple[int, ...], tmp_path: Path) -> None:
    torch.manual_seed(0)
    part = module().eval()
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    export_component(part, tmp_path / "part.onnx", x)
    with torch.no_grad():
        want = part(x).numpy()
    assert np.abs(Graph(tmp_path / "part.onnx").run(x.numpy()) - want).max() < 1e-4
