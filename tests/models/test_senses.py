"""Ear, eye and skin: what is exported does what was trained."""

from pathlib import Path

import numpy as np
import pytest
import torch

from innervate.models.export_component import export_component
from innervate.models.feeling import ForceEncoder, MotorDecoder, PoseEncoder
from innervate.models.hearing import BANDS, TICK_SAMPLES, Ear, mel_power
from innervate.models.pack import OneEye, export_ear, export_eye, shrink
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


def test_the_exported_ear_follows_the_trained_one_tick_by_tick(tmp_path: Path) -> None:
    torch.manual_seed(0)
    ear, pcm = Ear().eval(), samples(12)
    export_ear(ear, tmp_path / "ear.onnx")
    graph = Graph(tmp_path / "ear.onnx")
    got = np.concatenate([graph.run(pcm[:, i * TICK_SAMPLES : (i + 1) * TICK_SAMPLES].numpy()).copy() for i in range(12)])
    assert np.abs(got - whole_track(ear, pcm).numpy()).max() < 2e-5


def test_shrunk_weights_stay_within_half_a_percent(tmp_path: Path) -> None:
    torch.manual_seed(0)
    ear, pcm = Ear().eval(), samples(8)
    path = tmp_path / "ear.onnx"
    export_ear(ear, path)
    before = path.stat().st_size
    shrink(path)
    graph = Graph(path)
    got = np.concatenate([graph.run(pcm[:, i * TICK_SAMPLES : (i + 1) * TICK_SAMPLES].numpy()).copy() for i in range(8)])
    want = whole_track(ear, pcm).numpy()
    assert np.linalg.norm(got - want) < 0.01 * np.linalg.norm(want)
    assert path.stat().st_size < 0.4 * before


def test_the_eye_in_int8_sees_what_it_saw_in_float(tmp_path: Path) -> None:
    torch.manual_seed(0)
    eye = Eye().eval()
    frames = np.random.default_rng(0).integers(0, 256, (24, 96, 96, 3), dtype=np.uint8)
    export_component(OneEye(eye), tmp_path / "eye.onnx", torch.rand(1, 3, 96, 96))
    export_eye(eye, tmp_path / "eye8.onnx", frames)
    graph, small = Graph(tmp_path / "eye.onnx"), Graph(tmp_path / "eye8.onnx")
    x = frames[0].transpose(2, 0, 1)[None].astype(np.float32) / 255.0
    with torch.no_grad():
        want = eye(torch.from_numpy(x))[0].numpy()
    assert np.abs(graph.run(x) - want).max() < 1e-4
    assert small.run(x).shape == want.shape == (GLIMPSES, 384)
    assert (tmp_path / "eye8.onnx").stat().st_size < 0.6 * (tmp_path / "eye.onnx").stat().st_size


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
