"""The token: made once, kept to oneself."""

import stat
from pathlib import Path

import pytest

from innervate.runtime.serve.token import default_socket, default_token_file, find_token, same, server_token
from innervate.runtime.serve.wire import ServeError


def test_the_server_makes_a_token_that_the_client_finds(tmp_path: Path) -> None:
    environment = {"XDG_STATE_HOME": str(tmp_path)}
    token, source = server_token(None, environment)
    assert source == str(tmp_path / "innervate" / "token")
    assert stat.S_IMODE(Path(source).stat().st_mode) == 0o600
    assert stat.S_IMODE(Path(source).parent.stat().st_mode) == 0o700
    assert len(token) >= 40
    assert server_token(None, environment) == (token, source), "the second start finds it"
    assert find_token(None, None, environment) == token


def test_what_is_given_goes_before_the_environment_and_that_before_the_file(tmp_path: Path) -> None:
    environment = {"XDG_STATE_HOME": str(tmp_path), "INNERVATE_TOKEN": "from the environment"}
    assert find_token("given", None, environment) == "given"
    assert find_token(None, None, environment) == "from the environment"
    assert server_token(None, environment) == ("from the environment", "the environment (INNERVATE_TOKEN)")
    mine, _ = server_token(tmp_path / "mine", environment)
    assert find_token(None, tmp_path / "mine", environment) == mine, "a file that was named goes before the environment"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_token_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "token"
    path.write_text("0123456789abcdef")
    path.chmod(mode)
    for ask in (lambda: server_token(path, {}), lambda: find_token(None, path, {})):
        with pytest.raises(ServeError, match=rf"has mode {mode:04o}; expected 0600, .*; rm {path}"):
            ask()


def test_a_short_token_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ServeError, match="a token of 3 characters; expected 16 or more"):
        server_token(None, {"INNERVATE_TOKEN": "abc"})


def test_a_client_without_a_token_is_told_where_it_would_be(tmp_path: Path) -> None:
    with pytest.raises(ServeError, match=r"there is no token; .*copy the server's token file here with mode 0600, or set INNERVATE_TOKEN"):
        find_token(None, None, {"XDG_STATE_HOME": str(tmp_path)})


def test_a_place_where_none_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ServeError, match="cannot be"):
        server_token(tmp_path / "file" / "token", {})


def test_comparison() -> None:
    assert same("abc", "abc")
    assert not same("abd", "abc")
    assert not same(None, "abc")
    assert not same("ä", "abc")


def test_places() -> None:
    assert default_socket({"XDG_RUNTIME_DIR": "/run/user/7"}) == Path("/run/user/7/innervate/serve.sock")
    assert default_socket({"XDG_STATE_HOME": "/s"}) == Path("/s/innervate/serve.sock")
    assert default_token_file({"XDG_STATE_HOME": "/s"}) == Path("/s/innervate/token")
