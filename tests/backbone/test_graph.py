"""Component graphs: states, borders, int8; and that nothing is written under the owner's home."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from innervate.models.export_component import ExportError, export_component
from innervate.runtime.ali.errors import BundleError, LatentError
from innervate.runtime.backbone.bundle import Bundle
from innervate.runtime.backbone.graph import Graph
from tests.backbone.small import EAR_STATES, Ear, Eye, Floats, make_ear


def sound(steps: int) -> list[Floats]:
    return list(np.random.default_rng(0).standard_normal((steps, 1, 160), dtype=np.float32))


def torch_steps(ear: Ear, xs: list[Floats]) -> list[Floats]:
    tail, hidden = EAR_STATES.values()
    found: list[Floats] = []
    with torch.no_grad():
        for x in xs:
            y, tail, hidden = ear(torch.from_numpy(x), tail, hidden)
            found.append(y.numpy())
    return found


def test_states_are_carried(bundle: Bundle, tmp_path: Path) -> None:
    ear = make_ear(tmp_path / "ear.onnx")
    graph = bundle.component("mic", "encoder")
    assert (graph.x_shape, graph.y_shape) == ((1, 160), (1, 128))
    xs = sound(6)
    for _ in range(2):
        for x, right in zip(xs, torch_steps(ear, xs), strict=True):
            np.testing.assert_allclose(graph.run(x), right, atol=1e-5)
        graph.reset()


def test_state_comes_back(bundle: Bundle) -> None:
    graph = bundle.component("mic", "encoder")
    xs = sound(5)
    for count in (2, 3):  # both sets of buffers
        graph.reset()
        for x in xs[:count]:
            graph.run(x)
        state = graph.state()
        first = graph.run(xs[3]).copy()
        graph.run(xs[4])
        graph.restore(state)
        assert np.array_equal(graph.run(xs[3]), first)
    with pytest.raises(LatentError, match="restore what state"):
        graph.restore({"state_tail": np.zeros((1, 20), np.float32)})


def test_bad_input_leaves_the_states(bundle: Bundle) -> None:
    graph = bundle.component("mic", "encoder")
    xs = sound(2)
    graph.run(xs[0])
    before = graph.state()
    nan = xs[1].copy()
    nan[0, 7] = np.nan
    for bad in (nan, xs[1][0], xs[1].astype(np.float64), xs[1][:, :100], [1.0]):
        with pytest.raises(LatentError, match=r"mic\.encoder"):
            graph.run(bad)  # type: ignore[arg-type]
    after = graph.state()
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_unknown_component(bundle: Bundle) -> None:
    with pytest.raises(BundleError, match=r"did you mean 'mic\.encoder'"):
        bundle.component("mic", "encodr")


def test_static_int8(tmp_path: Path) -> None:
    torch.manual_seed(0)
    eye, ear = Eye(), Ear()
    frames = [torch.rand(1, 3, 32, 32) for _ in range(16)]
    float_error = export_component(eye, tmp_path / "float.onnx", frames[0])
    error = export_component(eye, tmp_path / "int8.onnx", frames[0], calibration=frames)
    assert float_error < 1e-5 < error < 0.05
    assert Graph(tmp_path / "int8.onnx").run(frames[0].numpy()).shape == (1, 128)
    waves = [torch.randn(1, 160) for _ in range(16)]
    assert 1e-5 < export_component(ear, tmp_path / "ear.onnx", waves[0], EAR_STATES, calibration=waves) < 0.05


class Growing(nn.Module):
    """Breaks the convention: its next state has another shape."""

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return x + state.sum(), torch.cat([state, state], 1)


class Branching(nn.Module):
    """Control flow that tracing freezes: adds on odd calls only."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x + self.calls


def test_modules_that_cannot_be_exported(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="next_s"):
        export_component(Growing(), tmp_path / "g.onnx", torch.ones(1, 4), {"s": torch.zeros(1, 2)})
    with pytest.raises(ExportError, match="relative error"):
        export_component(Branching(), tmp_path / "b.onnx", torch.ones(1, 4))
    with pytest.raises(ValueError, match="zero"):
        export_component(Ear(), tmp_path / "e.onnx", torch.ones(1, 160), {"tail": torch.ones(1, 20), "hidden": torch.zeros(1, 16)})
    assert list(tmp_path.iterdir()) == []


RUN_ONE_PASS = """
import sys
import numpy as np
from innervate.runtime.backbone.bundle import Bundle
from innervate.runtime.backbone.engine import Engine
from innervate.runtime.backbone.vocabulary import Vocabulary
assert "onnxruntime" not in sys.modules, "importing the engine must not load onnxruntime"
bundle = Bundle.open(sys.argv[1])
h = Engine(bundle).append(np.ones((3, 128), np.float32))
Vocabulary(bundle).logits(h[-1])
bundle.component("mic", "encoder").run(np.zeros((1, 160), np.float32))
allowed = {"numpy", "msgspec", "onnxruntime", "innervate", "typing_extensions"}
found = {name.partition(".")[0] for name in sys.modules} - set(sys.stdlib_module_names) - {"__main__", "__mp_main__"}
extra = {name for name in found if not name.startswith(("_", "sitecustomize"))} - allowed
assert not extra, f"the device path imports {extra}"
"""


def test_nothing_appears_under_home(bundle_folder: Path, tmp_path: Path) -> None:
    """A whole device path in a fresh home: telemetry is off before onnxruntime loads.

    That this can fail was seen with onnxruntime 1.32.0: importing it without ORT_DISABLE_TELEMETRY leaves
    .cache/Microsoft/DeveloperTools/.onnxruntime/{deviceid,onnxruntime.db} under the home folder. The library is not started
    that way here, because it may then also send.
    """
    home = tmp_path / "home"
    home.mkdir()
    links = Path(__file__).parents[2] / ".links"
    kept = {key: value for key, value in os.environ.items() if key in ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT")}
    environment = kept | {"HOME": str(home), "PYTHONPATH": str(links), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", RUN_ONE_PASS, str(bundle_folder)]
    result = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert [str(path) for path in home.rglob("*")] == []
