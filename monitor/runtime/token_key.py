"""The key that signs the tokens in probe messages. It is created once, readable only for the service's user."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

#: File name in the state directory.
KEY_FILE = "token.key"
_KEY_OCTETS = 32


def new_key() -> bytes:
    """Return a new random key."""
    return secrets.token_bytes(_KEY_OCTETS)


def token_key(state: Path) -> bytes:
    """Return the key; create it if its file does not exist.

    *state*: the state directory. Raise `OSError` when the file cannot be read or written, `ValueError` when its content
    is not a key.
    """
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = state / KEY_FILE
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return _read(path)
    with os.fdopen(descriptor, "wb") as file:
        file.write(new_key())
        file.flush()
        os.fsync(file.fileno())
    return _read(path)


def _read(path: Path) -> bytes:
    key = path.read_bytes()
    if len(key) != _KEY_OCTETS:
        raise ValueError(f"{path} is not a token key ({_KEY_OCTETS} octets); remove it, and a new one is created")
    return key
