"""Published conformance checks: the contracts of `component.py` as code, run on drivers and twins alike.

    from innervate.runtime.ali.conformance import check_sensor

    def test_my_sensor():
        check_sensor(lambda: MySensor(context), advance=clock.advance_s).require()

Each check makes its own devices with `make`, closes what it opened, and returns a Report with a Finding for each rule;
it stops at a breach that makes the rest meaningless. `advance(seconds)` lets virtual time pass; leave it out for a
driver, which is then read with a real timeout.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from innervate.runtime.ali.component import Actuator, Array, Decoder, Encoder, Sample, Sensor, Setpoint, Sink
from innervate.runtime.ali.errors import DeviceError, LatentError, PluginError
from innervate.runtime.ali.latents import Latents

READS = 5
READ_TIMEOUT_S = 2.0  # a driver must give something within this; cameras take about a second to start
STEP_S = 0.08  # virtual time between two reads: one tick
STEPS_MAX = 200  # virtual steps to wait for READS samples: 16 s, for twins that speak rarely
Advance = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule, whether it holds, and what came when it does not."""

    rule: str
    ok: bool
    came: str = ""


@dataclass(slots=True)
class Report:
    """What a check found, rule by rule."""

    who: str
    findings: list[Finding] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """True when every rule holds."""
        return all(finding.ok for finding in self.findings)

    def note(self, rule: str, ok: bool, came: str = "") -> bool:
        """Add a finding; return `ok`."""
        self.findings.append(Finding(rule, ok, "" if ok else came))
        return ok

    def require(self) -> None:
        """Raise PluginError naming each broken rule; return when all hold."""
        broken = [f"{finding.rule} ({finding.came})" for finding in self.findings if not finding.ok]
        if broken:
            raise PluginError(self.who, f"breaks its contract: {'; '.join(broken)}", "", "correct the component")

    @contextmanager
    def rule(self, rule: str) -> Iterator[None]:
        """Note whether the block runs to its end without an error."""
        try:
            yield
        except Exception as error:
            self.note(rule, False, f"{type(error).__name__}: {error}")
        else:
            self.note(rule, True)

    @contextmanager
    def refusal(self, rule: str, kind: type[Exception]) -> Iterator[None]:
        """Note whether the block raises `kind`."""
        try:
            yield
        except kind:
            self.note(rule, True)
        except Exception as error:
            self.note(rule, False, f"raised {type(error).__name__}: {error}")
        else:
            self.note(rule, False, "raised nothing")


def check_sensor(make: Callable[[], Sensor], advance: Advance | None = None, repeatable: bool = False) -> Report:
    """Check that a sensor keeps its contract: states, stamps, order, dtype, shape, range, no waiting, reopening.

    `repeatable` also checks that a second device from `make`, given the same time steps, gives the same values; pass a
    `make` that builds its own world and clock for that, and an `advance` that drives the newest of them.
    """
    sensor = make()
    report = Report(sensor.name)
    with report.refusal("a read before open is refused", DeviceError):
        sensor.read(0.0)
    with report.rule("close without open does nothing"):
        sensor.close()
    samples: list[Sample] = []
    try:
        with report.rule("opens"):
            sensor.open()
        if sensor.is_open:
            with report.rule("reads: dtype, shape, range, time and order as declared"):
                samples = read_some(sensor, advance)
            report.note("gives samples", bool(samples), f"none within {READ_TIMEOUT_S:g} s")
            seqs = [sample.seq for sample in samples]
            report.note("numbers its samples from 0", seqs == list(range(len(seqs))), str(seqs))
            if advance is not None:
                with report.rule("gives nothing new while time stands still"):
                    _drained(sensor)
    finally:
        with report.rule("closes, and closes again"):
            sensor.close()
            sensor.close()
    with report.refusal("a read after close is refused", DeviceError):
        sensor.read(0.0)
    with report.rule("opens and reads again after a close"):
        sensor.open()
        try:
            read_some(sensor, advance, wanted=1)
        finally:
            sensor.close()
    if repeatable and samples:
        _check_repeatable(report, make, advance, samples)
    return report


