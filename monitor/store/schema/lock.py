"""The advisory locks that engines hold on a shared store."""

from __future__ import annotations

from enum import IntEnum

from sqlalchemy import Connection, text

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


def alone(connection: Connection) -> None:
    """Wait until no other engine changes the schema, for as long as that takes, and keep others out."""
    for timeout in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
        connection.execute(text(f"SET LOCAL {timeout} = 0"))
    connection.execute(
        text("SELECT pg_advisory_xact_lock(:locks, :migrating)"), {"locks": LOCKS, "migrating": Lock.MIGRATING}
    )
