"""Frames: their bytes, in any pieces, and what is refused."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from innervate.runtime.ali.errors import InnervateError, LatentError, SpaceMismatch
from innervate.runtime.serve import wire
from innervate.runtime.serve.wire import CODES, HEADER, Frame, FrameBuffer, Kind, ServeError


def test_the_bytes_of_a_frame() -> None:
    """As docs/serve.md shows them."""
    body = np.array([[1.0, -2.0]], np.float32)
    found = wire.head(Kind.APPEND, 7, {"last": True}, 8) + bytes(wire.raw(body))
    assert found.hex(" ") == (
        "49 4e 01 10 07 00 00 00 0d 00 00 00 08 00 00 00 "  # IN, version 1, APPEND, id 7, 13 bytes of meta, 8 of body
        "7b 22 6c 61 73 74 22 3a 74 72 75 65 7d "  # {"last":true}
        "00 00 80 3f 00 00 00 c0"  # 1.0, -2.0
    )


FRAMES = st.builds(
    Frame,
    st.sampled_from([int(kind) for kind in Kind]),
    st.integers(0, 2**32 - 1),
    st.dictionaries(st.text(max_size=5), st.one_of(st.integers(-(2**53), 2**53), st.text(max_size=9), st.none()), max_size=3),
    st.binary(max_size=64),
)


@given(st.lists(FRAMES, max_size=5), st.data())
def test_frames_come_out_as_they_went_in_however_they_are_cut(frames: list[Frame], data: st.DataObject) -> None:
    stream = b"".join(wire.head(one.kind, one.id, one.meta, len(one.body)) + bytes(one.body) for one in frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    buffer, found = FrameBuffer("peer"), []
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        buffer.feed(stream[begin:end])
        found += list(iter(buffer.next, None))
    assert [(one.kind, one.id, one.meta, bytes(one.body)) for one in found] == [(one.kind, one.id, one.meta, bytes(one.body)) for one in frames]


@given(st.binary(min_size=16, max_size=200))
def test_any_bytes_give_frames_or_a_serve_error(data: bytes) -> None:
    buffer = FrameBuffer("peer")
    buffer.feed(data)
    try:
        while buffer.next() is not None:
            pass
    except ServeError as error:
        assert error.code in CODES


def header(magic: bytes = b"IN", version: int = 1, meta: int = 0, body: int = 0) -> bytes:
    return HEADER.pack(magic, version, Kind.PING, 1, meta, body)


@pytest.mark.parametrize(
    ("data", "code", "message"),
    [
        (header(magic=b"GE"), "frame", r"client: began with the bytes 47 45; expected 49 4e \(IN\); .*HTTP has a port of its own"),
        (header(version=0), "version", "speaks version 0 of the protocol; expected 1; update innervate where the client runs"),
        (header(version=9), "version", "speaks version 9 of the protocol; expected 1; update innervate where this server runs"),
        (header(body=wire.BODY_MAX + 1), "oversized", r"a body of 4194305 bytes; expected at most 4194304; send the latents in parts"),
        (header(meta=wire.META_MAX + 1), "oversized", r"a meta of 65537 bytes; expected at most 65536"),
    ],
)
def test_a_header_that_is_refused(data: bytes, code: str, message: str) -> None:
    with pytest.raises(ServeError, match=message) as caught:
        wire.read_header(data, "client")
    assert caught.value.code == code


@pytest.mark.parametrize("meta", [b"{", b"[1]", b"\xff", b'{"a":' * 5000])
def test_a_meta_that_is_no_object(meta: bytes) -> None:
    with pytest.raises(ServeError, match="expected a JSON object") as caught:
        wire.read_meta(meta, "client")
    assert caught.value.code == "frame"


@pytest.mark.parametrize("size", [0, 3, 12])
def test_a_body_that_is_no_whole_rows(size: int) -> None:
    with pytest.raises(ServeError, match=r"rows of 2 float32, 8 bytes each") as caught:
        Frame(Kind.APPEND, body=bytes(size)).floats(2)
    assert caught.value.code == "latents"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (LatentError("a", "b", "c", "d"), "latents"),
        (SpaceMismatch("a", "b", "c", "d"), "space"),
        (ServeError("busy", "a", "b", "c", "d"), "busy"),
        (InnervateError("a", "b", "c", "d"), "request"),
    ],
)
def test_an_error_is_the_same_at_the_other_end(error: InnervateError, code: str) -> None:
    meta = json.loads(json.dumps(wire.error_meta(error)))
    assert meta["code"] == code
    back = wire.error_of(meta)
    assert str(back) == str(error)
    assert isinstance(back, ServeError) or type(back) is type(error)


def test_a_foreign_error_says_its_type() -> None:
    assert wire.error_meta(RuntimeError("oh"))["came"] == "RuntimeError: oh"


def test_the_page_lists_every_kind_and_code_with_its_number() -> None:
    page = (Path(__file__).parents[2] / "docs" / "serve.md").read_text()
    inside = {Kind.CONFIG, Kind.READY, Kind.GONE}  # between the device and its serving process
    listed = {name: int(number) for name, number in re.findall(r"(?m)^\| ([A-Z]+) \| (\d+) \|", page)}
    assert listed == {kind.name: int(kind) for kind in Kind if kind not in inside}
    assert set(re.findall(r"`(\w+)`", page.partition("Codes of errors: ")[2].partition(". After")[0])) == set(CODES)
    assert "49 4e 01 10 07 00 00 00 0d 00 00 00 08 00 00 00\n7b 22 6c 61 73 74 22 3a 74 72 75 65 7d\n00 00 80 3f 00 00 00 c0" in page
