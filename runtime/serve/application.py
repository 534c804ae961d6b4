"""An application: a component of the device in a process of its own.

    class Ring(Application):
        name = "acme/ring"

        def latent(self, h):                      # once a tick while the model holds it open
            self.show(h @ self.colours)

    Ring(connect(), side=rows).run()

The model opens it with its token `<so_acme/ring>`, calls `latent` in every tick, and closes it. Whenever it likes, between two ticks
(`idle`), the application pushes latents of its own, asks the device to act, or has it say something. What it raises ends it, and the
device tells its owner so; it is also ended when it takes longer than a second over its latents.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from innervate.runtime.serve.client import Client, Told
from innervate.runtime.serve.wire import Kind, ServeError

Floats = npt.NDArray[np.float32]


class Application:
    """Base of applications: set `name`, override what is needed of `opened`, `latent`, `closed`, `idle`.

    name: "namespace/x". gives: it pushes latents. takes: the model can open it; `side` then holds its token rows, [4, D]. may: "act"
    (`say`), "tell". rate_hz: promises latents at that rate, so that silence is a fault (None: only when there is something to tell).
    """

    name: ClassVar[str] = ""
    gives: ClassVar[bool] = False
    takes: ClassVar[bool] = False
    may: ClassVar[Sequence[str]] = ()
    rate_hz: ClassVar[float | None] = None

    def __init__(self, client: Client, side: Floats | None = None) -> None:
        self.client = client
        kind = "both" if self.gives and self.takes else "downstream" if self.takes else "upstream"
        meta: dict[str, Any] = {"name": self.name, "kind": kind, "may": list(self.may)}
        if self.rate_hz is not None:
            meta["rate_hz"] = self.rate_hz
        self.registered = client.register(meta, side)
        self._running = True

    # -- what the device calls ----------------------------------------------------------------------------------------

    def opened(self) -> None:
        """The model has opened this component."""

    def latent(self, hidden: Floats) -> None:
        """One output latent, [D], in every tick while it is open; answer within a second."""

    def closed(self, cause: str) -> None:
        """The model, or something else, has closed it."""

    def idle(self) -> None:
        """Called whenever nothing came for a while, see `run`; a good place to read a sensor and push."""

    # -- what it asks of the device -----------------------------------------------------------------------------------

    def push(self, latents: Floats, age_ms: float = 0.0) -> None:
        """Put latents [T, D] into the device's next turn."""
        self.client.push(latents, age_ms)

    def say(self, line: str, wait_s: float = 3.0) -> Told:
        """Ask the device to act, as if the line had been typed; needs "act" in `may`."""
        return self.client.say(line, wait_s)

    def finish(self) -> None:
        """Ask to be closed: what the model opened this component for is done."""
        self.client.finish()

    def tell(self, text: str) -> None:
        """Have the device say a line to whoever is there; needs "tell" in `may`."""
        self.client.tell(text)

    # -- its life -----------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """End `run` after the present call."""
        self._running = False

    def run(self, idle_s: float | None = None) -> None:
        """Serve until `stop`, an error, or the device's end. `idle_s`: call `idle` when nothing came for that long (None: never)."""
        try:
            while self._running:
                frame = self.client.poll(idle_s)
                if frame is None:
                    self.idle()
                elif frame.kind == Kind.OPENED:
                    self.opened()
                elif frame.kind == Kind.LATENT:
                    self.latent(frame.floats(self.client.facts.width, "server")[0])
                    self.client.taken(int(frame.meta["seq"]))
                elif frame.kind == Kind.CLOSED:
                    self.closed(str(frame.meta.get("cause", "")))
            self.client.leave()
        except ServeError as error:
            if error.code != "gone":
                raise
            self.closed(str(error))
            raise
