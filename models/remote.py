"""A backbone that lives on a device, as a function of torch: train an encoder here against the weights that run there.

    client = connect("ws://127.0.0.1:8765")
    backbone = RemoteBackbone(client)
    hidden = backbone(encoder(samples))      # [T, D] or [B, T, D]
    loss(hidden).backward()                  # the gradient comes over the wire

The device computes both ways with its own quantised weights (the Gradient API); nothing of the model is needed here. A step costs two
requests for each sequence: one forward, one for the gradient.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from innervate.runtime.ali.errors import LatentError
from innervate.runtime.serve.client import Client


class RemoteBackbone:
    """`backbone(x)`: latents [T, D] or [B, T, D] float32, each sequence from its first position, to hidden states of that shape.

    Raises LatentError for what the device refuses: other widths, non-finite values, sequences over its context, a gradient that explodes.
    """

    def __init__(self, client: Client) -> None:
        self.client = client
        self.width = client.facts.width

    def __call__(self, x: Tensor) -> Tensor:
        """Return the hidden states; differentiable in `x`."""
        if x.ndim not in (2, 3) or x.shape[-1] != self.width or x.dtype != torch.float32:
            came = f"a tensor {x.dtype} {list(x.shape)}"
            raise LatentError("remote backbone", came, f"float32 [T, {self.width}] or [B, T, {self.width}]", "look at the encoder's last layer")
        if x.ndim == 2:
            return self._one(x)
        return torch.stack([self._one(sequence) for sequence in x])

    def _one(self, x: Tensor) -> Tensor:
        hidden: Tensor = _Remote.apply(x, self.client)  # type: ignore[no-untyped-call]
        return hidden


class _Remote(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, client: Client) -> Tensor:
        ctx.client = client
        ctx.save_for_backward(x)
        return torch.from_numpy(client.forward(x.detach().cpu().numpy())).to(x.device)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        _, dx = ctx.client.vjp(x.detach().cpu().numpy(), grads[0].detach().cpu().contiguous().numpy())
        return torch.from_numpy(dx).to(x.device), None
