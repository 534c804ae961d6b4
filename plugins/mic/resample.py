"""A streaming resampler from a device's rate to the 16 kHz that the encoder hears, numpy only.

Theory: output sample n lies at input position n * M / L, where rate_out / rate_in = L / M in lowest terms. Its value is
the input seen through a Kaiser-windowed sinc whose cut-off is `PASS` of the lower Nyquist frequency. L phases of the kernel
are tabulated once, so that a block costs one gather and one product-sum. The kernel is centred, hence the output
lags by `delay_s`, which the caller takes off its time stamps.
"""

from math import ceil, gcd

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

HALF_WIDTH = 16  # zero crossings of the sinc on each side
PASS = 0.93  # pass band, as part of the lower Nyquist frequency
KAISER_BETA = 9.0  # about -90 dB stop band (Kaiser & Schafer 1980)


class Resampler:
    """Converts mono float32 audio block by block; blocks of any length, seamless between calls."""

    def __init__(self, rate_in_hz: int, rate_out_hz: int) -> None:
        """Rates in Hz, positive; equal rates pass samples through unchanged.

        `up` / `down` is the ratio in lowest terms, `half` half the kernel's length in input samples.
        """
        if rate_in_hz <= 0 or rate_out_hz <= 0:
            raise ValueError(f"resampler: rates {rate_in_hz} -> {rate_out_hz} Hz; expected positive rates")
        common = gcd(rate_in_hz, rate_out_hz)
        self.up, self.down = rate_out_hz // common, rate_in_hz // common
        self.half = 0 if self.up == self.down else ceil(HALF_WIDTH * max(1.0, self.down / self.up) / PASS)
        self.delay_s = self.half / rate_in_hz
        self._taps = self._tabulate()  # [L, 2 * half + 1]
        self.reset()

    def reset(self) -> None:
        """Forget the past: the next block starts after silence."""
        self._held = np.zeros(2 * self.half, np.float32)
        self._next = 0  # position of the next output, in units of 1/L input samples from the start of _held

    def push(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the output samples that `block` [N] completes, [about N * L / M]."""
        if not self.half or not len(block):
            return block
        held = np.concatenate([self._held, block])
        room = len(held) - 2 * self.half  # windows that fit
        at = np.arange(self._next, room * self.up, self.down)
        windows = sliding_window_view(held, 2 * self.half + 1)[at // self.up]  # [N_out, taps]
        out = np.einsum("nt,nt->n", windows, self._taps[at % self.up])
        self._next += len(at) * self.down - room * self.up
        self._held = held[room:]
        return np.asarray(out, np.float32)

    def _tabulate(self) -> NDArray[np.float32]:
        if not self.half:
            return np.ones((1, 1), np.float32)
        cutoff = PASS * min(1.0, self.up / self.down)  # as part of the input's Nyquist frequency
        phase = np.arange(self.up)[:, None] / self.up  # [L, 1] input samples
        x = np.arange(-self.half, self.half + 1)[None, :] - phase  # [L, taps]
        window = np.i0(KAISER_BETA * np.sqrt(np.clip(1 - (x / (self.half + 1)) ** 2, 0, 1))) / np.i0(KAISER_BETA)
        taps = cutoff * np.sinc(cutoff * x) * window
        return np.asarray(taps / taps.sum(axis=1, keepdims=True), np.float32)


def resample(sound: NDArray[np.float32], rate_in_hz: int, rate_out_hz: int) -> NDArray[np.float32]:
    """Convert a whole recording [N], with no delay; returns [round(N * rate_out / rate_in)] samples."""
    resampler = Resampler(rate_in_hz, rate_out_hz)
    up, down, half = resampler.up, resampler.down, resampler.half
    pad = -half % down  # with it, some output sample falls exactly on the recording's first
    padded = np.concatenate([np.zeros(pad, np.float32), sound, np.zeros(2 * half + 1, np.float32)])
    start = (half + pad) * up // down
    return resampler.push(padded)[start : start + round(len(sound) * up / down)]
