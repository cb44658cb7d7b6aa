"""What people say in an order: who they are, and why."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path
from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints
from pydantic_core import PydanticCustomError


def _legible(text: str) -> str:
    """Return *text* on one line; refuse what other people's terminals would obey, or not every database keeps."""
    line = " ".join(text.split())
    if not line.isprintable():
        raise PydanticCustomError("legible", "holds a character that cannot be printed")
    return line


_STRIPPED = StringConstraints(strip_whitespace=True, min_length=1)

#: Whoever gives an order, as the journal keeps it.
Name = Annotated[str, _STRIPPED, StringConstraints(max_length=100), AfterValidator(_legible)]

#: Whoever has an incident, as the store keeps them: somebody who has signed in with the name that they sign in by.
Holder = Annotated[str, _STRIPPED, StringConstraints(max_length=200), AfterValidator(_legible)]

#: A reason, for the journal and whoever wonders.
Why = Annotated[str, _STRIPPED, StringConstraints(max_length=500), AfterValidator(_legible)]

#: The number of a record in the store; as large as either database counts.
Id = Annotated[int, Path(ge=1, lt=2**31)]


class CommandRequest(BaseModel):
    """Who says so. Every order has it."""

    model_config = ConfigDict(extra="forbid")

    by: Name
