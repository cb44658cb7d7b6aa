"""What is done in one transaction: by the parts of the ledger, or as statements of many who share it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Executable
from sqlalchemy.ext.asyncio import AsyncConnection

#: A statement and the values of its parameters. The statement is a constant: equal ones are run together.
Statement = tuple[Executable, Mapping[str, Any]]
#: Statements of one transaction, each with the values of all its runs.
Batch = Sequence[tuple[Executable, Sequence[Mapping[str, Any]]]]


def joined(writes: Iterable[Sequence[Statement]]) -> Batch:
    """Return the statements of many *writes*, those of one kind in the order in which they came.

    Kinds are not kept apart: no statement may depend on another kind's.
    """
    kinds: dict[int, tuple[Executable, list[Mapping[str, Any]]]] = {}
    for write in writes:
        for statement, values in write:
            kinds.setdefault(id(statement), (statement, []))[1].append(values)
    return [*kinds.values()]


class Repository:
    """One subject of the ledger, inside a transaction that somebody else begins and ends."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
