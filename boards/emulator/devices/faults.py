"""What can be made to go wrong with a simulated device. Plain switches: set one, and it holds until it is cleared.

Those of `LineFaults` garble the answers of any device; the others are of one kind of device.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class LineFaults:
    """What happens to answers on their way.

    late_ns: answers leave this much later. wrong_id is XORed into the address (0: none). cut drops this many bytes of the end. garbage
    comes before each answer.
    """

    silent: bool = False
    corrupt: bool = False  # one bit of the checksum is turned
    late_ns: int = 0
    wrong_id: int = 0
    cut: int = 0
    garbage: bytes = b""


@dataclass(slots=True)
class ServoFaults(LineFaults):
    """Of one servo. stuck: the encoder repeats what it said; the other flags are reported in every answer's error byte."""

    stuck: bool = False
    over_range: bool = False  # the encoder tells an angle beyond its turn
    hot: bool = False  # 85 degrees Celsius
    overload: bool = False
    low_voltage: bool = False
    broken_sensor: bool = False


@dataclass(slots=True)
class CellFaults(LineFaults):
    """Of the transmitter. exception: the Modbus code that answers every question (0: none)."""

    stuck: bool = False
    over_range: bool = False  # twice the cell's capacity, with the status bit that says so
    broken: bool = False  # the bridge is open: the status bit, and no number where the format knows one
    exception: int = 0
