"""Applications as components of the device: supervised and budgeted like any plugin's, by the same classes.

An application that gives latents is an `Upstream` whose feed is what it pushed; one that takes them is a limb of the router. Rules:

- What was pushed waits in a queue of PACKETS_MAX; a turn takes LATENTS_TURN_MAX latents of one application, so that none can fill
  the context with its own.
- Each output latent must be acknowledged. One that leaves LATENTS_OWED unanswered (a second's worth) hangs: a fault, it is closed and cut off.
"""

from collections import deque

import numpy as np

from innervate.runtime.ali.component import Encoder, Sample
from innervate.runtime.ali.space import Floats
from innervate.runtime.serve.outlet import Outlet
from innervate.runtime.serve.wire import Kind, raw

PACKETS_MAX = 32
LATENTS_TURN_MAX = 32
LATENTS_OWED = 12


class PushFeed:
    """What an application pushed since the last turn, as a feed of its `Upstream`."""

    def __init__(self) -> None:
        self.dropped = 0
        self._queue: deque[Sample] = deque()
        self._seq = 0
        self._newest_ns = 0

    def put(self, data: Floats, t_ns: int) -> None:
        """Take a packet [T, D] captured at `t_ns`; the oldest goes when there are too many. Time never goes backwards."""
        if len(self._queue) >= PACKETS_MAX:
            self._queue.popleft()
            self.dropped += 1
        self._newest_ns = max(self._newest_ns, t_ns)
        self._queue.append(Sample(data, self._newest_ns, self._seq))
        self._seq += 1

    def poll(self) -> list[Sample]:
        """Return the oldest packets, together no more than LATENTS_TURN_MAX latents; the rest waits for the next turn."""
        samples: list[Sample] = []
        room = LATENTS_TURN_MAX
        while self._queue and (not samples or len(self._queue[0].data) <= room):
            samples.append(self._queue.popleft())
            room -= len(samples[-1].data)
        return samples

    def stop(self) -> None:
        """Forget what waits."""
        self._queue.clear()


class AsLatents(Encoder):
    """What an application pushes are latents already."""

    def _encode(self, sample: Sample) -> Floats:
        return np.array(sample.data, np.float32)


class GuestLimb:
    """An application that the model can open; a limb as the router knows it. No method raises."""

    def __init__(self, name: str, outlet: Outlet) -> None:
        self.name = name
        self.up = True
        self.fault: str | None = None  # why it must be cut off
        self._outlet = outlet
        self._open = False
        self._finished = False  # it asks to be closed
        self._sent = 0
        self._taken = 0

    def steer(self, hidden: Floats, now_ns: int) -> bool:
        """Send one output latent [D]; False when the application hangs, or has done what it was opened for."""
        if not self.up or self._finished:
            return False
        if self._sent - self._taken >= LATENTS_OWED:
            self.up = False
            self.fault = f"hangs: {LATENTS_OWED} latents sent, none of them taken"
            return False
        if not self._open:
            self._open = True
            self._outlet.send(Kind.OPENED, 0, {"name": self.name})
        self._sent += 1
        self._outlet.send(Kind.LATENT, 0, {"name": self.name, "seq": self._sent, "t_ns": now_ns}, raw(hidden))
        return True

    def taken(self, seq: int) -> None:
        """The application has done with a latent and all before it."""
        self._taken = min(max(self._taken, seq), self._sent)

    def finish(self) -> None:
        """The application wants to be closed; no effect when it is not open."""
        self._finished = self._open

    def safe(self, now_ns: int, cause: str) -> None:
        """The model has closed it, or it was closed for the model."""
        cause = "the application has finished" if self._finished else cause
        self._finished = False
        if self._open:
            self._open = False
            self._outlet.send(Kind.CLOSED, 0, {"name": self.name, "cause": cause})
