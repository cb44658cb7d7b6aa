"""Repositories, which work within one transaction, and batches of statements for one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Executable
from sqlalchemy.ext.asyncio import AsyncConnection

#: A statement with its parameters. Statements must be constants: executions of the same object are combined.
Statement = tuple[Executable, Mapping[str, Any]]
#: Statements of one transaction, each with the parameters of all its executions.
Batch = Sequence[tuple[Executable, Sequence[Mapping[str, Any]]]]


def group_statements(writes: Iterable[Sequence[Statement]]) -> Batch:
    """Return the statements of *writes* as one batch: each statement once, with the parameters of all its executions.

    Executions of the same statement keep their order. A statement must not depend on a different one, because the order
    between different statements is not kept.
    """
    groups: dict[int, tuple[Executable, list[Mapping[str, Any]]]] = {}
    for write in writes:
        for statement, values in write:
            _, parameters = groups.setdefault(id(statement), (statement, []))
            parameters.append(values)
    return [*groups.values()]


class Repository:
    """Base class of the parts of a unit of work. The caller manages the transaction of *connection*."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
