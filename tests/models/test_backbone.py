"""The torch backbone: causality, masks, positions, reduced precision. Its agreement with the graphs is tested in tests/backbone."""

from __future__ import annotations

import pytest
import torch

from innervate.models.backbone import BackboneConfig, Nano

CONFIG = BackboneConfig(width=64, layers=2, heads=2, ffn=64, context=32)


@pytest.fixture
def nano() -> Nano:
    torch.manual_seed(0)
    return Nano(CONFIG)


def test_later_latents_do_not_reach_back(nano: Nano) -> None:
    x = torch.randn(2, 20, CONFIG.width)
    changed = x.clone()
    changed[:, 12:] += 1
    h, other = nano(x), nano(changed)
    assert h.dtype == torch.float32
    torch.testing.assert_close(h[:, :12], other[:, :12])
    assert (h[:, 12:] - other[:, 12:]).abs().max() > 0.1


def test_causal_mask_is_the_default_and_only_distances_count(nano: Nano) -> None:
    x = torch.randn(3, 20, CONFIG.width)
    causal = torch.ones(20, 20, dtype=torch.bool).tril()
    for mask in (causal, causal.expand(3, 20, 20)):
        for shift in (0, 17, 100):  # beyond the deployed context too
            positions = torch.arange(20).expand(3, 20) + shift
            torch.testing.assert_close(nano(x, mask, positions), nano(x), atol=2e-5, rtol=1e-4)


def test_packed_sequences_do_not_mix(nano: Nano) -> None:
    """Two sequences in one row, each with its own positions, give what they give apart."""
    first, second = torch.randn(1, 8, CONFIG.width), torch.randn(1, 12, CONFIG.width)
    owner = torch.tensor([0] * 8 + [1] * 12)
    mask = (owner[:, None] == owner[None]) & torch.ones(20, 20, dtype=torch.bool).tril()
    positions = torch.cat([torch.arange(8), torch.arange(12)])[None]
    packed = nano(torch.cat([first, second], 1), mask, positions)
    torch.testing.assert_close(packed[:, :8], nano(first), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(packed[:, 8:], nano(second), atol=1e-5, rtol=1e-4)


def test_bfloat16_keeps_the_residual_and_the_gradients(nano: Nano) -> None:
    x = torch.randn(2, 16, CONFIG.width)
    right = nano(x)
    with torch.autocast("cpu", torch.bfloat16):
        h = nano(x)
    assert h.dtype == torch.float32
    assert (h - right).norm() / right.norm() < 0.02
    nano.logits(h).logsumexp(-1).sum().backward()
    missing = [name for name, parameter in nano.named_parameters() if parameter.grad is None and name != "embedding"]
    assert missing == []


def test_widths_that_do_not_split() -> None:
    with pytest.raises(ValueError, match="heads of even width"):
        Nano(BackboneConfig(width=64, heads=5))
