"""Secrets. The configuration contains only their sources.

The source of a secret is a file, an environment variable, or, for a *stored secret*, the database: a user entered it in
the portal.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Callable, Iterable, Mapping, MutableSequence
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path

from pydantic import SecretStr

from monitor.config.files.regular import FileStamp, NotRegularFileError, explain_unreadable, may_be_path, read_regular
from monitor.config.files.tracked import is_tracked
from monitor.model.translatable import translatable

#: Maximum size of a secret's file in octets. A token may have some KiB.
_MAX_OCTETS = 64 * 1024


class SecretUnavailableError(Exception):
    """A secret is unavailable. The message and `instead` (what to write instead) do not contain the secret."""

    def __init__(self, message: str, instead: str = "") -> None:
        super().__init__(message)
        self.instead = instead


class StoredSecret(SecretStr):
    """Secret that a user entered in the portal. It may be sent only to the recipients for which it was entered."""

    def __init__(
        self, secret: str, *, allowed_recipients: Iterable[str] = (), unavailable_reason: str = "", name: str = ""
    ) -> None:
        """*allowed_recipients*: the recipients of the secret, as `MailboxSettings.secret_recipients` returns them.

        *unavailable_reason*: why the secret is unavailable; *secret* is then empty. *name*: its name in documents.
        """
        super().__init__(secret)
        self.name = name
        self.allowed_recipients = frozenset(allowed_recipients)
        self.unavailable_reason = unavailable_reason

    @classmethod
    def parse(cls, text: str, name: str = "") -> StoredSecret:
        """Parse the form that `serialize` returns. *name*: the secret's name in documents.

        Raise `ValueError` if *text* is no JSON object.
        """
        stored = json.loads(text)
        if not isinstance(stored, dict):
            raise ValueError("is no secret")  # noqa: TRY004 - the same error as for invalid JSON
        return cls(str(stored.get("secret", "")), allowed_recipients=map(str, stored.get("hearers", ())), name=name)

    def serialize(self) -> str:
        """Return the form in which the secret is stored, before encryption: JSON, whose keys must not be renamed."""
        return json.dumps({"secret": self.get_secret_value(), "hearers": sorted(self.allowed_recipients)})

    def __eq__(self, other: object) -> bool:
        """Whether both secrets and their allowed recipients are equal, whatever their names."""
        return (
            isinstance(other, StoredSecret)
            and self.get_secret_value() == other.get_secret_value()
            and (self.allowed_recipients, self.unavailable_reason)
            == (other.allowed_recipients, other.unavailable_reason)
        )

    def __hash__(self) -> int:
        return hash((self.get_secret_value(), self.allowed_recipients, self.unavailable_reason))


class _Source(Enum):
    FILE = auto()
    VARIABLE = auto()
    STORE = auto()


@dataclass(frozen=True, slots=True)
class _MissingSecret:
    """Reason why a secret is missing, and what to write instead."""

    message: str
    instead: str = ""


@dataclass(frozen=True, slots=True)
class SecretLookup:
    """Result of the search for a secret at one source."""

    source: _Source
    #: Path of the file, or name of the variable or stored secret. A user may have written the secret itself here.
    name: str = field(repr=False)
    result: SecretStr | _MissingSecret = field(repr=False)
    #: What every user of this machine can do with the file: "read", "change".
    public_access: tuple[str, ...] = ()
    #: Metadata of the file, by which a change is detected without reading it; `None`: no file, or no reliable metadata.
    stamp: FileStamp | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretResolver:
    """Resolver of secrets from files, environment variables and the database."""

    #: Directory of the settings file, at which relative paths start, also those in agency files.
    directory: Path
    #: Environment variables.
    environ: Mapping[str, str] = field(repr=False)
    #: Returns a stored secret by its name; `None`: the document must not name stored secrets.
    find_stored: Callable[[str], StoredSecret] | None = field(default=None, repr=False)
    #: All lookups so far. While their results stay the same, the configuration that was read with them is up to date.
    lookups: list[SecretLookup] = field(default_factory=list, repr=False)

    def with_separate_lookups(self) -> SecretResolver:
        """Return a resolver with the same sources and a separate list of lookups."""
        return SecretResolver(directory=self.directory, environ=self.environ, find_stored=self.find_stored)

    def are_unchanged(self, lookups: MutableSequence[SecretLookup]) -> bool:
        """Whether all *lookups* would have the same result now.

        A lookup whose file had to be read again is replaced in *lookups* by the new one, which has a current stamp.
        """
        for number, each in enumerate(lookups):
            if each.stamp is not None and each.stamp.is_current():
                continue
            lookup = self._look_up(each.source, each.name)
            if lookup != each:
                return False
            lookups[number] = lookup
        return True

    def from_file(self, name: str) -> SecretStr:
        """Return the content of the file *name* without its last newline. Raise `SecretUnavailableError`."""
        return self._resolve(_Source.FILE, name)

    def from_variable(self, name: str) -> SecretStr:
        """Return the value of an environment variable. Raise `SecretUnavailableError`."""
        return self._resolve(_Source.VARIABLE, name)

    def from_store(self, name: str) -> StoredSecret:
        """Return the stored secret *name*. An unavailable one is empty and has an `unavailable_reason`.

        Raise `SecretUnavailableError` if the document must not name stored secrets.
        """
        stored_secret = self._resolve(_Source.STORE, name)
        assert isinstance(stored_secret, StoredSecret)  # noqa: S101 - `_look_up` returns no other type for this source
        return stored_secret

    def _display_name(self, name: str) -> str:
        """Return how messages call a missing or unreadable file. They omit *name* if it may be the secret itself."""
        is_path = may_be_path(self.directory / name, self.directory)
        return translatable("the file {name}", name=name) if is_path else translatable("the file that is named here")

    def public_access(self, name: str) -> tuple[str, ...]:
        """Return what every user of this machine can do with the file: "read", "change"."""
        try:
            mode = (self.directory / name).stat().st_mode
        except (OSError, ValueError):
            return ()
        return tuple(access for access, bit in (("read", stat.S_IROTH), ("change", stat.S_IWOTH)) if mode & bit)

    def is_tracked(self, name: str) -> bool:
        """Return whether git tracks the file."""
        return is_tracked(self.directory / name)

    def _resolve(self, source: _Source, name: str) -> SecretStr:
        lookup = self._look_up(source, name)
        self.lookups.append(lookup)
        if isinstance(lookup.result, _MissingSecret):
            raise SecretUnavailableError(lookup.result.message, lookup.result.instead)
        return lookup.result

    def _look_up(self, source: _Source, name: str) -> SecretLookup:
        if source is _Source.FILE:
            # Take the stamp before reading, so that a concurrent change is detected next time.
            stamp = FileStamp.of(self.directory / name)
            return SecretLookup(source, name, self._read_file(name), self.public_access(name), stamp)
        if source is _Source.STORE:
            result = (
                _MissingSecret("no secret from the portal may be named here")
                if self.find_stored is None
                else self.find_stored(name)
            )
            return SecretLookup(source, name, result)
        if name not in self.environ:
            # The message does not contain *name*, which may be the secret itself.
            remedy = "the name of a variable that the service is given, or ..._file: PATH"
            return SecretLookup(
                source, name, _MissingSecret("the environment variable that is named here is not set", remedy)
            )
        return SecretLookup(
            source, name, _as_secret(self.environ[name], translatable("the environment variable {name}", name=name))
        )

    def _read_file(self, name: str) -> SecretStr | _MissingSecret:
        remedy = translatable(
            "the path of a file that holds only the secret; a relative one starts at {directory}",
            directory=self.directory,
        )
        try:
            # Notepad saves files with a byte order mark.
            text = read_regular(self.directory / name, _MAX_OCTETS).decode("utf-8-sig")
        except UnicodeDecodeError:
            return _MissingSecret(
                translatable("the file {name} is not UTF-8 text", name=name), "the secret alone, saved as UTF-8"
            )
        except NotRegularFileError as error:
            return _MissingSecret(translatable("the file {name} {error}", name=name, error=str(error)), remedy)
        except FileNotFoundError:
            return _MissingSecret(translatable("{name} does not exist", name=self._display_name(name)), remedy)
        except (OSError, ValueError) as error:
            reason, instead = explain_unreadable(self.directory / name, error)
            return _MissingSecret(
                translatable("{name} {reason}", name=self._display_name(name), reason=reason), instead or remedy
            )
        return _as_secret(
            _json_on_one_line(text).removesuffix("\n").removesuffix("\r"), translatable("the file {name}", name=name)
        )


def _json_on_one_line(text: str) -> str:
    """Return JSON on one line, and other text unchanged. The key file of a service account is JSON of several lines."""
    if not text.startswith("{") or "\n" not in text.strip():
        return text
    try:
        return json.dumps(json.loads(text))
    except (ValueError, RecursionError):
        return text


def _as_secret(text: str, source: str) -> SecretStr | _MissingSecret:
    """Return *text* as a secret, unless it is empty or has several lines. *source*: its source in messages."""
    if not text.strip():
        return _MissingSecret(translatable("{source} is empty", source=source), "the secret alone, in one line")
    if any(character in text for character in "\r\n\0"):
        # No protocol can transmit such a secret, and a second line suggests that the file is no secret.
        return _MissingSecret(
            translatable("{source} has more than one line", source=source), "the secret alone, in one line"
        )
    return SecretStr(text)
