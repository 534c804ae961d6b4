"""A device that runs: turns one after the other until the end, and safe values on every way out.

Rules:
- On every way out of `run` (the end, `stop`, an exception, a signal turned into either) each actuator goes to its safe value
  first, then everything is closed, then the summary is written.
- Twins live at the time of the turn: while it runs, their clock and their world stand still, in real time too.
- Late ticks are counted and never stack up: when one begins a period or more late, those it missed are left out.
- Memory is constant: nothing is kept for each tick.

Known weakness: a turn that hangs inside an encoder, a decoder or `_apply` holds the loop, and with it `expire`. The
microcontroller's deadman is there for that; a software stop is never the only stop.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from innervate.runtime.ali.clock import Clock
from innervate.runtime.ali.component import Bench, Sample
from innervate.runtime.ali.errors import InnervateError
from innervate.runtime.ali.space import Space
from innervate.runtime.loop.clock import RealClock
from innervate.runtime.loop.events import Fault, Force, Log, Pose, Summary, seconds
from innervate.runtime.loop.events import Tick as TickEvent
from innervate.runtime.loop.meter import LatencyMeter, MeteredBackbone, rss_mb_peak
from innervate.runtime.loop.router import Router
from innervate.runtime.loop.supervise import cause_of
from innervate.runtime.loop.tick import TICK_NS, Tick

SETTLE_S_MAX = 2.0  # a device that takes longer to open joins later
LATE_NS = TICK_NS // 10  # a turn that begins later than this is counted as late


class World(Bench, Protocol):
    """The world that twins live in, as the loop drives it."""

    @property
    def end_ns(self) -> int:
        """How long its scenario lasts."""
        ...

    def advance_to(self, t_ns: int) -> None:
        """Let its physics run up to `t_ns`."""
        ...

    def close(self) -> None:
        """Release what it holds."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Turn:
    """What a watcher sees of one turn: newest samples by component, what is open, wall time of the whole turn."""

    t_ns: int
    samples: Mapping[str, Sample]
    open: str | None
    steps: int
    wall_us: float


Watcher = Callable[[Turn], None]


class Visitor(Protocol):
    """Who comes in between two turns: applications and clients in other processes. No method may raise or wait."""

    def before(self, now_ns: int) -> None:
        """A turn is about to begin."""
        ...

    def after(self, turn: Turn) -> None:
        """A turn has ended."""
        ...

    def end(self) -> None:
        """The run is over."""
        ...


