"""Orders of people that cannot be carried out."""

from __future__ import annotations


class NotDone(Exception):
    """An order cannot be carried out. The message says why, and what to do or write instead."""


class Unknown(NotDone):
    """What the order is about does not exist."""


def no_incident(number: str) -> Unknown:
    """Return that nothing has this number."""
    return Unknown(f"there is no incident {number}; `pantau incidents` lists them")
