"""The camera through OpenCV: a webcam, a network stream or a GStreamer pipeline, always its newest frame.

Rules.
1. A thread of its own takes every frame and keeps one: a reader never waits for decoding and never meets an old queue.
2. A frame is stamped as it leaves the device. V4L2 gives the time of capture on CLOCK_MONOTONIC, which is used when it is
   plausible; elsewhere the stamp is the moment of the grab less the option `delay_ms`.
3. A capture belongs to its thread, which alone reads and releases it; `_close` does not wait for a hung device.
4. A stream that ends or a frame that fails to come is a DeviceError on the next read, never an old frame.
"""

import os
import threading
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from innervate.plugins.camera.settings import NS_PER_MS, Options
from innervate.runtime.ali.component import Context, Limit, Sensor
from innervate.runtime.ali.errors import DeviceError
from innervate.runtime.ali.indicator import Indicator
from innervate.runtime.ali.options import read_options

Frame = npt.NDArray[np.uint8]

AGE_NS_MAX = 1_000_000_000  # a capture time further back than this is on another clock
FFMPEG_QUIET = "-8"  # AV_LOG_QUIET
CLOSE_WAIT_S = 0.5  # the usual thread ends within one frame; a hung one ends at its own read timeout
NO_DEVICE = (
    "`ls /dev/video*` lists what the system sees; your user must be in the group video; "
    "a ribbon camera of a Raspberry Pi or Jetson needs a GStreamer pipeline as its source"
)


class Camera(Sensor):
    """Gives the newest RGB frame, uint8 [H, W, 3], once each, stamped at capture.

    Options as in `plugin.toml`. `indicator.lit` is the visible state; `skipped` counts frames that nobody read in time.
    Raises DeviceError when the source cannot be opened, ends, or gives nothing for `stale_ms`.
    """

    dtype = np.uint8
    shape = (None, None, 3)

    def __init__(self, context: Context, limits: Mapping[str, Limit] | None = None) -> None:
        super().__init__(context, limits)
        self._options = read_options(context, Options)
        self.indicator = Indicator(self.name, self._options.led)
        self.skipped = 0
        self._grabber: _Grabber | None = None

    def _open(self) -> None:
        self.indicator.on()
        capture, live = _open_capture(self.name, self._options)
        self._live_ns = self.context.clock.now_ns()
        self._patience_ns = self._options.start_ms * NS_PER_MS
        self._grabber = _Grabber(capture, self.context, live, round(self._options.delay_ms * NS_PER_MS))
        self._grabber.start()

    def _read(self, timeout_s: float) -> tuple[Frame, int] | None:
        grabber = self._grabber
        assert grabber is not None  # the base refuses a read while closed
        got = grabber.take(timeout_s)
        if got is None:
            self._check_alive(grabber)
            return None
        frame, t_ns = got
        self.skipped = grabber.skipped
        self._live_ns, self._patience_ns = t_ns, self._options.stale_ms * NS_PER_MS
        return _rgb(frame), t_ns

    def _check_alive(self, grabber: "_Grabber") -> None:
        source = self._options.source
        if grabber.cause:
            step = "check its cable, power or network; it is reopened by itself"
            raise DeviceError(self.name, f"source {source} stopped: {grabber.cause}", "frames", step)
        silent_ns = self.context.clock.now_ns() - self._live_ns
        if silent_ns > self._patience_ns:
            came = f"source {source} gave no frame for {silent_ns / 1e9:.1f} s"
            want = f"one within {self._patience_ns // NS_PER_MS} ms"
            raise DeviceError(self.name, came, want, "check the device, or raise its option stale_ms")

    def _close(self) -> None:
        grabber, self._grabber = self._grabber, None
        if grabber is not None:
            grabber.stop()
            grabber.join(CLOSE_WAIT_S)
        self.indicator.off()


