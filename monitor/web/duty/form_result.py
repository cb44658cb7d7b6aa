"""Responses to forms: the page with an error, or a redirect with a flash message about the result.

A cookie names the flash message. The next page deletes it, so that a reload does not repeat the message.
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
from monitor.web.page import PageLanguage, words
from monitor.web.request import Why

_WHY = TypeAdapter(Why)
_COOKIE: Final = "pantau_said"
#: Lifetime of the cookie in seconds. A telephone without reception may be slow.
_WAITS = 60
_SAYINGS = frozenset(words("duty_said", PageLanguage.MALAY))


@dataclass(frozen=True, slots=True, kw_only=True)
class InvalidForm:
    """Error of a form."""

    status: int = HTTPStatus.OK
    #: The form on the page: an action, or the number of a notification.
    form: str = ""
    #: A key of `duty_amiss` in texts/duty.yaml; "" without an error.
    problem: str = ""
    #: The error message of the service.
    reason: str | Exception = ""
    written: Mapping[str, str] = field(default_factory=dict)


FINE: Final = InvalidForm()


def unreadable(form: str, problem: str, written: Mapping[str, str]) -> InvalidForm:
    """Return the error for a missing or invalid field."""
    return InvalidForm(status=HTTPStatus.UNPROCESSABLE_ENTITY, form=form, problem=problem, written=written)


def refused(form: str, wrong: OperationRejectedError, written: Mapping[str, str]) -> InvalidForm:
    """Return the error for a rejected command."""
    return InvalidForm(status=HTTPStatus.CONFLICT, form=form, problem="not_done", reason=wrong, written=written)


def read_why(form: Mapping[str, str], name: str = "why") -> str | None:
    """Return the reason entered by the user; `None` if it is empty or cannot be stored."""
    try:
        return _WHY.validate_python(form.get(name, ""))
    except ValidationError:
        return None


def read_despite(form: Mapping[str, str]) -> Contradiction | None:
    """Return the contradiction that the user has accepted by a checkbox."""
    ticked = form.get("despite", "")
    return Contradiction(ticked) if ticked in set(Contradiction) else None


def then_say(request: Request, path: str, saying: str) -> Response:
    """Redirect to the page at *path* with a flash message. A reload there does not repeat the action."""
    answer = RedirectResponse(path, status_code=303)
    answer.set_cookie(
        _COOKIE,
        saying,
        max_age=_WAITS,
        path=path,
        secure=access_control_of(request).is_secure,
        httponly=True,
        samesite="lax",
    )
    return answer


def to_be_said(request: Request) -> str:
    """Return the key of the flash message, from `duty_said` in texts/duty.yaml; "" for none or an unknown one."""
    saying = request.cookies.get(_COOKIE, "")
    return saying if saying in _SAYINGS else ""


def said(response: Response, path: str) -> Response:
    """Delete the flash message."""
    response.delete_cookie(_COOKIE, path=path, httponly=True, samesite="lax")
    return response
