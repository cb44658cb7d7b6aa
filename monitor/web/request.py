"""Types of fields that commands have in common, such as author and reason."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path
from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints
from pydantic_core import PydanticCustomError


def _single_line(text: str) -> str:
    """Return *text* on one line.

    Raise `PydanticCustomError` for control characters: terminals would execute them, and a database cannot store some
    of them.
    """
    line = " ".join(text.split())
    if not line.isprintable():
        raise PydanticCustomError("legible", "contains an unprintable character")
    return line


_STRIPPED = StringConstraints(strip_whitespace=True, min_length=1)

#: Author of a command, as recorded in the audit log.
Name = Annotated[str, _STRIPPED, StringConstraints(max_length=100), AfterValidator(_single_line)]

#: Assignee of an incident, as stored; for a signed-in user the sign-in name.
Assignee = Annotated[str, _STRIPPED, StringConstraints(max_length=200), AfterValidator(_single_line)]

#: Reason of a command, for the audit log and for the staff.
Reason = Annotated[str, _STRIPPED, StringConstraints(max_length=500), AfterValidator(_single_line)]

#: ID of a stored record, limited to the range of both databases.
Id = Annotated[int, Path(ge=1, lt=2**31)]


class CommandRequest(BaseModel):
    """Command without parameters besides its author."""

    model_config = ConfigDict(extra="forbid")

    by: Name
