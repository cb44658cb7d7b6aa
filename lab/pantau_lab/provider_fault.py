"""Faults that a stand-in provider commits on purpose, in its answers and in its callbacks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import StrEnum

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send


class SubmissionFault(StrEnum):
    """What happens to one submission."""

    #: 429; nothing was taken.
    TOO_MANY = "too_many"
    #: 500; nothing was taken.
    ERROR_BEFORE = "error_before"
    #: 500, although the submission was taken.
    ERROR_AFTER = "error_after"
    #: No answer, although the submission was taken.
    HANG_AFTER = "hang_after"
    #: No answer; nothing was taken.
    HANG_BEFORE = "hang_before"
    #: The connection breaks in the answer; the submission was taken.
    DROP_AFTER = "drop_after"
    #: The connection breaks in the answer; nothing was taken.
    DROP_BEFORE = "drop_before"
    #: 200 with a web page, as a captive portal answers.
    PORTAL = "portal"

    @property
    def takes(self) -> bool:
        return self in {SubmissionFault.ERROR_AFTER, SubmissionFault.HANG_AFTER, SubmissionFault.DROP_AFTER}


class CallbackFault(StrEnum):
    """How callbacks come, until told otherwise."""

    NONE = "none"
    #: Each one is posted twice.
    TWICE = "twice"
    #: The last one first.
    REVERSED = "reversed"
    #: All of them before the submission is answered.
    BEFORE_ANSWER = "before_answer"
    #: None at all.
    NEVER = "never"


class ReplyFault(StrEnum):
    """How a person's SMS comes."""

    NONE = "none"
    #: It is posted twice.
    TWICE = "twice"
    #: It is kept until it is let through: late, or after one that was sent later.
    HELD = "held"


class BrokenAnswer(Response):
    """Promises a body and closes the connection instead."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - as ASGI calls it
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"100")]})


async def befall(
    fault: SubmissionFault,
    request: Request,
    *,
    take: Callable[[], Awaitable[Response]],
    error: Callable[[int], Response],
) -> Response:
    """Answer *request* as *fault* has it; `take` accepts the submission, `error` makes the provider's error answer."""
    if fault.takes:
        await take()
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
