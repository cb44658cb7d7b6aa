"""Configuration of an SMS provider's HTTP interface, called a profile. `alerts.gateways.http.reading` applies it.

A profile can describe any provider that accepts an SMS in one request: by GET, as a form, or as JSON.
docs/how-to/operator/sms-providers.md explains how to write a profile from the provider's documentation.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
)

from alerts.provider import DEADLINE_SECONDS, Deadline, SafeUrl


class Method(StrEnum):
    """How a request carries its fields."""

    #: GET, in the query.
    GET = "get"
    #: POST, as a web form.
    FORM = "form"
    #: POST, as one JSON document.
    JSON = "json"


class Format(StrEnum):
    """Format of an answer, which determines how a value in it is addressed."""

    #: Any text: a regular expression, of which the first group is the value.
    TEXT = "text"
    #: A path of keys and indices: `data.0.id`.
    JSON = "json"


class Meaning(StrEnum):
    """Meaning of a provider's error code."""

    #: Not accepted, and worth a retry: too many requests, maintenance, handset off.
    TEMPORARY = "temporary"
    #: The number cannot receive SMS: not valid, unknown, a landline, barred.
    NUMBER = "number"
    #: The text was refused: content rules.
    TEXT = "text"
    #: User name, password or key are wrong, or the account is closed.
    CREDENTIALS = "credentials"
    #: No credit left.
    BALANCE = "balance"
    #: The sender's name or number is not permitted.
    SENDER = "sender"
    #: Something else in this configuration is wrong.
    CONFIGURATION = "configuration"
    #: The provider has the message already: it was accepted before.
    DUPLICATE = "duplicate"
    #: It is unknown whether the message was accepted.
    UNCERTAIN = "uncertain"


class SmsState(StrEnum):
    """Meaning of a state of a submitted message, or of its failure (see `Meaning`)."""

    ACCEPTED = "accepted"
    SENT = "sent"
    DELIVERED = "delivered"
    TEMPORARY = "temporary"
    NUMBER = "number"
    TEXT = "text"
    CREDENTIALS = "credentials"
    BALANCE = "balance"
    SENDER = "sender"
    CONFIGURATION = "configuration"
    #: The provider has no such message.
    ABSENT = "absent"


#: Placeholders in fields, headers and URLs, each with a sample value or its meaning. They are replaced in each request.
PLACEHOLDERS = {
    "to": "+60123456789",
    "to_digits": "60123456789",
    "to_local": "0123456789",
    "text": "the SMS",
    "reference": "the reference of the attempt",
    "id": "the provider's id; only in receipts",
    "seconds": "the validity of the SMS",
    "minutes": "the same",
    "callback": "the URL to which the provider posts the status",
    "user": "as configured",
    "secret": "as configured",
    "basic": "user and secret as HTTP basic authentication has them",
}
PLACEHOLDER = re.compile(r"\{(\w+)\}")
_PATH = re.compile(r"[\w-]+(?:\.[\w-]+)*")
_MIN_SECRET_LENGTH = 16
_PROOFS = ("secret_header", "secret_field", "signature_header")
#: Key for all codes and states that a table does not list.
OTHERWISE = "*"


