"""Secrets, read from files, environment variables or the store, never from the configuration itself."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable, Iterable, Mapping, MutableSequence
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path

from pydantic import SecretStr

from monitor.config.files.regular import FileStamp, NotRegularFileError, may_be_path, read_regular, unreadable
from monitor.config.files.tracked import is_tracked
from monitor.model.lazy_text import said

#: Octets. A token may have some KiB and a line end.
_AT_MOST = 64 * 1024


class SecretUnavailableError(Exception):
    """A secret is unavailable. The message and `instead` do not contain it."""

    def __init__(self, message: str, instead: str = "") -> None:
        super().__init__(message)
        self.instead = instead


class StoredSecret(SecretStr):
    """Secret entered in the portal. It may be sent only to the hosts that it was entered for."""

    def __init__(self, secret: str, *, allowed_hosts: Iterable[str] = (), why: str = "", name: str = "") -> None:
        """*allowed_hosts*: hosts that may receive it.

        *why*: why it is unavailable; it is empty then. *name*: its name in documents.
        """
        super().__init__(secret)
        self.name = name
        self.allowed_hosts = frozenset(allowed_hosts)
        self.why = why

    @classmethod
    def read(cls, text: str, name: str = "") -> StoredSecret:
        """Parse the stored form of a secret. Raise `ValueError`."""
        kept = json.loads(text)
        if not isinstance(kept, dict):
            raise ValueError("is no secret")  # noqa: TRY004 - what cannot be read is one error
        return cls(str(kept.get("secret", "")), allowed_hosts=map(str, kept.get("hearers", ())), name=name)

    def written(self) -> str:
        """Return the stored form of the secret, before encryption."""
        return json.dumps({"secret": self.get_secret_value(), "hearers": sorted(self.allowed_hosts)})

    def __eq__(self, other: object) -> bool:
        """Whether both secrets and their allowed hosts are equal."""
        return (
            isinstance(other, StoredSecret)
            and self.get_secret_value() == other.get_secret_value()
            and (self.allowed_hosts, self.why) == (other.allowed_hosts, other.why)
        )

    def __hash__(self) -> int:
        return hash((self.get_secret_value(), self.allowed_hosts, self.why))


class _Source(Enum):
    FILE = auto()
    VARIABLE = auto()
    STORE = auto()


@dataclass(frozen=True, slots=True)
class _Absent:
    """Reason why a secret is missing, and what to write instead."""

    message: str
    instead: str = ""


@dataclass(frozen=True, slots=True)
class SecretLookup:
    """Result of the search for a secret at one source."""

    source: _Source
    #: May be the secret itself, written in the wrong place.
    name: str = field(repr=False)
    found: SecretStr | _Absent = field(repr=False)
    #: What every user of this machine can do with the file: "read", "change".
    others_can: tuple[str, ...] = ()
    #: Metadata of the file. While it is unchanged, the file need not be read again.
    stamp: FileStamp | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretResolver:
    """Resolver of secrets from files, environment variables and the store."""

    #: The directory of the settings file. Relative paths start here, in agency files too.
    directory: Path
    environ: Mapping[str, str] = field(repr=False)
    #: Returns a secret that was entered in the portal, by its name in documents; `None`: the document may name none.
    typed: Callable[[str], StoredSecret] | None = field(default=None, repr=False)
    #: All lookups so far. Results derived from them are valid while the lookups are unchanged.
    seen: list[SecretLookup] = field(default_factory=list, repr=False)

    def apart(self) -> SecretResolver:
        """Return a resolver with the same sources and a separate list of lookups."""
        return SecretResolver(directory=self.directory, environ=self.environ, typed=self.typed)

    def still_sees(self, sightings: MutableSequence[SecretLookup]) -> bool:
        """Whether all lookups give the same result as before.

        Lookups whose files had to be read again are replaced in *sightings*.
        """
        for number, each in enumerate(sightings):
            if each.stamp is not None and each.stamp.holds():
                continue
            seen = self._look(each.source, each.name)
            if seen != each:
                return False
            sightings[number] = seen
        return True

    def from_file(self, name: str) -> SecretStr:
        """Return the content of the file without its last newline. Raise `SecretUnavailableError`."""
        return self._note(_Source.FILE, name)

    def from_variable(self, name: str) -> SecretStr:
        """Return the value of an environment variable. Raise `SecretUnavailableError`."""
        return self._note(_Source.VARIABLE, name)

    def from_store(self, name: str) -> StoredSecret:
        """Return a secret that was entered in the portal; its `why` says if it is unavailable.

        Raise `SecretUnavailableError`.
        """
        found = self._note(_Source.STORE, name)
        assert isinstance(found, StoredSecret)  # noqa: S101 - so `_look` has it
        return found

    def _shown(self, name: str) -> str:
        """Return how messages refer to a missing file: its name may be a secret written in the wrong place."""
        known = may_be_path(self.directory / name, self.directory)
        return said("the file {name}", name=name) if known else said("the file that is named here")

    def others_can(self, name: str) -> tuple[str, ...]:
        """Return what every user of this machine can do with the file: "read", "change"."""
        try:
            mode = (self.directory / name).stat().st_mode
        except (OSError, ValueError):
            return ()
        return tuple(what for what, bit in (("read", stat.S_IROTH), ("change", stat.S_IWOTH)) if mode & bit)

    def is_tracked(self, name: str) -> bool:
        """Return whether git tracks the file."""
        return is_tracked(self.directory / name)

    def _note(self, source: _Source, name: str) -> SecretStr:
        seen = self._look(source, name)
        self.seen.append(seen)
        if isinstance(seen.found, _Absent):
            raise SecretUnavailableError(seen.found.message, seen.found.instead)
        return seen.found

    def _look(self, source: _Source, name: str) -> SecretLookup:
        if source is _Source.FILE:
            # Take the stamp before reading, so that a concurrent change is detected next time.
            stamp = FileStamp.of(self.directory / name)
            return SecretLookup(source, name, self._in_file(name), self.others_can(name), stamp)
        if source is _Source.STORE:
            found = _Absent("nothing here may name it") if self.typed is None else self.typed(name)
            return SecretLookup(source, name, found)
        if name not in self.environ:
            # If it is not the name of a variable, it may be the secret itself, written in the wrong place.
            where = "the name of a variable that the service is given, or ..._file: PATH"
            return SecretLookup(source, name, _Absent("the environment variable that is named here is not set", where))
        return SecretLookup(
            source, name, _whole(self.environ[name], said("the environment variable {name}", name=name))
        )

    def _in_file(self, name: str) -> SecretStr | _Absent:
        alone = said(
            "the path of a file that holds only the secret; a relative one starts at {directory}",
            directory=self.directory,
        )
        try:
            # Notepad saves files with a byte order mark.
            text = read_regular(self.directory / name, _AT_MOST).decode("utf-8-sig")
        except UnicodeDecodeError:
            return _Absent(said("the file {name} is not UTF-8 text", name=name), "the secret alone, saved as UTF-8")
        except NotRegularFileError as error:
            return _Absent(said("the file {name} {error}", name=name, error=str(error)), alone)
        except FileNotFoundError:
            return _Absent(said("{name} does not exist", name=self._shown(name)), alone)
        except (OSError, ValueError) as error:
            reason, instead = unreadable(self.directory / name, error)
            return _Absent(said("{name} {reason}", name=self._shown(name), reason=reason), instead or alone)
        return _whole(_in_a_line(text).removesuffix("\n").removesuffix("\r"), said("the file {name}", name=name))


def _in_a_line(text: str) -> str:
    """Return JSON as one line: the key of a service account is a file of several lines, and one secret."""
    if not text.startswith("{") or "\n" not in text.strip():
        return text
    try:
        return json.dumps(json.loads(text))
    except (ValueError, RecursionError):
        return text


def _whole(text: str, source: str) -> SecretStr | _Absent:
    if not text.strip():
        return _Absent(said("{source} is empty", source=source), "the secret alone, in one line")
    if any(character in text for character in "\r\n\0"):
        # No protocol can transmit it, and a second line suggests that this is another kind of file.
        return _Absent(said("{source} has more than one line", source=source), "the secret alone, in one line")
    return SecretStr(text)
