"""Deliberate faults of a simulated provider, in its responses and in its callbacks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import StrEnum

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send


class SubmissionFault(StrEnum):
    """Fault of one submission. `..._AFTER`: the provider has accepted the submission; `..._BEFORE`: it has not."""

    #: 429; nothing was accepted.
    TOO_MANY = "too_many"
    #: 500; nothing was accepted.
    ERROR_BEFORE = "error_before"
    #: 500, although the submission was accepted.
    ERROR_AFTER = "error_after"
    #: No response, although the submission was accepted.
    HANG_AFTER = "hang_after"
    #: No response; nothing was accepted.
    HANG_BEFORE = "hang_before"
    #: The connection breaks in the response; the submission was accepted.
    DROP_AFTER = "drop_after"
    #: The connection breaks in the response; nothing was accepted.
    DROP_BEFORE = "drop_before"
    #: 200 with a web page, as from a captive portal; nothing was accepted.
    PORTAL = "portal"

    @property
    def accepts(self) -> bool:
        """Whether the provider accepts the submission."""
        return self in {SubmissionFault.ERROR_AFTER, SubmissionFault.HANG_AFTER, SubmissionFault.DROP_AFTER}


class CallbackFault(StrEnum):
    """Fault of a submission's callbacks. It lasts until a test sets another."""

    NONE = "none"
    #: Each callback is posted twice.
    TWICE = "twice"
    #: The callbacks are posted in reverse order.
    REVERSED = "reversed"
    #: All callbacks are posted before the response to the submission.
    BEFORE_ANSWER = "before_answer"
    #: No callback is posted.
    NEVER = "never"


class ReplyFault(StrEnum):
    """Fault of the callback for an SMS from a person."""

    NONE = "none"
    #: It is posted twice.
    TWICE = "twice"
    #: It is held until `Carrier.let_through`, so that it arrives late or out of order.
    HELD = "held"


class BrokenAnswer(Response):
    """Response that announces a body and closes the connection instead."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - as ASGI calls it
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"100")]})


async def apply_fault(
    fault: SubmissionFault,
    request: Request,
    *,
    accept: Callable[[], Awaitable[Response]],
    error: Callable[[int], Response],
) -> Response:
    """Return the response to *request* with *fault*.

    *accept* accepts the submission; *error* returns the provider's error response for an HTTP status.
    """
    if fault.accepts:
        await accept()
    match fault:
        case SubmissionFault.TOO_MANY:
            return error(429)
        case SubmissionFault.ERROR_BEFORE | SubmissionFault.ERROR_AFTER:
            return error(500)
        case SubmissionFault.DROP_BEFORE | SubmissionFault.DROP_AFTER:
            return BrokenAnswer()
        case SubmissionFault.PORTAL:
            return Response("<html>Sila log masuk</html>", media_type="text/html")
        case SubmissionFault.HANG_BEFORE | SubmissionFault.HANG_AFTER:
            while (await request.receive())["type"] != "http.disconnect":
                pass
            return Response(status_code=499)
