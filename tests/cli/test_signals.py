import os
import signal

import pytest

from innervate.runtime.cli.signals import ENDING, EndingSignals


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


def test_before_the_loop_a_signal_ends_at_once() -> None:
    reached = False
    with EndingSignals() as signals:
        send(signal.SIGTERM)
        reached = True
    assert not reached
    assert signals.exit_code == 143


def test_the_first_signal_asks_the_second_insists_the_third_is_ignored() -> None:
    asked: list[str] = []
    finished = False
    with EndingSignals() as signals:
        signals.stop = asked.append
        send(signal.SIGINT)
        assert asked == ["ended by SIGINT"]
        try:
            send(signal.SIGTERM)
        finally:
            send(signal.SIGTERM)  # on the way to the safe values
            finished = True
    assert finished
    assert asked == ["ended by SIGINT"]
    assert signals.exit_code == 130, "the first one counts"


def test_handlers_are_put_back_and_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        kept = [signal.getsignal(number) for number in ENDING]
        with EndingSignals() as signals:
            send(signal.SIGHUP)
        assert signals.exit_code is None
        assert [signal.getsignal(number) for number in ENDING] == kept
    finally:
        signal.signal(signal.SIGHUP, before)


def test_other_errors_pass_through() -> None:
    with pytest.raises(RuntimeError), EndingSignals():
        raise RuntimeError
