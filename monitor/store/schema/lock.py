"""The advisory locks that engines hold on a shared store."""

from __future__ import annotations

from enum import IntEnum

#: The first of the two numbers of each; any will do that nobody else in the database uses.
LOCKS = 0x50414E54


#: The first of the two numbers of the lock on an engine's name; the second follows from the name.
NAMES = LOCKS + 1


class Lock(IntEnum):
    """The second number."""

    #: Held by a transaction that decides about incidents, to its end.
    DECIDING = 1
    #: Held by whoever changes the schema.
    MIGRATING = 2
    #: Held by the process of a site that tells the hub of runs, for as long as it takes to write a part.
    TELLING = 3
    #: Held at the hub by the command that lets a site join or leave, until it has done.
    JOINING = 4
