"""Responses to forms: the page with an error, or a redirect with a flash message about the result.

The next page shows the flash message once. A cookie contains the key of the message. The page that shows the message
deletes the cookie, so that a reload does not show it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

from fastapi import Request, Response
from fastapi.responses import RedirectResponse
from pydantic import TypeAdapter, ValidationError

from alerts.model.contradiction import Contradiction
from monitor.service.errors import OperationRejectedError
from monitor.web.access.access_control import access_control_of
from monitor.web.page import PageLanguage, texts_of
from monitor.web.request import Reason

_REASON = TypeAdapter(Reason)
_COOKIE: Final = "pantau_said"
#: Lifetime of the cookie in seconds: enough for a mobile phone with bad reception to load the next page.
_COOKIE_MAX_AGE = 60
#: Keys of the flash messages.
_MESSAGE_KEYS = frozenset(texts_of("duty_messages", PageLanguage.MALAY))


@dataclass(frozen=True, slots=True, kw_only=True)
class FormError:
    """Error of a posted form with the input, for the page that shows the form again; `NO_ERROR` on other pages."""

    status: int = HTTPStatus.OK
    #: The form of the page: an `IncidentAction`, "declare", "silence", or the ID of a notification.
    form_id: str = ""
    #: Key of the error text in the section `duty_errors` of texts/duty.yaml; "" without an error.
    problem: str = ""
    #: Why the service rejected the command; "" if it did not.
    reason: str | Exception = ""
    #: The input, to be shown again.
    fields: Mapping[str, str] = field(default_factory=dict)


NO_ERROR: Final = FormError()


def incomplete_form(form_id: str, problem: str, fields: Mapping[str, str]) -> FormError:
    """Return the error for a missing or invalid field."""
    return FormError(status=HTTPStatus.UNPROCESSABLE_ENTITY, form_id=form_id, problem=problem, fields=fields)


def rejected_form(form_id: str, error: OperationRejectedError, fields: Mapping[str, str]) -> FormError:
    """Return the error for a rejected command."""
    return FormError(status=HTTPStatus.CONFLICT, form_id=form_id, problem="not_done", reason=error, fields=fields)


def read_reason(form: Mapping[str, str], name: str = "why") -> str | None:
    """Return the reason entered by the user; `None` if it is empty or cannot be stored."""
    try:
        return _REASON.validate_python(form.get(name, ""))
    except ValidationError:
        return None


def read_despite(form: Mapping[str, str]) -> Contradiction | None:
    """Return the contradiction between command and probes that the user has accepted by a checkbox; `None`: none."""
    value = form.get("despite", "")
    return Contradiction(value) if value in set(Contradiction) else None


def redirect_with_message(request: Request, path: str, message_key: str) -> Response:
    """Return a redirect to the page at *path*, which shows a flash message.

    Because of the redirect, a reload of the page does not repeat the action.
    """
    response = RedirectResponse(path, status_code=303)
    response.set_cookie(
        _COOKIE,
        message_key,
        max_age=_COOKIE_MAX_AGE,
        path=path,
        secure=access_control_of(request).is_secure,
        httponly=True,
        samesite="lax",
    )
    return response


def read_flash_message(request: Request) -> str:
    """Return the key of the flash message in the section `duty_messages` of texts/duty.yaml; "" without a message."""
    message_key = request.cookies.get(_COOKIE, "")
    return message_key if message_key in _MESSAGE_KEYS else ""


def delete_flash_message(response: Response, path: str) -> Response:
    """Delete the cookie of the flash message."""
    response.delete_cookie(_COOKIE, path=path, httponly=True, samesite="lax")
    return response
