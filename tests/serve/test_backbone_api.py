"""Latents, gradients and tokens over both transports, against the engine and the gradient themselves; and what is refused."""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path

import numpy as np
import pytest

from innervate.runtime.ali.errors import InnervateError, LatentError, SpaceMismatch, VocabularyError
from innervate.runtime.backbone.bundle import Bundle
from innervate.runtime.backbone.engine import Engine
from innervate.runtime.backbone.gradient import Gradient
from innervate.runtime.backbone.vocabulary import Vocabulary
from innervate.runtime.serve import links, sessions, wire
from innervate.runtime.serve.client import Client, connect
from innervate.runtime.serve.links import StreamLink, connect_unix
from innervate.runtime.serve.server import Server
from innervate.runtime.serve.wire import HEADER, Floats, Frame, Kind, ServeError
from tests.bundles import WIDTH
from tests.serve.parts import TOKEN, served_backbone


def latents(rows: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).standard_normal((rows, WIDTH), dtype=np.float32)


@pytest.fixture(scope="module")
def bundle(quiet_bundle: Path) -> Bundle:
    return Bundle.open(quiet_bundle)


def unix_of(server: Server) -> Path:
    return Path(server.addresses[0].removeprefix("unix:"))


def test_the_welcome_tells_what_is_served(client: Client, bundle: Bundle) -> None:
    facts, space = client.facts, bundle.space("fp32")
    assert (facts.space_id, facts.exact_id, facts.width, facts.variant) == (space.space_id, space.exact_id, WIDTH, "fp32")
    assert (facts.context, facts.rows_max, facts.tick_ms, facts.device) == (128, 64, 80, False)
    assert facts.control == ("<idle>", "<so_motor>", "<eo_motor>")


def test_latents_in_and_out_are_the_engine_s(client: Client, bundle: Bundle) -> None:
    engine, x = Engine(bundle, "fp32"), latents(30)
    for start, end in ((0, 1), (1, 17), (17, 30)):
        assert np.array_equal(client.append(x[start:end]), engine.append(x[start:end]))
    kept = client.snapshot()
    one = client.append(x[:5], last=True)
    assert one.shape == (1, WIDTH)
    client.rewind_to(kept)
    assert np.array_equal(client.append(x[:5], last=True), one)
    client.reset()
    engine.reset()
    assert np.array_equal(client.append(x), engine.append(x))


def test_every_connection_has_a_session_of_its_own(server: Server, client: Client) -> None:
    x = latents(4)
    first = client.append(x)
    with connect(server.addresses[0], token=TOKEN) as other:
        assert np.array_equal(other.append(x), first)
        assert not np.array_equal(client.append(x), first)


def test_gradients_are_the_gradient_s(client: Client, bundle: Bundle) -> None:
    gradient, x, g = Gradient(bundle, "fp32"), latents(9), latents(9, 1)
    y, dx = client.vjp(x, g)
    right_y, right_dx = gradient.vjp(x, g)
    assert np.array_equal(y, right_y)
    assert np.array_equal(dx, right_dx)
    assert np.array_equal(client.forward(x), right_y)


def test_tokens_are_the_vocabulary_s_and_each_client_s_own(server: Server, client: Client, bundle: Bundle) -> None:
    vocabulary, h = Vocabulary(bundle), latents(3)
    assert np.array_equal(client.rows(b"hi"), vocabulary.rows(b"hi"))
    assert np.array_equal(client.rows([256]), vocabulary.row(256)[None])
    assert np.array_equal(client.logits(h), np.stack([vocabulary.logits(row).copy() for row in h]))
    side = client.add_component("acme/ring")
    assert (side.start, side.end) == (259, 260)
    side.classifier[0] = h[0]
    assert np.array_equal(client.set_component(side).classifier[0], h[0])
    assert client.logits(h)[0, 259] == pytest.approx(float(h[0] @ h[0]), rel=1e-5)
    with connect(server.addresses[0], token=TOKEN) as other:
        assert other.logits(h).shape == (3, 259)
    client.remove_component("acme/ring")
    assert client.logits(h).shape == (3, 259)


