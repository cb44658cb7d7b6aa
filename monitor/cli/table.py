"""Tables for people at a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.table import Column, Table

#: Wider than any table: without a terminal, rich would wrap at 80 columns.
_UNLIMITED_WIDTH = 100_000

MALAYSIA = ZoneInfo("Asia/Kuala_Lumpur")

#: By column title: the key of the value in a row, or a function that returns the text of a row's cell.
Columns = Mapping[str, str | Callable[[Any], str]]


def print_table(items: Iterable[Any], columns: Columns, *, nothing: str) -> None:
    """Print a table with a row for each of *items*; without items print *nothing*. Piped output has no width limit."""
    # A narrow terminal wraps the text instead of truncating it: a truncated name may look like another person's. Only
    # the first column is not wrapped, because users copy the numbers in it.
    first_title, *other_titles = columns
    headers = [Column(first_title, no_wrap=True), *(Column(each, overflow="fold") for each in other_titles)]
    table = Table(*headers, box=None, pad_edge=False, header_style="bold")
    for each in items:
        table.add_row(
            *(
                remove_control_characters(str(each[value]) if isinstance(value, str) else value(each))
                for value in columns.values()
            )
        )
    # Emoji codes are off: rich would take a part of an IPv6 address such as "2001:db8:a:1" for one.
    console = Console(emoji=False)
    if not console.is_terminal:
        console.width = _UNLIMITED_WIDTH
    console.print(table if table.row_count else nothing, markup=False)


def format_time(text: str | None) -> str:
    """Return an ISO time as Malaysian time: "24/11 14:15:09"."""
    return _malaysian_time(text).strftime("%d/%m %H:%M:%S") if text else ""


def format_day_and_time(text: str, *, year: bool = True) -> str:
    """Return an ISO time as Malaysian time: "24/11/2026 14:15", or "24/11 14:15"."""
    return _malaysian_time(text).strftime("%d/%m/%Y %H:%M" if year else "%d/%m %H:%M")


def _malaysian_time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(MALAYSIA)


def remove_control_characters(text: str) -> str:
    """Return *text* with blanks for control characters, which mail servers and providers may send."""
    return "".join(character if character.isprintable() else " " for character in text)