class Device:
    """Senses, backbone, limbs and voice, wired by `assemble`; `run` is called once."""

    def __init__(
        self,
        tick: Tick,
        clock: Clock,
        twin_clock: Clock,
        world: World | None,
        log: Log,
        backbone: MeteredBackbone,
        latency: LatencyMeter,
        identity: tuple[Space, str],
        watchers: list[Watcher],
    ) -> None:
        self.ticks = 0
        self.late = 0
        self.visitors: list[Visitor] = []
        self._tick = tick
        self._clock = clock
        self._twin_clock = twin_clock
        self._world = world
        self._log = log
        self._backbone = backbone
        self._latency = latency
        self._space, self.variant = identity
        self._watchers = watchers
        self._stop_cause: str | None = None

    @property
    def dropped(self) -> dict[str, int]:
        """Samples that came but that no tick took in time, by component."""
        return {sense.name: sense.dropped for sense in self._tick.senses}

    @property
    def tick(self) -> Tick:
        """The parts of a turn, for visitors."""
        return self._tick

    @property
    def backbone(self) -> MeteredBackbone:
        """The backbone with its figures."""
        return self._backbone

    @property
    def clock(self) -> Clock:
        """The time of the device."""
        return self._clock

    @property
    def space(self) -> Space:
        """The latent space of the backbone."""
        return self._space

    @property
    def router(self) -> Router:
        """The router, to attach components to between two turns; its `vocabulary` is the device's."""
        return self._tick.router

    def stop(self, cause: str) -> None:
        """Ask the run to end before its next turn; may be called from a signal handler or another thread."""
        self._stop_cause = cause

    def run(self, until_ns: int | None) -> None:
        """Turn until `until_ns` (None: until `stop`). Raises what the backbone or the world raised, after making all safe."""
        cause = "end of run"
        try:
            self._start()
            self._turn_until(until_ns)
            cause = self._stop_cause or cause
        except BaseException as error:
            cause = cause_of(error)
            if isinstance(error, Exception):  # and not a signal that insists
                source = error.who if isinstance(error, InnervateError) else "loop"
                self._log.emit(Fault(seconds(self._clock.now_ns()), source, cause))
            raise
        finally:
            self._end(cause)

    def _start(self) -> None:
        if isinstance(self._clock, RealClock):
            self._clock.restart()  # loading a model is no part of the device's time
        # Limbs first: they stand at their safe values before anything else is opened.
        now_ns = self._clock.now_ns()
        for limb in self._tick.limbs.values():
            limb.start(now_ns)
        self._tick.voice.start(now_ns)
        for sense in self._tick.senses:
            sense.start(now_ns)
        # Opening drivers imports large libraries, which holds up every thread: better now than in the first turns.
        waiting_until = time.monotonic() + SETTLE_S_MAX
        for sense in self._tick.senses:
            sense.settle(max(0.0, waiting_until - time.monotonic()))

    def _turn_until(self, until_ns: int | None) -> None:
        due_ns = self._clock.now_ns() // TICK_NS * TICK_NS  # on the grid: twins finish their blocks there
        while not self._asked_to_stop() and (until_ns is None or due_ns + TICK_NS <= until_ns):
            due_ns += TICK_NS
            self._clock.sleep_until_ns(due_ns)
            if self._asked_to_stop():
                return
            late_ns = self._clock.now_ns() - due_ns
            self._turn(due_ns + late_ns, late_ns)
            due_ns += late_ns // TICK_NS * TICK_NS  # the turns that were missed are left out

    def _asked_to_stop(self) -> bool:
        return self._stop_cause is not None

    def _turn(self, now_ns: int, late_ns: int) -> None:
        self._twin_clock.sleep_until_ns(now_ns)
        if self._world is not None:
            self._world.advance_to(now_ns)
        for visitor in self.visitors:
            visitor.before(now_ns)
        self._latency.begin()
        steps = self._tick.turn(now_ns)
        wall_us = self._latency.elapsed_us()
        self.ticks += 1
        self.late += late_ns > LATE_NS
        t_s = seconds(now_ns)
        samples = {sense.name: sense.newest for sense in self._tick.senses if sense.newest is not None}
        if "pose" in samples:
            pan_deg, tilt_deg = (round(float(angle), 4) for angle in samples["pose"].data[:2])
            self._log.emit(Pose(t_s, pan_deg, tilt_deg))
        if "force" in samples and samples["force"].data.size:
            self._log.emit(Force(t_s, round(float(samples["force"].data[-1]), 4)))
        self._log.emit(TickEvent(t_s, round(late_ns / 1e6, 3), steps))
        turn = Turn(now_ns, samples, self._tick.router.open, steps, wall_us)
        for watch in self._watchers:
            watch(turn)
        for visitor in self.visitors:
            visitor.after(turn)

    def _end(self, cause: str) -> None:
        now_ns = self._clock.now_ns()
        for limb in self._tick.limbs.values():
            limb.stop(now_ns, cause)
        for name in self.router.attached:
            if name not in self._tick.limbs:  # another process's: it is told, and outlives the run
                self.router.detach(name, now_ns, cause)
        self._tick.voice.stop(now_ns)
        for sense in self._tick.senses:
            sense.stop()
        for visitor in self.visitors:
            visitor.end()
        if self._world is not None:
            self._world.close()
        self._log.emit(self._summary(now_ns))

    def _summary(self, now_ns: int) -> Summary:
        step, latency = self._backbone.step_us, self._latency.capture_to_setpoint_us
        return Summary(
            t_s=seconds(now_ns),
            ticks=self.ticks,
            late=self.late,
            step_us_p50=step.percentile(50),
            step_us_p99=step.percentile(99),
            capture_to_setpoint_us_p50=latency.percentile(50),
            capture_to_setpoint_us_p99=latency.percentile(99),
            rss_mb=rss_mb_peak(),
            space_id=self._space.space_id,
            variant=self.variant,
        )
