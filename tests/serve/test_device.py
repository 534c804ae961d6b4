"""A whole device in real time with a serving process: applications and the text API, over real sockets."""

from __future__ import annotations

import json
import os
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import openai
import pytest

from innervate.runtime.loop.events import Fault, Text
from innervate.runtime.serve.application import Application
from innervate.runtime.serve.client import Client
from innervate.runtime.serve.wire import Floats, ServeError
from tests.bundles import WIDTH
from tests.serve.parts import TOKEN, WAIT_S, Served, opening_rows

ROWS = np.full((2, WIDTH), 0.5, np.float32)


class Ring(Application):
    """Counts what it is given; stops after three latents."""

    name = "acme/ring"
    gives, takes, may = True, True, ("act", "tell")

    def __init__(self, client: Client, side: Floats | None = None) -> None:
        super().__init__(client, side)
        self.heard: list[str] = []
        self.latents: list[Floats] = []

    def opened(self) -> None:
        self.heard.append("opened")

    def latent(self, hidden: Floats) -> None:
        self.latents.append(hidden)
        self.push(ROWS)
        if len(self.latents) == 3:
            self.tell("the ring is lit")
            self.stop()

    def closed(self, cause: str) -> None:
        self.heard.append(cause)


def faults(served: Served, source: str) -> list[str]:
    return [event.cause for event in served.log.of(Fault) if isinstance(event, Fault) and event.source == source]


def goes_on(served: Served) -> None:
    """Wait for ten more turns."""
    ticks = served.device.ticks
    deadline = time.monotonic() + WAIT_S
    while served.device.ticks < ticks + 10:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_three_roles_reach_each_other(driving: Served, driving_bundle: Path) -> None:
    with driving.connect() as client:
        ring = Ring(client, opening_rows(driving_bundle))
        ring.run()
        assert ring.heard == ["opened"]
        assert [latent.shape for latent in ring.latents] == [(WIDTH,)] * 3
        assert "the ring is lit" in [event.text for event in driving.log.of(Text) if isinstance(event, Text)], "the user is told"
        told = client.say("and now the motor")
        assert told.opened == ("motor",), "the ring has left"
    assert faults(driving, "acme/ring") == []


def test_a_name_is_had_once(driving: Served) -> None:
    with driving.connect() as one, driving.connect() as two:
        one.register({"name": "acme/twin", "kind": "upstream"})
        with pytest.raises(ServeError, match=r"acme/twin is connected already; .*give this one another name"):
            two.register({"name": "acme/twin", "kind": "upstream"})
        with pytest.raises(ServeError, match="is application acme/twin already"):
            one.register({"name": "acme/other", "kind": "upstream"})
        one.leave()


def test_what_an_application_may_not(driving: Served) -> None:
    with driving.connect() as client:
        asks: list[Callable[[], None]] = [lambda: client.push(ROWS), lambda: client.tell("hi"), lambda: client.taken(1)]
        for ask in asks:
            with pytest.raises(ServeError, match=r"expected one that has registered; register first"):
                ask()
        client.register({"name": "acme/meek", "kind": "upstream"})
        with pytest.raises(ServeError, match='register with may = \\["act"\\]'):
            client.say("look left")
        with pytest.raises(ServeError, match='register with may = \\["tell"\\]'):
            client.tell("hi")
        client.leave()


def test_an_application_that_dies(driving: Served) -> None:
    client = driving.connect()
    client.register({"name": "acme/mortal", "kind": "upstream"})
    client.push(ROWS)
    client.close()
    driving.log.wait(lambda events: faults(driving, "acme/mortal"))
    assert faults(driving, "acme/mortal") == ["acme/mortal: its process has gone, or closed the connection without taking leave"]
    goes_on(driving)


def test_an_application_that_hangs(driving: Served, driving_bundle: Path) -> None:
    with driving.connect() as client:
        client.register({"name": "acme/stuck", "kind": "downstream"}, opening_rows(driving_bundle))
        driving.log.wait(lambda events: faults(driving, "acme/stuck"))
        assert faults(driving, "acme/stuck") == ["acme/stuck: hangs: 12 latents sent, none of them taken"]
        with pytest.raises(ServeError, match="hangs: 12 latents sent") as caught:
            while True:
                client.next_frame()
        assert caught.value.code == "gone"
    goes_on(driving)


def test_an_application_that_floods(driving: Served) -> None:
    with driving.connect() as client:
        client.register({"name": "acme/flood", "kind": "upstream"})
        refused = 0
        with pytest.raises(ServeError, match="floods: 201 pushes in a row over 100 latents/s") as caught:
            while True:
                try:
                    client.push(np.repeat(ROWS, 32, axis=0))
                except ServeError as error:
                    if error.code != "budget":
                        raise
                    refused += 1
        assert (caught.value.code, refused) == ("gone", 200)
    driving.log.wait(lambda events: faults(driving, "acme/flood"))
    goes_on(driving)


def test_an_application_that_pushes_nonsense_is_told_and_stays(driving: Served) -> None:
    with driving.connect() as client:
        client.register({"name": "acme/nan", "kind": "upstream"})
        with pytest.raises(ValueError, match="4 non-finite values"):
            client.push(np.where(np.arange(WIDTH) < 4, np.nan, ROWS[:1]).astype(np.float32))
        client.push(ROWS)
        client.leave()
    assert faults(driving, "acme/nan") == []


def test_events_are_told_as_they_happen(driving: Served) -> None:
    with driving.connect() as client:
        seen = next(client.events())
        assert seen["event"] in ("open", "setpoint", "stop", "close", "fault", "text")


@pytest.fixture(scope="module")
def speaking(place: Path, speaking_bundle: Path) -> Iterator[Served]:
    (place / "speaking").mkdir()
    served = Served(place / "speaking", speaking_bundle)
    yield served
    served.close()


