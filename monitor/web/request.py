"""Common fields of commands: author and reason."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path
from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints
from pydantic_core import PydanticCustomError


def _legible(text: str) -> str:
    """Return *text* on one line.

    Reject control characters, which terminals would execute or a database cannot store.
    """
    line = " ".join(text.split())
    if not line.isprintable():
        raise PydanticCustomError("legible", "holds a character that cannot be printed")
    return line


_STRIPPED = StringConstraints(strip_whitespace=True, min_length=1)

#: Author of a command, as recorded in the audit log.
Name = Annotated[str, _STRIPPED, StringConstraints(max_length=100), AfterValidator(_legible)]

#: Assignee of an incident, as stored; for a signed-in user the sign-in name.
Holder = Annotated[str, _STRIPPED, StringConstraints(max_length=200), AfterValidator(_legible)]

#: Reason, for the audit log and other readers.
Why = Annotated[str, _STRIPPED, StringConstraints(max_length=500), AfterValidator(_legible)]

#: ID of a stored record, limited to the range of both databases.
Id = Annotated[int, Path(ge=1, lt=2**31)]


class CommandRequest(BaseModel):
    """Author; a part of all commands."""

    model_config = ConfigDict(extra="forbid")

    by: Name
