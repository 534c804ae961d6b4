"""The downstream side: supervised actuators with their decoders, and the voice that takes bytes.

Rule of `stop` events: one whenever an actuator that was being driven is put at its safe value, with the cause.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress

import numpy as np

from innervate.runtime.ali.component import Actuator, Decoder, Limit, Sample, Sink
from innervate.runtime.ali.component import Setpoint as Order
from innervate.runtime.ali.errors import DeviceError
from innervate.runtime.ali.latents import Latents
from innervate.runtime.ali.space import Floats
from innervate.runtime.loop.events import Log, Setpoint, Stop, Text, seconds
from innervate.runtime.loop.supervise import Restarts, Upstream, cause_of

STALE_NS = 250_000_000  # three ticks: a target relative to an older pose would be a guess
UTTERANCE_MAX = 1024  # bytes; a longer one is finished where it stands


class Limb:
    """A supervised actuator with its decoder; no method raises.

    `feedback` is the upstream component whose newest sample the decoder is given (None: it needs none).
    """

    def __init__(self, actuator: Actuator, decoder: Decoder, feedback: Upstream | None, log: Log) -> None:
        self.name = actuator.name
        self.actuator = actuator
        self.decoder = decoder
        self._feedback = feedback
        self._log = log
        self._restarts = Restarts(self.name, log)
        self._seq = 0
        self._driven = False  # a setpoint was sent and no safe value since

    @property
    def up(self) -> bool:
        """True while the actuator is open."""
        return self.actuator.is_open

    def start(self, now_ns: int) -> None:
        """Open the actuator at its safe value, if a try is due."""
        if not self.actuator.is_open and self._restarts.due(now_ns):
            try:
                self.actuator.open()
            except Exception as error:
                self._fail(now_ns, error)

    def steer(self, hidden: Floats, now_ns: int) -> bool:
        """Decode one output latent [D] and drive to it; return False when the limb failed and now stands safe."""
        if not self.actuator.is_open:
            return False
        try:
            packet = Latents(hidden[None, :].copy(), self.decoder.space, np.array([now_ns], np.int64), "backbone", self._seq)
            values = self.decoder.decode(packet, self._fresh_feedback(now_ns))
            until_ns = now_ns + self.actuator.hold_ms_max * 1_000_000
            applied = self.actuator.apply(Order(values, now_ns, until_ns, self._seq))
        except Exception as error:
            self._fail(now_ns, error)
            return False
        self._seq += 1
        self._driven = self._driven or applied is not None
        for axis, value in (applied or {}).items():
            self._log.emit(_setpoint(now_ns, axis, value, self.actuator.limits))
        self._restarts.served(now_ns)
        return True

    def expire(self, now_ns: int) -> None:
        """Put the actuator at its safe value when its last setpoint has outlived its time."""
        try:
            if self.actuator.expire(now_ns):
                self._stopped(now_ns, "no setpoint within the longest hold")
        except Exception as error:
            self._fail(now_ns, error)

    def safe(self, now_ns: int, cause: str) -> None:
        """Put the actuator at its safe value."""
        if not self._driven:
            return
        try:
            self.actuator.safe(cause)
        except Exception as error:
            self._fail(now_ns, error)
        else:
            self._stopped(now_ns, cause)

    def stop(self, now_ns: int, cause: str) -> None:
        """Put the actuator at its safe value and close it; the last thing that a run does with it."""
        try:
            self.actuator.close()
        except Exception as error:
            cause = f"{cause}; {cause_of(error)}"
        self._log.emit(Stop(seconds(now_ns), cause))

    def _stopped(self, now_ns: int, cause: str) -> None:
        self._driven = False
        self._log.emit(Stop(seconds(now_ns), cause))

    def _fresh_feedback(self, now_ns: int) -> Sample | None:
        if self._feedback is None:
            return None
        newest = self._feedback.newest
        if newest is None or now_ns - newest.t_ns > STALE_NS:
            step = f"it stays at its safe value until {self._feedback.name} is back"
            raise DeviceError(self.name, f"no fresh sample of {self._feedback.name}", f"one of the last {STALE_NS / 1e6:g} ms", step)
        return newest

    def _fail(self, now_ns: int, error: Exception) -> None:
        cause = cause_of(error)
        try:
            self.actuator.close()  # goes to the safe value first
        except Exception as second:
            cause = f"{cause}; then {cause_of(second)}"
        self.decoder.reset()
        self._restarts.failed(now_ns, cause)
        if self._driven:
            self._stopped(now_ns, cause)


def _setpoint(now_ns: int, axis: str, value: float, limits: Mapping[str, Limit]) -> Setpoint:
    unit = limits[axis].unit
    if unit == "deg":
        return Setpoint(seconds(now_ns), axis, deg=round(value, 4))
    return Setpoint(seconds(now_ns), axis, value=round(value, 6), unit=unit)


class Voice:
    """Collects the model's bytes into utterances, each ended by a line feed, and hands them to a supervised sink.

    `sink` may be None: then the events alone tell what was said.
    """

    def __init__(self, sink: Sink | None, log: Log) -> None:
        self._sink = sink
        self._log = log
        self._restarts = Restarts(sink.name if sink else "text_out", log)
        self._said = bytearray()

    @property
    def speaking(self) -> bool:
        """True in the middle of an utterance."""
        return bool(self._said)

    def start(self, now_ns: int) -> None:
        """Open the sink, if a try is due."""
        if self._sink is not None and not self._sink.is_open and self._restarts.due(now_ns):
            self._guarded(now_ns, self._sink.open)

    def speak(self, byte: int, now_ns: int) -> None:
        """Take one byte."""
        sink = self._sink
        if sink is not None and sink.is_open:
            self._guarded(now_ns, lambda: sink.write(bytes([byte])))
        if byte != ord("\n"):
            self._said.append(byte)
        if self._said and (byte == ord("\n") or len(self._said) >= UTTERANCE_MAX):
            self._log.emit(Text(seconds(now_ns), self._said.decode("utf-8", "replace")))
            self._said.clear()

    def stop(self, now_ns: int) -> None:
        """Close the sink."""
        if self._sink is not None:
            self._guarded(now_ns, self._sink.close)

    def _guarded(self, now_ns: int, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:
            self._restarts.failed(now_ns, cause_of(error))
            if self._sink is not None:
                with suppress(Exception):  # the first failure is the one to report
                    self._sink.close()
