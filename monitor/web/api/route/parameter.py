"""Parameters of a question: those that are not known are refused, and a cursor says where the next page begins."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated
from urllib.parse import urlencode

from fastapi import Query, Request
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from pydantic import AfterValidator, BeforeValidator
from pydantic_core import PydanticCustomError

from monitor.config.files.problem import nearest

#: So many rows are on a page if it is not said, and at the most.
USUAL, MOST = 200, 1000

Agencies = Annotated[list[str] | None, Query(description="Only these, by their codes.")]
Limit = Annotated[int, Query(ge=1, le=MOST, description="How many there are on a page.")]
Cursor = Annotated[str | None, Query(max_length=200, description="Where the page begins, as `Link` says.")]


def _with_plus(text: object) -> object:
    """Return a moment with the plus of its offset: in an address it is a space, if it is not written as %2B."""
    return re.sub(r"(?<=\d) (?=\d\d:?\d\d$)", "+", text) if isinstance(text, str) and "T" in text else text


def _aware(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise PydanticCustomError("zone", "has no zone; write 2026-12-01T22:00:00Z or 2026-12-02T06:00:00+08:00")
    return moment


Moment = Annotated[datetime, BeforeValidator(_with_plus), AfterValidator(_aware)]

#: So much of what somebody wrote is said back.
_ECHOED = 60
_NO_CURSOR = "is no cursor of this list; begin again without it"


def wrong(parameter: str, why: str) -> RequestValidationError:
    """Return that a parameter of the query is wrong, and why."""
    return RequestValidationError([{"type": "parameter", "loc": ("query", parameter[:_ECHOED]), "msg": why}])


async def only_known(request: Request) -> None:
    """Refuse what is no parameter of a question: a filter with a slip in its name would list too much, and look right."""
    known = sorted(_known(request.scope["route"].dependant))
    for name in request.query_params:
        if name not in known:
            meant = nearest(name, known)
            instead = (
                f"did you mean {meant}?" if meant else f"there are {', '.join(known)}" if known else "there is none"
            )
            raise wrong(name, f"is no parameter here; {instead}")


def _known(dependant: Dependant) -> Iterator[str]:
    yield from (field.alias for field in dependant.query_params)
    for each in dependant.dependencies:
        yield from _known(each)


def read_cursor(listed: str, cursor: str | None) -> str | None:
    """Return the row after which a page of a list begins. Raise `RequestValidationError` for what is no cursor of it."""
    if cursor is None:
        return None
    try:
        text = base64.b64decode(cursor.encode(), altchars=b"-_", validate=True).decode()
    except (ValueError, binascii.Error):
        text = ""
    name, colon, row = text.partition(":")
    if name != listed or not colon:
        raise wrong("cursor", _NO_CURSOR)
    return row


def read_id(listed: str, cursor: str | None) -> int | None:
    """Return the id after which a page of a list begins, as `read_cursor` does."""
    row = read_cursor(listed, cursor)
    if row is None:
        return None
    if not (row.isascii() and row.isdecimal() and 0 < int(row[:11]) < 2**31):
        raise wrong("cursor", _NO_CURSOR)
    return int(row[:11])


def next_page(request: Request, listed: str, row: str | int | None) -> dict[str, str]:
    """Return the header that leads to the page behind *row* (RFC 8288), from the same address; `None`: there is none."""
    if row is None:
        return {}
    cursor = base64.urlsafe_b64encode(f"{listed}:{row}".encode()).decode()
    asked = [(name, value) for name, value in request.query_params.multi_items() if name != "cursor"]
    return {"Link": f'<{request.url.path}?{urlencode([*asked, ("cursor", cursor)])}>; rel="next"'}