class _Grabber(threading.Thread):
    """Takes frames as they come and keeps the newest with its stamp; ends at `stop` or with a `cause`."""

    def __init__(self, capture: Any, context: Context, device_clock: bool, delay_ns: int) -> None:
        super().__init__(name=f"{context.name}-grabber", daemon=True)
        self._capture = capture
        self._clock = context.clock
        self._device_clock = device_clock
        self._delay_ns = delay_ns
        self._fresh = threading.Condition()
        self._stopped = False
        self._newest: tuple[Frame, int] | None = None
        self._stamp_ns = 0
        self.skipped = 0
        self.cause = ""

    def take(self, timeout_s: float) -> tuple[Frame, int] | None:
        """Return the newest frame that was not taken yet, waiting at most `timeout_s`."""
        with self._fresh:
            if self._newest is None and timeout_s > 0:
                self._fresh.wait_for(lambda: self._newest is not None or bool(self.cause), timeout_s)
            newest, self._newest = self._newest, None
            return newest

    def stop(self) -> None:
        with self._fresh:
            self._stopped, self._newest = True, None

    def run(self) -> None:
        try:
            while not self._stopped:
                ok, frame = self._capture.read()
                stamp_ns = self._captured_ns()
                if not ok:
                    self._end("the stream ended or timed out")
                    return
                with self._fresh:
                    self.skipped += self._newest is not None
                    self._stamp_ns = max(self._stamp_ns, stamp_ns)
                    self._newest = (frame, self._stamp_ns)
                    self._fresh.notify_all()
        except Exception as error:  # OpenCV raises its own kind; the reader must hear of it
            self._end(f"{type(error).__name__}: {error}")
        finally:
            self._capture.release()

    def _end(self, cause: str) -> None:
        with self._fresh:
            self.cause = cause
            self._fresh.notify_all()

    def _captured_ns(self) -> int:
        now_ns: int = self._clock.now_ns()
        if self._device_clock:
            import cv2

            age_ns = time.monotonic_ns() - int(self._capture.get(cv2.CAP_PROP_POS_MSEC) * NS_PER_MS)
            if 0 <= age_ns <= AGE_NS_MAX:
                return now_ns - age_ns
        return now_ns - self._delay_ns


def _open_capture(who: str, options: Options) -> tuple[Any, bool]:
    """Open the source; returns OpenCV's capture and whether its positions are V4L2 capture times."""
    try:
        import cv2  # 200 ms: only when a real camera is opened
    except ImportError as error:
        raise DeviceError(who, f"OpenCV cannot load: {error}", "cv2", "pip install opencv-python-headless") from error
    # Both say on stderr what the error below or the fault event says better.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", FFMPEG_QUIET)
    source = options.source.strip()
    if source.isdecimal():
        backend = cv2.CAP_V4L2 if cv2.videoio_registry.hasBackend(cv2.CAP_V4L2) else cv2.CAP_ANY
        capture = cv2.VideoCapture(int(source), backend)
        # A wish, not a demand: given at the open, a size that the device lacks would refuse the device.
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, options.width)
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, options.height)
        step = NO_DEVICE
    elif "!" in source:
        if not cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
            came = "a GStreamer pipeline, but this OpenCV was built without GStreamer"
            step = "sudo apt install python3-opencv, and make the environment with --system-site-packages"
            raise DeviceError(who, came, "an OpenCV with GStreamer", step)
        backend, step = cv2.CAP_GSTREAMER, "try the pipeline with gst-launch-1.0; it must end in an appsink"
        capture = cv2.VideoCapture(source, backend)
    else:
        timeouts = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, options.start_ms, cv2.CAP_PROP_READ_TIMEOUT_MSEC, options.stale_ms]
        backend, step = cv2.CAP_FFMPEG, "open the address with another player on this machine"
        capture = cv2.VideoCapture(source, backend, timeouts)
    if not capture.isOpened():
        capture.release()
        raise DeviceError(who, f"source {source!r} cannot be opened", "a camera, a stream or a pipeline", step)
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # an old frame is worth nothing; back ends that have no queue ignore it
    return capture, backend == cv2.CAP_V4L2


def _rgb(frame: Frame) -> Frame:
    """Return OpenCV's frame, BGR [H, W, 3], BGRA [H, W, 4] or grey [H, W], as RGB [H, W, 3]."""
    import cv2

    if frame.ndim == 2 or frame.shape[2] == 1:
        return np.asarray(cv2.cvtColor(frame, cv2.COLOR_GRAY2RGB), np.uint8)
    code = cv2.COLOR_BGRA2RGB if frame.shape[2] == 4 else cv2.COLOR_BGR2RGB
    return np.asarray(cv2.cvtColor(frame, code), np.uint8)
