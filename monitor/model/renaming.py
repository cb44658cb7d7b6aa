"""What hangs on the name of an agency or a mailbox, and how it is called under another one. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from monitor.model.route import Direction

#: Dedup keys of what is our own begin with it.
_OURS = "ours/"


class Renamed(StrEnum):
    """What is called otherwise from now on."""

    #: By its code.
    AGENCY = "agency"
    #: An agency's, by its code and key ("JCM/utama"), or a reference by its key.
    MAILBOX = "mailbox"


@dataclass(frozen=True, slots=True, kw_only=True)
class Renaming:
    """One thing and its two names."""

    what: Renamed
    old: str
    new: str

    def agency(self, code: str) -> str:
        """Return what an agency is called."""
        return self.new if self.what is Renamed.AGENCY and code == self.old else code

    def route(self, name: str) -> str:
        """Return what a route is called: "JCM/outbound/rujukan-a" and what may follow, "JCM/internal", "control/a/b"."""
        parts = name.split("/")
        if self.what is Renamed.AGENCY:
            return "/".join([self.agency(parts[0]), *parts[1:]])
        code, own, old_key = self.old.rpartition("/")
        new_key = self.new.rpartition("/")[2]
        if own and parts[0] != code:
            return name
        # A reference stands right behind the direction, and an agency's mailbox behind it or at its place; the address that
        # a forwarded route goes to may follow.
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
        """Return what a mailbox is called: "JCM/utama", "rujukan-a"."""
        if self.what is Renamed.MAILBOX:
            return self.new if name == self.old else name
        code, own, key = name.partition("/")
        return f"{self.agency(code)}/{key}" if own else name

    def subject(self, name: str) -> str:
        """Return what is judged: a route, or a suspect of our own ("ours/credentials/JCM/utama#sender")."""
        if name.startswith(_OURS):
            return _OURS + self._suspect(name.removeprefix(_OURS))
        return self.route(name)

    def _suspect(self, name: str) -> str:
        blame, slash, rest = name.partition("/")
        suspect, mark, server = rest.partition("#")
        return f"{blame}{slash}{self.mailbox(suspect)}{mark}{server}"

    def key(self, name: str) -> str:
        """Return what an incident or a silence is about: an agency, a route, or what is our own."""
        return self.subject(name) if "/" in name else self.agency(name)

    def rota(self, name: str) -> str:
        """Return what a rota is called: an agency's "JCM/bertugas"."""
        return self.mailbox(name) if self.what is Renamed.AGENCY else name
