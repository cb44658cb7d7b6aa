"""Base class of the configuration's pydantic models, and the types of their values.

An invalid value does not stop the check of the configuration. It is reported and replaced by a valid substitute, so
that the other values are checked as well.
"""

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
from monitor.model.renamed_keys import RENAMED_VALUES
from monitor.model.translatable import translatable
from probes.model.domain import normalize_domain

_HOST_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
#: A host or domain name (RFC 1123, with the underscores that some operators of name servers use).
_HOST_PATTERN = rf"{_HOST_LABEL}(?:\.{_HOST_LABEL})*"
#: A mail address with a dot-atom before the @ (RFC 5321). Quoted local parts are valid, and unused in practice.
_ADDRESS_PATTERN = (
    rf"[A-Za-z0-9!#$%&'*+/=?^_`{{|}}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{{|}}~-]+)*@{_HOST_LABEL}(?:\.{_HOST_LABEL})+"
)

#: Maximum length of a mail address in characters: 64 before the @, 255 after it (RFC 5321 4.5.3.1). A longer
#: text is not searched for an address, because the search time is quadratic in the length.
_MAX_ADDRESS_LENGTH = 64 + 1 + 255

#: Minimum length of a token in characters, so that a program on this machine cannot guess it.
_MIN_TOKEN_LENGTH = 24


