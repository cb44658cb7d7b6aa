"""Base class of the configuration's models, and the types of their values."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationInfo
from pydantic_core import PydanticCustomError

from monitor.config.files.duration import InvalidDurationError, parse_duration
from monitor.config.files.regular import may_be_path
from monitor.model.lazy_text import said
from monitor.model.renamed_keys import RENAMED_VALUES
from probes.model.domain import normal_domain

_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
#: A host or domain name (RFC 1123, with the underscores that some operators of name servers use).
_HOST = rf"{_LABEL}(?:\.{_LABEL})*"
#: A mail address with a dot-atom before the @ (RFC 5321). Quoted local parts are valid, and unused in practice.
_ADDRESS = rf"[A-Za-z0-9!#$%&'*+/=?^_`{{|}}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{{|}}~-]+)*@{_LABEL}(?:\.{_LABEL})+"

#: In characters: 64 before the @, 255 behind it (RFC 5321 4.5.3.1). The search time is quadratic in the length of the
#: text.
_LONGEST_ADDRESS = 64 + 1 + 255

#: In characters: too long to guess by brute force over loopback.
_SHORTEST_TOKEN = 24


class Section(BaseModel):
    """Base class of the configuration's sections: immutable, without extra keys, and without input values in errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


@dataclass(frozen=True, slots=True)
class InvalidValue:
    """Substitute for a broken value while the rest of the file is checked."""

    value: Any


@dataclass(frozen=True, slots=True)
class OptionalSecret:
    """Mark of an optional secret: if it is unavailable, all else still works."""

    #: What does not work without the secret, and the remedy.
    without: str
    instead: str


def wrong(message: str, instead: str = "") -> PydanticCustomError:
    """Return the error of a value of the wrong shape. Braces in *message* are not filled in."""
    return PydanticCustomError("shape", "{what}", {"what": message, "instead": instead})


def renamed(key: str) -> BeforeValidator:
    """Return a validator that refuses old values of *key*, and names the new ones."""

    def check(written: object) -> object:
        if isinstance(written, str) and (new := RENAMED_VALUES[key].get(written)) is not None:
            raise wrong(said("`{old}` is now `{new}`", old=written, new=new), new)
        return written

    return BeforeValidator(check)


def as_text(read: Callable[[str], object]) -> BeforeValidator:
    """Return a validator that parses text by *read*. Anything else than text is left to pydantic."""
    return BeforeValidator(lambda written: read(written) if isinstance(written, str) else written)


def _matching(pattern: str, message: str, instead: str) -> Callable[[str], str]:
    form = re.compile(pattern, re.ASCII)

    def check(text: str) -> str:
        if not form.fullmatch(text):
            raise wrong(message, instead)
        return text

    return check


def _is_host(text: str) -> bool:
    """Whether *text* is the name or the address of a host. A name never ends in digits alone (RFC 1123, 2.1)."""
    if ":" not in text and not text.rpartition(".")[2].isdigit():
        return re.fullmatch(_HOST, text, re.ASCII) is not None
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text


def _meant_host(text: str) -> str:
    """Return the host in a URL, a host with a port, or a name with a final dot; "" if there is none."""
    try:
        host = (urlsplit(text if "://" in text else f"//{text}").hostname or "").rstrip(".")
    except ValueError:
        return ""
    return host if _is_host(host) else ""


def _host(text: str) -> str:
    if not _is_host(text):
        is_address = "@" in text and "://" not in text
        meant = "" if is_address else _meant_host(text)
        raise wrong("is no host name", meant or "mel.jabatan-contoh.gov.my")
    return text


def _mail_address(text: str) -> str:
    if len(text) > _LONGEST_ADDRESS or not re.fullmatch(_ADDRESS, text, re.ASCII):
        meant = re.search(_ADDRESS, text[:_LONGEST_ADDRESS], re.ASCII)
        raise wrong("is no mail address", meant[0] if meant else "peti-pantau@jabatan-contoh.gov.my")
    return text


def _line(text: str) -> str:
    if not text.strip():
        raise wrong("is empty", "some text, or leave the key out")
    if "\n" in text or "\t" in text:
        raise wrong("is longer than one line", "one line of text")
    return text.strip()


def _domain(text: str) -> str:
    domain = normal_domain(text)
    if not re.fullmatch(_HOST, domain) or "." not in domain:
        meant = _meant_host(text)
        raise wrong(said("'{text}' is no domain", text=text), meant if "." in meant else "jabatan-contoh.gov.my")
    return domain


