"""Renaming of agencies and mailboxes: all names derived from theirs. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from monitor.model.route import Direction

#: Prefix of dedup keys of monitoring faults.
_OURS = "ours/"


class Renamed(StrEnum):
    """Kind of the renamed object."""

    #: By its code.
    AGENCY = "agency"
    #: An agency's mailbox as "JCM/utama", or a reference by its key.
    MAILBOX = "mailbox"


@dataclass(frozen=True, slots=True, kw_only=True)
class Renaming:
    """An object with its two names."""

    what: Renamed
    old: str
    new: str

    def agency(self, code: str) -> str:
        """Return an agency's new name."""
        return self.new if self.what is Renamed.AGENCY and code == self.old else code

    def route(self, name: str) -> str:
        """Return a route's new name: "JCM/outbound/rujukan-a" with a possible suffix, "JCM/internal", "control/a/b"."""
        parts = name.split("/")
        if self.what is Renamed.AGENCY:
            return "/".join([self.agency(parts[0]), *parts[1:]])
        code, own, old_key = self.old.rpartition("/")
        new_key = self.new.rpartition("/")[2]
        if own and parts[0] != code:
            return name
        # A reference follows the direction, an agency's mailbox follows it or replaces it; the address of a forwarded
        # route may follow.
        places: tuple[int, ...]
        match parts[0], own:
            case Direction.CONTROL, "":
                places = (1, 2)
            case _, "":
                places = () if parts[1:2] == [Direction.INTERNAL] else (2,)
            case _:
                places = (2,) if parts[1:2] == [Direction.INTERNAL] else (3,)
        return "/".join(new_key if n in places and part == old_key else part for n, part in enumerate(parts))

    def mailbox(self, name: str) -> str:
        """Return a mailbox's new name: "JCM/utama", "rujukan-a"."""
        if self.what is Renamed.MAILBOX:
            return self.new if name == self.old else name
        code, own, key = name.partition("/")
        return f"{self.agency(code)}/{key}" if own else name

    def subject(self, name: str) -> str:
        """Return the new name of a health tracker: a route or an own part ("ours/credentials/JCM/utama#sender")."""
        if name.startswith(_OURS):
            return _OURS + self._suspect(name.removeprefix(_OURS))
        return self.route(name)

    def _suspect(self, name: str) -> str:
        blame, slash, rest = name.partition("/")
        suspect, mark, server = rest.partition("#")
        return f"{blame}{slash}{self.mailbox(suspect)}{mark}{server}"

    def key(self, name: str) -> str:
        """Return the new dedup key of an incident or a silence: an agency, a route, or a monitoring fault."""
        return self.subject(name) if "/" in name else self.agency(name)

    def rota(self, name: str) -> str:
        """Return a rota's new name: an agency's "JCM/bertugas"."""
        return self.mailbox(name) if self.what is Renamed.AGENCY else name
