"""One link for each url, shared by the drivers of the devices behind it.

A serial port belongs to one program and one session; motor, pose and force are three drivers that do not know of each other. Each borrows the link of
its url and gives it back; the first opens the port, the last closes it, which stops what is armed.

The table of links is the one thing here that outlives its callers: drivers are made one by one from a board file and share nothing else, and a
port is a thing of the whole process.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

from innervate.firmware_bridge.link import Link, LinkError
from innervate.runtime.ali.clock import Clock

_lock = threading.Lock()  # held while a port opens: whoever wants the same one waits for it
_borrowed: dict[str, _Loan] = {}


@dataclass(slots=True)
class _Loan:
    link: Link
    clock: Clock
    users: int


def borrow(url: str, clock: Clock, timeout_s: float) -> Link:
    """Return the link of `url` with a session; open it if nobody has. Each call needs its `give_back`.

    Waits `timeout_s` at most (for a port that another driver opens: for that one too). Raises PortError or LinkError with the next step; nothing is
    borrowed then.
    """
    if not url:
        step = 'name it on the board: url = "/dev/serial/by-id/..."; `innervate link list` shows what is plugged in'
        raise LinkError("link", "no url", "the port of the microcontroller", step)
    with _lock:
        loan = _borrowed.get(url)
        if loan is None:
            loan = _borrowed[url] = _Loan(Link.open(url, clock, timeout_s), clock, 1)
            return loan.link
        if loan.clock is not clock:
            raise LinkError(url, "borrowed by drivers with two clocks", "one clock for a device", "give all drivers the same")
        loan.users += 1
    try:
        loan.link.wait_session(timeout_s)
    except LinkError:
        give_back(loan.link)
        raise
    return loan.link


def give_back(link: Link) -> None:
    """Return a borrowed link; the last one closes it, which stops what is armed. What is not borrowed is left alone."""
    with _lock:
        url = next((url for url, loan in _borrowed.items() if loan.link is link), None)
        if url is None:
            return
        loan = _borrowed[url]
        loan.users -= 1
        if loan.users:
            return
        del _borrowed[url]
        link.close()
