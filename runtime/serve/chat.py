"""The text API: the OpenAI chat format over HTTP, for clients that exist already.

    POST /v1/chat/completions     whole or streamed
    GET  /v1/models, /v1/models/NAME

The model is a small device. The newest message, which must be the user's, is a line typed to it; the answer is what it says. When it
acts instead, `content` is empty and the field `innervate` tells what it opened and closed. Earlier messages are not sent again: the
device has a running session of its own and remembers by itself. Sampling parameters are accepted and have no effect. Errors have
OpenAI's shape and status codes.
"""

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from innervate.runtime.ali.errors import InnervateError
from innervate.runtime.serve.hub import Caller, Hub
from innervate.runtime.serve.links import STALL_S
from innervate.runtime.serve.requests import TEXT_MAX
from innervate.runtime.serve.server import Server, cannot_listen
from innervate.runtime.serve.sessions import Weights
from innervate.runtime.serve.token import same
from innervate.runtime.serve.wire import Frame, ServeError

BODY_MAX = 256 * 1024  # bytes of a request: a long history that is not used
WAIT_S = 3.0  # for what the device says to a line
WAIT_S_MAX = 30.0
REQUESTS_MAX = 32  # at once
OWNER = "innervate"

# code of a ServeError -> status and OpenAI's type
STATUS = {
    "token": (401, "authentication_error"),
    "request": (400, "invalid_request_error"),
    "oversized": (413, "invalid_request_error"),
    "budget": (429, "rate_limit_error"),
    "busy": (429, "rate_limit_error"),
    "device": (503, "server_error"),
}


class NoLink:
    """What HTTP callers have in place of a link: nobody sends them frames that they did not ask for."""

    peer = "http"

    def receive(self, timeout_s: float | None = None) -> Frame | None:
        """Nothing ever comes."""
        return None

    def waits(self, timeout_s: float) -> bool:
        """Nothing ever comes."""
        return False

    def send(self, kind: int, id: int = 0, meta: dict[str, Any] | None = None, body: Any = b"") -> None:
        """Nobody is there to take it."""

    def close(self) -> None:
        """There is nothing to close."""


class Refused(Exception):  # noqa: N818 - it is an answer
    """A request that is answered with an error: status, OpenAI's type, the field, a code, the message."""

    def __init__(self, status: int, kind: str, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code}}


class Chat:
    """What the paths mean, apart from HTTP. Safe to use from any thread."""

    def __init__(self, weights: Weights, hub: Hub | None) -> None:
        self.model = weights.bundle.header.name
        self._hub = hub
        self._made = int(time.time())
        self._numbers = itertools.count(1)
        self._caller = Caller("chat", NoLink())

    def models(self) -> dict[str, Any]:
        """Return the answer to GET /v1/models."""
        return {"object": "list", "data": [self._card()]}

    def one_model(self, name: str) -> dict[str, Any]:
        """Return the answer to GET /v1/models/NAME."""
        self._check_model(name)
        return self._card()

    def complete(self, asked: object) -> dict[str, Any] | Iterator[dict[str, Any]]:
        """Return the answer to a chat request, or its chunks when it asks for a stream. Raises Refused or InnervateError."""
        if not isinstance(asked, dict):
            raise _bad("the body must be a JSON object", None)
        self._check_model(asked.get("model"))
        line = _newest_line(asked.get("messages"))
        if asked.get("n", 1) not in (1, None):
            raise _bad("n must be 1: the device gives one answer", "n")
        if asked.get("tools") or asked.get("functions"):
            raise _bad("tools are not supported: the device's own components are its tools", "tools")
        wait_s = asked.get("wait_s", WAIT_S)
        if not isinstance(wait_s, (int, float)) or not 0 < wait_s <= WAIT_S_MAX:
            raise _bad(f"wait_s must be seconds, more than 0 and at most {WAIT_S_MAX:g}", "wait_s")
        if self._hub is None:
            step = "start the server with a board: innervate serve --board emulator"
            raise ServeError("device", "server", "there is no device here", "one that runs", step)
        told = self._hub.say(line, float(wait_s), self._caller)
        head = {"id": f"chatcmpl-{next(self._numbers)}", "created": int(time.time()), "model": self.model, "system_fingerprint": None}
        if asked.get("stream"):
            options = asked.get("stream_options")
            return _chunks(head, line, told, isinstance(options, dict) and bool(options.get("include_usage")))
        message = {"role": "assistant", "content": told["text"], "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
        return {**head, "object": "chat.completion", "choices": [choice], "usage": _usage(line, told), "innervate": _did(told)}

    def _check_model(self, name: object) -> None:
        if name != self.model:
            message = f"The model {str(name)[:80]!r} does not exist; this device has {self.model!r}"
            raise Refused(404, "invalid_request_error", message, "model", "model_not_found")

    def _card(self) -> dict[str, Any]:
        return {"id": self.model, "object": "model", "created": self._made, "owned_by": OWNER}


def _newest_line(messages: object) -> str:
    if not isinstance(messages, list) or not messages or not all(isinstance(one, dict) for one in messages):
        raise _bad("messages must be a list with one message or more", "messages")
    newest, where = messages[-1], f"messages.{len(messages) - 1}"
    if newest.get("role") != "user":
        raise _bad("the newest message must be the user's: it is what is typed to the device", f"{where}.role")
    content = newest.get("content")
    if isinstance(content, list):
        if not all(isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str) for part in content):
            raise _bad("only text is taken here; the device has ears and eyes of its own", f"{where}.content")
        content = " ".join(part["text"] for part in content)
    if not isinstance(content, str) or not content.strip() or len(content.encode()) > TEXT_MAX:
        raise _bad(f"content must be text of 1 to {TEXT_MAX} bytes", f"{where}.content")
    return content


