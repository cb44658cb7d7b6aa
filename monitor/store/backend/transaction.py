"""What the parts of the ledger share: the transaction that they work in."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection


class InTransaction:
    """One subject of the ledger, inside a transaction that somebody else begins and ends."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