@pytest.fixture(scope="module")
def chat(speaking: Served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=speaking.http, api_key=TOKEN, max_retries=0, timeout=WAIT_S) as chat:
        yield chat


MESSAGES = [{"role": "system", "content": "you are a device"}, {"role": "user", "content": "hello"}]


def test_the_models_of_a_device(chat: openai.OpenAI) -> None:
    assert [model.id for model in chat.models.list()] == ["nano"]
    assert chat.models.retrieve("nano").owned_by == "innervate"


def test_a_chat_is_a_line_and_its_answer(chat: openai.OpenAI) -> None:
    answer = chat.chat.completions.create(model="nano", messages=MESSAGES, temperature=0.2)  # type: ignore[arg-type]
    (choice,) = answer.choices
    assert (choice.message.role, choice.message.content, choice.finish_reason) == ("assistant", "hi", "stop")
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (6, 2)
    assert answer.model_extra is not None
    assert answer.model_extra["innervate"] == {"opened": [], "closed": [], "ticks": 1, "timed_out": False}


def test_a_chat_in_a_stream(chat: openai.OpenAI) -> None:
    stream = chat.chat.completions.create(
        model="nano", messages=[{"role": "user", "content": [{"type": "text", "text": "hello"}]}], stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "hi"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].usage is not None


def test_a_device_that_acts_says_nothing_and_tells_what_it_opened(driving: Served) -> None:
    with openai.OpenAI(base_url=driving.http, api_key=TOKEN, max_retries=0, timeout=WAIT_S) as chat:
        answer = chat.chat.completions.create(model="nano", messages=[{"role": "user", "content": "look left"}])
        assert answer.choices[0].message.content == ""
        assert answer.model_extra is not None
        assert answer.model_extra["innervate"]["opened"] == ["motor"]


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"model": "gpt"}, openai.NotFoundError, "this device has 'nano'"),
        ({"messages": []}, openai.BadRequestError, "messages must be a list with one message or more"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, openai.BadRequestError, "the newest message must be the user's"),
        ({"messages": [{"role": "user", "content": "  "}]}, openai.BadRequestError, "text of 1 to 1024 bytes"),
        ({"messages": [{"role": "user", "content": "x" * 2000}]}, openai.BadRequestError, "text of 1 to 1024 bytes"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, openai.BadRequestError, "only text"),
        ({"n": 2}, openai.BadRequestError, "n must be 1"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, openai.BadRequestError, "tools are not supported"),
        ({"extra_body": {"wait_s": 1e9}}, openai.BadRequestError, "wait_s must be seconds"),
        ({"messages": [{"role": "user", "content": "x" * 300_000}]}, openai.APIStatusError, "at most 262144 are taken"),
    ],
)
def test_bad_requests_are_told_in_openai_s_words(chat: openai.OpenAI, change: dict[str, object], kind: type[openai.APIError], message: str) -> None:
    with pytest.raises(kind, match=message):
        chat.chat.completions.create(**{"model": "nano", "messages": MESSAGES, **change})  # type: ignore[call-overload]
    assert chat.models.retrieve("nano").id == "nano"


def test_a_wrong_key(speaking: Served) -> None:
    with openai.OpenAI(base_url=speaking.http, api_key="wrong", max_retries=0, timeout=WAIT_S) as chat:
        with pytest.raises(openai.AuthenticationError, match="Incorrect API key"):
            chat.models.list()


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status"),
    [
        ("GET", "/v1/nowhere", {}, None, 404),
        ("POST", "/v1/embeddings", {}, b"{}", 404),
        ("POST", "/v1/chat/completions", {}, b"not json", 400),
        ("POST", "/v1/chat/completions", {}, b"[]", 400),
        ("GET", "/v1/models", {"Origin": "http://example.org"}, None, 403),
    ],
)
def test_other_requests(speaking: Served, method: str, path: str, headers: dict[str, str], body: bytes | None, status: int) -> None:
    url = speaking.http.removesuffix("/v1") + path
    request = urllib.request.Request(url, body, {"Authorization": f"Bearer {TOKEN}", **headers}, method=method)
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=WAIT_S)
    with caught.value as answer:
        assert (answer.code, set(json.load(answer)["error"])) == (status, {"message", "type", "param", "code"})


def test_too_many_lines_of_one_client_are_refused(speaking: Served) -> None:
    with speaking.connect() as client:
        with pytest.raises(ServeError, match="too many lines; expected 2 a second") as caught:
            for _ in range(100):
                client.say("hello")
        assert caught.value.code == "budget"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_the_serving_process_is_killed_or_hangs_and_the_device_goes_on(place: Path, quiet_bundle: Path, number: int) -> None:
    folder = place / f"killed{number}"
    folder.mkdir()
    served = Served(folder, quiet_bundle)
    try:
        process = served.process._process
        assert process is not None
        if number == signal.SIGKILL:
            os.kill(process.pid, number)
            served.log.wait(lambda events: faults(served, "serve"))
            deadline = time.monotonic() + WAIT_S
            while True:  # it is started again, at the same place
                try:
                    with served.connect() as client:
                        assert client.ping(b"back") == b"back"
                    break
                except ServeError:
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
        else:
            os.kill(process.pid, number)
            goes_on(served)
    finally:
        served.close()
    assert served.process._process is None


def test_the_serving_process_ends_with_the_device(place: Path, quiet_bundle: Path) -> None:
    (place / "ends").mkdir()
    served = Served(place / "ends", quiet_bundle)
    process = served.process._process
    assert process is not None
    client = served.connect()
    served.close()
    assert process.poll() is not None
    with pytest.raises(ServeError):
        client.ping()
    client.close()
    assert not (place / "ends" / "d.sock").exists()
