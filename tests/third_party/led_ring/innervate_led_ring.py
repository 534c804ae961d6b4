"""A ring of LEDs on an Innervate device: "ring red", "make the ring blue", and the model opens it and shows it a colour.

    innervate-led-ring /sys/class/leds/ring           a multicolour LED of Linux
    innervate-led-ring twin                           its twin: prints the colour

When the device runs a model that it does not know yet, the ring teaches itself first, in half a minute: two tokens and a decoder are fitted
to what the model makes of the lines below in moments of the device's present life. They are kept for the next start. The model stays as it is.
"""

import os
import sys
from pathlib import Path
from typing import Protocol

import numpy as np

from innervate.runtime.serve.application import Application
from innervate.runtime.serve.client import Client, connect
from innervate.runtime.serve.lessons import Learnt, learn, watch

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "yellow": (255, 160, 0), "purple": (160, 0, 255), "white": (255, 255, 255)}
WORDINGS = ("ring {}", "light the ring {}", "make the ring {}")
OTHERS = [f"{verb} the {colour} {shape}" for verb in ("look at", "find") for colour in COLOURS for shape in ("cube", "ball", "cone")]
OTHERS += ["look left", "look right", "look up", "look down", "look straight ahead", "stop", "hello", "good morning", "what time is it"]
OTHERS += [f"follow the {colour} ball" for colour in COLOURS] + ["what do you see", "how hard am i squeezing"]
LINES = {wording.format(colour): value for wording in WORDINGS for value, colour in enumerate(COLOURS)} | dict.fromkeys(OTHERS)


class Leds(Protocol):
    """What shows a colour."""

    def show(self, name: str) -> None:
        """Light all of the ring in one of COLOURS."""


class Multicolour:
    """An LED of Linux's multicolour class."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def show(self, name: str) -> None:
        """Write the three intensities."""
        (self._folder / "multi_intensity").write_text(" ".join(map(str, COLOURS[name])))


class Twin:
    """Prints the colour. Not imitated: how bright it is."""

    def show(self, name: str) -> None:
        """Print it."""
        print(f"ring: {name}", flush=True)


class Ring(Application):
    """Shows what the decoder reads out of the latent."""

    name, takes = "acme/ring", True

    def __init__(self, client: Client, learnt: Learnt, leds: Leds) -> None:
        super().__init__(client, learnt.side)
        self._decoder, self._leds = learnt.decoder, leds

    def latent(self, hidden: np.ndarray[tuple[int], np.dtype[np.float32]]) -> None:
        """One latent of the model, [D]: it says the colour, and the ring need not stay open."""
        self._leds.show(list(COLOURS)[int((hidden @ self._decoder[:-1] + self._decoder[-1]).argmax())])
        self.finish()


def known(client: Client) -> Learnt:
    """Return what was learnt for this model, now if not before."""
    state = Path(os.environ.get("XDG_STATE_HOME", Path.home() / ".local" / "state"))
    file = state / "innervate-led-ring" / f"{client.facts.exact_id[:16]}.npz"
    if not file.exists():
        print("learning; the device goes on meanwhile", flush=True)
        learnt = learn(client, LINES, watch(client))
        print(f"in moments held out: opened {learnt.opened:.0%}, opened wrongly {learnt.false:.1%}, right colour {learnt.right:.0%}", flush=True)
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(file.with_suffix(".part.npz"), side=learnt.side, decoder=learnt.decoder, shares=[learnt.opened, learnt.false, learnt.right])
        file.with_suffix(".part.npz").replace(file)  # the old one or the new one, never half of it
    with np.load(file) as kept:
        return Learnt(kept["side"], kept["decoder"], *map(float, kept["shares"]))


def main() -> None:
    """`innervate-led-ring LEDS [ADDRESS]`."""
    with connect(sys.argv[2] if len(sys.argv) > 2 else None) as client:
        ring = Ring(client, known(client), Twin() if sys.argv[1] == "twin" else Multicolour(Path(sys.argv[1])))
        print("ready", flush=True)
        ring.run()
