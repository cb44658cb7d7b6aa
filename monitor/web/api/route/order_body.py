"""What stands in an order, and in whose name it is carried out."""

from __future__ import annotations

from typing import Annotated

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field

from monitor.access.visitor import Visitor
from monitor.web.word import Holder, Name, Why


class ApiWord(BaseModel):
    """An order that says nothing more."""

    model_config = ConfigDict(extra="forbid")

    by: Annotated[
        Name | None,
        Field(description="The person who has told the program to. Left out by who has signed in: that is known."),
    ] = None


class ApiRemark(ApiWord):
    """What is being done about an incident."""

    text: Why


class TakingOver(ApiWord):
    """Whom an incident is taken over from, as `acknowledged_by` names them."""

    of: Holder


class ApiReason(ApiWord):
    """An order and its reason."""

    why: Why


class ApiClosing(ApiReason):
    """And whether mail works again; not said: as far as it was declared."""

    recovered: bool | None = None


def name_of(visitor: Visitor, said: str | None) -> str:
    """Return the name in which an order is carried out: a program may say which person told it to, nobody else may."""
    if visitor.token is not None:
        return f"{said} ({visitor.by})" if said else visitor.by
    if said is not None:
        raise wrong_in_body("by", f"is known: {visitor.by} has signed in; leave it out")
    return visitor.by


def wrong_in_body(name: str, why: str) -> RequestValidationError:
    """Return that a member of the body is wrong, and why."""
    return RequestValidationError([{"type": "order", "loc": ("body", name), "msg": why}])


def wrong_header(name: str, why: str) -> RequestValidationError:
    """Return that a header is wrong, and why."""
    return RequestValidationError([{"type": "header", "loc": ("header", name), "msg": why}])
