"""The client: `connect(url)` gives latents, gradients and tokens of a backbone elsewhere; an application becomes a part of its device.

    with connect("unix:///run/user/1000/innervate/serve.sock") as client:
        hidden = client.append(latents)              # [T, D] in, [T, D] out, in a session of your own
        y, dx = client.vjp(latents, upstream)        # the gradient with respect to the latents
        told = client.say("look left")               # to the device itself
        print(told.text, told.opened)

Needs numpy and the standard library, and the package `websockets` for ws:// addresses. A client belongs to one thread.
"""

import itertools
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from innervate.runtime.serve import wire
from innervate.runtime.serve.links import Link, connect_unix, connect_websocket
from innervate.runtime.serve.token import default_socket, find_token
from innervate.runtime.serve.wire import VERSIONS, Frame, Kind, ServeError, raw

Floats = npt.NDArray[np.float32]

NAME = "innervate python"
WAITING_MAX = 1024  # frames that nobody asked for and nobody has taken yet; the oldest go first
CONNECT_S = 5.0


@dataclass(frozen=True, slots=True)
class Facts:
    """What the server said of itself. `budget`: bytes_s, requests_s, latents_s of this client."""

    bundle: str
    variant: str
    space_id: str
    exact_id: str
    width: int
    context: int
    rows_max: int
    tick_ms: int
    control: tuple[str, ...]
    device: bool
    body_max: int
    budget: dict[str, float]


@dataclass(frozen=True, slots=True)
class Told:
    """The device's answer to a line: what it said (empty when it acted), and the components that it opened and closed."""

    text: str
    opened: tuple[str, ...]
    closed: tuple[str, ...]
    ticks: int
    timed_out: bool


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """Token rows of a component of your own: `embedding` and `classifier`, [2, D] each (start, end), and the tokens' ids."""

    name: str
    start: int
    end: int
    embedding: Floats
    classifier: Floats

    def rows(self) -> Floats:
        """Return all four rows as they go over the wire, [4, D]."""
        return np.concatenate([self.embedding, self.classifier])


def connect(url: str | None = None, *, token: str | None = None, token_file: Path | None = None, space_id: str | None = None) -> "Client":
    """Connect to a server: "unix:///PATH", "ws://HOST:PORT", or None for the Unix socket where servers of this user lie.

    `token`: else INNERVATE_TOKEN, else `token_file`, else the user's own. `space_id`: refuse a backbone of another latent space.
    Raises ServeError or SpaceMismatch with the cause and the next step.
    """
    secret = find_token(token, token_file)
    if url is None:
        link: Link = connect_unix(default_socket())
    elif url.startswith("unix:"):
        link = connect_unix(Path("/" + url.removeprefix("unix:").lstrip("/")))
    elif url.startswith(("ws://", "wss://")):
        link = connect_websocket(url, CONNECT_S)
    else:
        raise ServeError("request", url, "is no address of a server", "unix:///PATH or ws://HOST:PORT", "innervate serve prints its addresses")
    client = Client(link)
    try:
        client.hello(secret, space_id)
    except BaseException:
        client.close()
        raise
    return client