def _read_code(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError('YAML reads this as true or false: put it in quotes, as "NO"')  # noqa: TRY004 - as pydantic has it
    return str(value) if isinstance(value, int) else value


def _check_placeholders(value: Any) -> Any:
    """Return *value*. Raise `ValueError` if it, or a text nested in it, has an unknown placeholder."""
    for text in _texts(value):
        for name in PLACEHOLDER.findall(text):
            if name not in PLACEHOLDERS:
                raise ValueError(f"{{{name}}} is no placeholder; write one of {{{'}, {'.join(PLACEHOLDERS)}}}")
    return value


def _texts(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case list() | tuple():
            for item in value:
                yield from _texts(item)
        case dict():
            for item in value.values():
                yield from _texts(item)


def placeholders_in(*values: Any) -> frozenset[str]:
    """Return the names of the placeholders in *values* and in the texts nested in them."""
    return frozenset(name for value in values for text in _texts(value) for name in PLACEHOLDER.findall(text))


def _check_selector(selector: str, info: ValidationInfo) -> str:
    """Return *selector*. Raise `ValueError` if it is no path (JSON) or no regular expression (text)."""
    if info.data.get("format") is Format.JSON:
        if not _PATH.fullmatch(selector):
            raise ValueError("is no path in JSON; write names and places with dots between: data.0.id")
        return selector
    try:
        pattern = re.compile(selector)
    except re.error as error:
        raise ValueError(f"is no pattern: {error}; write something like code=(\\d+)") from None
    if pattern.groups > 1:
        raise ValueError("has more than one group; write ( ) around what counts, and (?: ) elsewhere")
    return selector


def _check_network(text: str) -> str:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        raise ValueError("is no address or network; write 203.0.113.7 or 203.0.113.0/24") from None
    return text


Code = Annotated[str, BeforeValidator(_read_code)]
Filled = Annotated[Any, AfterValidator(_check_placeholders)]
Pick = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_check_selector)]
Name = Annotated[str, Field(min_length=1, max_length=100)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Request(_Part):
    """One request to the provider."""

    url: Annotated[SafeUrl, AfterValidator(_check_placeholders)]
    method: Method = Method.FORM
    #: By the provider's names. In JSON they may contain lists and further fields.
    fields: Annotated[dict[str, Filled], Field(validate_default=True)] = {}
    headers: dict[str, Filled] = {}

    @field_validator("fields")
    @classmethod
    def _check_flat(cls, fields: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if info.data.get("method") is not Method.JSON:
            for name, value in fields.items():
                if isinstance(value, bool) or not isinstance(value, str | int | float):
                    what = f"{name}: must be a text or a number here; put it in quotes, or write method: json"
                    raise ValueError(what)  # noqa: TRY004 - as pydantic has it
        return fields

    @field_validator("headers")
    @classmethod
    def _check_headers(cls, headers: dict[str, Any]) -> dict[str, Any]:
        for name, value in headers.items():
            if not isinstance(value, str) or not re.fullmatch(r"[\w-]+", name, re.ASCII):
                raise ValueError(f"{name}: must be a header's name and a text")
        return headers

    @property
    def uses(self) -> frozenset[str]:
        """Names of the placeholders that the request uses."""
        return placeholders_in(self.url, self.fields, self.headers)


class SubmissionAnswer(_Part):
    """How to read the answer to a submission."""

    format: Format = Format.TEXT
    #: Selector of the result code. Without one the HTTP status and the id decide.
    code: Pick | None = None
    #: Selector of the provider's id. Without one the reference of the attempt is the id.
    id: Annotated[Pick | None, Field(validate_default=True)] = None
    #: Codes of an accepted message.
    accepted: Annotated[tuple[Code, ...], Field(validate_default=True)] = ()
    #: Other codes and their meaning; `*` stands for all that are not listed.
    errors: dict[Code, Meaning] = {}

    @field_validator("id")
    @classmethod
    def _check_id(cls, id_: str | None, info: ValidationInfo) -> str | None:
        if id_ is None and "code" in info.data and info.data["code"] is None:
            raise ValueError("is missing, and so is code: by nothing but a status a proxy's web page counts as sent")
        return id_

    @field_validator("accepted")
    @classmethod
    def _check_accepted(cls, accepted: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if accepted and info.data.get("code") is None:
            raise ValueError("code is missing beside it; write where the codes stand")
        if not accepted and info.data.get("code") is not None and info.data.get("format") is Format.TEXT:
            raise ValueError("is missing; write the codes that say it was taken, as [0]")
        return accepted

    @field_validator("errors")
    @classmethod
    def _check_errors(cls, errors: dict[str, Meaning], info: ValidationInfo) -> dict[str, Meaning]:
        if overlap := set(info.data.get("accepted", ())) & set(errors):
            raise ValueError(f"{', '.join(sorted(overlap))} stands under accepted, too; keep one")
        return errors


class Receipts(Request):
    """How to query the status of a message."""

    format: Format = Format.TEXT
    state: Pick
    #: As in `answer`, unless it differs here.
    id: Pick | None = None

    @field_validator("fields")
    @classmethod
    def _check_names_message(cls, fields: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if not placeholders_in(info.data.get("url", ""), fields) & {"id", "reference"}:
            raise ValueError("must name the message; write {reference}, or {id} if it goes by its own")
        return fields


def split_list(path: str) -> tuple[str | None, str]:
    """Return the path of a list in a callback, and the path within each item; `None` if *path* leads through no list.

    Providers send several events in one callback, as a list. In *path*, index 0 stands for every item of the list:
    `results.0.from` gives `results` and `from`. A list that is the whole callback has the path ".".
    """
    match = re.fullmatch(r"(?:(.+?)\.)?0\.(.+)", path)
    return (None, path) if match is None else (match[1] or ".", match[2])


def _check_one_list(paths: Sequence[str | None]) -> None:
    """Raise `ValueError` if *paths* lead through different lists, because the items of two lists cannot be matched."""
    present = [path for path in paths if path is not None]
    if len({split_list(path)[0] for path in present}) > 1:
        raise ValueError(
            f"{', '.join(present)} lead through different lists; all must begin with the same, as results.0"
        )


class ResponseFields(_Part):
    """Selectors of a person's SMS in a callback."""

    sender: Name
    text: Name
    #: The provider's id of the SMS, which may be delivered twice.
    id: Name


class Callback(_Part):
    """Callbacks of the provider, and how they are authenticated: at least one proof is required."""

    #: `form` reads the form and the query. In JSON a path may lead through a list: see `split_list`.
    format: Method = Method.FORM
    #: Field with the reference of the attempt; not needed if the callback URL contains it ({callback}).
    reference: Name | None = None
    state: Name | None = None
    id: Annotated[Name | None, Field(validate_default=True)] = None
    reply: ResponseFields | None = None
    #: Networks from which the provider sends callbacks.
    addresses: tuple[Annotated[str, AfterValidator(_check_network)], ...] = ()
    #: Header with the secret.
    secret_header: Name | None = None
    #: Field of the form or query with the secret.
    secret_field: Name | None = None
    #: The header with the HMAC-SHA256 of the body, in hex or base64, keyed with the secret.
    signature_header: Name | None = None
    secret: Annotated[SecretStr | None, Field(validate_default=True)] = None

    @field_validator("format")
    @classmethod
    def _check_format(cls, format_: Method) -> Method:
        if format_ is Method.GET:
            raise ValueError("form reads the query as well; write form or json")
        return format_

    @field_validator("id")
    @classmethod
    def _check_same_list(cls, id_: str | None, info: ValidationInfo) -> str | None:
        if info.data.get("format") is Method.JSON:
            _check_one_list((info.data.get("reference"), info.data.get("state"), id_))
        return id_

    @field_validator("reply")
    @classmethod
    def _check_reply(cls, reply: ResponseFields | None, info: ValidationInfo) -> ResponseFields | None:
        if reply is not None and info.data.get("format") is Method.JSON:
            _check_one_list((reply.sender, reply.text, reply.id))
        return reply

    @field_validator("secret")
    @classmethod
    def _check_secret(cls, secret: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        present = [place for place in _PROOFS if info.data.get(place) is not None]
        choice = f"{', '.join(_PROOFS[:-1])} or {_PROOFS[-1]}"
        if len(present) > 1:
            raise ValueError(f"{' and '.join(present)} say where it stands; keep one of them")
        if secret is not None and not present:
            raise ValueError(f"nothing says where it stands; write {choice}")
        if secret is not None and len(secret.get_secret_value()) < _MIN_SECRET_LENGTH:
            raise ValueError(f"is too short to prove anything; use {_MIN_SECRET_LENGTH} characters or more")
        if secret is None and present:
            raise ValueError(f"is missing beside {present[0]}; write secret_file")
        if secret is None and not info.data.get("addresses"):
            raise ValueError(
                "is missing: anybody could say that an SMS arrived, or answer for an officer; "
                f"write secret_file with {choice}, or addresses"
            )
        return secret


class Inbox(Request):
    """How to query inbound SMS; the answer is JSON."""

    method: Method = Method.GET
    #: Path of the list; `.` when it is the whole answer.
    list: Annotated[str, Field(pattern=r"^(\.|[\w-]+(\.[\w-]+)*)$")]
    sender: Name
    text: Name
    id: Name


class HttpSmsSettings(Request):
    """Settings of one provider; the request itself submits an SMS."""

    #: The provider adds the prefix RM0 itself.
    adds_prefix: bool = False
    answer: SubmissionAnswer
    receipts: Receipts | None = None
    callback: Callback | None = None
    inbox: Inbox | None = None
    #: The provider's names of message states, with their meaning.
    states: Annotated[dict[Code, SmsState], Field(validate_default=True)] = {}
    #: "http://proxy.example:3128", with credentials if the proxy requires them.
    proxy: SecretStr | None = None
    deadline_seconds: Deadline = DEADLINE_SECONDS
    user: Annotated[str, Field(validate_default=True)] = ""
    secret: Annotated[SecretStr | None, Field(validate_default=True)] = None

    @field_validator("fields")
    @classmethod
    def _check_submission_fields(cls, fields: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        uses = placeholders_in(info.data.get("url", ""), fields)
        if "text" not in uses:
            raise ValueError("must hold the SMS; write {text} where it goes")
        if not uses & {"to", "to_digits", "to_local"}:
            raise ValueError("must hold the number; write {to}, {to_digits} or {to_local}")
        return fields

    @field_validator("callback")
    @classmethod
    def _check_callback(cls, callback: Callback | None, info: ValidationInfo) -> Callback | None:
        has_callback_url = (
            "callback" in _submission_placeholders(info) and callback is not None and callback.signature_header is None
        )
        if callback and callback.state and not callback.reference and not has_callback_url:
            raise ValueError(
                "reference is missing; write what holds {reference}, or hand over {callback} with each SMS (which a "
                "signature does not cover)"
            )
        return callback

    @field_validator("states")
    @classmethod
    def _check_states(cls, states: dict[str, SmsState], info: ValidationInfo) -> dict[str, SmsState]:
        callback = info.data.get("callback")
        if not states and (info.data.get("receipts") or (callback and callback.state)):
            raise ValueError("is missing; write what the provider calls them, as {DELIVRD: delivered}")
        return states

    @field_validator("user")
    @classmethod
    def _check_user(cls, user: str, info: ValidationInfo) -> str:
        if not user and (required := _all_placeholders(info) & {"user", "basic"}):
            raise ValueError(f"is missing; {{{max(required)}}} is used")
        return user

    @field_validator("secret")
    @classmethod
    def _check_secret_used(cls, secret: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        required = _all_placeholders(info) & {"secret", "basic"}
        if secret is None and required:
            raise ValueError(f"is missing; {{{max(required)}}} is used: write secret_file")
        if secret is not None and not required:
            raise ValueError("is used nowhere; write {secret} where the provider wants it")
        return secret


def _submission_placeholders(info: ValidationInfo) -> frozenset[str]:
    """Return the placeholders that the submission uses."""
    return placeholders_in(info.data.get("url", ""), info.data.get("fields"), info.data.get("headers"))


def _all_placeholders(info: ValidationInfo) -> frozenset[str]:
    """Return the placeholders that any of the requests uses."""
    requests = (info.data.get("receipts"), info.data.get("inbox"))
    return _submission_placeholders(info).union(*(request.uses for request in requests if request is not None))