class Section(BaseModel):
    """Base class of the configuration's sections: immutable, no unknown keys, and no input values in errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


@dataclass(frozen=True, slots=True)
class SubstituteIfInvalid:
    """Annotation of a type: the input that replaces an invalid one, so that the rest can be checked."""

    value: Any


@dataclass(frozen=True, slots=True)
class OptionalSecret:
    """Annotation of a secret without which the configuration is usable. If it is unavailable, that is recorded with `Findings.loss`."""

    #: What does not work without the secret; appended to the problem's message.
    consequence: str
    #: What to write instead, as in `Problem`.
    instead: str


def shape_error(message: str, instead: str = "") -> PydanticCustomError:
    """Return the error for a value of the wrong shape. *instead*: what to write instead.

    The template "{what}" keeps pydantic from interpreting braces in *message*.
    """
    return PydanticCustomError("shape", "{what}", {"what": message, "instead": instead})


def reject_old_values(key: str) -> BeforeValidator:
    """Return a validator that rejects former values of *key* with an error that names the new value."""

    def check(value: object) -> object:
        if isinstance(value, str) and (new := RENAMED_VALUES[key].get(value)) is not None:
            raise shape_error(translatable("`{old}` is now `{new}`", old=value, new=new), new)
        return value

    return BeforeValidator(check)


def parsed_by(parse: Callable[[str], object]) -> BeforeValidator:
    """Return a validator that parses text with *parse*, and passes other values on to pydantic."""
    return BeforeValidator(lambda value: parse(value) if isinstance(value, str) else value)


def _matches(pattern: str, message: str, instead: str) -> Callable[[str], str]:
    compiled = re.compile(pattern, re.ASCII)

    def check(text: str) -> str:
        if not compiled.fullmatch(text):
            raise shape_error(message, instead)
        return text

    return check


def _is_host(text: str) -> bool:
    """Whether *text* is the name or the IP address of a host. The last label of a name is never numeric (RFC 1123 2.1).

    A zone of an IPv6 address ("fe80::1%eth0") is not allowed.
    """
    if ":" not in text and not text.rpartition(".")[2].isdigit():
        return re.fullmatch(_HOST_PATTERN, text, re.ASCII) is not None
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text


def _extract_host(text: str) -> str:
    """Return the host in *text* (a URL, a host with a port, or a name with a final dot); "" if there is none."""
    try:
        host = (urlsplit(text if "://" in text else f"//{text}").hostname or "").rstrip(".")
    except ValueError:
        return ""
    return host if _is_host(host) else ""


def _check_host(text: str) -> str:
    if not _is_host(text):
        is_address = "@" in text and "://" not in text
        suggestion = "" if is_address else _extract_host(text)
        raise shape_error("is no host name", suggestion or "mel.jabatan-contoh.gov.my")
    return text


def _check_mail_address(text: str) -> str:
    if len(text) > _MAX_ADDRESS_LENGTH or not re.fullmatch(_ADDRESS_PATTERN, text, re.ASCII):
        suggestion = re.search(_ADDRESS_PATTERN, text[:_MAX_ADDRESS_LENGTH], re.ASCII)
        raise shape_error("is no mail address", suggestion[0] if suggestion else "peti-pantau@jabatan-contoh.gov.my")
    return text


def _check_line(text: str) -> str:
    if not text.strip():
        raise shape_error("is empty", "some text, or leave the key out")
    if "\n" in text or "\t" in text:
        raise shape_error("is longer than one line", "one line of text")
    return text.strip()


def _parse_domain(text: str) -> str:
    domain = normalize_domain(text)
    if not re.fullmatch(_HOST_PATTERN, domain) or "." not in domain:
        suggestion = _extract_host(text)
        raise shape_error(
            translatable("'{text}' is no domain", text=text),
            suggestion if "." in suggestion else "jabatan-contoh.gov.my",
        )
    return domain


def _parse_duration(text: str) -> timedelta:
    try:
        return parse_duration(text)
    except InvalidDurationError as error:
        number = text.strip()
        raise shape_error(
            str(error),
            translatable("{number}s or {number}m", number=number) if number.isdigit() else "30s, 5m or 1h30m",
        ) from None


def _parse_percent(value: object) -> int:
    match = re.fullmatch(r"(\d{1,3}) ?%", str(value).strip(), re.ASCII)
    if match is None or int(match[1]) > 100:
        raise shape_error("is no percentage", "50%")
    return int(match[1])


def _reject_empty_path(value: object) -> object:
    """Return *value*. Reject an empty text: as a relative path it would be the directory of the settings file."""
    if value == "":
        raise shape_error("is empty", "a path, or leave the key out")
    return value


def _absolute_path(file: Path, info: ValidationInfo) -> Path:
    """Return the absolute path of *file*. A relative one starts at *info.context*, the directory of the settings file.

    Without a context, return *file*.
    """
    return file if info.context is None else info.context / file


def _documents_location(location: Path, info: ValidationInfo) -> Path:
    return location if location == IN_DATABASE else _absolute_path(location, info)


def _refreshed_file_path(file: Path, info: ValidationInfo) -> Path:
    """Return the absolute path of *file*, which another program or Pantau writes, and which may not exist yet.

    Reject a text that is probably a token instead of a path.
    """
    if info.context is not None and not may_be_path(info.context / file, info.context):
        raise shape_error(
            "neither the file nor its directory exists",
            translatable(
                "a path in a directory of its own; a relative one starts at {directory}", directory=info.context
            ),
        )
    return _absolute_path(file, info)


def _check_token_length(token: SecretStr) -> SecretStr:
    if len(token.get_secret_value()) < _MIN_TOKEN_LENGTH:
        message = translatable("a token has at least {shortest} characters", shortest=_MIN_TOKEN_LENGTH)
        raise shape_error(message, "a new one: openssl rand -hex 32 (in a shell)")
    return token


def _check_positive(span: timedelta) -> timedelta:
    if span <= timedelta(0):
        raise shape_error("must be longer than zero", "30s, 5m or 1h30m")
    return span


#: One line of text that is not empty.
OneLine = Annotated[str, AfterValidator(_check_line), SubstituteIfInvalid("?")]

#: Name of an item in the configuration, such as a mailbox or a contact. It is also a metric label and a part of URLs.
Slug = Annotated[
    str,
    AfterValidator(_matches(r"[a-z0-9][a-z0-9-]{0,39}", "is no name", "small letters, digits and hyphens: rujukan-a")),
    SubstituteIfInvalid("x"),
]

#: An agency's short code: "JCONTOH". It must fit into an SMS of 160 characters with the rest of the text.
AgencyCode = Annotated[
    str,
    AfterValidator(_matches(r"[A-Z0-9]{1,11}", "is no short code", "1 to 11 capital letters and digits: JCONTOH")),
    SubstituteIfInvalid("X"),
]

#: A registered mail domain, in lower case.
Domain = Annotated[str, AfterValidator(_parse_domain), SubstituteIfInvalid("x.invalid")]

#: A mail address. `fields.circular` checks later whether the government's e-mail circular allows it.
MailAddress = Annotated[str, AfterValidator(_check_mail_address), SubstituteIfInvalid("x@x.invalid")]

#: The host name or address of a server.
Host = Annotated[str, AfterValidator(_check_host), SubstituteIfInvalid("x.invalid")]

#: Keys to press after an office's line has answered; "w" waits half a second, "W" a second. The pattern allows at most
#: 12 "W", because Twilio accepts 32 keys and a "W" becomes two of them.
Extension = Annotated[
    str,
    AfterValidator(
        _matches(
            r"(?!(?:.*W){13})[0-9*#wW]{1,20}",
            "is no extension",
            'the digits to press after the line answers, as "1234"',
        )
    ),
    SubstituteIfInvalid("1"),
]

#: A TCP port.
Port = Annotated[int, Field(ge=1, le=65535), SubstituteIfInvalid(1)]
#: A number of repetitions, votes or the like, from 1 to 100.
Count = Annotated[int, Field(ge=1, le=100), SubstituteIfInvalid(1)]

#: A percentage, written "50%"; the value is 50.
Percent = Annotated[int, BeforeValidator(_parse_percent), SubstituteIfInvalid("50%")]

#: A duration, which may be zero.
Duration = Annotated[timedelta, parsed_by(_parse_duration), SubstituteIfInvalid(timedelta(minutes=1))]

#: A duration longer than zero.
PositiveDuration = Annotated[Duration, AfterValidator(_check_positive)]

#: Path of a file or a directory, made absolute: a relative one starts at the directory of the settings file.
ResolvedPath = Annotated[Path, BeforeValidator(_reject_empty_path), AfterValidator(_absolute_path)]

#: Value of `agencies` that means: the agencies' documents are in the database, not in a directory.
IN_DATABASE: Final = Path("database")

#: A directory of files, or `IN_DATABASE`.
DocumentsLocation = Annotated[Path, reject_old_values("agencies"), AfterValidator(_documents_location)]

#: Bearer token by which a program authenticates itself to Pantau.
BearerToken = Annotated[SecretStr, AfterValidator(_check_token_length)]

#: Path of a file with a secret, which another program or Pantau itself refreshes.
RefreshedSecretFile = Annotated[Path, AfterValidator(_refreshed_file_path)]
