"""The host's parser and session under random peers, for as long as one likes: `python -m tests.firmware_bridge.fuzz --seconds 1800`.

Runs the property tests of test_wire.py and test_session.py, whose docstrings state the invariants, over and over with fresh examples; the first
one that breaks is shrunk and raised. The firmware's own half is firmware/ports/host/fuzz.c; `make fuzz` runs both.
"""

from __future__ import annotations

import argparse
import time

from tests.firmware_bridge import test_session, test_wire

PROPERTIES = (
    test_session.test_a_session_survives_every_peer,
    test_wire.test_a_reader_survives_everything_and_heals,
    test_wire.test_c_and_python_refuse_the_same,
    test_wire.test_one_damaged_bit_is_always_refused,
)


def survive(seconds: float) -> int:
    """Hold every property again and again for `seconds`; return how many rounds. Raises what a property raised."""
    end, rounds = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        for holds in PROPERTIES:
            holds()
        rounds += 1
    return rounds


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1800.0)
    print(f"{survive(parser.parse_args().seconds)} rounds of {len(PROPERTIES)} properties, nothing found")
