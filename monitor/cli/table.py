"""Tables for people at a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.table import Column, Table

#: Wider than any table: without a terminal, rich would cut at 80 columns.
_WIDE = 100_000

MALAYSIA = ZoneInfo("Asia/Kuala_Lumpur")

#: By title: the key of a cell's value in a row, or a function of the row.
Columns = Mapping[str, str | Callable[[Any], str]]


def show(found: Iterable[Any], columns: Columns, *, nothing: str) -> None:
    """Print a table with a row for each item of *found*, or *nothing*. Piped output has no width limit."""
    # A narrow terminal wraps words and never truncates them: a truncated name may look like another person's. Numbers
    # are not wrapped.
    first, *others = columns
    heads = [Column(first, no_wrap=True), *(Column(each, overflow="fold") for each in others)]
    table = Table(*heads, box=None, pad_edge=False, header_style="bold")
    for each in found:
        table.add_row(*(legible(str(each[of]) if isinstance(of, str) else of(each)) for of in columns.values()))
    # Part of an IPv6 address may be an emoji code: "2001:db8:a:1".
    console = Console(emoji=False)
    if not console.is_terminal:
        console.width = _WIDE
    console.print(table if table.row_count else nothing, markup=False)


def clock(text: str | None) -> str:
    """Return an ISO time as Malaysian time: "24/11 14:15:09"."""
    return _local(text).strftime("%d/%m %H:%M:%S") if text else ""


def day_and_time(text: str, *, year: bool = True) -> str:
    """Return an ISO time as Malaysian time: "24/11/2026 14:15", or "24/11 14:15"."""
    return _local(text).strftime("%d/%m/%Y %H:%M" if year else "%d/%m %H:%M")


def _local(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(MALAYSIA)


def legible(text: str) -> str:
    """Return *text* without control characters: some of it comes from mail servers and providers."""
    return "".join(each if each.isprintable() else " " for each in text)
