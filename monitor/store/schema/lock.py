"""Advisory locks that engines hold on a shared store."""

from __future__ import annotations

from enum import IntEnum

from sqlalchemy import Connection, text

#: The first of the two numbers of each lock; arbitrary, but unused by others in the database.
LOCKS = 0x50414E54


#: The first of the two numbers of the lock on an engine's name; the second is derived from the name.
NAMES = LOCKS + 1


class Lock(IntEnum):
    """The second number of a lock."""

    #: Held until its end by a transaction that decides about incidents.
    DECIDING = 1
    #: Held during a schema migration.
    MIGRATING = 2
    #: Held by the process of a site that publishes runs, while it writes a part.
    TELLING = 3
    #: Held at the hub by the command that lets a site join or leave.
    JOINING = 4


def alone(connection: Connection) -> None:
    """Wait until no other engine migrates the schema, however long that takes, and exclude others."""
    for timeout in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
        connection.execute(text(f"SET LOCAL {timeout} = 0"))
    connection.execute(
        text("SELECT pg_advisory_xact_lock(:locks, :migrating)"), {"locks": LOCKS, "migrating": Lock.MIGRATING}
    )