def test_mistakes_are_told_with_the_next_step_and_the_connection_goes_on(client: Client) -> None:
    x = latents(4)
    first = client.append(x)
    client.reset()
    client.add_component("a/b")
    bad = x.copy()
    bad[2, 3] = np.nan
    refusals: list[tuple[type[InnervateError], str, object]] = [
        (LatentError, "1 non-finite values; expected finite values; look at", lambda: client.append(bad)),
        (LatentError, r"100 latents; expected 1 to 64; append them in parts", lambda: client.append(latents(100))),
        (LatentError, r"129 latents; expected 1 to 128; cut the sequence", lambda: client.forward(latents(129))),
        (LatentError, "non-finite values; expected a finite gradient; make x or g smaller", lambda: client.vjp(x, np.full_like(x, 3e38))),
        (LatentError, "3 rows; expected x and g with as many rows each", lambda: client._ask(Kind.VJP, None, wire.raw(latents(3)))),
        (LatentError, "a body of 12 bytes; expected rows of 64 float32", lambda: client._ask(Kind.APPEND, None, bytes(12))),
        (LatentError, "token id 999", lambda: client.rows([999])),
        (LatentError, "snapshot 77; expected one of the newest 8", lambda: client.rewind_to(77)),
        (LatentError, "hidden states with non-finite values", lambda: client.logits(bad)),
        (LatentError, "3 rows; expected 4 finite rows", lambda: client._ask(Kind.SET, {"name": "a/b"}, wire.raw(x[:3]))),
        (SpaceMismatch, "counts on the weights nonsense; expected those that run here", lambda: client._ask(Kind.VJP, {"exact_id": "nonsense"})),
        (ServeError, "there is no device here; .*innervate serve --board emulator", lambda: client.say("hello")),
        (ServeError, r"kind 200; expected a request", lambda: client._ask(200)),  # type: ignore[arg-type]
        (ServeError, "expected a list of token ids", lambda: client.rows([])),
        (InnervateError, "name", lambda: client.add_component("no namespace")),
    ]
    for kind, message, ask in refusals:
        with pytest.raises(kind, match=message):
            ask()  # type: ignore[operator]
    assert np.array_equal(client.append(x), first), "the session is as before"
    assert VocabularyError.__mro__[1] is InnervateError


def test_a_client_of_another_space_is_told_both(server: Server, bundle: Bundle) -> None:
    for address in server.addresses[:2]:
        with pytest.raises(SpaceMismatch, match=rf"latent space {'f' * 64}; expected the backbone's {bundle.header.space_id}; use a component"):
            connect(address, token=TOKEN, space_id="f" * 64)
        with connect(address, token=TOKEN, space_id=bundle.header.space_id) as client:
            assert client.ping(b"yes") == b"yes"


@pytest.mark.parametrize("token", ["wrong", "a token for the tests onlY"])
def test_a_wrong_token(server: Server, token: str) -> None:
    for address in server.addresses[:2]:
        with pytest.raises(ServeError, match=r"gave another token; expected the server's; .*INNERVATE_TOKEN") as caught:
            connect(address, token=token)
        assert caught.value.code == "token"


def hello(link: StreamLink, **more: object) -> Frame | None:
    link.send(Kind.HELLO, 1, {"versions": [1], "token": TOKEN, **more})
    return link.receive(5.0)


def test_an_old_client_is_told_so_in_the_form_that_every_version_reads(server: Server) -> None:
    link = connect_unix(unix_of(server))
    link._sock.sendall(HEADER.pack(b"IN", 0, Kind.HELLO, 1, 0, 0))
    frame = link.receive(5.0)
    assert frame is not None
    assert (frame.kind, frame.meta["code"]) == (Kind.ERROR, "version")
    assert "update innervate where the client runs" in frame.meta["next_step"]
    link.close()
    link = connect_unix(unix_of(server))
    frame = hello(link, versions=[2, 3])
    assert frame is not None
    assert "update innervate where this server runs" in frame.meta["next_step"]
    link.close()


