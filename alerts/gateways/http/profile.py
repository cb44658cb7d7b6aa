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

    #: Any text. A regular expression finds the value, which is its group or, without a group, the whole match.
    TEXT = "text"
    #: JSON. A path of keys and indices leads to the value: `data.0.id`.
    JSON = "json"


class Meaning(StrEnum):
    """Meaning of a provider's error code."""

    #: Not accepted; a retry may succeed: too many requests, maintenance, handset off.
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
    """Meaning of a state of a submitted message. TEMPORARY to CONFIGURATION: the message failed; see `Meaning`."""

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
#: Path of keys and indices in a JSON document.
_PATH = re.compile(r"[\w-]+(?:\.[\w-]+)*")
_MIN_SECRET_LENGTH = 16
#: Settings of a callback that name the place of the secret, or of a signature with the secret. At most one may be set.
_PROOFS = ("secret_header", "secret_field", "signature_header")
#: Key of `errors` and `states` for all codes and states that they do not list.
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
                raise ValueError(f"{{{name}}} is not a placeholder; write one of {{{'}, {'.join(PLACEHOLDERS)}}}")
    return value


def _texts(value: Any) -> Iterator[str]:
    """Yield *value* if it is a text, and all texts that are nested in it."""
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
    """Return *selector*. Raise `ValueError` unless it is a path (JSON) or a regular expression (text)."""
    if info.data.get("format") is Format.JSON:
        if not _PATH.fullmatch(selector):
            raise ValueError("is not a JSON path; write keys and indices, separated by dots: data.0.id")
        return selector
    try:
        pattern = re.compile(selector)
    except re.error as error:
        raise ValueError(f"is not a regular expression: {error}; write something like code=(\\d+)") from None
    if pattern.groups > 1:
        raise ValueError("has more than one group; write ( ) around the value, and (?: ) elsewhere")
    return selector


def _check_network(text: str) -> str:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        raise ValueError("is not an IP address or network; write 203.0.113.7 or 203.0.113.0/24") from None
    return text


#: A code or state of the provider. YAML may read it as a number.
Code = Annotated[str, BeforeValidator(_read_code)]
#: A field's or header's value, with placeholders.
Template = Annotated[Any, AfterValidator(_check_placeholders)]
#: Where a value is in an answer: a regular expression or a path, see `Format`.
Selector = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_check_selector)]
#: The provider's name of a field or header; in JSON, a path.
FieldName = Annotated[str, Field(min_length=1, max_length=100)]


