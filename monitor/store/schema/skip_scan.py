"""Distinct values of an index by a skip scan, whose cost depends on the number of values and not of rows.

Also called a loose index scan. Neither SQLite nor PostgreSQL does it by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import CTE, Column, ColumnElement, ScalarSelect, func, select


def distinct(*columns: Column[Any], among: ColumnElement[bool] | None = None) -> CTE:
    """Return the distinct values of *columns*, none of which may be NULL and which begin an index.

    *among*: a condition on the columns before them in the index. The last row is NULL.
    """
    chain: CTE | None = None
    # One column at a time. For a comparison of whole rows SQLite reads all rows with the first value.
    for place, column in enumerate(columns):
        previous_columns = () if chain is None else tuple(chain.c)
        first = select(*previous_columns, _least(columns[:place], previous_columns, column, among).label(column.name))
        if chain is not None:
            first = first.where(previous_columns[-1].is_not(None))
        chain = first.cte(f"found_{column.name}", recursive=True)
        *prefix, last = chain.c
        following = _least(columns[:place], prefix, column, among, last)
        chain = chain.union_all(select(*prefix, following).where(last.is_not(None)))
    if chain is None:
        raise TypeError("distinct values of nothing")
    return chain


def _least(
    columns: Sequence[Column[Any]],
    values: Sequence[ColumnElement[Any]],
    column: Column[Any],
    among: ColumnElement[bool] | None,
    beyond: ColumnElement[Any] | None = None,
) -> ScalarSelect[Any]:
    """Return the least value of a column that is greater than *beyond*, where *columns* have *values*."""
    least = select(func.min(column)).where(*(one == value for one, value in zip(columns, values, strict=True)))
    if among is not None:
        least = least.where(among)
    if beyond is not None:
        least = least.where(column > beyond)
    return least.correlate_except(column.table).scalar_subquery()
