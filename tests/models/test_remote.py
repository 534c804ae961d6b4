"""The torch client: an encoder trained in PyTorch against a backbone that lives elsewhere, over both transports."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from innervate.models.remote import RemoteBackbone
from innervate.runtime.ali.errors import LatentError
from innervate.runtime.serve.client import Client, connect
from innervate.runtime.serve.server import Server
from tests.bundles import WIDTH
from tests.serve.parts import TOKEN, served_backbone

ROWS = 6
LOSS_START, LOSS_END = 0.5, 0.02  # at least, at most


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, quiet_bundle: Path) -> Iterator[Server]:
    with served_backbone(tmp_path_factory.mktemp("s"), quiet_bundle, "dq8") as server:
        yield server


@pytest.fixture(params=["unix", "ws"])
def client(server: Server, request: pytest.FixtureRequest) -> Iterator[Client]:
    (address,) = [one for one in server.addresses if one.startswith(request.param)]
    with connect(address, token=TOKEN) as client:
        yield client


def test_an_encoder_learns_against_a_remote_backbone(client: Client) -> None:
    """Four classes of noisy samples; the last hidden state of the frozen quantised backbone, through a fixed random head, must tell them apart."""
    torch.manual_seed(0)
    backbone = RemoteBackbone(client)
    centres = torch.randn(4, 8)
    head = torch.randn(WIDTH, 4) / WIDTH**0.5
    encoder = nn.Linear(8, ROWS * WIDTH)
    adam = torch.optim.Adam(encoder.parameters(), lr=3e-3)
    losses = []
    for _ in range(40):
        labels = torch.arange(4)
        samples = centres[labels] + 0.1 * torch.randn(4, 8)
        hidden = backbone(encoder(samples).view(4, ROWS, WIDTH))[:, -1]  # [B, D]
        loss = nn.functional.cross_entropy(3.0 * hidden @ head, labels)
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(loss.item())
    assert losses[0] > LOSS_START
    assert losses[-1] < LOSS_END, losses
    assert all(parameter.grad is not None for parameter in encoder.parameters())


def test_the_gradient_is_that_of_the_function_on_the_device(client: Client) -> None:
    torch.manual_seed(1)
    backbone = RemoteBackbone(client)
    x, direction, weights = torch.randn(ROWS, WIDTH, requires_grad=True), torch.randn(ROWS, WIDTH), torch.randn(ROWS, WIDTH)
    (backbone(x) * weights).sum().backward()
    assert x.grad is not None
    slope = (x.grad * direction).sum().item()
    step = 1e-2
    with torch.no_grad():
        up, down = ((backbone(x + sign * step * direction).double() * weights.double()).sum() for sign in (1, -1))
    assert abs((up - down).item() / (2 * step) - slope) < 2e-2 * abs(slope)


@pytest.mark.parametrize("shape", [(3, WIDTH + 1), (WIDTH,), (1, 2, 3, WIDTH)])
def test_other_shapes_are_refused(client: Client, shape: tuple[int, ...]) -> None:
    with pytest.raises(LatentError, match=r"expected float32 \[T, 64\] or \[B, T, 64\]"):
        RemoteBackbone(client)(torch.zeros(shape))


def test_a_gradient_that_explodes_is_an_error_and_the_next_step_works(client: Client) -> None:
    backbone = RemoteBackbone(client)
    x = torch.randn(ROWS, WIDTH, requires_grad=True)
    with pytest.raises(LatentError, match="expected a finite gradient"):
        (backbone(x) * 3e38).sum().backward()
    (backbone(x)).sum().backward()
    assert x.grad is not None