def _bad(message: str, param: str | None) -> Refused:
    return Refused(400, "invalid_request_error", message, param, "invalid_value")


def _did(told: dict[str, Any]) -> dict[str, Any]:
    return {name: told[name] for name in ("opened", "closed", "ticks", "timed_out")}


def _usage(line: str, told: dict[str, Any]) -> dict[str, int]:
    """Tokens are bytes here: there is no tokenizer."""
    asked, said = len(line.encode()) + 1, len(str(told["text"]).encode())
    return {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}


def _chunks(head: dict[str, Any], line: str, told: dict[str, Any], usage: bool) -> Iterator[dict[str, Any]]:
    head = {**head, "object": "chat.completion.chunk"}

    def chunk(delta: dict[str, Any], end: str | None = None) -> dict[str, Any]:
        return {**head, "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": end}]}

    yield chunk({"role": "assistant", "content": ""})
    for word in _words(str(told["text"])):
        yield chunk({"content": word})
    yield {**chunk({}, "stop"), "innervate": _did(told)}
    if usage:
        yield {**head, "choices": [], "usage": _usage(line, told)}


def _words(text: str) -> list[str]:
    return [word if i == 0 else f" {word}" for i, word in enumerate(text.split(" "))] if text else []


class _Handler(BaseHTTPRequestHandler):
    """One connection; `chat`, `token` and `room` are set by `open_http` on a subclass."""

    protocol_version = "HTTP/1.1"
    timeout = STALL_S  # of a client that stops in the middle of a request, and of an idle connection
    server_version = "innervate"
    sys_version = ""
    chat: Chat
    token: str
    room: threading.BoundedSemaphore

    def do_GET(self) -> None:
        """Models."""
        self._guarded(self._get)

    def do_POST(self) -> None:
        """Chat."""
        self._guarded(self._post)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is printed for a request: what people say to their device is theirs."""

    def _get(self) -> None:
        path = self.path.split("?")[0].rstrip("/")
        if path == "/v1/models":
            self._json(200, self.chat.models())
        elif path.startswith("/v1/models/"):
            self._json(200, self.chat.one_model(path.removeprefix("/v1/models/")))
        else:
            raise _no_path(self.command, path)

    def _post(self) -> None:
        data = self._read()
        path = self.path.split("?")[0].rstrip("/")
        if path != "/v1/chat/completions":
            raise _no_path(self.command, path)
        try:
            asked = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise _bad(f"the body is not JSON: {error}", None) from error
        answer = self.chat.complete(asked)
        if isinstance(answer, dict):
            self._json(200, answer)
        else:
            self._stream(answer)

    def _read(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not length.isdigit():
            self.close_connection = True
            raise Refused(411, "invalid_request_error", "the request needs a Content-Length", None, "length_required")
        if int(length) > BODY_MAX:
            self.close_connection = True  # the body is left unread
            raise Refused(413, "invalid_request_error", f"the body has {length} bytes; at most {BODY_MAX} are taken", None, "too_large")
        return self.rfile.read(int(length))

    def _guarded(self, act: Callable[[], None]) -> None:
        """Check the token, do it, and turn what goes wrong into an answer."""
        if not self.room.acquire(blocking=False):
            self.close_connection = True
            with suppress(OSError):
                self._json(429, Refused(429, "rate_limit_error", f"{REQUESTS_MAX} requests are being served; try again").body)
            return
        try:
            self._check_token()
            act()
        except Refused as refused:
            self._json(refused.status, refused.body)
        except InnervateError as error:
            code = error.code if isinstance(error, ServeError) else "request"
            status, kind = STATUS.get(code, (500, "server_error"))
            self._json(status, Refused(status, kind, str(error), None, code).body)
        except (OSError, TimeoutError):  # the client has gone
            self.close_connection = True
        finally:
            self.room.release()

    def _check_token(self) -> None:
        scheme, _, given = self.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not same(given.strip(), self.token):
            self.close_connection = True  # a body, if any, is left unread
            message = "Incorrect API key: give the token of the server's token file (innervate serve prints where it is)"
            raise Refused(401, "authentication_error", message, None, "invalid_api_key")
        if self.headers.get("Origin"):
            self.close_connection = True
            raise Refused(403, "invalid_request_error", "requests of web pages are not taken", None, "origin")

    def _json(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, chunks: Iterator[dict[str, Any]]) -> None:
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Cache-Control", "no-cache")
        self.send_header("Connection", "close")
        self.end_headers()
        for chunk in chunks:
            self.wfile.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
            self.wfile.flush()
        self.wfile.write(b"data: [DONE]\n\n")


def _no_path(method: str, path: str) -> Refused:
    message = f"Unknown request: {method} {path[:80]}; there are POST /v1/chat/completions and GET /v1/models"
    return Refused(404, "invalid_request_error", message, None, "unknown_url")


class _Doors(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that breaks is the client's affair."""


def open_http(server: Server, hub: Hub | None, weights: Weights, token: str, host: str, port: int) -> None:
    """Listen for HTTP. Raises ServeError when it cannot."""

    class Handler(_Handler):
        pass

    Handler.chat = Chat(weights, hub)
    Handler.token = token
    Handler.room = threading.BoundedSemaphore(REQUESTS_MAX)
    try:
        doors = _Doors((host, port), Handler)
    except OSError as error:
        raise cannot_listen(f"http://{host}:{port}", error, "--http") from error
    server.listens(f"http://{host}:{doors.server_address[1]}/v1", host)
    server.on_close(doors.shutdown)
    server.on_close(doors.server_close)
    threading.Thread(target=doors.serve_forever, name="http", daemon=True).start()
