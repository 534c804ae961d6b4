"""The token: who may talk to a server. A file that only its owner can read, or the environment.

Rule: what a program is given explicitly goes first, then INNERVATE_TOKEN, then the file. A file that others can read is refused, by
the server and by the client alike: it is no secret any more.
"""

import hmac
import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path

from innervate.runtime.serve.wire import ServeError

VARIABLE = "INNERVATE_TOKEN"
LENGTH_MIN = 16  # characters; what is shorter can be guessed over the network
BYTES = 32  # of randomness in a token that is made here


def default_token_file(environment: Mapping[str, str] = os.environ) -> Path:
    """Return where the token lies unless told otherwise: in the user's state folder."""
    base = environment.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
    return Path(base) / "innervate" / "token"


def default_socket(environment: Mapping[str, str] = os.environ) -> Path:
    """Return where the server's Unix socket lies unless told otherwise: in the user's runtime folder, else beside the token."""
    base = environment.get("XDG_RUNTIME_DIR")
    folder = Path(base) / "innervate" if base else default_token_file(environment).parent
    return folder / "serve.sock"


def find_token(given: str | None = None, file: Path | None = None, environment: Mapping[str, str] = os.environ) -> str:
    """Return the token of a client. Raises ServeError when there is none, or the file may be read by others."""
    token = given or (environment.get(VARIABLE) if file is None else None)
    if token:
        return token.strip()
    path = file or default_token_file(environment)
    try:
        return _read(path)
    except FileNotFoundError as error:
        step = f"copy the server's token file here with mode 0600, or set {VARIABLE}"
        raise ServeError("token", str(path), "there is no token", "the server's", step) from error


def server_token(file: Path | None = None, environment: Mapping[str, str] = os.environ) -> tuple[str, str]:
    """Return the token of a server and where it is from; its file is made when missing. Raises ServeError as `find_token` does."""
    if file is None and environment.get(VARIABLE):
        token, source = environment[VARIABLE].strip(), f"the environment ({VARIABLE})"
    else:
        path = file or default_token_file(environment)
        source = str(path)
        try:
            token = _read(path)
        except FileNotFoundError:
            token = _make(path)
    if len(token) < LENGTH_MIN:
        came = f"a token of {len(token)} characters"
        raise ServeError("token", source, came, f"{LENGTH_MIN} or more", "remove the file, and a good one is made")
    return token, source


def same(given: object, right: str) -> bool:
    """Compare in a time that does not tell how much was right."""
    return isinstance(given, str) and hmac.compare_digest(given.encode(), right.encode())


def _read(path: Path) -> str:
    try:
        state = path.stat()
        if stat.S_IMODE(state.st_mode) & 0o077:
            came = f"has mode {stat.S_IMODE(state.st_mode):04o}"
            raise ServeError("token", str(path), came, "0600, for others could read it", f"rm {path} makes the server write a new one")
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        raise
    except (OSError, UnicodeDecodeError) as error:
        raise ServeError("token", str(path), f"cannot be read ({error})", "the server's token", "run as the user that owns it") from error


def _make(path: Path) -> str:
    token = secrets.token_urlsafe(BYTES)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as file:
            file.write(token + "\n")
    except FileExistsError:
        return _read(path)  # another server made it just now
    except OSError as error:
        step = f"name another with --token-file, or set {VARIABLE}"
        raise ServeError("token", str(path), f"cannot be written ({error.strerror})", "a place for the token", step) from error
    return token
