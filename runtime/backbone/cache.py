"""The key/value buffers behind the engine, and how an endless session stays within them.

Theory and rules:

- One buffer a layer for keys and one for values, ``[1, heads, C, head_width]``, allocated once, together. onnxruntime reads and writes
  them in place; positions ``0..length-1`` hold context, what lies beyond is never read.
- **Sliding.** When a pass of T positions does not fit, the cache keeps the pinned positions and the newest C/2 (fewer when
  T is large), packed to the front in their old order. A key is stored rotated by its position's angle, and rotations
  compose: turning it by the angle of (new - old) gives the key that the new position would have had. Values carry no
  position. So the positions stay contiguous, below C, and the distance between any two neighbours that were kept stays
  what it was; a pinned position comes nearer.
- **Pins.** A named position survives every slide; naming it again moves the name.
- **Snapshots are lengths.** The prefix that a snapshot stands for is copied only when something is about to be written
  over it (a slide, or an append after a rewind). A snapshot that nobody holds costs nothing.

A slide of nano takes 0.8 ms, once in some 12 ticks (x86-64, one thread; within a tick's 80 ms by far).

Known weaknesses: keys and values above the first layer were computed when the dropped positions were still visible, so a
slid context is not the same as a fresh pass over the kept inputs (as with every sliding cache). Turning a key again adds
one float32 rounding; an unpinned position is turned at most twice in its life, a pinned one only when pins before it go.
"""

from __future__ import annotations

import weakref

import numpy as np
import numpy.typing as npt

from innervate.runtime.ali.errors import LatentError

Floats = npt.NDArray[np.float32]

PINS_MAX = 16  # components that can be open at once; far above any board, and 3 % of the context


class Snapshot:
    """A state of one cache to come back to; opaque, cheap, valid for as long as it is held."""

    __slots__ = ("__weakref__", "kept", "length", "owner", "pins")

    def __init__(self, owner: Cache, length: int, pins: dict[str, int]) -> None:
        self.owner = owner
        self.length = length
        self.pins = pins
        self.kept: list[Floats] | None = None  # [heads, length, head_width] a buffer, once the prefix was in danger


class Cache:
    """Keys and values of one session. ``length`` positions are in use, of ``context``."""

    def __init__(self, layers: int, heads: int, context: int, head_width: int, rope_base: float) -> None:
        # one block: numpy asks for huge pages from 4 MB on, which is worth 1 % of a step
        self._whole = np.zeros((layers, 2, 1, heads, context, head_width), np.float32)
        self.keys: list[Floats] = [self._whole[layer, 0] for layer in range(layers)]
        self.values: list[Floats] = [self._whole[layer, 1] for layer in range(layers)]
        self.context = context
        self.length = 0
        self.pins: dict[str, int] = {}
        half = head_width // 2
        angle = np.arange(context)[:, None] * rope_base ** (-np.arange(half) / half)[None, :]
        self._cos = np.cos(angle).astype(np.float32)  # [C, d/2]; row s turns by s positions
        self._sin = np.sin(angle).astype(np.float32)
        self._lazy: weakref.WeakSet[Snapshot] = weakref.WeakSet()  # snapshots whose prefix still lies in the buffers
        self.guard = 0  # a write below this may hit a snapshot: no lazy snapshot is longer than this

    def prepare(self, rows: int) -> None:
        """Make the next ``rows`` positions writable: slide when they do not fit, save what snapshots stand for."""
        if self.length + rows > self.context:
            self._slide(rows)
        if self.length < self.guard:
            self._preserve(self.length)

    def pin(self, name: str, position: int) -> None:
        """Keep ``position`` under ``name`` until :meth:`unpin`; an old pin of that name is released."""
        self.pins[name] = position

    def check_pin(self, name: str) -> None:
        """Raise LatentError when one more pin called ``name`` would be too many."""
        if name not in self.pins and len(self.pins) >= PINS_MAX:
            came = f"pin {name!r} beside {len(self.pins)} others"
            raise LatentError("engine", came, f"at most {PINS_MAX} pins", "unpin components that have closed")

    def unpin(self, name: str) -> None:
        """Let the position of ``name`` go with the window; nothing happens when there is none."""
        self.pins.pop(name, None)

    def snapshot(self) -> Snapshot:
        """The present state."""
        snapshot = Snapshot(self, self.length, dict(self.pins))
        if self.length:
            self._lazy.add(snapshot)
            self.guard = max(self.guard, self.length)
        return snapshot

    def rewind_to(self, snapshot: Snapshot) -> None:
        """Come back to ``snapshot``, bit for bit. Raises LatentError when it was taken elsewhere."""
        if snapshot.owner is not self:
            raise LatentError("engine", "a snapshot of another engine", "one of this engine", "keep them apart")
        if snapshot.kept is not None:
            self._preserve(0)
            for buffer, prefix in zip(self._buffers(), snapshot.kept, strict=True):
                buffer[0, :, : snapshot.length] = prefix
        self.length = snapshot.length
        self.pins = dict(snapshot.pins)

    def reset(self) -> None:
        """Forget everything; snapshots stay valid."""
        self.length = 0
        self.pins = {}

    def _buffers(self) -> list[Floats]:
        return self.keys + self.values

    def _preserve(self, start: int) -> None:
        """Copy the prefix of each lazy snapshot that a write at ``start`` would touch."""
        for snapshot in list(self._lazy):
            if snapshot.length > start:
                snapshot.kept = [buffer[0, :, : snapshot.length].copy() for buffer in self._buffers()]
                self._lazy.discard(snapshot)
        self.guard = max((snapshot.length for snapshot in self._lazy), default=0)

    def _survivors(self, rows: int) -> tuple[list[int], int]:
        """What a slide that makes room for ``rows`` keeps: old pinned positions, ascending, and all from a start on."""
        pinned = sorted(set(self.pins.values()))
        newest = max(0, min(self.context // 2, self.context - rows - len(pinned)))
        start = max(0, self.length - newest)
        return [position for position in pinned if position < start], start

    def _slide(self, rows: int) -> None:
        self._preserve(0)
        pinned, start = self._survivors(rows)
        # In ascending order no move overwrites what a later one reads: a place is never behind its source.
        for place, position in enumerate(pinned):
            self._move(position, place, 1)
        count = self.length - start
        self._move(start, len(pinned), count)
        places = {position: place for place, position in enumerate(pinned)}
        self.pins = {name: places.get(old, old - start + len(pinned)) for name, old in self.pins.items()}
        self.length = len(pinned) + count

    def _move(self, source: int, target: int, count: int) -> None:
        """Move ``count`` positions of all layers to the front by ``source - target``, keys turned by as much."""
        shift = source - target
        if shift == 0 or count == 0:
            return
        cos, sin = self._cos[shift], self._sin[shift]  # [d/2]
        half = len(cos)
        keys, values = self._whole[:, 0, 0], self._whole[:, 1, 0]  # [layers, heads, C, d]
        first, second = keys[:, :, source : source + count, :half], keys[:, :, source : source + count, half:]
        turned = first * cos + second * sin, second * cos - first * sin
        keys[:, :, target : target + count, :half], keys[:, :, target : target + count, half:] = turned
        values[:, :, target : target + count] = values[:, :, source : source + count]
