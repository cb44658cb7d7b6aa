"""What is said once: after a form was sent, the page that follows says what was done, and not again when it is loaded anew.

The browser is sent on with a cookie that names the saying, and the page takes it away.
"""

from __future__ import annotations

from typing import Final

from fastapi import Request, Response
from fastapi.responses import RedirectResponse

from monitor.web.access.gate import gate_of
from monitor.web.page import Tongue, words

_COOKIE: Final = "pantau_said"
#: In seconds. A telephone without reception may take its time.
_WAITS = 60
_SAYINGS = frozenset(words("duty_said", Tongue.MALAY))


def then_say(request: Request, path: str, saying: str) -> Response:
    """Send the browser to the page at *path*, which is to say that something was done. Loading it again does nothing."""
    answer = RedirectResponse(path, status_code=303)
    answer.set_cookie(
        _COOKIE, saying, max_age=_WAITS, path=path, secure=gate_of(request).is_secure, httponly=True, samesite="lax"
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
