import threading

import numpy as np
import pytest

from innervate.runtime.ali.component import Sample
from innervate.runtime.ali.errors import DeviceError
from innervate.runtime.loop.clock import VirtualClock
from innervate.runtime.loop.events import Fault
from innervate.runtime.loop.supervise import READS_MAX, RESTARTS_MAX, STEADY_NS, DirectFeed, ThreadFeed
from tests.ali.parts import FOREIGN, WIDTH, Gauge, context

from .parts import TICK_NS, Kept, Sense

S = 1_000_000_000


def causes(log: Kept) -> list[str]:
    return [event.cause for event in log.of(Fault) if isinstance(event, Fault)]


def test_what_arrives_becomes_latents_oldest_first() -> None:
    sense = Sense(Kept())
    sense.upstream.start(0)
    sense.give(10, 20)
    assert [int(packet.t_ns[0]) for packet in sense.upstream.collect(TICK_NS)] == [10, 20]
    assert sense.upstream.newest is not None
    assert sense.upstream.newest.t_ns == 20


def test_of_a_sensor_that_keeps_the_newest_only_that_counts() -> None:
    sense = Sense(Kept(), only_newest=True)
    sense.upstream.start(0)
    sense.give(10, 20)
    assert [int(packet.t_ns[0]) for packet in sense.upstream.collect(TICK_NS)] == [20]


