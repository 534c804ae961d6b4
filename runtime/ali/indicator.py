"""The visible state of what can observe a person: a microphone or a camera shows whether it is on.

Rule: no sight or sound is taken before the indicator shows it. A light that was asked for and cannot be lit therefore
refuses the device.
"""

import sys
from pathlib import Path

from innervate.runtime.ali.errors import DeviceError


class Indicator:
    """On or off: `lit`, a line on stderr at each change, and a light when `led` names one, such as
    `/sys/class/leds/ACT/brightness`.
    """

    def __init__(self, who: str, led: str = "") -> None:
        self._who = who
        self._led = Path(led) if led else None
        self._lit = False

    @property
    def lit(self) -> bool:
        """True from just before the device observes until just after it stops."""
        return self._lit

    def on(self) -> None:
        """Show that the device observes. Raises DeviceError when the light cannot be lit."""
        self._write("1")
        self._lit = True
        print(f"{self._who}: on", file=sys.stderr, flush=True)

    def off(self) -> None:
        """Show that the device has stopped; no effect when it is off."""
        if self._lit:
            self._lit = False
            print(f"{self._who}: off", file=sys.stderr, flush=True)
            self._write("0")

    def _write(self, value: str) -> None:
        if self._led is None:
            return
        try:
            self._led.write_text(value)
        except OSError as error:
            step = f"sudo chmod a+w {self._led}, or take led out of its options"
            raise DeviceError(self._who, f"light {self._led}: {error.strerror}", "a light to write", step) from error
