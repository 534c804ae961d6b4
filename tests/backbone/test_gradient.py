"""The gradient of the deployed weights: against torch in float64, against differences, and what it refuses."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from innervate.models.backbone import Backbone, BackboneConfig
from innervate.models.export import VARIANTS, reseal
from innervate.models.vjp import GradientGraph, add_gradients, gradient_file, main
from innervate.runtime.ali.errors import BundleError, LatentError, PluginError, SpaceMismatch
from innervate.runtime.ali.space import Space
from innervate.runtime.backbone.bundle import Bundle
from innervate.runtime.backbone.engine import Engine
from innervate.runtime.backbone.gradient import Gradient
from innervate.runtime.backbone.gradient_check import EXACT_MAX, RUNS_MAX, check_gradient
from innervate.runtime.backbone.reference import Reference
from innervate.runtime.cli.run import default_bundle
from tests.backbone.small import SMALL, Floats, inputs, make_bundle, make_nano, relative_error

LENGTHS = (1, 2, 17, 61, 64)


def deployed(bundle: Bundle, variant: str) -> dict[str, np.ndarray]:
    """The matrices that the decode graph's bytes stand for, float64, [inputs, outputs]; and its norms."""
    model = onnx.load(bundle.variant_path(variant))
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    found = {name: array.astype(np.float64) for name, array in stored.items() if name.startswith("norm")}
    for name, array in stored.items():
        stem = name.rpartition(".")[0]
        if name.endswith(".int8"):
            found[stem] = array.astype(np.float64) * stored[f"{stem}.scale"]
        elif name.endswith(".blocks"):
            whole = array.astype(np.float64) - 128
            if f"{stem}.residual" in stored:
                whole += stored[f"{stem}.residual"].astype(np.float64) / 254
            found[stem] = (whole * stored[f"{stem}.block_scale"][..., None]).reshape(len(array), -1).T
    return found


def deployed_backbone(bundle: Bundle, variant: str, config: BackboneConfig) -> Backbone:
    """The torch backbone with a variant's deployed weights, in float64."""
    found = deployed(bundle, variant)
    state = {"norm.weight": found["norm"]}
    for i in range(config.layers):
        state |= {f"blocks.{i}.{name}.weight": found[f"{name}.{i}"].T for name in ("qkv", "out", "gate_up", "down")}
        state |= {f"blocks.{i}.{name}.weight": found[f"{name}.{i}"] for name in ("norm_attention", "norm_ffn")}
    net = Backbone(config).double()
    net.load_state_dict({name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in state.items()})
    return net


@contextmanager
def float64_throughout() -> Iterator[None]:
    """The backbone keeps its residual in float32 whatever happens; here it stays as it is."""
    before = torch.Tensor.float
    torch.Tensor.float = lambda self: self  # type: ignore[assignment, method-assign, return-value]
    try:
        yield
    finally:
        torch.Tensor.float = before  # type: ignore[method-assign]


def autograd(net: Backbone, x: Floats, g: Floats) -> tuple[Floats, Floats]:
    with float64_throughout():
        leaf = torch.from_numpy(x).double()[None].requires_grad_()
        y = net(leaf)
        y.backward(torch.from_numpy(g).double()[None])
    assert leaf.grad is not None
    return y.detach()[0].numpy(), leaf.grad[0].numpy()


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("rows", LENGTHS)
def test_agrees_with_torch_on_the_deployed_weights(bundle: Bundle, variant: str, rows: int) -> None:
    x, g = inputs(rows), inputs(rows, seed=1)
    y, dx = Gradient(bundle, variant).vjp(x, g)
    right_y, right_dx = autograd(deployed_backbone(bundle, variant, SMALL), x, g)
    assert y.dtype == dx.dtype == np.float32
    assert relative_error(y, right_y) < 2e-6
    assert relative_error(dx, right_dx) < 1e-5


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_shipped_bundle_agrees_with_torch(variant: str) -> None:
    bundle = Bundle.open(default_bundle())
    header = bundle.header
    ffn = deployed(bundle, variant)["down.0"].shape[0]
    config = BackboneConfig(header.width, header.layers, header.heads, ffn, header.context)
    x, g = inputs(57, header.width), inputs(57, header.width, seed=1)
    y, dx = Gradient(bundle, variant).vjp(x, g)
    right_y, right_dx = autograd(deployed_backbone(bundle, variant, config), x, g)
    assert relative_error(y, right_y) < 1e-5
    assert relative_error(dx, right_dx) < 1e-4


def test_the_answer_is_the_engines(bundle: Bundle) -> None:
    x = inputs(20)
    assert relative_error(Gradient(bundle, "fp32").forward(x), Engine(bundle, "fp32").append(x)) < 1e-5


def test_the_future_has_no_gradient(bundle: Bundle) -> None:
    g = np.zeros((9, SMALL.width), np.float32)
    g[4] = 1.0
    _, dx = Gradient(bundle, "dq8").vjp(inputs(9), g)
    assert (dx[5:] == 0).all()
    assert (dx[:5] != 0).any(axis=1).all()