class _ProfilePart(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Request(_ProfilePart):
    """One request to the provider."""

    url: Annotated[SafeUrl, AfterValidator(_check_placeholders)]
    method: Method = Method.FORM
    #: Values by the provider's names of the fields. In JSON a value may be a list or contain further fields. With
    #: `validate_default`, pydantic calls the validators below also for a missing setting.
    fields: Annotated[dict[str, Template], Field(validate_default=True)] = {}
    headers: dict[str, Template] = {}

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
    def placeholders(self) -> frozenset[str]:
        """Names of the placeholders that the request uses."""
        return placeholders_in(self.url, self.fields, self.headers)


class SubmissionAnswer(_ProfilePart):
    """How to read the provider's answer to a submission."""

    format: Format = Format.TEXT
    #: Selector of the result code. Without one the HTTP status and the id decide.
    code: Selector | None = None
    #: Selector of the provider's id. Without one the reference of the attempt is the id.
    id: Annotated[Selector | None, Field(validate_default=True)] = None
    #: Codes of an accepted message.
    accepted: Annotated[tuple[Code, ...], Field(validate_default=True)] = ()
    #: Other codes and their meaning; `*` stands for all that are not listed.
    errors: dict[Code, Meaning] = {}

    @field_validator("id")
    @classmethod
    def _check_id(cls, id_: str | None, info: ValidationInfo) -> str | None:
        if id_ is None and "code" in info.data and info.data["code"] is None:
            raise ValueError(
                "is missing, and so is code: with the HTTP status alone, a proxy's web page would count as sent"
            )
        return id_

    @field_validator("accepted")
    @classmethod
    def _check_accepted(cls, accepted: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if accepted and info.data.get("code") is None:
            raise ValueError("needs code, which is missing; write where the answer has its code")
        if not accepted and info.data.get("code") is not None and info.data.get("format") is Format.TEXT:
            raise ValueError("is missing; write the codes of an accepted message, as [0]")
        return accepted

    @field_validator("errors")
    @classmethod
    def _check_errors(cls, errors: dict[str, Meaning], info: ValidationInfo) -> dict[str, Meaning]:
        if overlap := set(info.data.get("accepted", ())) & set(errors):
            raise ValueError(f"{', '.join(sorted(overlap))} is also listed under accepted; keep one")
        return errors


class Receipts(Request):
    """How to query the status of a message."""

    #: Format of the answer.
    format: Format = Format.TEXT
    #: Selector of the message's state.
    state: Selector
    #: Selector of the provider's id. `None`: as in `answer`, if both have the same format.
    id: Selector | None = None

    @field_validator("fields")
    @classmethod
    def _check_names_message(cls, fields: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if not placeholders_in(info.data.get("url", ""), fields) & {"id", "reference"}:
            raise ValueError(
                "must name the message; write {reference}, or {id} if the provider accepts only its own id"
            )
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


class ResponseFields(_ProfilePart):
    """Fields of a callback about a person's SMS."""

    sender: FieldName
    text: FieldName
    #: The provider's id of the SMS, by which a repeated callback is detected.
    id: FieldName


class Callback(_ProfilePart):
    """Callbacks of the provider, and how they are authenticated: at least one proof is required."""

    #: `form` reads the form and the query. In JSON a path may lead through a list: see `split_list`.
    format: Method = Method.FORM
    #: Field with the reference of the attempt; not needed if the callback URL contains it ({callback}).
    reference: FieldName | None = None
    #: Field with the state of a message; `None`: callbacks report no states.
    state: FieldName | None = None
    #: Field with the provider's id of the message; `None`: the reference identifies it.
    id: Annotated[FieldName | None, Field(validate_default=True)] = None
    #: Fields of a reply; `None`: callbacks report no replies.
    reply: ResponseFields | None = None
    #: Networks (CIDR) from which the provider sends callbacks; empty: any.
    addresses: tuple[Annotated[str, AfterValidator(_check_network)], ...] = ()
    #: Header with the secret.
    secret_header: FieldName | None = None
    #: Field of the form or query with the secret.
    secret_field: FieldName | None = None
    #: Header with the HMAC-SHA256 of the body, in hex or base64. The key of the HMAC is the secret.
    signature_header: FieldName | None = None
    secret: Annotated[SecretStr | None, Field(validate_default=True)] = None

    @field_validator("format")
    @classmethod
    def _check_format(cls, format_: Method) -> Method:
        if format_ is Method.GET:
            raise ValueError("write form, which reads the query as well, or json")
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
        present = [name for name in _PROOFS if info.data.get(name) is not None]
        choice = f"{', '.join(_PROOFS[:-1])} or {_PROOFS[-1]}"
        if len(present) > 1:
            raise ValueError(f"{' and '.join(present)} are both set; keep one of them")
        if secret is not None and not present:
            raise ValueError(f"has no place in the callback; write {choice}")
        if secret is not None and len(secret.get_secret_value()) < _MIN_SECRET_LENGTH:
            raise ValueError(f"is too short; use {_MIN_SECRET_LENGTH} characters or more")
        if secret is None and present:
            raise ValueError(f"is missing, but {present[0]} needs it; write secret_file")
        if secret is None and not info.data.get("addresses"):
            raise ValueError(
                "is missing: anybody could report an SMS as delivered, or reply in an officer's name; "
                f"write secret_file with {choice}, or addresses"
            )
        return secret


class Inbox(Request):
    """How to query inbound SMS; the answer is JSON."""

    method: Method = Method.GET
    #: Path of the list of SMS; `.` when it is the whole answer.
    list: Annotated[str, Field(pattern=r"^(\.|[\w-]+(\.[\w-]+)*)$")]
    #: Paths within each item of the list.
    sender: FieldName
    text: FieldName
    id: FieldName


class HttpSmsSettings(Request):
    """Settings of one provider. The inherited fields describe the request that submits an SMS."""

    #: The provider adds the prefix "RM0" (a free SMS) itself.
    adds_prefix: bool = False
    answer: SubmissionAnswer
    #: `None`: the status of a message cannot be queried.
    receipts: Receipts | None = None
    #: `None`: the provider sends no callbacks.
    callback: Callback | None = None
    #: `None`: inbound SMS cannot be queried.
    inbox: Inbox | None = None
    #: The provider's names of message states, with their meaning.
    states: Annotated[dict[Code, SmsState], Field(validate_default=True)] = {}
    #: "http://proxy.example:3128", with credentials if the proxy requires them.
    proxy: SecretStr | None = None
    deadline_seconds: Deadline = DEADLINE_SECONDS
    #: User name and secret (password or API key) for the placeholders {user}, {secret} and {basic}.
    user: Annotated[str, Field(validate_default=True)] = ""
    secret: Annotated[SecretStr | None, Field(validate_default=True)] = None

    @field_validator("fields")
    @classmethod
    def _check_submission_fields(cls, fields: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        placeholders = placeholders_in(info.data.get("url", ""), fields)
        if "text" not in placeholders:
            raise ValueError("must contain the SMS; write {text} in its place")
        if not placeholders & {"to", "to_digits", "to_local"}:
            raise ValueError("must contain the number; write {to}, {to_digits} or {to_local}")
        return fields

    @field_validator("callback")
    @classmethod
    def _check_callback(cls, callback: Callback | None, info: ValidationInfo) -> Callback | None:
        has_callback_url = (
            "callback" in _submission_placeholders(info) and callback is not None and callback.signature_header is None
        )
        if callback and callback.state and not callback.reference and not has_callback_url:
            raise ValueError(
                "reference is missing; write which field contains {reference}, or send {callback} with each SMS (not "
                "possible with signature_header, because a signature does not cover the URL)"
            )
        return callback

    @field_validator("states")
    @classmethod
    def _check_states(cls, states: dict[str, SmsState], info: ValidationInfo) -> dict[str, SmsState]:
        callback = info.data.get("callback")
        if not states and (info.data.get("receipts") or (callback and callback.state)):
            raise ValueError("is missing; write the provider's names of them, as {DELIVRD: delivered}")
        return states

    @field_validator("user")
    @classmethod
    def _check_user(cls, user: str, info: ValidationInfo) -> str:
        # The message names one of the used placeholders: {user} rather than {basic}, which comes first in the alphabet.
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
            raise ValueError("is not used; write {secret} where the provider requires it")
        return secret


def _submission_placeholders(info: ValidationInfo) -> frozenset[str]:
    """Return the placeholders that the submission uses."""
    return placeholders_in(info.data.get("url", ""), info.data.get("fields"), info.data.get("headers"))


def _all_placeholders(info: ValidationInfo) -> frozenset[str]:
    """Return the placeholders that any of the requests uses."""
    requests = (info.data.get("receipts"), info.data.get("inbox"))
    return _submission_placeholders(info).union(*(request.placeholders for request in requests if request is not None))
