"""The camera's driver on real OpenCV and FFmpeg, with a local MJPEG stream as the camera."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from innervate.plugins.camera.driver import Camera, _rgb
from innervate.runtime.ali.component import Sample
from innervate.runtime.ali.conformance import check_sensor
from innervate.runtime.ali.errors import BoardError, DeviceError
from innervate.runtime.loop.clock import RealClock
from tests.plugins.mjpeg import MjpegServer
from tests.plugins.parts import context

WAIT_S = 5.0  # for a frame that has been sent; long only when the machine is overloaded
PACE_S = 0.02  # between frames of a running stream


def picture(level: int) -> bytes:
    """A JPEG of 640x480 whose blue is `level`, green 20 and red 10 lower; FFmpeg opens no stream that begins with under 2 kB."""
    frame = np.empty((480, 640, 3), np.uint8)
    frame[:] = (level, level - 20, level - 10)  # BGR, as OpenCV encodes
    ok, jpeg = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 100])
    assert ok
    return jpeg.tobytes()


def level(sample: Sample | None) -> int:
    assert sample is not None
    return round(float(sample.data[..., 2].mean()))  # blue of RGB


def camera(server: MjpegServer, **options: Any) -> Camera:
    return Camera(context("camera", "camera", RealClock(), source=server.url, **options))


@pytest.fixture
def server() -> Iterator[MjpegServer]:
    with MjpegServer() as running:
        running.show(picture(100))
        yield running


@pytest.fixture
def stream(server: MjpegServer) -> Iterator[MjpegServer]:
    """A server that shows a new frame every 20 ms."""
    done = threading.Event()

    def film() -> None:
        pictures = [picture(100), picture(140)]
        count = 0
        while not done.wait(PACE_S):
            count += 1
            server.show(pictures[count % 2])

    thread = threading.Thread(target=film)
    thread.start()
    yield server
    done.set()
    thread.join()


def test_the_published_checks_hold(stream: MjpegServer) -> None:
    check_sensor(lambda: camera(stream)).require()


def test_frames_are_rgb_and_stamped_between_showing_and_reading(server: MjpegServer) -> None:
    eye = camera(server)
    eye.open()
    first = eye.read(WAIT_S)
    assert first is not None and first.data.shape == (480, 640, 3)
    assert np.abs(first.data.astype(int) - (90, 80, 100)).max() <= 3
    shown_ns = eye.context.clock.now_ns()
    server.show(picture(200))
    second = eye.read(WAIT_S)
    assert second is not None and level(second) in range(197, 204)
    assert shown_ns < second.t_ns <= eye.context.clock.now_ns()
    assert eye.read(0.0) is None  # each frame once
    eye.close()


def test_a_late_reader_gets_the_newest_frame(server: MjpegServer) -> None:
    eye = camera(server)
    eye.open()
    grabber = eye._grabber
    assert grabber is not None

    def skipped(count: int) -> bool:
        with grabber._fresh:
            return grabber._fresh.wait_for(lambda: grabber._newest is not None and grabber.skipped == count, WAIT_S)

    for count, value in enumerate((120, 160, 200)):  # each waits until the thread has taken the one before
        assert skipped(count)
        server.show(picture(value))
    assert skipped(3)
    assert level(eye.read(WAIT_S)) in range(197, 204)
    assert eye.skipped == 3
    eye.close()


def test_a_stream_that_ends_is_an_error_and_can_be_opened_again(server: MjpegServer) -> None:
    eye = camera(server, start_ms=2000)
    eye.open()
    assert level(eye.read(WAIT_S)) in range(97, 104)
    server.stop()
    with pytest.raises(
        DeviceError, match=r"camera: source http://\S+ stopped: the stream ended.*; expected frames; check its cable, power or network"
    ):
        eye.read(WAIT_S)
    eye.close()
    with pytest.raises(DeviceError, match="cannot be opened; expected a camera, a stream or a pipeline"):
        eye.open()
    server.start()
    server.show(picture(150))
    eye.open()
    again = eye.read(WAIT_S)
    assert level(again) in range(147, 154) and again is not None and again.seq == 0
    eye.close()


def test_a_stream_that_hangs_is_an_error(server: MjpegServer) -> None:
    eye = camera(server, stale_ms=200)
    eye.open()
    assert eye.read(WAIT_S) is not None
    with pytest.raises(DeviceError, match=r"gave no frame for|the stream ended or timed out"):
        eye.read(WAIT_S)
    eye.close()


def test_the_light_shows_watching(server: MjpegServer, tmp_path: Path) -> None:
    led = tmp_path / "brightness"
    eye = camera(server, led=str(led))
    assert not eye.indicator.lit
    eye.open()
    assert eye.indicator.lit and led.read_text() == "1"
    eye.close()
    assert not eye.indicator.lit and led.read_text() == "0"


def test_the_light_goes_out_when_the_camera_cannot_be_opened(tmp_path: Path) -> None:
    eye = Camera(context("camera", "camera", RealClock(), source=str(tmp_path / "none.avi"), led=str(tmp_path / "led")))
    with pytest.raises(DeviceError, match=r"none.avi' cannot be opened"):
        eye.open()
    assert not eye.indicator.lit and (tmp_path / "led").read_text() == "0"


def test_no_such_device() -> None:
    with pytest.raises(DeviceError, match=r"source '99' cannot be opened; .*ls /dev/video\*"):
        Camera(context("camera", "camera", RealClock(), source="99")).open()


def test_a_pipeline_needs_an_opencv_with_gstreamer() -> None:
    eye = Camera(context("camera", "camera", RealClock(), source="videotestsrc ! appsink"))
    if cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
        pytest.skip("this OpenCV has GStreamer")
    with pytest.raises(DeviceError, match=r"built without GStreamer; .*python3-opencv.*--system-site-packages"):
        eye.open()


def test_options_are_checked() -> None:
    with pytest.raises(BoardError, match=r"camera: options: .*delay_ms"):
        Camera(context("camera", "camera", RealClock(), delay_ms=-1.0))


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 1), (4, 6, 3), (4, 6, 4)])
def test_every_layout_of_opencv_becomes_rgb(shape: tuple[int, ...]) -> None:
    frame = np.full(shape, 7, np.uint8)
    if frame.ndim == 3 and frame.shape[2] > 1:
        frame[..., 0] = 200  # blue
    rgb = _rgb(frame)
    assert rgb.shape == (4, 6, 3)
    assert rgb[0, 0].tolist() == ([7, 7, 200] if len(shape) == 3 and shape[2] > 1 else [7, 7, 7])
