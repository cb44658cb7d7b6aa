"""Orders of people that cannot be carried out, and questions about what is not there."""

from __future__ import annotations

from collections.abc import Iterable

from monitor.config.files.problem import nearest


class NotDone(Exception):
    """An order cannot be carried out. The message says why, and what to do or write instead."""


class Unknown(NotDone):
    """What the order is about does not exist."""


def no_incident(number: str) -> Unknown:
    """Return that nothing has this number."""
    return Unknown(f"there is no incident {number}; `pantau incidents` lists them")


def no_notice(notice_id: int) -> Unknown:
    """Return that no notice has this number."""
    return Unknown(f"there is no notice {notice_id}; `pantau notices` lists them")


def agency_called(quoted: str, codes: Iterable[str]) -> str:
    """Return the code of an agency that people call so, whatever the case. Raise `Unknown`."""
    known = {code.casefold(): code for code in codes}
    code = known.get(quoted.strip().casefold())
    if code is not None:
        return code
    near = nearest(quoted.strip(), known)
    instead = f"did you mean {known[near]}?" if near else "the status page lists them by their codes"
    raise Unknown(f"there is no agency '{quoted.strip()}'; {instead}")
