"""Secrets: read from files or the environment, never from the configuration itself."""

from __future__ import annotations

import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import SecretStr

from monitor.config.regular import NotRegular, read_regular

_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]{0,39}")
#: A token may have some KiB, and a line end.
_AT_MOST = 64 * 1024


class NoSecret(Exception):
    """A secret could not be had. The message and `instead` hold none of it."""

    def __init__(self, message: str, instead: str = "") -> None:
        super().__init__(message)
        self.instead = instead


@dataclass(frozen=True, slots=True, kw_only=True)
class Vault:
    """Where secrets are looked for."""

    #: The directory of the settings file: relative paths start here, those of agency files too.
    directory: Path
    environ: Mapping[str, str] = field(repr=False)

    def from_file(self, name: str) -> SecretStr:
        """Return what the file holds without its last newline. Raise `NoSecret`."""
        try:
            text = read_regular(self.directory / name, _AT_MOST).decode()
        except UnicodeDecodeError:
            raise NoSecret(f"the file {name} is not UTF-8 text") from None
        except NotRegular as error:
            raise NoSecret(f"the file {name} {error}", "the path of a file that holds only the secret") from None
        except FileNotFoundError:
            raise NoSecret(
                f"{self._shown(name)} does not exist", "the path of a file that holds only the secret"
            ) from None
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else "no such file"
            raise NoSecret(f"{self._shown(name)} cannot be read: {reason}") from None
        return _whole(text.removesuffix("\n").removesuffix("\r"), f"the file {name}")

    def _shown(self, name: str) -> str:
        """Return what to call a file that is not there: the name may be the secret, written in the wrong place."""
        file = self.directory / name
        try:
            leads_there = file.exists() or (file.parent.is_dir() and file.parent not in {self.directory, Path("/")})
        except (OSError, ValueError):
            leads_there = False
        return f"the file {name}" if leads_there else "the file that is named here"

    def is_open_to_all(self, name: str) -> bool:
        """Return whether every user of this machine can read the file."""
        try:
            return bool((self.directory / name).stat().st_mode & stat.S_IROTH)
        except (OSError, ValueError):
            return False

    def from_variable(self, name: str) -> SecretStr:
        """Return the value of an environment variable. Raise `NoSecret`."""
        if name not in self.environ:
            # As people call them; anything else may be the secret, written in the wrong place.
            shown = (
                f"the environment variable {name}" if _VARIABLE.fullmatch(name) else "the variable that is named here"
            )
            raise NoSecret(f"{shown} is not set")
        return _whole(self.environ[name], f"the environment variable {name}")


def _whole(text: str, source: str) -> SecretStr:
    if not text.strip():
        raise NoSecret(f"{source} is empty")
    if any(character in text for character in "\r\n\0"):
        # No protocol can carry it, and a second line is rather a file of something else.
        raise NoSecret(f"{source} has more than one line", "the secret alone, in one line")
    return SecretStr(text)
