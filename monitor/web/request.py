"""Types of fields that commands and forms have in common, such as author and reason.

They reject input that the audit log or the database cannot store.
"""

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
        raise PydanticCustomError("unprintable", "contains an unprintable character")
    return line


_STRIPPED = StringConstraints(strip_whitespace=True, min_length=1)

#: Name of a person, such as the author of a command in the audit log, or of a wallboard.
Name = Annotated[str, _STRIPPED, StringConstraints(max_length=100), AfterValidator(_single_line)]

#: Assignee of an incident, as the database stores it. It may be longer than a `Name`, because it may contain both the
#: name that an API program states and the name of the program.
Assignee = Annotated[str, _STRIPPED, StringConstraints(max_length=200), AfterValidator(_single_line)]

#: Reason of a command, which the audit log records and staff read; also the text of a note.
Reason = Annotated[str, _STRIPPED, StringConstraints(max_length=500), AfterValidator(_single_line)]

#: ID of a stored record, limited to a 32-bit integer, which SQLite and PostgreSQL can both store.
Id = Annotated[int, Path(ge=1, lt=2**31)]


class CommandRequest(BaseModel):
    """Command with its author; subclasses add the parameters."""

    model_config = ConfigDict(extra="forbid")

    #: Author.
    by: Name
