"""All trainable parts of `nano` around the backbone, and the loss of a batch of sequences."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .backbone import Nano
from .feeling import ForceEncoder, MotorDecoder, PoseEncoder
from .language import COLOURS, SHAPES, VERBS
from .seeing import GRID, WIDTH
from .sequences import FORCE, FRAME, IDLE, IGNORE, POSE, SOUND, TOKEN

NEWTON_CLASSES = 52


class Policy(nn.Module):
    """Backbone, rows, small encoders, the motor decoder and the last layers of ear and eye; trained together."""

    def __init__(self) -> None:
        super().__init__()
        self.nano = Nano()
        self.ear_out = nn.Linear(320, WIDTH)
        self.eye_out = nn.Linear(129, WIDTH)
        self.eye_place = nn.Parameter(torch.zeros(GRID * GRID, WIDTH))
        self.force = ForceEncoder()
        self.pose = PoseEncoder()
        self.motor = MotorDecoder()
        # read-outs that only help training
        self.goal = nn.ModuleList(nn.Linear(WIDTH, n) for n in (len(VERBS), 1 + len(COLOURS), 1 + len(SHAPES)))
        self.visible = nn.Linear(WIDTH, 1)
        self.match = nn.Linear(WIDTH, 3)
        self.naming = nn.ModuleList(nn.Linear(WIDTH, n) for n in (len(COLOURS), len(SHAPES)))
        self.newtons = nn.Linear(WIDTH, NEWTON_CLASSES)
        self.doubled = nn.Linear(WIDTH, 1)

    def embed(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Input latents [B, T, D] of a batch, and the force latents [B, TICKS, D] for their own loss."""
        kind, source = batch["kind"], batch["source"]
        x = torch.zeros(*kind.shape, WIDTH, device=kind.device)
        force, pose = self.force(batch["force"].flatten(0, 1)), self.pose(batch["pose"].flatten(0, 1))
        ticks = batch["force"].shape[1]
        row = torch.arange(len(kind), device=kind.device)[:, None] * ticks + source
        x[kind == SOUND] = self.ear_out(batch["sound"]).float()
        x[kind == FRAME] = (self.eye_out(batch["sight"]) + self.eye_place[batch["cells"]]).float()
        x[kind == FORCE] = force[row[kind == FORCE]].float()
        x[kind == POSE] = pose[row[kind == POSE]].float()
        x[kind == TOKEN] = self.nano.embedding[source[kind == TOKEN]]
        return x, force.view(len(kind), ticks, WIDTH)

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """Weighted sum of all losses, and its parts."""
        x, force = self.embed(batch)
        h = self.nano(x, attention_mask(batch))
        emit, closed = batch["emit"], batch["closed"]
        due = emit != IGNORE
        logits = self.nano.logits(h[due])
        logits = logits.masked_fill((~closed[due])[:, None] & (torch.arange(logits.shape[1], device=logits.device) < IDLE)[None], -1e9)
        each = F.cross_entropy(logits.float(), emit[due], reduction="none")
        parts = {"emit": 2.0 * (each * batch["weight"][due]).sum() / batch["weight"][due].sum()}
        drive = ~batch["delta"][..., 0].isnan()
        wanted = batch["delta"][drive]
        tolerance = 1.0 + 0.1 * wanted.abs()
        parts["turn"] = F.smooth_l1_loss(self.motor(h[drive]).float() / tolerance, wanted / tolerance)
        opened = batch["goal"][..., 0] > 0
        for head, column in zip(self.goal, range(3), strict=True):
            parts[f"goal{column}"] = 0.3 * F.cross_entropy(head(h[opened]).float(), batch["goal"][opened][:, column])
        told = batch["visible"] != IGNORE
        parts["visible"] = 0.5 * F.binary_cross_entropy_with_logits(self.visible(h[told]).squeeze(-1).float(), batch["visible"][told].float())
        shown = batch["match"] != IGNORE
        # colour and shape on their own beside both: what knows the two apart finds pairs that it was never asked for
        parts["match"] = 2.0 * F.binary_cross_entropy_with_logits(
            self.match(h)[shown].float(), batch["match"][shown].float(), pos_weight=torch.tensor(4.0, device=h.device)
        )
        names = batch["naming"][..., 0] != IGNORE
        for kind, head, column in zip(("colour", "shape"), self.naming, range(2), strict=True):
            each = F.cross_entropy(head(h[names]).float(), batch["naming"][names][:, column], reduction="sum")
            parts[kind] = 0.5 * each / names.sum().clamp(min=1)  # a batch without a question teaches nothing here
        near = batch["newtons"].round().clamp(0, NEWTON_CLASSES - 1).long().flatten()
        parts["newtons"] = 0.7 * F.cross_entropy(self.newtons(force).flatten(0, 1).float(), near)
        sure = batch["double"] != IGNORE
        parts["double"] = 0.2 * F.binary_cross_entropy_with_logits(
            self.doubled(force).squeeze(-1)[sure].float(), batch["double"][sure].float(), pos_weight=torch.tensor(5.0, device=force.device)
        )
        with torch.no_grad():
            best = logits.argmax(-1)
            act = emit[due] != IDLE
            figures = {name: float(value.detach()) for name, value in parts.items()}
            figures["acted"] = float((best == emit[due])[act].float().mean())
            figures["false"] = float((best != IDLE)[~act].float().mean())
            figures["turn_deg"] = float((self.motor(h[drive]).float() - wanted).abs().median())
        return torch.stack(list(parts.values())).sum(), figures


def attention_mask(batch: dict[str, Tensor]) -> Tensor:
    """Bool [B, T, T]: the newest `window` positions, and the open component's own token however old it is."""
    length = batch["kind"].shape[1]
    at = torch.arange(length, device=batch["kind"].device)
    i, j = at[:, None], at[None]
    recent = (i - j)[None] < batch["window"][:, None, None]
    pinned = batch["pin"][:, :, None] == j[None]
    return (j <= i)[None] & (recent | pinned)
