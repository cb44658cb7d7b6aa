"""Work within one transaction: repositories, and batches of statements."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Executable
from sqlalchemy.ext.asyncio import AsyncConnection

#: A statement with its parameters. The statement is a constant: equal ones are executed together.
Statement = tuple[Executable, Mapping[str, Any]]
#: Statements of one transaction, each with the parameters of all its executions.
Batch = Sequence[tuple[Executable, Sequence[Mapping[str, Any]]]]


def joined(writes: Iterable[Sequence[Statement]]) -> Batch:
    """Return the statements of many *writes*, grouped by statement, in order within each group.

    The order between groups is lost: no statement may depend on another one.
    """
    kinds: dict[int, tuple[Executable, list[Mapping[str, Any]]]] = {}
    for write in writes:
        for statement, values in write:
            kinds.setdefault(id(statement), (statement, []))[1].append(values)
    return [*kinds.values()]


class Repository:
    """A part of the unit of work, within a transaction that the caller manages."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
