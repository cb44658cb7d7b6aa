"""Requests to an SMS provider, and the meaning of its answers, by the profile in `alerts.gateways.http.profile`.

Pure.
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

_T, _P, _C, _U = ErrorClass.TRANSIENT, ErrorClass.PERMANENT, ErrorClass.CONFIGURATION, ErrorClass.UNKNOWN

_CLASSES: Mapping[str, tuple[ErrorClass, str]] = {
    Meaning.TEMPORARY: (_T, "not now"),
    Meaning.NUMBER: (_P, "not a number that gets SMS"),
    Meaning.TEXT: (_P, "the text was refused"),
    Meaning.CREDENTIALS: (_C, "credentials refused"),
    Meaning.BALANCE: (_C, "no funds"),
    Meaning.SENDER: (_C, "sender not allowed"),
    Meaning.CONFIGURATION: (_C, "refused as configured"),
    Meaning.UNCERTAIN: (_U, "may have been taken"),
}
_PROGRESS = {
    SmsState.ACCEPTED: SubmissionState.ACCEPTED,
    SmsState.SENT: SubmissionState.SENT,
    SmsState.DELIVERED: SubmissionState.DELIVERED,
}

#: A code that is safe to show. A longer one may be a number, or the text that the expression matched.
_CODE = re.compile(r"(?!.*\d{7})[\w.-]{1,20}", re.ASCII)
#: The relevant part of an answer is at its beginning.
_READ_AT_MOST = 64 * 1024

Values = Mapping[str, str]


def fill(value: Any, values: Values) -> Any:
    """Return *value* with its placeholders filled in. A field with an empty placeholder is left out.

    A time span that stands alone becomes a number, because some JSON interfaces accept no string.
    """
    match value:
        case "{seconds}" | "{minutes}":
            return int(values[value[1:-1]])
        case str():
            return PLACEHOLDER.sub(lambda found: values[found[1]], value)
        case list():
            return [fill(item, values) for item in value]
        case dict():
            said = {name: item for name, item in value.items() if not isinstance(item, str) or _is_said(item, values)}
            return {name: fill(item, values) for name, item in said.items()}
        case _:
            return value


def _is_said(text: str, values: Values) -> bool:
    names = PLACEHOLDER.findall(text)
    return not names or any(values[name] for name in names)


def credentials(settings: HttpSmsSettings) -> dict[str, str]:
    """Return the placeholders' values from the configuration."""
    secret = "" if settings.secret is None else settings.secret.get_secret_value()
    basic = base64.b64encode(f"{settings.user}:{secret}".encode()).decode()
    return {"user": settings.user, "secret": secret, "basic": basic}


def pick(how: str | None, format_: Format, body: bytes) -> str | None:
    """Return what *how* selects in an answer, or `None`."""
    if how is None:
        return None
    if format_ is Format.TEXT:
        found = re.search(how, body[:_READ_AT_MOST].decode("utf-8", "replace"))
        return None if found is None else (found[found.re.groups] or "").strip() or None
    try:
        return at(read_json(body), how) or None
    except ValueError:
        return None


def at(document: Any, path: str) -> str | None:
    """Return the value at a path of keys and indices, as text; `None` when it is missing or not scalar."""
    found = below(document, path)
    match found:
        case bool():
            return str(found).lower()
        case str() | int() | float():
            return str(found).strip()
        case _:
            return None


def below(document: Any, path: str) -> Any:
    """Return whatever is at a path, or `None`; `.` is the whole document. A key may contain dots."""
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


def shown(code: str) -> str:
    """Return a provider's code if errors and the audit log may show it, else ""."""
    return code if _CODE.fullmatch(code) else ""


def classify(answer: SubmissionAnswer, *, is_success: bool, body: bytes) -> ErrorMeaning | str | None:
    """Return the provider's id ("" for our reference), the meaning of a refusal, or `None` for an unknown answer.

    Only what the profile names proves acceptance: a listed code or an id.
    """
    code = pick(answer.code, answer.format, body)
    id_ = pick(answer.id, answer.format, body) or ""
    if code is not None and is_success and code in answer.accepted:
        return id_ if is_id(id_) else ""
    if code is not None and (meaning := answer.errors.get(code) or answer.errors.get(OTHERWISE)) is not None:
        if meaning is Meaning.DUPLICATE:
            return id_ if is_id(id_) else ""
        error, detail = _CLASSES[meaning]
        return ErrorMeaning(error=error, code=shown(code), detail=detail)
    if code is not None and is_success:
        return ErrorMeaning(error=_U, code=shown(code), detail="a code that the table does not have")
    return id_ if is_success and not answer.accepted and is_id(id_) else None


def report(state: str, states: Mapping[str, SmsState], provider_id: str) -> DeliveryReport | None:
    """Return the meaning of a state, or `None` without a message. A state that is not listed counts as accepted."""
    meaning = states.get(state) or states.get(OTHERWISE, SmsState.ACCEPTED)
    if meaning is SmsState.ABSENT:
        return None
    if (progress := _PROGRESS.get(meaning)) is not None:
        return DeliveryReport(progress=progress, provider_id=provider_id)
    error, detail = _CLASSES[meaning]
    return DeliveryReport(
        progress=SubmissionState.FAILED, provider_id=provider_id, error=error, code=shown(state), detail=detail
    )
