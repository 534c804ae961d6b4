"""Layers against finite differences in float64; files against onnx and onnxruntime."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from innervate.runtime.backbone.graph import Graph
from innervate.runtime.teach.layers import Conv, Floats, Linear, Net, Relu, Shape, cross_entropy, make_net, squared_error
from innervate.runtime.teach.onnx_file import GraphFile

SHAPES: tuple[Shape, ...] = ("linear", "two-layer", "conv")


def double(net: Net) -> Net:
    for layer in net.layers:
        for name, array in layer.weights.items():
            layer.weights[name] = array.astype(np.float64)
    return net


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["classes", "values"])
def test_gradients_are_those_of_finite_differences(shape: Shape, kind: str) -> None:
    rng = np.random.default_rng(3)
    net = double(make_net(shape, 9, 4, 3, rng, hidden=6))
    x, weights = rng.standard_normal((5, 9, 4)), rng.uniform(0.5, 2.0, 5)
    classes, values = rng.integers(0, 3, 5), rng.standard_normal((5, 3))

    def loss(at: Floats) -> tuple[float, Floats]:
        y = net.forward(at)
        return cross_entropy(y, classes, weights) if kind == "classes" else squared_error(y, values, weights)

    dx = net.backward(loss(x)[1])
    grads = {name: array.copy() for name, array in net.grads().items()}
    step = 1e-6
    for name, array in [("x", x), *net.weights().items()]:
        grad = dx if name == "x" else grads[name]
        way = rng.standard_normal(array.shape)
        array += step * way
        ahead = loss(x)[0]
        array -= 2 * step * way
        behind = loss(x)[0]
        array += step * way
        assert (ahead - behind) / (2 * step) == pytest.approx(float((grad * way).sum()), rel=1e-5, abs=1e-9), name


def test_the_convolution_is_the_sum_over_its_instants() -> None:
    rng = np.random.default_rng(0)
    conv = Conv(2, 3, 4, rng)
    x = rng.standard_normal((1, 6, 2)).astype(np.float32)
    y = conv.forward(x)
    assert y.shape == (1, 3, 3)
    want = sum(x[0, 1 + k] @ conv.weights["w"][k] for k in range(4)) + conv.weights["b"]
    np.testing.assert_allclose(y[0, 1], want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_file_computes_what_the_network_does(shape: Shape, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    net = make_net(shape, 12, 5, 4, rng)
    graph = GraphFile("net")
    y, out = graph.net(net, graph.input("x", (1, 12, 5)), (1, 12, 5))
    graph.node("Softmax", [y], "y", axis=-1)
    graph.output("y", out)
    path = tmp_path / "net.onnx"
    path.write_bytes(graph.encode())
    onnx.checker.check_model(onnx.load(path), full_check=True)
    x = rng.standard_normal((1, 12, 5)).astype(np.float32)
    z = net.forward(x)
    want = np.exp(z) / np.exp(z).sum()
    np.testing.assert_allclose(Graph(path).run(x), want, rtol=2e-5, atol=1e-6)


def test_a_layer_without_an_operator_is_refused() -> None:
    class Strange(Relu):
        pass

    graph = GraphFile("net")
    assert graph.net(Net([Strange(), Linear(2, 2, np.random.default_rng(0))]), "x", (1, 1, 2))[1] == (1, 1, 2)
    with pytest.raises(TypeError, match="no ONNX operator"):
        graph._layer(object(), "x", (1, 1, 2))
