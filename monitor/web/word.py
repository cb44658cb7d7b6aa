"""What people write into an order, their name and why, and what an order that cannot be read is answered."""

from __future__ import annotations

import json
import unicodedata
from typing import Annotated

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import AfterValidator, StringConstraints

#: Characters that no store, page or terminal shows as they are: controls, line breaks, halves of a pair.
_HIDDEN = frozenset({"Cc", "Cs", "Zl", "Zp"})
#: Those that turn the direction of what is written behind them, into another name's.
_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def _plain(text: str) -> str:
    if any(unicodedata.category(character) in _HIDDEN or character in _TURNING for character in text):
        raise ValueError("has characters that cannot be shown; write it on one line")
    return text


Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100), AfterValidator(_plain)]
Why = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500), AfterValidator(_plain)]


async def unreadable(_request: Request, error: Exception) -> Response:
    """Say what is wrong with an order, without what was sent: it may be nothing that can be written into an answer."""
    problems = error.errors() if isinstance(error, RequestValidationError) else ()
    told = [{"loc": problem["loc"], "msg": problem["msg"], "type": problem["type"]} for problem in problems]
    return Response(json.dumps({"detail": told}), status_code=422, media_type="application/json")
