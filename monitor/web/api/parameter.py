"""Parameters of a question: those that are not known are refused, and a cursor says where the next page begins."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from typing import Annotated
from urllib.parse import urlencode

from fastapi import Query, Request
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError

from monitor.config.files.problem import nearest

#: So many rows are on a page if it is not said, and at the most.
USUAL, MOST = 200, 1000

Limit = Annotated[int, Query(ge=1, le=MOST, description="How many there are on a page.")]
Cursor = Annotated[str | None, Query(max_length=200, description="Where the page begins, as `Link` says.")]

#: So much of what somebody wrote is said back.
_ECHOED = 60


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
        raise wrong("cursor", "is no cursor of this list; begin again without it")
    return row


def next_page(request: Request, listed: str, row: str | int | None) -> dict[str, str]:
    """Return the header that leads to the page behind *row* (RFC 8288), from the same address; `None`: there is none."""
    if row is None:
        return {}
    cursor = base64.urlsafe_b64encode(f"{listed}:{row}".encode()).decode()
    asked = [(name, value) for name, value in request.query_params.multi_items() if name != "cursor"]
    return {"Link": f'<{request.url.path}?{urlencode([*asked, ("cursor", cursor)])}>; rel="next"'}
