"""What a client may ask, one method a request. docs/serve.md says the same with every field."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from innervate.runtime.ali.errors import InnervateError, LatentError, SpaceMismatch
from innervate.runtime.serve.hub import Caller, Hub
from innervate.runtime.serve.sessions import Session, Weights
from innervate.runtime.serve.wire import Frame, Kind, ServeError, raw

if TYPE_CHECKING:
    from innervate.runtime.backbone.side import SideTokens

Answer = tuple[Kind, dict[str, Any] | None, Any]
DONE: Answer = (Kind.DONE, None, b"")
TEXT_MAX = 1024  # bytes of one typed line, or of what an application says aloud


class Desk:
    """Carries out one client's requests, on the thread of its connection."""

    def __init__(self, weights: Weights, hub: Hub | None, caller: Caller) -> None:
        self._weights = weights
        self._hub = hub
        self._caller = caller
        self._session: Session | None = None
        self._width = weights.first.width
        self._answers: dict[int, Callable[[Frame], Answer]] = {
            Kind.PING: self._ping,
            Kind.APPEND: self._append,
            Kind.RESET: self._reset,
            Kind.SNAPSHOT: self._snapshot,
            Kind.REWIND: self._rewind,
            Kind.FORWARD: self._forward,
            Kind.VJP: self._vjp,
            Kind.ROWS: self._rows,
            Kind.LOGITS: self._logits,
            Kind.ADD: self._add,
            Kind.SET: self._set,
            Kind.REMOVE: self._remove,
            Kind.SAY: self._say,
            Kind.WATCH: self._watch,
            Kind.RECENT: self._recent,
            Kind.REGISTER: self._register,
            Kind.LEAVE: self._leave,
            Kind.PUSH: self._push,
            Kind.TELL: self._tell,
            Kind.TAKEN: self._taken,
            Kind.FINISH: self._finish,
        }

    def answer(self, frame: Frame) -> Answer:
        """Carry out one request. Raises InnervateError; the connection goes on after it unless its code says otherwise."""
        ask = self._answers.get(frame.kind)
        if ask is None:
            raise ServeError("request", self._caller.name, f"a frame of kind {frame.kind}", "a request", "see docs/serve.md for the kinds")
        return ask(frame)

    def latents(self, frame: Frame) -> int:
        """Return how many latents of the backbone's time a request costs."""
        if frame.kind == Kind.APPEND:
            return len(frame.body) // (4 * self._width)
        if frame.kind in (Kind.VJP, Kind.FORWARD):
            return len(frame.body) // (4 * self._width) * 2  # a gradient takes about as long as two passes
        return 0

    def close(self, cause: str | None) -> None:
        """Give back what the client held; `cause` says why it went, None when it took its leave."""
        if self._session is not None:
            self._session = None
            self._weights.close_session()
        if self._hub is not None:
            self._hub.forget(self._caller, cause)

    @property
    def session(self) -> Session:
        """The client's own session, opened when first needed."""
        if self._session is None:
            self._session = self._weights.open_session()
        return self._session

    # -- latents ------------------------------------------------------------------------------------------------------

    def _ping(self, frame: Frame) -> Answer:
        return Kind.DATA, None, frame.body

    def _append(self, frame: Frame) -> Answer:
        session = self.session
        x = frame.floats(self._width, self._caller.name)
        with self._weights.lanes:
            hidden = session.append(x)
        return Kind.DATA, None, raw(hidden[-1:] if frame.meta.get("last") else hidden)

    def _reset(self, frame: Frame) -> Answer:
        self.session.engine.reset()
        return DONE

    def _snapshot(self, frame: Frame) -> Answer:
        return Kind.DONE, {"snapshot": self.session.snapshot()}, b""

    def _rewind(self, frame: Frame) -> Answer:
        self.session.rewind(frame.meta.get("snapshot"))
        return DONE

    # -- gradients ----------------------------------------------------------------------------------------------------

    def _forward(self, frame: Frame) -> Answer:
        gradient = self._same_weights(frame)
        x = frame.floats(self._width, self._caller.name)
        with self._weights.lanes:
            return Kind.DATA, None, raw(gradient.forward(x))

    def _vjp(self, frame: Frame) -> Answer:
        gradient = self._same_weights(frame)
        both = frame.floats(self._width, self._caller.name)  # [2 T, D]: x, then g
        rows, odd = divmod(len(both), 2)
        if odd:
            raise LatentError(self._caller.name, f"{len(both)} rows", "x and g with as many rows each", "send x [T, D], then g [T, D]")
        with self._weights.lanes:
            y, dx = gradient.vjp(both[:rows], both[rows:])
        return Kind.DATA, None, raw(np.concatenate([y, dx]))

    def _same_weights(self, frame: Frame) -> Any:
        wanted, here = frame.meta.get("exact_id"), self._weights.first.space
        if wanted is not None and wanted != here.exact_id:
            step = "train against the weights that run: connect anew and take exact_id from the welcome"
            raise SpaceMismatch(self._caller.name, f"counts on the weights {wanted}", f"those that run here, {here.exact_id}", step)
        return self._weights.gradient()

    # -- tokens -------------------------------------------------------------------------------------------------------

    def _rows(self, frame: Frame) -> Answer:
        vocabulary = self.session.vocabulary
        ids = frame.meta.get("ids")
        if not isinstance(ids, list) or not ids or not all(type(one) is int for one in ids):
            raise ServeError("request", self._caller.name, f"ids {str(ids)[:100]}", "a list of token ids", "bytes are 0 to 255")
        return Kind.DATA, None, raw(np.stack([vocabulary.row(one) for one in ids]))

    def _logits(self, frame: Frame) -> Answer:
        vocabulary = self.session.vocabulary
        hidden = frame.floats(self._width, self._caller.name)
        if not np.isfinite(hidden).all():
            raise LatentError(self._caller.name, "hidden states with non-finite values", "finite values", "look at what made them")
        scores = np.stack([vocabulary.logits(row).copy() for row in hidden])  # [T, V]
        return Kind.DATA, {"size": vocabulary.size}, raw(np.maximum(scores, np.float32(-1e30)))  # a free slot is -inf

    def _add(self, frame: Frame) -> Answer:
        return self._told(self.session.vocabulary.add_component(self._name(frame)))

    def _set(self, frame: Frame) -> Answer:
        side = self.session.vocabulary.component(self._name(frame))
        rows = side_rows(frame, self._width, self._caller.name)
        side.embedding[:], side.classifier[:] = rows[:2], rows[2:]
        return self._told(side)

    def _remove(self, frame: Frame) -> Answer:
        self.session.vocabulary.remove_component(self._name(frame))
        return DONE

    def _told(self, side: "SideTokens") -> Answer:
        return Kind.DATA, {"start": side.start, "end": side.end}, raw(np.concatenate([side.embedding, side.classifier]))

    def _name(self, frame: Frame) -> str:
        return self._text(frame, "name", 80)

    # -- the device ---------------------------------------------------------------------------------------------------

    def _device(self) -> Hub:
        if self._hub is None:
            step = "start the server with a board: innervate serve --board emulator"
            raise ServeError("device", "server", "there is no device here", "one that runs", step)
        return self._hub

    def _say(self, frame: Frame) -> Answer:
        return Kind.DONE, self._device().say(self._text(frame, "text"), float(frame.meta.get("wait_s", 3.0)), self._caller), b""

    def _watch(self, frame: Frame) -> Answer:
        self._device().watch(self._caller)
        return DONE

    def _recent(self, frame: Frame) -> Answer:
        return Kind.DATA, None, self._device().recent(self._caller)

    def _register(self, frame: Frame) -> Answer:
        hub, here = self._device(), self._weights.first.space
        wanted = frame.meta.get("space_id")
        if wanted != here.space_id:
            step = "train the component for this space: its identity is in the welcome"
            raise SpaceMismatch(self._caller.name, f"an application for latent space {wanted}", f"the device's {here.space_id}", step)
        body = b""
        if len(frame.body):
            body = bytes(raw(side_rows(frame, self._width, self._caller.name)))
        return Kind.DONE, hub.register(frame.meta, body, self._caller), b""

    def _leave(self, frame: Frame) -> Answer:
        self._device().forget(self._caller, None)
        return DONE

    def _push(self, frame: Frame) -> Answer:
        hub = self._device()
        x = frame.floats(self._width, self._caller.name)
        if not np.isfinite(x).all():
            bad = int(np.count_nonzero(~np.isfinite(x)))
            raise LatentError(self._caller.name, f"latents with {bad} non-finite values", "finite values", "look at the sensor's raw data")
        hub.push(x, float(frame.meta.get("age_ms", 0.0)), self._caller)
        return DONE

    def _tell(self, frame: Frame) -> Answer:
        self._device().tell(self._text(frame, "text"), self._caller)
        return DONE

    def _taken(self, frame: Frame) -> Answer:
        self._device().taken(int(frame.meta.get("seq", 0)), self._caller)
        return DONE

    def _finish(self, frame: Frame) -> Answer:
        self._device().finish(self._caller)
        return DONE

    def _text(self, frame: Frame, field: str, most: int = TEXT_MAX) -> str:
        text = frame.meta.get(field)
        if not isinstance(text, str) or not text.strip() or len(text.encode()) > most:
            came = f"{field} = {str(text)[:40]!r}" if not isinstance(text, str) or len(text) < 100 else f"{field} of {len(text)} characters"
            raise ServeError("request", self._caller.name, came, f"text of 1 to {most} bytes", f"send it as meta {field!r}")
        return text


def side_rows(frame: Frame, width: int, who: str) -> Any:
    """Return the four rows of a component's tokens: embedding of start and end, classifier of start and end, float32 [4, D]."""
    rows = frame.floats(width, who)
    if len(rows) != 4 or not np.isfinite(rows).all():
        came = f"{len(rows)} rows{'' if np.isfinite(rows).all() else ' with non-finite values'}"
        raise LatentError(who, came, "4 finite rows: embedding of start and end, classifier of start and end", "send all four")
    return rows


def keeps_going(error: InnervateError) -> bool:
    """Return whether frames still begin where they should after this error."""
    return not (isinstance(error, ServeError) and error.code in ("frame", "oversized", "version", "token", "gone"))
