"""The distinct values in an index, from one to the next: what costs as much as there are values, and not rows.

Also called a loose index scan. Neither SQLite nor PostgreSQL does it by itself.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import CTE, Column, ColumnElement, select, tuple_


def distinct(*columns: Column[Any], among: ColumnElement[bool] | None = None) -> CTE:
    """Return the distinct values of *columns*, none of which may be NULL and which an index begins with.

    *among*: what the index begins with before them.
    """
    first = select(*columns).order_by(*columns).limit(1)
    if among is not None:
        first = first.where(among)
    found = select(*first.subquery().c).cte("found", recursive=True)
    beyond = tuple_(*columns) > tuple_(*found.c) if len(columns) > 1 else columns[0] > found.c[0]
    following = select().where(beyond).order_by(*columns).limit(1)
    if among is not None:
        following = following.where(among)
    # A column at a time: SQLite cannot join what depends on the row before.
    values = [following.add_columns(column).correlate(found).scalar_subquery() for column in columns]
    return found.union_all(select(*values).where(found.c[0].is_not(None)))
