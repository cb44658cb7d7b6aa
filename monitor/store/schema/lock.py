"""PostgreSQL advisory locks by which the processes on a shared database exclude each other.

Each lock has a key of two numbers (`pg_advisory_lock(int, int)`).
"""

from __future__ import annotations

from enum import IntEnum

from sqlalchemy import Connection, text

#: First key number of the locks in `Lock`: "PANT" in ASCII, which other programs in the database hardly use.
LOCK_CLASS = 0x50414E54

#: First key number of the lock that a process holds on its name, so that no two processes have the same name. The
#: second key number is a hash of the name.
NAME_LOCK_CLASS = LOCK_CLASS + 1


class Lock(IntEnum):
    """Second key number of a lock; the first is `LOCK_CLASS`."""

    #: Held by each transaction that decides about incidents, until the transaction ends.
    DECIDING = 1
    #: Held during a schema migration.
    MIGRATING = 2
    #: Held at a site (a place from which mail is probed) by the process that publishes runs, while it writes a batch.
    #: The hub receives the runs and combines the results of several sites.
    PUBLISHING = 3
    #: Held at the hub by the command that adds or removes a site.
    JOINING = 4


def lock_for_migration(connection: Connection) -> None:
    """Lock the schema for a migration until the transaction ends.

    While another process migrates, wait without a time limit.
    """
    for timeout in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
        connection.execute(text(f"SET LOCAL {timeout} = 0"))
    connection.execute(
        text("SELECT pg_advisory_xact_lock(:locks, :migrating)"), {"locks": LOCK_CLASS, "migrating": Lock.MIGRATING}
    )
