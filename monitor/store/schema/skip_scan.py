"""Distinct values of an index by a skip scan (loose index scan).

Its cost depends on the number of distinct values, not on the number of rows. Neither SQLite nor PostgreSQL plans a skip
scan for SELECT DISTINCT, so a recursive query does it: it repeatedly selects the least value above the last one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import CTE, Column, ColumnElement, ScalarSelect, func, select


def select_distinct(*columns: Column[Any], index_prefix: ColumnElement[bool] | None = None) -> CTE:
    """Return a CTE with the distinct combinations of *columns*. The last row of the CTE is NULL.

    The columns must be consecutive in an index, and never NULL. *index_prefix*: a condition on the columns that precede
    them in the index.
    """
    chain: CTE | None = None
    # Each column has its own recursive CTE, which extends the combinations of the columns before it. If the columns
    # were compared together, as in (a, b) > (1, 2), SQLite would read all rows in which a is 1.
    for position, column in enumerate(columns):
        previous_columns = () if chain is None else tuple(chain.c)
        least = _least_value(columns[:position], previous_columns, column, index_prefix)
        first = select(*previous_columns, least.label(column.name))
        if chain is not None:
            first = first.where(previous_columns[-1].is_not(None))
        chain = first.cte(f"found_{column.name}", recursive=True)
        *prefix, last = chain.c
        following = _least_value(columns[:position], prefix, column, index_prefix, last)
        chain = chain.union_all(select(*prefix, following).where(last.is_not(None)))
    if chain is None:
        raise TypeError("select_distinct needs at least one column")
    return chain


def _least_value(
    columns: Sequence[Column[Any]],
    values: Sequence[ColumnElement[Any]],
    column: Column[Any],
    index_prefix: ColumnElement[bool] | None,
    greater_than: ColumnElement[Any] | None = None,
) -> ScalarSelect[Any]:
    """Return the least value of *column* above *greater_than*, among the rows in which *columns* have *values*."""
    least = select(func.min(column)).where(*(one == value for one, value in zip(columns, values, strict=True)))
    if index_prefix is not None:
        least = least.where(index_prefix)
    if greater_than is not None:
        least = least.where(column > greater_than)
    return least.correlate_except(column.table).scalar_subquery()