def read_some(sensor: Sensor, advance: Advance | None, wanted: int = READS) -> list[Sample]:
    """Read up to `wanted` samples from an open sensor: a driver with a real timeout, a twin by letting time pass."""
    samples: list[Sample] = []
    for _ in range(STEPS_MAX if advance else wanted):
        if advance:
            advance(STEP_S)
        sample = sensor.read(0.0 if advance else READ_TIMEOUT_S)
        if sample is not None:
            samples.append(sample)
        if len(samples) == wanted:
            break
    return samples


def _drained(sensor: Sensor) -> None:
    for _ in range(STEPS_MAX):
        if sensor.read(0.0) is None:
            return
    raise PluginError(sensor.name, "gives new samples for ever while the clock stands still", "None", "remember the last read")


def _check_repeatable(report: Report, make: Callable[[], Sensor], advance: Advance | None, first: list[Sample]) -> None:
    sensor = make()
    sensor.open()
    try:
        second = read_some(sensor, advance)
    finally:
        sensor.close()
    same = len(first) == len(second) and all(a.t_ns == b.t_ns and np.array_equal(a.data, b.data) for a, b in zip(first, second, strict=True))
    report.note("gives the same again for the same seed and time", same, "other values or stamps")


def check_actuator(make: Callable[[], Actuator], advance: Advance | None = None) -> Report:
    """Check that an actuator keeps its contract: safe on open, at expiry and on close; limits; refusals.

    It drives each axis by a twentieth of its range from the middle: clear the space around a real device first.
    """
    actuator = make()
    report = Report(actuator.name)
    now_ns = actuator.context.clock.now_ns
    middle = {axis: (limit.min + limit.max) / 2 for axis, limit in actuator.limits.items()}
    near = {axis: middle[axis] + (limit.max - limit.min) / 20 for axis, limit in actuator.limits.items()}

    def setpoint(values: Mapping[str, float], valid_ms: int = 80) -> Setpoint:
        return Setpoint(values, now_ns(), now_ns() + valid_ms * 1_000_000, 0)

    report.note("declares limits", bool(actuator.limits), "no axis")
    report.note("declares a longest hold", actuator.hold_ms_max > 0, str(actuator.hold_ms_max))
    with report.refusal("a setpoint before open is refused", DeviceError):
        actuator.apply(setpoint(middle))
    try:
        with report.rule("opens"):
            actuator.open()
        if actuator.is_open:
            report.note("is safe after open", actuator.is_safe, "driven")
            with report.rule("applies setpoints"):
                for values in (middle, near, middle):
                    if advance:
                        advance(STEP_S)
                    actuator.apply(setpoint(values))
            beyond = {axis: limit.max + 1e6 for axis, limit in actuator.limits.items()}
            with report.refusal("a non-finite value is refused", LatentError):
                actuator.apply(setpoint(dict.fromkeys(middle, float("nan"))))
            report.note("is safe after a refusal", actuator.is_safe, "still driven")
            with report.refusal("an unknown axis is refused", LatentError):
                actuator.apply(setpoint({"no such axis": 0.0}))
            report.note("a late setpoint is not applied", actuator.apply(setpoint(near, valid_ms=0)) is None, "applied")
            _check_clamp(report, actuator, setpoint(beyond))
            with report.rule("reaches its safe value, twice"):
                actuator.safe("check")
                actuator.safe("check")
            with report.rule("expires"):
                actuator.apply(setpoint(middle))
                expired = actuator.expire(now_ns() + actuator.hold_ms_max * 1_000_000)
                report.note("goes to its safe value when setpoints stop", expired and actuator.is_safe, "still driven")
    finally:
        with report.rule("closes, and closes again"):
            actuator.close()
            actuator.close()
    report.note("is safe after close", actuator.is_safe, "driven")
    return report


