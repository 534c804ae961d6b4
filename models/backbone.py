"""The backbone in torch: the same maths as the exported graph, for training and as the parity reference.

Pre-norm transformer: RMS norm, fused qkv, half-split RoPE (what onnxruntime's GroupQueryAttention does with
``do_rotary=1, rotary_interleaved=0``), gated feed-forward with silu, final RMS norm. No biases anywhere.
The residual stays float32 under autocast, because every block adds into it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ROPE_TABLE_CONTEXTS = 4  # training may run sequences longer than the deployed context, under a windowed mask


@dataclass(frozen=True, slots=True)
class BackboneConfig:
    """Shape of a backbone; the defaults are ``nano``."""

    width: int = 384
    layers: int = 4
    heads: int = 6
    ffn: int = 320
    context: int = 512
    rope_base: float = 10000.0
    norm_eps: float = 1e-6
    rows: int = 259  # 256 bytes, then <idle> <so_motor> <eo_motor>

    @property
    def head_width(self) -> int:
        """Width of one attention head."""
        return self.width // self.heads


def rope_tables(config: BackboneConfig, rows: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the rotation angles, each ``[rows, head_width / 2]`` float32."""
    half = config.head_width // 2
    inverse = config.rope_base ** (-torch.arange(half, dtype=torch.float64) / half)
    angle = torch.arange(rows, dtype=torch.float64)[:, None] * inverse[None, :]
    return angle.cos().float(), angle.sin().float()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate heads ``x [B, H, T, d]`` by ``cos, sin [B or 1, 1, T, d/2]``; half-split pairs, result in x's dtype."""
    a, b = x.float().chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1).to(x.dtype)


class RMSNorm(nn.Module):
    """x / rms(x) * gain over the last axis, in float32 whatever autocast says."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``x [..., D]``; float32 out."""
        x = x.float()
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * self.weight


class Layer(nn.Module):
    """One block: attention and gated feed-forward, each added to the residual."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        d, f = config.width, config.ffn
        self.heads = config.heads
        self.norm_attention = RMSNorm(d, config.norm_eps)
        self.qkv = nn.Linear(d, 3 * d, bias=False)
        self.out = nn.Linear(d, d, bias=False)
        self.norm_ffn = RMSNorm(d, config.norm_eps)
        self.gate_up = nn.Linear(d, 2 * f, bias=False)  # gate first, then up
        self.down = nn.Linear(f, d, bias=False)

    def forward(self, x: Tensor, mask: Tensor | None, cos: Tensor, sin: Tensor) -> Tensor:
        """The residual ``x [B, T, D]`` after this block."""
        b, t, d = x.shape
        qkv = self.qkv(self.norm_attention(x)).view(b, t, 3, self.heads, d // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # each [B, H, T, d_head]
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
        x = x + self.out(mixed.transpose(1, 2).reshape(b, t, d))
        gate, up = self.gate_up(self.norm_ffn(x)).chunk(2, dim=-1)
        following: Tensor = x + self.down(F.silu(gate) * up)
        return following


class Backbone(nn.Module):
    """Input latents to output latents."""

    cos: Tensor
    sin: Tensor

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        if config.width % config.heads or config.head_width % 2:
            raise ValueError(f"backbone: width {config.width} must split into {config.heads} heads of even width")
        self.config = config
        self.blocks = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.norm = RMSNorm(config.width, config.norm_eps)
        cos, sin = rope_tables(config, ROPE_TABLE_CONTEXTS * config.context)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        self.apply(self._initialise)

    def _initialise(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            # 1/sqrt(fan in), and the two matrices that write the residual shrunk so that its variance does not grow
            nn.init.normal_(module.weight, std=module.in_features**-0.5)
        if isinstance(module, Layer):
            for writer in (module.out, module.down):
                with torch.no_grad():
                    writer.weight.mul_((2 * self.config.layers) ** -0.5)

    def forward(self, x: Tensor, mask: Tensor | None = None, positions: Tensor | None = None) -> Tensor:
        """Hidden states after the final norm.

        :param x: ``[B, T, D]`` input latents.
        :param mask: bool ``[B, T, T]`` or ``[T, T]``, True where row may look at column; None is causal.
        :param positions: int ``[B, T]`` below ``4 * context``; None is 0..T-1.
        :returns: ``[B, T, D]`` float32.
        """
        if positions is None:
            cos, sin = self.cos[None, None, : x.shape[1]], self.sin[None, None, : x.shape[1]]  # [1, 1, T, d/2]
        else:
            cos, sin = self.cos[positions][:, None], self.sin[positions][:, None]  # [B, 1, T, d/2]
        if mask is not None and mask.dim() == 3:
            mask = mask[:, None]  # [B, 1, T, T]
        for block in self.blocks:
            x = block(x, mask, cos, sin)
        h: Tensor = self.norm(x)
        return h


class Nano(nn.Module):
    """Backbone plus its two row tables: what becomes a bundle's graphs and ``rows.npz``."""

    def __init__(self, config: BackboneConfig | None = None) -> None:
        super().__init__()
        self.config = config if config is not None else BackboneConfig()
        self.backbone = Backbone(self.config)
        # rows start at the scale of a residual stream of unit variance; the classifier small, for a flat start
        self.embedding = nn.Parameter(torch.randn(self.config.rows, self.config.width))
        self.classifier = nn.Parameter(torch.randn(self.config.rows, self.config.width) * 0.02)

    def forward(self, x: Tensor, mask: Tensor | None = None, positions: Tensor | None = None) -> Tensor:
        """Same as :meth:`Backbone.forward`."""
        h: Tensor = self.backbone(x, mask, positions)
        return h

    def logits(self, h: Tensor) -> Tensor:
        """Scores of all rows, ``[..., rows]``, of hidden states ``h [..., D]``."""
        return h @ self.classifier.T
