"""The picture of a run: film strip, pose with setpoints, force, what was open and said, over one time axis.

Keeps a bounded number of points: when a series is full every other point goes and the spacing doubles, so that a run of any
length gives a picture of the same size.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from innervate.runtime.ali.errors import InnervateError
from innervate.runtime.loop.device import Turn
from innervate.runtime.loop.events import Close, Event, Fault, Force, Open, Pose, Setpoint, Stop, Text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FRAMES_MAX = 24  # kept; the strip shows FRAMES_SHOWN of them
FRAMES_SHOWN = 12
POINTS_MAX = 4096
MARKS_MAX = 200
T = TypeVar("T")


class Series(Generic[T]):
    """At most `points_max` values over time, evenly thinned."""

    def __init__(self, points_max: int) -> None:
        self.t_s: list[float] = []
        self.values: list[T] = []
        self._points_max = points_max
        self._every = 1
        self._seen = 0

    def add(self, t_s: float, value: T) -> None:
        """Keep the value if its turn has come."""
        if self._seen % self._every == 0:
            self.t_s.append(t_s)
            self.values.append(value)
        self._seen += 1
        if len(self.values) >= self._points_max:
            self.t_s, self.values = self.t_s[::2], self.values[::2]
            self._every *= 2


class Picture:
    """Collects a run as log and watcher; `save` draws it. Raises InnervateError when matplotlib is missing, at once.

    `captions` are (seconds, what, text) of a scenario: what is said and typed, for the person who looks.
    """

    def __init__(self, captions: Sequence[tuple[float, str, str]] = ()) -> None:
        try:
            import matplotlib
        except ImportError as error:
            step = "pip install 'innervate[emulator]', or leave --picture out"
            raise InnervateError("--picture", "matplotlib is not installed", "the extra [emulator]", step) from error
        matplotlib.use("Agg")
        self._frames: Series[npt.NDArray[np.uint8]] = Series(FRAMES_MAX)
        self._pose: Series[tuple[float, float]] = Series(POINTS_MAX)
        self._targets: dict[str, Series[float]] = {"pan": Series(POINTS_MAX), "tilt": Series(POINTS_MAX)}
        self._force: Series[float] = Series(POINTS_MAX)
        self._sound: Series[float] = Series(POINTS_MAX)
        self._spans: list[tuple[str, float, float | None]] = []
        self._marks: list[tuple[float, str, str]] = []
        self._captions = list(captions)

    def emit(self, event: Event) -> None:
        """Keep what the picture shows of an event."""
        match event:
            case Pose(pan_deg=pan, tilt_deg=tilt):
                self._pose.add(event.t_s, (pan, tilt))
            case Force(n=newtons):
                self._force.add(event.t_s, newtons)
            case Setpoint(axis=axis, deg=deg) if axis in self._targets and deg is not None:
                self._targets[axis].add(event.t_s, deg)
            case Open(component=component) if (component, None) not in [(name, end) for name, _, end in self._spans]:
                self._spans = [*self._spans[-MARKS_MAX:], (component, event.t_s, None)]
            case Close(component=component):
                self._spans = [(n, a, event.t_s if b is None and n == component else b) for n, a, b in self._spans]
            case Text(text=text):
                self._mark(event.t_s, "said", text)
            case Stop(cause=cause):
                self._mark(event.t_s, "stop", cause)
            case Fault(source=source):
                self._mark(event.t_s, "fault", source)
            case _:
                pass

    def watch(self, turn: Turn) -> None:
        """Keep the frame and the sound level of a turn."""
        t_s = turn.t_ns / 1e9
        if "camera" in turn.samples:
            self._frames.add(t_s, turn.samples["camera"].data)
        if "mic" in turn.samples:
            pcm = turn.samples["mic"].data.astype(np.float32) / 32768.0
            self._sound.add(t_s, float(np.abs(pcm).max()))

    def _mark(self, t_s: float, kind: str, text: str) -> None:
        if len(self._marks) < MARKS_MAX:
            self._marks.append((t_s, kind, text))

    def save(self, path: Path) -> None:
        """Draw it into `path`. Raises InnervateError when that cannot be written."""
        import matplotlib.pyplot as plt

        end_s = max([0.08, *self._pose.t_s[-1:], *self._sound.t_s[-1:]])
        figure = plt.figure(figsize=(14, 9), layout="constrained")
        grid = figure.add_gridspec(5, 1, height_ratios=[1.3, 0.9, 2.2, 1.0, 1.0])
        self._draw_film(figure, grid[0])
        sound, pose, force, doing = (figure.add_subplot(grid[i]) for i in range(1, 5))
        sound.fill_between(self._sound.t_s, self._sound.values, color="tab:gray", linewidth=0)
        for index, (t_s, what, text) in enumerate(self._captions):
            if t_s < end_s:
                side = "right" if t_s > 0.8 * end_s else "left"
                sound.axvline(t_s, color="black", linewidth=0.8, alpha=0.6)
                sound.text(t_s, 1.08 + 0.35 * (index % 2), f" {what}: {text} ", fontsize=8, ha=side, parse_math=False)
        sound.set(ylabel="heard\n(peak)", ylim=(0, 1.8), yticks=(0.0, 1.0))
        self._draw_pose(pose)
        force.plot(self._force.t_s, self._force.values, color="tab:green")
        force.set(ylabel="felt (N)")
        self._draw_doing(doing, end_s)
        for axes in (sound, pose, force, doing):
            axes.set_xlim(0, end_s)
            axes.grid(visible=True, alpha=0.3)
        for axes in (sound, pose, force):
            axes.tick_params(labelbottom=False)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(path, dpi=100)
        except (OSError, ValueError) as error:
            raise InnervateError(str(path), f"cannot be written ({error})", "a .png, .svg or .pdf file", "name another") from error
        finally:
            plt.close(figure)

    def _draw_film(self, figure: Any, place: Any) -> None:
        count = min(FRAMES_SHOWN, len(self._frames.values))
        if not count:
            return
        chosen = np.linspace(0, len(self._frames.values) - 1, count).round().astype(int)
        for column, index in enumerate(chosen):
            axes = figure.add_subplot(place.subgridspec(1, FRAMES_SHOWN)[column])
            axes.imshow(self._frames.values[index])
            axes.set_title(f"{self._frames.t_s[index]:.1f} s", fontsize=8)
            axes.axis("off")

    def _draw_pose(self, axes: "Axes") -> None:
        for index, (axis, colour) in enumerate((("pan", "tab:blue"), ("tilt", "tab:orange"))):
            axes.plot(self._pose.t_s, [pose[index] for pose in self._pose.values], color=colour, label=f"{axis}, measured")
            target = self._targets[axis]
            axes.plot(target.t_s, target.values, ".", color=colour, markersize=3, alpha=0.5, label=f"{axis}, setpoint")
        axes.set(ylabel="moved (degrees)")
        axes.legend(loc="best", fontsize=8, ncols=2)

    def _draw_doing(self, axes: "Axes", end_s: float) -> None:
        names = sorted({name for name, _, _ in self._spans}) or ["motor"]
        for name, start, end in self._spans:
            axes.barh(names.index(name), (end_s if end is None else end) - start, left=start, height=0.6, color="tab:purple", alpha=0.6)
        for index, (t_s, kind, text) in enumerate(self._marks):
            colour = {"said": "black", "stop": "tab:red", "fault": "tab:red"}[kind]
            short = text if len(text) <= 40 else text[:37] + "..."
            axes.axvline(t_s, color=colour, linewidth=0.8, alpha=0.6)
            # Marks near the end hang to the left of their line, so that they stay inside the picture.
            side = "right" if t_s > 0.8 * end_s else "left"
            height = len(names) - 0.2 + 0.35 * (index % 3)
            axes.text(t_s, height, f" {kind}: {short} ", fontsize=8, color=colour, ha=side, parse_math=False)
        axes.set(yticks=range(len(names)), ylim=(-0.6, len(names) + 0.9), ylabel="open, said", xlabel="seconds")
        axes.set_yticklabels(names)
