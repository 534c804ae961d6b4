"""What the loop's tests share: a log that keeps, a script in place of a model, feeds under the test's hand."""

from collections.abc import Mapping, Sequence

import numpy as np

from innervate.runtime.ali.component import Sample
from innervate.runtime.ali.latents import Border
from innervate.runtime.ali.space import Floats, Space
from innervate.runtime.loop.clock import VirtualClock
from innervate.runtime.loop.events import Event
from innervate.runtime.loop.limb import Limb, Voice
from innervate.runtime.loop.router import Router
from innervate.runtime.loop.supervise import Upstream
from tests.ali.parts import SPACE, WIDTH, Identity, Page, PlainDecoder, PlainEncoder, Servo, context

IDLE, SO_MOTOR, EO_MOTOR, SO_CLAW, EO_CLAW = 256, 257, 258, 259, 260
CONTROL = ("<idle>", "<so_motor>", "<eo_motor>", "<so_claw>", "<eo_claw>")
TICK_NS = 80_000_000


class Kept:
    """A log that keeps its events."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        self.events.append(event)

    def of(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]

    def names(self) -> list[str]:
        return [type(event).__name__.lower() for event in self.events]


class Script:
    """Backbone and vocabulary in one: the token that `answers` gives for the newest input row is scored highest.

    A row holds its token in its first number; an input that is no token row counts as `<idle>`, the query.
    """

    rows_max = 16

    def __init__(self, answers: Mapping[int, int], control: Sequence[str] = CONTROL) -> None:
        self.answers = dict(answers)
        self.control = tuple(control)
        self.control_ids = tuple(range(256, 256 + len(control)))
        self.inputs: list[int] = []
        self.passes: list[int] = []
        self.pins: set[str] = set()

    def append(self, x: Floats, *, pin: str | None = None) -> Floats:
        self.inputs += [round(float(row[0])) for row in x]
        self.passes.append(len(x))
        if pin is not None:
            assert pin not in self.pins, "pinned twice without a release"
            self.pins.add(pin)
        return x.copy()

    def unpin(self, name: str) -> None:
        self.pins.discard(name)

    def row(self, token: int) -> Floats:
        row = np.zeros(WIDTH, np.float32)
        row[0] = token
        return row

    def logits(self, h: Floats) -> Floats:
        scores = np.zeros(256 + len(self.control), np.float32)
        scores[self.answers.get(round(float(h[0])), IDLE)] = 1.0
        return scores

    def control_logits(self, h: Floats) -> Floats:
        scores: Floats = self.logits(h)[256:]
        return scores


class Feeder:
    """A feed under the test's hand: `gives` is what the next poll returns or raises."""

    def __init__(self) -> None:
        self.dropped = 0
        self.gives: list[Sample] | Exception = []
        self.stopped = False

    def poll(self) -> list[Sample]:
        gives, self.gives = self.gives, []
        if isinstance(gives, Exception):
            raise gives
        return gives

    def stop(self) -> None:
        self.stopped = True


class Sense:
    """A supervised sensor on feeders; `refuses` makes the next starts fail."""

    def __init__(self, log: Kept, name: str = "mic", rate_hz: float | None = 12.5, only_newest: bool = False, space: Space = SPACE) -> None:
        self.feeds: list[Feeder] = []
        self.refuses = 0
        self.graph = Identity()
        encoder = PlainEncoder(self.graph, space, name)
        self.upstream = Upstream(self._start, encoder, Border(SPACE), log, rate_hz, only_newest)

    def _start(self) -> Feeder:
        if self.refuses:
            self.refuses -= 1
            raise RuntimeError("no such device")
        self.feeds.append(Feeder())
        return self.feeds[-1]

    def give(self, *t_ns: int) -> None:
        self.feeds[-1].gives = [Sample(np.zeros(2, np.float32), t, i) for i, t in enumerate(t_ns)]


class Body:
    """A router with a motor, a claw and a voice, on a script."""

    def __init__(self, answers: Mapping[int, int], control: Sequence[str] = CONTROL) -> None:
        self.clock = VirtualClock()
        self.log = Kept()
        self.script = Script(answers, control)
        self.servos = {name: Servo(context(self.clock, name)) for name in ("motor", "claw")}
        decoder = PlainDecoder(Identity(), SPACE, "motor")
        self.limbs = {name: Limb(servo, decoder, None, self.log) for name, servo in self.servos.items()}
        self.page = Page(context(self.clock, "text_out"))
        self.voice = Voice(self.page, self.log)
        self.router = Router(self.script, self.script, self.limbs, self.voice, self.log)
        for limb in self.limbs.values():
            limb.start(0)
        self.voice.start(0)

    def emit(self) -> int:
        """One tick's emission from the query row."""
        hidden = self.script.append(self.script.row(IDLE)[None])[-1]
        steps = self.router.emit(hidden, self.clock.now_ns())
        self.clock.advance_s(0.08)
        return steps
