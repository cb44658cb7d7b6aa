"""Renaming of an agency or a mailbox, and of the routes and other objects whose names contain its name. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from monitor.model.route import Direction

#: Prefix of dedup keys of monitoring faults.
_MONITORING_FAULT_PREFIX = "ours/"


class RenamedKind(StrEnum):
    """Kind of the renamed object."""

    #: An agency, named by its code: "JCM".
    AGENCY = "agency"
    #: An agency's mailbox ("JCM/utama"), or a reference (the operator's mailbox outside the agencies, "rujukan-a").
    MAILBOX = "mailbox"


@dataclass(frozen=True, slots=True, kw_only=True)
class Renaming:
    """An object with its old and its new name. Each method takes a name of one kind, which may contain the old name."""

    kind: RenamedKind
    old: str
    new: str

    def agency(self, code: str) -> str:
        """Return an agency's new code."""
        return self.new if self.kind is RenamedKind.AGENCY and code == self.old else code

    def route(self, name: str) -> str:
        """Return a route's new name.

        Examples: "JCM/outbound/rujukan-a/utama" (the mailbox may be absent), "JCM/internal", "control/a/b".
        """
        parts = name.split("/")
        if self.kind is RenamedKind.AGENCY:
            return "/".join([self.agency(parts[0]), *parts[1:]])
        code, slash, old_key = self.old.rpartition("/")
        new_key = self.new.rpartition("/")[2]
        if slash and parts[0] != code:
            return name
        # Positions of the mailbox's key in a route's name. A reference follows the direction. An agency's mailbox
        # follows the direction in an internal route, and the reference in others.
        indices: tuple[int, ...]
        match parts[0], slash:
            case Direction.CONTROL, "":
                indices = (1, 2)  # "control/<reference>/<reference>"
            case _, "":  # A reference.
                indices = () if parts[1:2] == [Direction.INTERNAL] else (2,)
            case _:  # An agency's mailbox.
                indices = (2,) if parts[1:2] == [Direction.INTERNAL] else (3,)
        return "/".join(new_key if n in indices and part == old_key else part for n, part in enumerate(parts))

    def mailbox(self, name: str) -> str:
        """Return a mailbox's new name: "JCM/utama", "rujukan-a"."""
        if self.kind is RenamedKind.MAILBOX:
            return self.new if name == self.old else name
        code, slash, key = name.partition("/")
        return f"{self.agency(code)}/{key}" if slash else name

    def tracker(self, name: str) -> str:
        """Return the new name of a health tracker: a route, or a fault such as "ours/credentials/JCM/utama#sender".

        The text after # is the side of the route (sender or recipient) whose server refused the credentials.
        """
        if name.startswith(_MONITORING_FAULT_PREFIX):
            return _MONITORING_FAULT_PREFIX + self._monitoring_fault(name.removeprefix(_MONITORING_FAULT_PREFIX))
        return self.route(name)

    def _monitoring_fault(self, name: str) -> str:
        cause, slash, mailbox_and_end = name.partition("/")
        mailbox, hash_sign, end = mailbox_and_end.partition("#")
        return f"{cause}{slash}{self.mailbox(mailbox)}{hash_sign}{end}"

    def key(self, name: str) -> str:
        """Return the new dedup key of an incident or a silence: an agency, a route, or a monitoring fault."""
        return self.tracker(name) if "/" in name else self.agency(name)

    def rota(self, name: str) -> str:
        """Return the new name of a rota (duty roster), such as an agency's "JCM/bertugas"."""
        return self.mailbox(name) if self.kind is RenamedKind.AGENCY else name