def test_a_sensor_that_raises_on_open_is_tried_again_with_doubling_back_off() -> None:
    log = Kept()
    sense = Sense(log)
    sense.refuses = 2
    sense.upstream.start(0)
    started = []
    for t in range(0, 2 * S, S // 10):
        sense.upstream.collect(t)
        started.append(len(sense.feeds))
    assert causes(log) == ["RuntimeError: no such device"] * 2
    assert started.index(1) == 15, "half a second, then one second"
    assert started[-1] == 1


def test_a_sensor_that_raises_for_ever_is_given_up_and_reported() -> None:
    log = Kept()
    sense = Sense(log)
    sense.refuses = 10**6
    for t in range(0, 120 * S, TICK_NS):
        sense.upstream.collect(t)
    assert len(causes(log)) == RESTARTS_MAX + 2
    assert "stays down after 5 restarts" in causes(log)[-1]
    assert sense.upstream.restarts.gave_up


def test_a_failure_in_a_read_is_one_fault_and_the_encoder_begins_anew() -> None:
    log = Kept()
    sense = Sense(log)
    sense.upstream.start(0)
    sense.give(TICK_NS)
    sense.upstream.collect(TICK_NS)
    assert sense.graph.runs == 1
    sense.feeds[0].gives = DeviceError("mic", "unplugged", "a microphone", "plug it in")
    assert sense.upstream.collect(2 * TICK_NS) == []
    assert causes(log) == ["mic: unplugged; expected a microphone; plug it in"]
    assert sense.feeds[0].stopped
    assert sense.upstream.newest is None, "nobody steers by a stale sample"
    assert sense.graph.runs == 0
    sense.upstream.collect(S)
    assert len(sense.feeds) == 2
    sense.give(10)  # a new life may begin a new time line
    assert len(sense.upstream.collect(S + TICK_NS)) == 1


def test_steady_service_wipes_out_old_failures() -> None:
    sense = Sense(Kept())
    sense.upstream.start(0)
    sense.feeds[-1].gives = RuntimeError("once")
    sense.upstream.collect(0)
    sense.upstream.collect(S)
    sense.give(S)
    sense.upstream.collect(S)
    assert sense.upstream.restarts.failures == 1
    sense.give(STEADY_NS)
    sense.upstream.collect(STEADY_NS)
    assert sense.upstream.restarts.failures == 0


def test_a_camera_that_stops_is_a_fault_and_comes_back() -> None:
    log = Kept()
    sense = Sense(log, name="camera")
    sense.upstream.start(0)
    for t in range(TICK_NS, S, TICK_NS):
        sense.give(t)
        sense.upstream.collect(t)
    for t in range(S, 3 * S, TICK_NS):
        sense.upstream.collect(t)
    assert len(causes(log)) == 1
    assert "camera: gave nothing for 1 s" in causes(log)[0]
    assert len(sense.feeds) == 2


def test_a_sensor_without_a_rate_may_be_silent() -> None:
    log = Kept()
    sense = Sense(log, rate_hz=None)
    sense.upstream.start(0)
    for t in range(0, 60 * S, S):
        sense.upstream.collect(t)
    assert causes(log) == []


@pytest.mark.parametrize("answer", [np.full((1, WIDTH), np.nan, np.float32), np.ones((1, WIDTH + 1), np.float32), np.ones((1, WIDTH))])
def test_a_latent_that_is_not_valid_is_a_fault_of_its_component(answer: np.ndarray) -> None:
    log = Kept()
    sense = Sense(log)
    sense.upstream.start(0)
    sense.graph.answer = answer
    sense.give(5)
    assert sense.upstream.collect(TICK_NS) == []
    assert len(causes(log)) == 1


def test_a_latent_of_a_foreign_space_is_a_fault_with_both_identities() -> None:
    log = Kept()
    sense = Sense(log, space=FOREIGN)
    sense.upstream.start(0)
    sense.give(5)
    assert sense.upstream.collect(TICK_NS) == []
    assert FOREIGN.space_id in causes(log)[0]


def test_time_going_backwards_is_a_fault() -> None:
    log = Kept()
    sense = Sense(log)
    sense.upstream.start(0)
    sense.give(50, 40)
    assert sense.upstream.collect(TICK_NS) == []
    assert "captured at 40 ns after one of 50 ns" in causes(log)[0]


def test_a_twin_that_never_says_none_cannot_hold_the_loop() -> None:
    gauge = Gauge(context(VirtualClock()))
    gauge.script = lambda: (np.zeros(1, np.float32), 0)
    assert len(DirectFeed(gauge).poll()) == READS_MAX


class Gate:
    """Lets a driver's thread through its reads one by one; the test waits for it, never for the clock."""

    def __init__(self) -> None:
        self.allowed = threading.Semaphore(0)
        self.waiting = threading.Semaphore(0)
        self.count = 0

    def read(self) -> tuple[np.ndarray, int]:
        self.waiting.release()
        self.allowed.acquire()
        self.count += 1
        return np.array([self.count], np.float32), 0

    def pass_reads(self, count: int) -> None:
        for _ in range(count):
            self.waiting.acquire()
            self.allowed.release()
        self.waiting.acquire()  # the last sample is in the queue when the thread asks for the next
        self.waiting.release()


def values(samples: list[Sample]) -> list[float]:
    return [float(sample.data[0]) for sample in samples]


def test_a_drivers_queue_drops_the_oldest_and_counts() -> None:
    gauge, gate = Gauge(context()), Gate()
    gauge.script = gate.read
    feed = ThreadFeed(gauge, capacity=3)
    gate.pass_reads(5)
    assert values(feed.poll()) == [3.0, 4.0, 5.0]
    assert feed.dropped == 2
    feed.stop()
    gate.allowed.release()
    feed.join()
    assert gauge.closed == 1


def test_a_read_that_hangs_does_not_stall_the_tick_and_is_replaced() -> None:
    log = Kept()
    sense = Sense(log)
    gates: list[Gate] = []
    gauges: list[Gauge] = []

    def start() -> ThreadFeed:
        gates.append(Gate())
        gauges.append(Gauge(context()))
        gauges[-1].script = gates[-1].read
        return ThreadFeed(gauges[-1], 4)

    sense.upstream._start_feed = start
    sense.upstream.start(0)
    for t in range(0, 8 * S, TICK_NS):
        assert sense.upstream.collect(t) == []
    assert "gave nothing" in causes(log)[0]
    assert len(gates) == 2, "a new device object and a new thread"
    gates[1].pass_reads(1)
    assert len(sense.upstream.collect(8 * S)) == 1
    for gate in gates:
        gate.allowed.release()
    sense.upstream.stop()


def test_an_error_in_a_drivers_thread_reaches_the_tick_after_what_it_gave() -> None:
    gauge = Gauge(context())
    given = iter([(np.zeros(1, np.float32), 0)])
    gauge.script = lambda: next(given)
    feed = ThreadFeed(gauge, 4)
    feed._thread.join()
    assert len(feed.poll()) == 1
    with pytest.raises(DeviceError, match="cannot be read: StopIteration"):
        feed.poll()
    assert gauge.closed == 1


def test_where_only_the_newest_counts_older_ones_are_no_loss() -> None:
    sense = Sense(Kept(), only_newest=True)
    sense.upstream.start(0)
    sense.feeds[0].dropped = 3
    sense.upstream.collect(0)
    assert sense.upstream.dropped == 0


def test_drops_are_counted_over_the_lives_of_a_sensor() -> None:
    sense = Sense(Kept())
    sense.upstream.start(0)
    sense.feeds[0].dropped = 3
    sense.upstream.collect(0)
    assert sense.upstream.dropped == 3
