"""A local multipart MJPEG server: a network camera for the tests of the real OpenCV path, standard library only.

The test decides every frame: `show` sends one picture to whoever watches; `stop` cuts all viewers off, as when a
camera loses power; `start` serves again at the same address. Between `show`s the stream is silent, as when a camera
hangs.
"""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

BOUNDARY = "frame"
WAIT_S = 0.05  # how soon a viewer's thread sees that the server stops


class MjpegServer:
    """Serves `http://127.0.0.1:PORT/v.mjpg`; a context manager that starts and stops."""

    def __init__(self) -> None:
        self._port = 0  # the kernel chooses the first time; the same one afterwards
        self._jpeg = b""
        self._shown = 0
        self._changed = threading.Condition()
        self._running = False
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/v.mjpg"

    def show(self, jpeg: bytes) -> None:
        """Send one JPEG to every viewer, and to whoever connects later as its first picture."""
        with self._changed:
            self._jpeg, self._shown = jpeg, self._shown + 1
            self._changed.notify_all()

    def start(self) -> None:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.0"

            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={BOUNDARY}")
                self.end_headers()
                outer._feed(self)

            def log_message(self, format: str, *args: object) -> None:
                del format, args

        self._running = True
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), Handler)
        self._server.daemon_threads = True
        self._port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(WAIT_S,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Cut every viewer off and close the port."""
        with self._changed:
            self._running = False
            self._changed.notify_all()
        server, thread = self._server, self._thread
        self._server = self._thread = None
        if server is not None and thread is not None:
            server.shutdown()
            server.server_close()
            thread.join()

    def _feed(self, handler: BaseHTTPRequestHandler) -> None:
        sent = 0
        while True:
            with self._changed:
                while self._running and self._shown == sent:
                    self._changed.wait()
                if not self._running:
                    return
                jpeg, sent = self._jpeg, self._shown
            head = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
            try:
                handler.wfile.write(head.encode() + jpeg + b"\r\n")
            except OSError:  # the viewer left
                return

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()
