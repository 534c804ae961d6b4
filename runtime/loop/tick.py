"""One turn of the loop: from what was sensed to what is done, 80 ms of the device's life.

    1. collect    every sensor's samples, encoded, in the order of their capture
    2. listen     one backbone pass over them, closed by the query row: the position that means "now"
    3. emit       the router acts on the hidden state at that position until `<idle>`

Order inside a tick: latents captured in the same 80 ms stand in the order of the bundle's components, as in training;
older ones (a sensor that was late) come before them.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from innervate.runtime.ali.latents import Latents
from innervate.runtime.ali.space import Floats
from innervate.runtime.loop.limb import Limb, Voice
from innervate.runtime.loop.router import Backbone, Router
from innervate.runtime.loop.supervise import Upstream

TICK_NS = 80_000_000  # 12.5 Hz


class Tick:
    """Everything that one turn touches; `turn` is called once in every TICK_NS and never raises for a component's failure."""

    def __init__(
        self, senses: list[Upstream], backbone: Backbone, query: Floats, router: Router, limbs: Mapping[str, Limb], voice: Voice
    ) -> None:
        self.senses = senses  # in the order of the bundle; applications come and go behind them
        self.backbone = backbone
        self.query = query  # [D], the row of <idle>
        self.router = router
        self.limbs = limbs
        self.voice = voice

    def turn(self, now_ns: int) -> int:
        """Run one turn; return the number of tokens emitted."""
        self.voice.start(now_ns)
        for limb in self.limbs.values():
            limb.expire(now_ns)
            limb.start(now_ns)
        hidden = self.listen(self.collect(now_ns))
        return self.router.emit(hidden, now_ns)

    def collect(self, now_ns: int) -> list[Latents]:
        """Return what arrived, in capture order by ticks; a sensor that is down or slow gives nothing."""
        packets = [packet for sense in self.senses for packet in sense.collect(now_ns)]
        packets.sort(key=lambda packet: -(-int(packet.t_ns[-1]) // TICK_NS))  # stable: the given order within a tick
        return packets

    def listen(self, packets: Sequence[Latents]) -> Floats:
        """Show the backbone the packets and ask; return the hidden state at the query row, [D]."""
        x = np.concatenate([*(packet.data for packet in packets), self.query[None, :]])  # [T + 1, D]
        for start in range(0, len(x), self.backbone.rows_max):
            hidden = self.backbone.append(x[start : start + self.backbone.rows_max])
        now: Floats = hidden[-1]
        return now