@pytest.mark.parametrize(
    ("sent", "code", "message"),
    [
        (HEADER.pack(b"IN", 1, Kind.APPEND, 5, 0, 2**32 - 1), "oversized", "a body of 4294967295 bytes"),
        (HEADER.pack(b"IN", 1, Kind.APPEND, 5, 2**31, 0), "oversized", "a meta of 2147483648 bytes"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "frame", "HTTP has a port of its own"),
        (HEADER.pack(b"IN", 1, Kind.PING, 5, 2, 0) + b"[]", "frame", "expected a JSON object"),
    ],
)
def test_what_is_no_frame_ends_that_connection_with_its_cause(server: Server, sent: bytes, code: str, message: str) -> None:
    link = connect_unix(unix_of(server))
    assert hello(link) is not None
    link._sock.sendall(sent)
    frame = link.receive(5.0)
    assert frame is not None
    assert (frame.kind, frame.meta["code"]) == (Kind.ERROR, code)
    assert message in str(wire.error_of(frame.meta))
    assert link.receive(5.0) is None
    link.close()
    with connect(server.addresses[0], token=TOKEN) as other:
        assert other.ping(b"still here") == b"still here"


def test_an_oversized_message_over_websocket(server: Server) -> None:
    with connect(server.addresses[1], token=TOKEN) as client:
        connection = client._link._connection  # type: ignore[attr-defined]
        connection.send(HEADER.pack(b"IN", 1, Kind.APPEND, 5, 0, wire.BODY_MAX + 400_000) + bytes(wire.BODY_MAX + 400_000))
        with pytest.raises(ServeError, match=r"a message longer than a frame may be; .*send the latents in parts"):
            client.ping()


def test_an_oversized_request_is_refused_before_it_is_sent(client: Client) -> None:
    with pytest.raises(ServeError, match="send the latents in parts"):
        client.append(latents(20_000))
    assert client.ping(b"on") == b"on"


def test_nothing_is_answered_before_hello(server: Server) -> None:
    link = connect_unix(unix_of(server))
    link.send(Kind.APPEND, 1, None, bytes(4 * WIDTH))
    frame = link.receive(5.0)
    assert frame is not None
    assert "say hello with the token first" in frame.meta["next_step"]
    link.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> float:
    """Links made in the test give up after a tenth of a second."""
    monkeypatch.setattr(links, "STALL_S", 0.1)
    monkeypatch.setattr(links, "STALL_LIMIT", struct.pack("@ll", 0, 100_000))
    return 0.1


def test_a_client_that_stops_in_the_middle_of_a_frame(impatient: float, server: Server) -> None:
    link = connect_unix(unix_of(server))
    assert hello(link) is not None
    link._sock.sendall(HEADER.pack(b"IN", 1, Kind.APPEND, 1, 0, 400) + bytes(10))
    link._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", 5, 0))
    frame = link.receive()
    assert frame is not None
    assert "stopped in the middle of a frame for 0.1 s" in str(wire.error_of(frame.meta))
    link.close()


def test_a_client_that_vanishes_in_the_middle_of_a_frame(server: Server) -> None:
    before = server._weights._open
    for _ in range(5):
        link = connect_unix(unix_of(server))
        assert hello(link) is not None
        link.send(Kind.APPEND, 1, None, wire.raw(latents(2)))
        assert link.receive(5.0) is not None
        link._sock.sendall(HEADER.pack(b"IN", 1, Kind.APPEND, 2, 0, 4 * WIDTH) + bytes(7))
        link.close()
    with connect(server.addresses[0], token=TOKEN) as other:
        for _ in range(500):
            if server._weights._open == before:
                break
            other.ping()
        assert server._weights._open == before, "their sessions are given back"