def _check_clamp(report: Report, actuator: Actuator, beyond: Setpoint) -> None:
    # The hook is watched rather than the hardware: the value must be clamped before any driver sees it, and a check
    # must not slam a real servo into its stop.
    seen: list[Mapping[str, float]] = []
    applied = actuator._apply
    actuator._apply = seen.append  # type: ignore[method-assign, assignment]
    try:
        actuator.apply(beyond)
    finally:
        actuator._apply = applied  # type: ignore[method-assign]
    inside = bool(seen) and all(value <= actuator.limits[axis].max for axis, value in seen[0].items())
    report.note("limits are kept", inside, f"the driver was given {seen}")


def check_sink(make: Callable[[], Sink]) -> Report:
    """Check that a sink keeps its contract: states, and bytes that are split anywhere or are no text at all."""
    sink = make()
    report = Report(sink.name)
    with report.refusal("bytes before open are refused", DeviceError):
        sink.write(b"x")
    try:
        with report.rule("opens"):
            sink.open()
        if sink.is_open:
            with report.rule("takes text byte by byte, split inside a character"):
                for byte in "check: 12 °\n".encode():
                    sink.write(bytes([byte]))
            with report.rule("takes bytes that are not UTF-8"):
                sink.write(b"\xff\xc3\n")
    finally:
        with report.rule("closes, and closes again"):
            sink.close()
            sink.close()
    return report


def check_encoder(make: Callable[[], Encoder], sample: Callable[[int], Array]) -> Report:
    """Check that an encoder keeps its contract. `sample(i)` gives the i-th array of a stream, as its sensor would."""
    encoder = make()
    report = Report(encoder.source)

    def stream() -> tuple[list[Latents], list[Array]]:
        packets: list[Latents] = []
        kept: list[Array] = []  # copies, taken before the next call
        for i in range(READS):
            packets.append(encoder.encode(Sample(sample(i), i * 80_000_000, i)))
            kept.append(packets[-1].data.copy())
        return packets, kept

    first: list[Latents] = []
    kept: list[Array] = []
    with report.rule("encodes into valid latents (float32, [T, D], finite)"):
        first, kept = stream()
    if first:
        stamped = all(bool((packet.t_ns == i * 80_000_000).all()) for i, packet in enumerate(first))
        report.note("keeps the capture time", stamped, "other stamps")
        report.note("names its source", all(packet.source == encoder.source for packet in first), first[0].source)
        encoder.reset()
        _, again = stream()
        report.note("begins anew after reset", _same(kept, again), "the stream before still shows")
        report.note("leaves given packets alone", _same(kept, [p.data for p in first]), "a later call changed them")
    return report


def _same(one: list[Array], other: list[Array]) -> bool:
    return len(one) == len(other) and all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def check_decoder(make: Callable[[], Decoder], limits: Mapping[str, object], feedback: Array | None = None) -> Report:
    """Check that a decoder keeps its contract. `limits` are its actuator's; `feedback` is a sample of its own
    sensor.
    """
    decoder = make()
    report = Report(decoder.source)
    held = Sample(feedback, 0, 0) if feedback is not None else None
    draws = np.random.default_rng(0)

    def latents() -> Latents:
        row = draws.standard_normal((1, decoder.space.width)).astype(np.float32)  # [1, D]
        return Latents(row, decoder.space, np.zeros(1, dtype=np.int64), "backbone", 0)

    with report.rule("decodes into finite values"):
        for _ in range(READS):
            values = decoder.decode(latents(), held)
            report.note("names axes of its actuator", set(values) == set(limits), str(sorted(values)))
    with report.refusal("latents of another space are refused", LatentError):
        packet = latents()
        other = type(packet.space)("0" * 64, "0" * 64, packet.space.width)
        decoder.decode(Latents(packet.data.copy(), other, packet.t_ns.copy(), "backbone", 0), held)
    report_once = {finding.rule: finding for finding in reversed(report.findings)}
    report.findings = list(reversed(report_once.values()))
    return report