class Client:
    """One connection. Errors that the server reports come as LatentError, SpaceMismatch or ServeError; the connection goes on
    after them, except for codes "frame", "version", "token", "oversized" and "gone".
    """

    def __init__(self, link: Link) -> None:
        self.facts: Facts
        self._link = link
        self._ids = itertools.count(1)
        self._waiting: deque[Frame] = deque(maxlen=WAITING_MAX)

    def hello(self, token: str, space_id: str | None) -> None:
        """Introduce this client; `connect` does it."""
        meta = {"versions": list(VERSIONS), "token": token, "client": NAME, **({"space_id": space_id} if space_id else {})}
        told = self._ask(Kind.HELLO, meta).meta
        known: dict[str, Any] = {name: told.get(name) for name in Facts.__dataclass_fields__}
        known["control"] = tuple(known["control"] or ())
        self.facts = Facts(**known)

    # -- latents in and out -------------------------------------------------------------------------------------------

    def append(self, x: Floats, last: bool = False) -> Floats:
        """Append latents [T, D], T up to `facts.rows_max`, to this client's own session; return the hidden states [T, D].

        `last`: only that of the last latent, [1, D].
        """
        return self._floats(self._ask(Kind.APPEND, {"last": True} if last else None, self._rows(x)))

    def reset(self) -> None:
        """Empty the session's context."""
        self._ask(Kind.RESET)

    def snapshot(self) -> int:
        """Keep the session's state; return its number. The newest eight are kept."""
        return int(self._ask(Kind.SNAPSHOT).meta["snapshot"])

    def rewind_to(self, snapshot: int) -> None:
        """Come back to a kept state."""
        self._ask(Kind.REWIND, {"snapshot": snapshot})

    def ping(self, body: bytes | memoryview = b"") -> bytes:
        """Have bytes sent back."""
        return bytes(self._ask(Kind.PING, None, body).body)

    # -- gradients ----------------------------------------------------------------------------------------------------

    def forward(self, x: Floats) -> Floats:
        """Hidden states [T, D] of a whole sequence [T, D] from its first position; the function that `vjp` differentiates."""
        return self._floats(self._ask(Kind.FORWARD, {"exact_id": self.facts.exact_id}, self._rows(x)))

    def vjp(self, x: Floats, g: Floats) -> tuple[Floats, Floats]:
        """Return y = forward(x) and the gradient of sum(g * y) with respect to x, each [T, D]."""
        both = np.concatenate([np.asarray(x, np.float32), np.asarray(g, np.float32)])
        answer = self._floats(self._ask(Kind.VJP, {"exact_id": self.facts.exact_id}, self._rows(both)))
        return answer[: len(x)], answer[len(x) :]

    # -- tokens -------------------------------------------------------------------------------------------------------

    def rows(self, tokens: bytes | Sequence[int]) -> Floats:
        """Input latents of tokens, [N, D]: the bytes of a text, or ids (256 is <idle>)."""
        return self._floats(self._ask(Kind.ROWS, {"ids": list(tokens)}))

    def logits(self, hidden: Floats) -> Floats:
        """Scores of every token for hidden states [T, D]: [T, V]."""
        answer = self._ask(Kind.LOGITS, None, self._rows(hidden))
        return answer.floats(int(answer.meta["size"]), "server")

    def add_component(self, name: str) -> Side:
        """Add the tokens of a component "namespace/x" to this client's own vocabulary; return its rows as they begin."""
        return self._side(name, self._ask(Kind.ADD, {"name": name}))

    def set_component(self, side: Side) -> Side:
        """Store trained rows."""
        return self._side(side.name, self._ask(Kind.SET, {"name": side.name}, self._rows(side.rows())))

    def remove_component(self, name: str) -> None:
        """Take the tokens away again."""
        self._ask(Kind.REMOVE, {"name": name})

    # -- the device ---------------------------------------------------------------------------------------------------

    def say(self, text: str, wait_s: float = 3.0) -> Told:
        """Type a line to the device and wait, up to `wait_s` of its time, for what it says or does."""
        meta = self._ask(Kind.SAY, {"text": text, "wait_s": wait_s}).meta
        return Told(meta["text"], tuple(meta["opened"]), tuple(meta["closed"]), int(meta["ticks"]), bool(meta["timed_out"]))

    def recent(self) -> Floats:
        """The newest input latents of the device's own session, [T, D], T up to 256: moments to learn in. An application needs "listen"."""
        return self._floats(self._ask(Kind.RECENT))

    def events(self) -> Iterator[dict[str, Any]]:
        """Events of the device as they come: text, open, close, stop, fault; for ever."""
        self._ask(Kind.WATCH)
        while True:
            frame = self.next_frame()
            if frame.kind == Kind.EVENT:
                yield frame.meta

    # -- for applications ---------------------------------------------------------------------------------------------

    def register(self, meta: dict[str, Any], side: Floats | None = None) -> dict[str, Any]:
        """Become a component of the device; `innervate.runtime.serve.application` is the easy way."""
        body = b"" if side is None else self._rows(side)
        return self._ask(Kind.REGISTER, {"space_id": self.facts.space_id, **meta}, body).meta

    def push(self, x: Floats, age_ms: float = 0.0) -> None:
        """Put latents [T, D], captured `age_ms` ago, into the device's next turn."""
        self._ask(Kind.PUSH, {"age_ms": age_ms} if age_ms else None, self._rows(x))

    def tell(self, text: str) -> None:
        """Have the device say a line to whoever is there."""
        self._ask(Kind.TELL, {"text": text})

    def taken(self, seq: int) -> None:
        """Tell the device that a latent has been dealt with."""
        self._ask(Kind.TAKEN, {"seq": seq})

    def finish(self) -> None:
        """Ask to be closed: what the component was opened for is done."""
        self._ask(Kind.FINISH)

    def leave(self) -> None:
        """Stop being a component, in good order."""
        self._ask(Kind.LEAVE)

    def next_frame(self) -> Frame:
        """Wait for the next frame that nobody asked for. Raises ServeError when the connection ends."""
        if self._waiting:
            return self._waiting.popleft()
        frame = self._receive()
        if frame.kind == Kind.ERROR:
            raise wire.error_of(frame.meta)
        return frame

    def poll(self, timeout_s: float | None) -> Frame | None:
        """Return the next frame that nobody asked for, None when nothing comes within `timeout_s` (None: wait for it)."""
        if not self._waiting and timeout_s is not None and not self._link.waits(timeout_s):
            return None
        return self.next_frame()

    def close(self) -> None:
        """End the connection."""
        self._link.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    # -- the wire -----------------------------------------------------------------------------------------------------

    def _ask(self, kind: Kind, meta: dict[str, Any] | None = None, body: Any = b"") -> Frame:
        id = next(self._ids) & 0xFFFFFFFF
        try:
            self._link.send(kind, id, meta, body)
        except ServeError as error:
            if error.code == "gone":
                self._last_words(error)
            raise
        while True:
            frame = self._receive()
            if frame.kind == Kind.ERROR and frame.id in (0, id):
                raise wire.error_of(frame.meta)
            if frame.id == id:
                return frame
            if frame.id == 0:
                self._waiting.append(frame)

    def _last_words(self, cause: ServeError) -> None:
        """Raise what the server said before it ended the connection, if it said anything."""
        try:
            while (frame := self._link.receive(0.0)) is not None:
                if frame.kind == Kind.ERROR:
                    raise wire.error_of(frame.meta) from cause
        except ServeError as error:
            if error.code != "gone":
                raise

    def _receive(self) -> Frame:
        frame = self._link.receive()
        if frame is None:
            raise ServeError("gone", self._link.peer, "has ended the connection", "", "look at the server's messages; connect again")
        return frame

    def _rows(self, x: Floats) -> memoryview:
        x = np.asarray(x, np.float32)
        if x.ndim != 2 or x.shape[1] != self.facts.width or not len(x):
            came = f"an array of shape {list(x.shape)}"
            raise ServeError("latents", "client", came, f"[T, {self.facts.width}] with T >= 1", "one latent a row")
        return raw(x)

    def _floats(self, frame: Frame) -> Floats:
        return frame.floats(self.facts.width, "server")

    def _side(self, name: str, frame: Frame) -> Side:
        rows = self._floats(frame)
        return Side(name, int(frame.meta["start"]), int(frame.meta["end"]), rows[:2].copy(), rows[2:].copy())