def test_linear_in_the_question(bundle: Bundle) -> None:
    gradient, x, g, h = Gradient(bundle, "nb8"), inputs(9), inputs(9, seed=1), inputs(9, seed=2)
    both = gradient.vjp(x, 2 * g + h)[1]
    assert relative_error(both, 2 * gradient.vjp(x, g)[1] + gradient.vjp(x, h)[1]) < 1e-5
    assert (gradient.vjp(x, np.zeros_like(x))[1] == 0).all()


@pytest.mark.parametrize("variant", VARIANTS)
def test_published_check_holds(bundle: Bundle, variant: str) -> None:
    report = check_gradient(bundle, variant, lengths=(3, 17, 61, 200))
    assert set(report.exact) == {3, 17, 61}, "200 latents are beyond this context"
    assert max(report.exact.values()) < EXACT_MAX / 10
    assert max(report.answer.values()) < 2e-6
    assert max(report.as_it_runs.values()) < RUNS_MAX
    report.require()


@pytest.mark.slow
def test_published_check_holds_for_the_shipped_bundle() -> None:
    bundle = Bundle.open(default_bundle())
    for variant in bundle.variants:
        check_gradient(bundle, variant, lengths=(8, 57)).require()


@pytest.fixture
def copy(tmp_path: Path, bundle_folder: Path) -> Path:
    return shutil.copytree(bundle_folder, tmp_path / "copy")


def test_published_check_notices_other_weights(copy: Path) -> None:
    """The gradient of the dq8 weights in place of nb8's: alike enough for a cosine of 0.9999, and not the same model."""
    bundle = Bundle.open(copy)
    x, g = inputs(17), inputs(17, seed=1)
    right, foreign = Gradient(bundle, "nb8").vjp(x, g)[1], Gradient(bundle, "dq8").vjp(x, g)[1]
    assert np.vdot(right, foreign) / np.linalg.norm(right) / np.linalg.norm(foreign) > 0.999
    shutil.copyfile(copy / gradient_file("dq8"), copy / gradient_file("nb8"))
    reseal(copy)
    report = check_gradient(Bundle.open(copy), "nb8", lengths=(17,))
    assert not report.ok
    assert report.exact[17] > EXACT_MAX
    with pytest.raises(PluginError, match=r"finite differences on the deployed weights, 17 latents \(.*at most 0.001\)"):
        report.require()


def test_the_reference_is_torch_in_float64(bundle: Bundle) -> None:
    x = inputs(30)
    for variant in VARIANTS:
        net = deployed_backbone(bundle, variant, SMALL)
        with float64_throughout(), torch.no_grad():
            right = net(torch.from_numpy(x).double()[None])[0].numpy()
        found = Reference(bundle, variant)(x)
        assert np.linalg.norm(found - right) < 1e-12 * np.linalg.norm(right)


