"""From a recording to examples: where each showing begins and ends, what lies around it, and whether it can be taught from at all."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from innervate.runtime.ali.component import Array
from innervate.runtime.ali.errors import InnervateError
from innervate.runtime.teach.recording import Recording, Span, need_samples
from innervate.runtime.teach.streams import Example, Kind, Source, Wave, loudness

EXAMPLES_MIN = 5  # below, one in five held out is less than one
REST_MIN = 12  # packets in which nothing is shown: about a second
AWAKE = 3.0  # times the rest's own loudness (its 95th percentile): something happens
FAINT = 0.08  # of the loudest packet: below, it has not begun or is over
ZONE = (1, 6)  # packets after the end of an event in which it is recognised: 0.1 to 0.5 s
TAIL = 10  # packets that are kept after an event
WINDOW_MIN, WINDOW_MAX, WINDOW_HELD = 12, 48, 3  # packets that the detector sees: 1 to 4 s; of what is held, a quarter of a second


@dataclass(slots=True, eq=False)
class Material:
    """What there is to learn from. Positions are packets of the stream.

    `names`: class 1, 2, ... in this order; class 0 is everything else. `shown`: (begin, end, class) of every showing in `stream`, in its order;
    `others`: spans of the owner's "anything else". `rest`: a packet at which nothing has happened for as long as anywhere. `noise`: standard
    deviation at rest.
    """

    source: Source
    names: tuple[str, ...]
    stream: list[Array]
    shown: list[tuple[int, int, int]]
    others: list[tuple[int, int]]
    window: int
    rest: int
    noise: float

    def example(self, number: int) -> Example:
        """Return showing `number` with what lies around it, up to the next one."""
        begin, end, label = self.shown[number]
        following = min((other for other, _, _ in self.shown if other >= end), default=len(self.stream))
        before = self.stream[max(0, begin - self.window) : begin]
        return Example(self.names[label - 1], before, self.stream[begin:end], self.stream[end : min(end + TAIL, following)])

    def gap(self, number: int) -> tuple[int, int]:
        """Return the packets between showing `number` and the next one, in which nothing may be recognised."""
        _, end, _ = self.shown[number]
        following = min((begin for begin, _, _ in self.shown if begin >= end), default=len(self.stream))
        return min(end + 2, following), following

    def labels(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return the class at every packet of the stream, -1 where it does not count, and which showing it belongs to, -1 for none."""
        classes, owner = np.zeros(len(self.stream), np.int64), np.full(len(self.stream), -1, np.int64)
        for number, (begin, end, label) in enumerate(self.shown):
            marked = mark(end - begin, label, self.source.kind)
            stop = min(len(classes), begin + len(marked))
            classes[begin:stop], owner[begin:stop] = marked[: stop - begin], number
            if self.source.kind == "held":  # what is not held then is judged by who has not seen it, too
                first, last = self.gap(number)
                owner[first:last] = number
        return classes, owner


def mark(length: int, label: int, kind: Kind) -> npt.NDArray[np.int64]:
    """Return the class at each packet from the beginning of a showing of `length` packets to the end of its tail."""
    if kind == "held":
        marked = np.full(length + 2, label, np.int64)
        marked[:1], marked[length:] = -1, -1
        return marked
    marked = np.full(length + TAIL, -1, np.int64)
    marked[: max(1, int(0.6 * length))] = 0
    marked[length + ZONE[0] : length + ZONE[1]] = label
    return marked


def examine(recording: Recording, source: Source, names: tuple[str, ...]) -> Material:
    """Find the examples of `names` in a recording; spans with another name count as "anything else".

    Raises InnervateError, with what to do, for too few examples, silent ones, ones that contradict each other, and a recording in which
    nothing but the examples happens.
    """
    stream = need_samples(recording)
    stamps = [sample.t_ns for sample in recording.samples()]
    spans = [(_packets(span, stamps), span) for span in recording.spans]
    taken = np.zeros(len(stream), np.bool_)
    for (first, last), _ in spans:
        taken[max(0, first - 2) : last + TAIL] = True
    free = [packet for packet, busy in zip(stream, taken, strict=True) if not busy]
    if len(free) < REST_MIN:
        came = f"{len(free)} packets in which nothing is shown"
        raise InnervateError("teach: examples", came, f"at least {REST_MIN}", "leave pauses between the examples: all cannot be of one kind")
    rest, noise, awake = _rest(source, free)
    shown: list[tuple[int, int, int]] = []
    others: list[tuple[int, int]] = []
    for number, ((first, last), span) in enumerate(spans, start=1):
        if span.name not in names:
            others.append((first, last))
            continue
        begin, end = 0, last - first
        if source.kind == "event":
            begin, end = _trimmed(source, stream[first:last], rest, awake, f"teach: example {number} ({span.name})")
        shown.append((first + begin, first + end, names.index(span.name) + 1))
    shown.sort()
    for name_class, name in enumerate(names, start=1):
        count = sum(label == name_class for _, _, label in shown)
        if count < EXAMPLES_MIN:
            raise InnervateError(f"teach: {name}", f"{count} examples", f"at least {EXAMPLES_MIN}", "show it more often; ten are better")
    longest = max(end - begin for begin, end, _ in shown)
    window = WINDOW_HELD if source.kind == "held" else int(np.clip(longest + ZONE[1] + 2, WINDOW_MIN, WINDOW_MAX))
    _refuse_contradictions(recording.spans)
    calm = np.array([i - max((last for (_, last), _ in spans if last <= i), default=-TAIL) for i in range(len(stream))])
    calm[taken] = -1
    return Material(source, names, stream, shown, others, window, int(calm.argmax()), noise)


def _packets(span: Span, stamps: list[int]) -> tuple[int, int]:
    return int(np.searchsorted(stamps, span.t0_ns, "right")), int(np.searchsorted(stamps, span.t1_ns, "right"))


def _rest(source: Source, free: list[Array]) -> tuple[Wave, float, float]:
    """Mean sample, noise and the loudness above which something happens, from packets in which mostly nothing does."""
    if source.picture:
        return np.zeros(1), 0.0, 0.0
    wave = source.wave(free)
    rest = np.asarray(np.median(wave, 0))
    quiet = np.sort(loudness(source, free, rest))[: max(3, len(free) // 2)]  # the quieter half: others may have been at it
    return rest, float(quiet.mean()), AWAKE * float(np.percentile(quiet, 95)) + 1e-9


def _trimmed(source: Source, packets: list[Array], rest: Wave, awake: float, who: str) -> tuple[int, int]:
    loud = loudness(source, packets, rest) if packets else np.zeros(0)
    if not len(loud) or loud.max() <= awake:
        raise InnervateError(who, "is silent", "something that differs from rest", "show it again, closer or stronger, inside its time")
    heard = np.flatnonzero(loud > max(awake, FAINT * float(loud.max())))
    return int(heard[0]), int(heard[-1]) + 1


def _refuse_contradictions(spans: list[Span]) -> None:
    """The same moment cannot be two things."""
    ordered = sorted(spans, key=lambda span: span.t0_ns)
    for earlier, later in pairwise(ordered):
        if later.t0_ns < earlier.t1_ns and later.name != earlier.name:
            came = f"{earlier.name} and {later.name} at {later.t0_ns / 1e9:.2f} s at once"
            raise InnervateError("teach: examples", came, "one name for each moment", "correct the labels; they contradict each other")
