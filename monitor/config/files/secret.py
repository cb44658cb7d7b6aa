"""Secrets: read from files or the environment, never from the configuration itself."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path

from pydantic import SecretStr

from monitor.config.files.regular import NotRegular, may_be_path, read_regular, why

#: A token may have some KiB, and a line end.
_AT_MOST = 64 * 1024


class NoSecret(Exception):
    """A secret could not be had. The message and `instead` hold none of it."""

    def __init__(self, message: str, instead: str = "") -> None:
        super().__init__(message)
        self.instead = instead


class _Source(Enum):
    FILE = auto()
    VARIABLE = auto()


@dataclass(frozen=True, slots=True)
class _Absent:
    """Why there is no secret, and what to write instead."""

    message: str
    instead: str = ""


@dataclass(frozen=True, slots=True)
class SecretSighting:
    """What was found where a secret was looked for."""

    source: _Source
    #: It may be the secret, written in the wrong place.
    name: str = field(repr=False)
    found: SecretStr | _Absent = field(repr=False)
    #: What every user of this machine can do with the file: "read", "change".
    others_can: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Vault:
    """Where secrets are looked for."""

    #: The directory of the settings file: relative paths start here, those of agency files too.
    directory: Path
    environ: Mapping[str, str] = field(repr=False)
    #: All that was looked at: what was made of it holds for as long as it is the same.
    seen: list[SecretSighting] = field(default_factory=list, repr=False)

    def apart(self) -> Vault:
        """Return one that sees the same, and notes for itself what it has seen."""
        return Vault(directory=self.directory, environ=self.environ)

    def still_sees(self, sightings: Iterable[SecretSighting]) -> bool:
        """Whether all is there as it was."""
        return all(self._look(each.source, each.name) == each for each in sightings)

    def from_file(self, name: str) -> SecretStr:
        """Return what the file holds without its last newline. Raise `NoSecret`."""
        return self._note(_Source.FILE, name)

    def from_variable(self, name: str) -> SecretStr:
        """Return the value of an environment variable. Raise `NoSecret`."""
        return self._note(_Source.VARIABLE, name)

    def _shown(self, name: str) -> str:
        """Return what to call a file that is not there: the name may be the secret, written in the wrong place."""
        known = may_be_path(self.directory / name, self.directory)
        return f"the file {name}" if known else "the file that is named here"

    def others_can(self, name: str) -> tuple[str, ...]:
        """Return what every user of this machine can do with the file: "read", "change"."""
        try:
            mode = (self.directory / name).stat().st_mode
        except (OSError, ValueError):
            return ()
        return tuple(what for what, bit in (("read", stat.S_IROTH), ("change", stat.S_IWOTH)) if mode & bit)

    def _note(self, source: _Source, name: str) -> SecretStr:
        seen = self._look(source, name)
        self.seen.append(seen)
        if isinstance(seen.found, _Absent):
            raise NoSecret(seen.found.message, seen.found.instead)
        return seen.found

    def _look(self, source: _Source, name: str) -> SecretSighting:
        if source is _Source.FILE:
            return SecretSighting(source, name, self._in_file(name), self.others_can(name))
        if name not in self.environ:
            # What is no variable may be the secret, written in the wrong place.
            where = "the name of a variable that the service is given, or ..._file: PATH"
            return SecretSighting(
                source, name, _Absent("the environment variable that is named here is not set", where)
            )
        return SecretSighting(source, name, _whole(self.environ[name], f"the environment variable {name}"))

    def _in_file(self, name: str) -> SecretStr | _Absent:
        alone = f"the path of a file that holds only the secret; a relative one starts at {self.directory}"
        try:
            # Notepad puts a byte order mark in front of what it saves.
            text = read_regular(self.directory / name, _AT_MOST).decode("utf-8-sig")
        except UnicodeDecodeError:
            return _Absent(f"the file {name} is not UTF-8 text", "the secret alone, saved as UTF-8")
        except NotRegular as error:
            return _Absent(f"the file {name} {error}", alone)
        except FileNotFoundError:
            return _Absent(f"{self._shown(name)} does not exist", alone)
        except (OSError, ValueError) as error:
            return _Absent(f"{self._shown(name)} cannot be read: {why(error)}", alone)
        return _whole(text.removesuffix("\n").removesuffix("\r"), f"the file {name}")


def _whole(text: str, source: str) -> SecretStr | _Absent:
    if not text.strip():
        return _Absent(f"{source} is empty", "the secret alone, in one line")
    if any(character in text for character in "\r\n\0"):
        # No protocol can carry it, and a second line is rather a file of something else.
        return _Absent(f"{source} has more than one line", "the secret alone, in one line")
    return SecretStr(text)