def test_the_reference_refuses_what_is_no_decode_graph(copy: Path) -> None:
    whole = (copy / "decode.nb8.onnx").read_bytes()
    for damaged in (b"no graph at all", whole[:-100], whole[: len(whole) // 2], b""):
        (copy / "decode.nb8.onnx").write_bytes(damaged)
        reseal(copy)
        with pytest.raises(BundleError, match="cannot be read"):
            Reference(Bundle.open(copy), "nb8")


def test_identity(bundle: Bundle) -> None:
    gradient = Gradient(bundle, "dq8", exact_id=bundle.space("dq8").exact_id)
    assert gradient.space == Engine(bundle, "dq8").space
    gradient.require(Engine(bundle, "dq8").space)
    with pytest.raises(SpaceMismatch, match=bundle.space("nb8").exact_id):
        gradient.require(Engine(bundle, "nb8").space)
    with pytest.raises(SpaceMismatch, match="the same bundle and variant"):
        gradient.require(Space(gradient.space.space_id, "0" * 64, SMALL.width))
    with pytest.raises(SpaceMismatch):
        Gradient(bundle, "nb8", exact_id=gradient.space.exact_id)
    assert Gradient(bundle).variant == Engine(bundle).variant
    with pytest.raises(BundleError, match="did you mean 'dq8'"):
        Gradient(bundle, "dq9")


@pytest.mark.parametrize(
    ("x", "g", "message"),
    [
        (np.zeros((65, 128), np.float32), np.zeros((65, 128), np.float32), "1 to 64; cut the sequence"),
        (np.zeros((0, 128), np.float32), np.zeros((0, 128), np.float32), r"gradient: x: latents of shape \[0, 128\]"),
        (np.zeros((2, 127), np.float32), np.zeros((2, 127), np.float32), r"\[T, 128\]"),
        (np.zeros((2, 128), np.float64), np.zeros((2, 128), np.float32), "float64"),
        (np.zeros((2, 128), np.float32), np.zeros((3, 128), np.float32), "zeros where none counts"),
        (np.full((2, 128), np.nan, np.float32), np.zeros((2, 128), np.float32), "x: latents with 256 non-finite"),
        (np.zeros((2, 128), np.float32), np.full((2, 128), np.inf, np.float32), "g: latents with 256 non-finite"),
        (np.zeros((1, 2, 128), np.float32), np.zeros((1, 2, 128), np.float32), "shape"),
    ],
)
def test_bad_operands_are_refused(bundle: Bundle, x: Floats, g: Floats, message: str) -> None:
    gradient = Gradient(bundle, "dq8")
    with pytest.raises(LatentError, match=message):
        gradient.vjp(x, g)
    assert np.isfinite(gradient.vjp(inputs(2), inputs(2))[1]).all()


def test_a_gradient_that_explodes_is_an_error(bundle: Bundle) -> None:
    gradient = Gradient(bundle, "dq8")
    with pytest.raises(LatentError, match=r"make x or g smaller: their largest values are .* and 3.4e"):
        gradient.vjp(inputs(4), np.full((4, 128), 3.4e38, np.float32))


def test_every_length_is_free(bundle: Bundle) -> None:
    graph = onnx.load(bundle.gradient_path("dq8"), load_external_data=False).graph
    assert [value.name for value in graph.input] == ["x", "g"]
    assert [value.name for value in graph.output] == ["y", "dx"]
    for value in (*graph.input, *graph.output):
        assert value.type.tensor_type.shape.dim[0].dim_param == "T"


def test_graphs_share_the_weights_of_decoding(bundle: Bundle) -> None:
    for variant in VARIANTS:
        decode = onnx.load(bundle.variant_path(variant), load_external_data=False)
        gradient = onnx.load(bundle.gradient_path(variant), load_external_data=False)
        places = {
            tensor.name: sorted((entry.key, entry.value) for entry in tensor.external_data)
            for tensor in decode.graph.initializer
            if tensor.data_location == onnx.TensorProto.EXTERNAL
        }
        found = [tensor for tensor in gradient.graph.initializer if tensor.data_location == onnx.TensorProto.EXTERNAL]
        assert {tensor.name for tensor in found} == places.keys()
        for tensor in found:
            assert sorted((entry.key, entry.value) for entry in tensor.external_data) == places[tensor.name]
        assert bundle.gradient_path(variant).stat().st_size < 40_000


def test_a_bundle_without_gradients_says_how_to_add_them(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {variant: Gradient(Bundle.open(copy), variant).vjp(inputs(5), inputs(5))[1] for variant in VARIANTS}
    toml = copy / "bundle.toml"
    kept = [line for line in toml.read_text().splitlines() if not line.startswith(("gradient = ", '"vjp'))]
    toml.write_text("\n".join(kept))
    for name in map(gradient_file, VARIANTS):
        (copy / name).unlink()
    reseal(copy)
    with pytest.raises(BundleError, match=r"no gradient graph.* python -m innervate\.models\.vjp"):
        Gradient(Bundle.open(copy), "dq8")
    assert main([str(copy)]) == 0
    assert "vjp.onnx" in capsys.readouterr().out
    assert add_gradients(copy) == [gradient_file(variant) for variant in VARIANTS], "again is no harm"
    for variant in VARIANTS:
        assert np.array_equal(Gradient(Bundle.open(copy), variant).vjp(inputs(5), inputs(5))[1], before[variant])
    assert main([str(copy / "nowhere")]) == 2
    assert "no such file" in capsys.readouterr().err


def test_a_graph_of_another_make_is_refused(copy: Path) -> None:
    (copy / "vjp.onnx").write_bytes(b"no graph")
    reseal(copy)
    with pytest.raises(BundleError, match="onnxruntime refuses it"):
        Gradient(Bundle.open(copy), "dq8")
    shutil.copyfile(copy / "decode.dq8.onnx", copy / "vjp.onnx")
    reseal(copy)
    with pytest.raises(BundleError, match="inputs and outputs"):
        Gradient(Bundle.open(copy), "dq8")


def test_other_shapes(tmp_path: Path) -> None:
    """Another width, count of heads and of layers: the graph is read off the decode graph."""
    config = BackboneConfig(width=96, layers=3, heads=4, ffn=48, context=32)
    bundle = Bundle.open(make_bundle(tmp_path / "odd", make_nano(config)))
    x, g = inputs(11, 96), inputs(11, 96, seed=1)
    for variant in VARIANTS:
        assert GradientGraph(onnx.load(bundle.variant_path(variant), load_external_data=False)).layers == 3
        y, dx = Gradient(bundle, variant).vjp(x, g)
        right_y, right_dx = autograd(deployed_backbone(bundle, variant, config), x, g)
        assert relative_error(y, right_y) < 2e-6
        assert relative_error(dx, right_dx) < 1e-5
