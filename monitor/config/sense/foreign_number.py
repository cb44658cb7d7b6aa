"""Which telephone numbers of an agency's document only an administrator adds: those abroad, where calls may cost a lot.

Whoever edits an agency says whom Pantau rings, again and again, and can have it begin at once. A number of a satellite or of
some countries pays whoever has rented it for each minute (toll fraud); libphonenumber calls those ordinary ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from monitor.config.fields.phone import is_abroad
from monitor.config.files.document import Document
from monitor.config.files.problem import Path, Problem

#: Under these keys stands what is rung, faxed or sent an SMS.
_NUMBERS: Final = frozenset({"sms", "voice", "fax", "mobile", "landline"})
#: And in these sections; what letters print is called by nobody.
_CALLED: Final = ("contacts", "announcement")


def check_abroad(before: Mapping[str, Any], document: Document) -> tuple[Problem, ...]:
    """Return which numbers abroad *document* has that stood nowhere in *before*."""
    known = {number for _, number in _abroad(before)}
    message = "is a number abroad, which only an administrator adds: calls there may cost a lot"
    instead = "a number in Malaysia: 010-000 0000, or 03-1234 5678"
    new = (path for path, number in _abroad(document.data) if number not in known)
    return tuple(document.problem(path, message, instead) for path in new)


def _abroad(data: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    for section in _CALLED:
        yield from _below(data.get(section), (section,))


def _below(value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from _below(each, (*path, key))
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from _below(each, (*path, number))
    elif isinstance(value, str) and path[-1] in _NUMBERS and is_abroad(value):
        yield path, value