def test_a_client_that_does_not_read_is_dropped_and_the_others_are_served(impatient: float, server: Server) -> None:
    link = connect_unix(unix_of(server))
    assert hello(link) is not None
    body = bytes(1 << 20)
    sent = 0
    with pytest.raises(ServeError, match=r"did not read for|closed the connection"):
        for _ in range(64):
            link.send(Kind.PING, 1, None, body)
            sent += 1
    assert sent < 64
    link.close()
    with connect(server.addresses[0], token=TOKEN) as other:
        assert other.ping(b"served") == b"served"


def test_sessions_are_bounded(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "SESSIONS_MAX", server._weights._open + 1)
    with connect(server.addresses[0], token=TOKEN) as one, connect(server.addresses[0], token=TOKEN) as two:
        one.append(latents(1))
        with pytest.raises(ServeError, match="close a connection that has one") as caught:
            two.append(latents(1))
        assert caught.value.code == "busy"
        assert two.ping(b"no session needed") == b"no session needed"


def test_a_budget_slows_and_says_nothing(place: Path, quiet_bundle: Path) -> None:
    (place / "slow").mkdir()
    with served_backbone(place / "slow", quiet_bundle, requests_s=10.0) as server, connect(server.addresses[0], token=TOKEN) as client:
        import time

        began = time.perf_counter()
        for _ in range(14):
            client.ping()
        assert time.perf_counter() - began > 0.25


def test_a_second_server_at_the_same_place_is_refused_and_a_dead_one_s_socket_is_taken_over(server: Server, place: Path) -> None:
    path = unix_of(server)
    with pytest.raises(ServeError, match=r"another server listens there; .*name another with --unix"):
        server.open_unix(path)
    dead = place / "dead.sock"
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(os.fspath(dead))
    sock.close()
    server.open_unix(dead)
    with connect(f"unix:{dead}", token=TOKEN) as client:
        assert client.ping(b"x") == b"x"
    assert dead.stat().st_mode & 0o777 == 0o600
    (place / "file").write_text("precious")
    with pytest.raises(ServeError, match="is a file"):
        server.open_unix(place / "file")
    with pytest.raises(ServeError, match=r"a path of \d+ bytes; expected at most 107"):
        server.open_unix(place / ("x" * 120))


def test_a_port_that_is_taken(server: Server) -> None:
    port = int(server.addresses[1].rpartition(":")[2])
    with pytest.raises(ServeError, match=r"expected a free port; stop what listens there, or name another with --ws HOST:PORT"):
        server.open_ws("127.0.0.1", port)


def test_other_machines_are_let_in_with_a_warning_only(server: Server) -> None:
    said: list[str] = []
    server._warn, before = said.append, server._warn
    server.listens("ws://0.0.0.0:1", "0.0.0.0")
    server.addresses.pop()
    server._warn = before
    assert "can be reached from other machines, and nothing on it is encrypted" in said[0]


def test_a_web_page_is_not_let_in(server: Server) -> None:
    from websockets.exceptions import InvalidStatus
    from websockets.sync.client import connect as dial
    from websockets.typing import Origin

    with pytest.raises(InvalidStatus, match="403"):
        dial(server.addresses[1], origin=Origin("http://example.org"))


@pytest.mark.parametrize("address", ["unix:/nowhere/at/all.sock", "ws://127.0.0.1:1"])
def test_nobody_at_home(address: str) -> None:
    with pytest.raises(ServeError, match=r"cannot be reached .*; expected a running server; start one: innervate serve"):
        connect(address, token=TOKEN)


def test_an_address_of_another_kind() -> None:
    with pytest.raises(ServeError, match="expected unix:///PATH or ws://HOST:PORT"):
        connect("http://127.0.0.1:8766/v1", token=TOKEN)
