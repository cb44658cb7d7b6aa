"""What becomes of a form that somebody sent: its page comes again and says what is amiss, or the next flashes once what was done.

The browser is sent on with a cookie that names the saying, and the page takes it away: it does not say it again when it is
loaded anew.
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
#: In seconds. A telephone without reception may take its time.
_WAITS = 60
_SAYINGS = frozenset(words("duty_said", PageLanguage.MALAY))


@dataclass(frozen=True, slots=True, kw_only=True)
class InvalidForm:
    """What was wrong with a form."""

    status: int = HTTPStatus.OK
    #: Which form of the page: a deed, or a notice's number.
    form: str = ""
    #: A key of `duty_amiss` in words/duty.yaml; "": nothing was.
    problem: str = ""
    #: In the service's own words.
    why: str | Exception = ""
    written: Mapping[str, str] = field(default_factory=dict)


FINE: Final = InvalidForm()


def unreadable(form: str, problem: str, written: Mapping[str, str]) -> InvalidForm:
    """Return that something is missing in a form, or cannot be read."""
    return InvalidForm(status=HTTPStatus.UNPROCESSABLE_ENTITY, form=form, problem=problem, written=written)


def refused(form: str, wrong: OperationRejectedError, written: Mapping[str, str]) -> InvalidForm:
    """Return that what a form orders cannot be done."""
    return InvalidForm(status=HTTPStatus.CONFLICT, form=form, problem="not_done", why=wrong, written=written)


def read_why(form: Mapping[str, str], name: str = "why") -> str | None:
    """Return what a person wrote as a reason; `None`: nothing, or nothing that can be kept."""
    try:
        return _WHY.validate_python(form.get(name, ""))
    except ValidationError:
        return None


def read_despite(form: Mapping[str, str]) -> Contradiction | None:
    """Return what a person has ticked that they order it in spite of."""
    ticked = form.get("despite", "")
    return Contradiction(ticked) if ticked in set(Contradiction) else None


def then_say(request: Request, path: str, saying: str) -> Response:
    """Send the browser to the page at *path*, which is to say that something was done. Loading it again does nothing."""
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
    """Return what the page is to say, a key of `duty_said` in words/duty.yaml; "": nothing that there are words for."""
    saying = request.cookies.get(_COOKIE, "")
    return saying if saying in _SAYINGS else ""


def said(response: Response, path: str) -> Response:
    """Let what was said not be said again."""
    response.delete_cookie(_COOKIE, path=path, httponly=True, samesite="lax")
    return response