def _duration(text: str) -> timedelta:
    try:
        return parse_duration(text)
    except InvalidDurationError as error:
        number = text.strip()
        raise wrong(
            str(error), said("{number}s or {number}m", number=number) if number.isdigit() else "30s, 5m or 1h30m"
        ) from None


def _percent(written: object) -> int:
    found = re.fullmatch(r"(\d{1,3}) ?%", str(written).strip(), re.ASCII)
    if found is None or int(found[1]) > 100:
        raise wrong("is no percentage", "50%")
    return int(found[1])


def _some_path(written: object) -> object:
    """Return *written*. Reject an empty text, which would mean the directory of the settings file."""
    if written == "":
        raise wrong("is empty", "a path, or leave the key out")
    return written


def _placed(file: Path, info: ValidationInfo) -> Path:
    """Return the absolute path of *file*, which is relative to the directory of the settings file."""
    return file if info.context is None else info.context / file


def _kept(place: Path, info: ValidationInfo) -> Path:
    return place if place == IN_DATABASE else _placed(place, info)


def _meant(file: Path, info: ValidationInfo) -> Path:
    """Return the path of *file*, which another program maintains. It may not exist yet; reject a token in its place."""
    if info.context is not None and not may_be_path(info.context / file, info.context):
        raise wrong(
            "no file and no directory for it is there",
            said("a path in a directory of its own; a relative one starts at {directory}", directory=info.context),
        )
    return _placed(file, info)


def _long_enough(token: SecretStr) -> SecretStr:
    if len(token.get_secret_value()) < _SHORTEST_TOKEN:
        message = said("a token has at least {shortest} characters", shortest=_SHORTEST_TOKEN)
        raise wrong(message, "a new one: openssl rand -hex 32 (in a shell)")
    return token


def _positive(span: timedelta) -> timedelta:
    if span <= timedelta(0):
        raise wrong("must be longer than nothing", "30s, 5m or 1h30m")
    return span


#: One line of text that is not empty.
Line = Annotated[str, AfterValidator(_line), InvalidValue("?")]

#: The name of an item in the configuration; also a metric label and a part of URLs.
Slug = Annotated[
    str,
    AfterValidator(_matching(r"[a-z0-9][a-z0-9-]{0,39}", "is no name", "small letters, digits and hyphens: rujukan-a")),
    InvalidValue("x"),
]

#: An agency's short code. Its length is limited by an SMS of 160 characters.
Code = Annotated[
    str,
    AfterValidator(_matching(r"[A-Z0-9]{1,11}", "is no short code", "1 to 11 capital letters and digits: JCONTOH")),
    InvalidValue("X"),
]

#: A registered mail domain, in lower case.
Domain = Annotated[str, AfterValidator(_domain), InvalidValue("x.invalid")]

#: A mail address. Whether the circular allows it is checked later.
MailAddress = Annotated[str, AfterValidator(_mail_address), InvalidValue("x@x.invalid")]

#: The host name or address of a server.
Host = Annotated[str, AfterValidator(_host), InvalidValue("x.invalid")]

#: Keys to press after an office line has answered; w and W wait half a second and a second. Twilio accepts 32 keys, and
#: a W is two of its waits. The limit is therefore 12.
Extension = Annotated[
    str,
    AfterValidator(
        _matching(
            r"(?!(?:.*W){13})[0-9*#wW]{1,20}",
            "is no extension",
            'the digits to press after the line answers, as "1234"',
        )
    ),
    InvalidValue("1"),
]

Port = Annotated[int, Field(ge=1, le=65535), InvalidValue(1)]
Count = Annotated[int, Field(ge=1, le=100), InvalidValue(1)]

#: A percentage as "50%".
Percent = Annotated[int, BeforeValidator(_percent), InvalidValue("50%")]

#: A duration, which may be zero.
Duration = Annotated[timedelta, as_text(_duration), InvalidValue(timedelta(minutes=1))]

#: A duration longer than zero.
Span = Annotated[Duration, AfterValidator(_positive)]

#: Path of a file or a directory.
File = Annotated[Path, BeforeValidator(_some_path), AfterValidator(_placed)]

#: Value of a directory key that means: use the documents in the store.
IN_DATABASE: Final = Path("database")

#: A directory of files, or `IN_DATABASE`.
DocumentsPlace = Annotated[Path, renamed("agencies"), AfterValidator(_kept)]

#: A secret that identifies one of our programs. It must be long enough to resist guessing.
Token = Annotated[SecretStr, AfterValidator(_long_enough)]

#: A file with a secret that another program, or Pantau itself, refreshes.
KeptFile = Annotated[Path, AfterValidator(_meant)]
