"""Contents of the requests to an SMS provider, and meaning of its answers, as its profile defines them. Pure.

A profile is the part of the configuration that describes the provider's interface (`alerts.gateways.http.profile`).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any

from alerts.gateways.http.profile import (
    OTHERWISE,
    PLACEHOLDER,
    Format,
    HttpSmsSettings,
    Meaning,
    SmsState,
    SubmissionAnswer,
)
from alerts.model.gateway import DeliveryReport, ErrorClass, SubmissionState
from alerts.provider import ErrorMeaning, is_id, read_json

#: Short names for the table below.
_T, _P, _C, _U = ErrorClass.TRANSIENT, ErrorClass.PERMANENT, ErrorClass.CONFIGURATION, ErrorClass.UNKNOWN

#: Error class, and the text for the audit log.
_ERROR_MEANINGS: Mapping[str, tuple[ErrorClass, str]] = {
    Meaning.TEMPORARY: (_T, "temporarily refused"),
    Meaning.NUMBER: (_P, "the number cannot receive SMS"),
    Meaning.TEXT: (_P, "the text was refused"),
    Meaning.CREDENTIALS: (_C, "credentials refused"),
    Meaning.BALANCE: (_C, "no funds"),
    Meaning.SENDER: (_C, "sender not allowed"),
    Meaning.CONFIGURATION: (_C, "refused because of the configuration"),
    Meaning.UNCERTAIN: (_U, "may have been accepted"),
}
_PROGRESS = {
    SmsState.ACCEPTED: SubmissionState.ACCEPTED,
    SmsState.SENT: SubmissionState.SENT,
    SmsState.DELIVERED: SubmissionState.DELIVERED,
}

#: Code of a provider that may be displayed. Seven digits could be a telephone number, and a long code the text of a
#: message.
_DISPLAYABLE_CODE = re.compile(r"(?!.*\d{7})[\w.-]{1,20}", re.ASCII)
#: Maximum octets of a text answer that are searched: codes and ids are at its beginning.
_MAX_TEXT = 64 * 1024

Values = Mapping[str, str]


def fill(value: Any, values: Values) -> Any:
    """Return *value* with its placeholders replaced. A field is left out if all its placeholders are empty.

    A value that is only {seconds} or {minutes} becomes a number, because some JSON interfaces accept no string.
    """
    match value:
        case "{seconds}" | "{minutes}":
            return int(values[value[1:-1]])
        case str():
            return PLACEHOLDER.sub(lambda match: values[match[1]], value)
        case list():
            return [fill(item, values) for item in value]
        case dict():
            nonempty = {
                name: item for name, item in value.items() if not isinstance(item, str) or _has_value(item, values)
            }
            return {name: fill(item, values) for name, item in nonempty.items()}
        case _:
            return value


def _has_value(text: str, values: Values) -> bool:
    names = PLACEHOLDER.findall(text)
    return not names or any(values[name] for name in names)


def credentials(settings: HttpSmsSettings) -> dict[str, str]:
    """Return the values of the placeholders for user, secret and HTTP basic authentication."""
    secret = "" if settings.secret is None else settings.secret.get_secret_value()
    basic = base64.b64encode(f"{settings.user}:{secret}".encode()).decode()
    return {"user": settings.user, "secret": secret, "basic": basic}


def select(selector: str | None, format_: Format, body: bytes) -> str | None:
    """Return the value that *selector* selects in an answer; `None` if there is none."""
    if selector is None:
        return None
    if format_ is Format.TEXT:
        match = re.search(selector, body[:_MAX_TEXT].decode("utf-8", "replace"))
        return None if match is None else (match[match.re.groups] or "").strip() or None
    try:
        return value_at(read_json(body), selector) or None
    except ValueError:
        return None


def value_at(document: Any, path: str) -> str | None:
    """Return the value at a path of keys and indices, as text; `None` for a missing value, a list or an object."""
    match node_at(document, path):
        case bool() as value:
            return str(value).lower()
        case str() | int() | float() as value:
            return str(value).strip()
        case _:
            return None


def node_at(document: Any, path: str) -> Any:
    """Return the node at a path of keys and indices, or `None`. The path `.` is the whole document.

    A key of the outermost object may contain dots.
    """
    if isinstance(document, dict) and path in document:
        return document[path]
    for step in path.split(".") if path != "." else ():
        if isinstance(document, dict):
            document = document.get(step)
        elif isinstance(document, list) and step.isdecimal() and int(step) < len(document):
            document = document[int(step)]
        else:
            return None
    return document


def displayable_code(code: str) -> str:
    """Return a provider's code if it may be displayed in errors and the audit log, otherwise ""."""
    return code if _DISPLAYABLE_CODE.fullmatch(code) else ""


def classify(answer: SubmissionAnswer, *, is_success: bool, body: bytes) -> ErrorMeaning | str | None:
    """Return the provider's id of an accepted message, the meaning of a rejection, or `None` for an unknown answer.

    The id is "" if the answer has none. Only a code or an id that the profile defines proves acceptance.
    """
    code = select(answer.code, answer.format, body)
    id_ = select(answer.id, answer.format, body) or ""
    if code is not None and is_success and code in answer.accepted:
        return id_ if is_id(id_) else ""
    if code is not None and (meaning := answer.errors.get(code) or answer.errors.get(OTHERWISE)) is not None:
        if meaning is Meaning.DUPLICATE:
            return id_ if is_id(id_) else ""
        error, detail = _ERROR_MEANINGS[meaning]
        return ErrorMeaning(error=error, code=displayable_code(code), detail=detail)
    if code is not None and is_success:
        detail = "a code that the profile does not list"
        return ErrorMeaning(error=ErrorClass.UNKNOWN, code=displayable_code(code), detail=detail)
    return id_ if is_success and not answer.accepted and is_id(id_) else None


def report(state: str, states: Mapping[str, SmsState], provider_id: str) -> DeliveryReport | None:
    """Return the meaning of a state; `None` if the state means that the provider has no such message.

    A state that is not in *states* has the meaning of `OTHERWISE` there; without that, it counts as accepted.
    """
    meaning = states.get(state) or states.get(OTHERWISE, SmsState.ACCEPTED)
    if meaning is SmsState.ABSENT:
        return None
    if (progress := _PROGRESS.get(meaning)) is not None:
        return DeliveryReport(progress=progress, provider_id=provider_id)
    error, detail = _ERROR_MEANINGS[meaning]
    return DeliveryReport(
        progress=SubmissionState.FAILED,
        provider_id=provider_id,
        error=error,
        code=displayable_code(state),
        detail=detail,
    )
