"""Checks of configured routes: whether mail can be sent and received at their ends."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass

from monitor.config.agency.mailbox import MailboxSettings
from monitor.config.agency.route import Mailboxes, RouteDirection, RouteSettings, leg
from monitor.config.files.findings import Findings
from monitor.config.files.problem import one_of
from monitor.model.lazy_text import either, said


def check_routes(
    routes: Sequence[RouteSettings],
    code: str,
    mailboxes: Mailboxes,
    references: Mailboxes | None,
    findings: Findings,
    *,
    domain: str,
    pooled: Container[str] = (),
) -> None:
    """Record invalid or duplicate routes of the agency *code*, whose first domain is *domain*.

    *references* is `None` if they are unknown; *pooled* are the references that are pools.
    """
    first: dict[str, Findings] = {}
    for number, route in enumerate(routes):
        there = findings["routes", number]
        sound = _Check(route, mailboxes, references, there, pooled).is_sound()
        if not sound or there.is_broken:
            continue
        name = leg(code, route, mailboxes, domain).name
        if name in first:
            there.error(said("the route '{name}' is also at {where}", name=name, where=first[name].where), "it once")
        first.setdefault(name, there)


def check_ends(mailboxes: Mailboxes, findings: Findings, meant: str = "") -> None:
    """Record that no mailbox can send, or that none can be read: half of the default routes would be missing.

    *meant*: what to write if that is intended.
    """
    if not any(mailbox.servers for mailbox in mailboxes.values()) or findings.is_broken:
        return
    if not any(mailbox.sends for mailbox in mailboxes.values()):
        findings.warning(
            "nothing is sent from here: there is no smtp", said("smtp: in one of them{meant}", meant=meant)
        )
    if not any(mailbox.is_read for mailbox in mailboxes.values()):
        message = "nobody sees what arrives here: there is no imap and no pop3"
        findings.warning(message, said("imap: in one of them{meant}", meant=meant))


@dataclass(frozen=True, slots=True)
class _End:
    """One end of a route: the candidate mailboxes, the key that selects one, and its name."""

    among: Mailboxes
    field: str
    name: str | None


@dataclass(frozen=True, slots=True)
class _Check:
    """Check of one configured route."""

    route: RouteSettings
    mailboxes: Mailboxes
    references: Mailboxes | None
    findings: Findings
    pooled: Container[str]

    def is_sound(self) -> bool:
        """Record errors. Return whether the route's name can be determined."""
        if not (self._belongs() and self._exists()):
            return False
        return self._can()

    def _belongs(self) -> bool:
        """Record keys that routes of this direction do not have, and required keys that are missing."""
        route, direction = self.route, self.route.direction
        wrong = {
            RouteDirection.INTERNAL: {
                "reference": "recipient: a mailbox of the agency",
                "to": "an inbound route with to",
                "arrives_in": "an inbound route with arrives_in",
            },
            RouteDirection.OUTBOUND: {
                "recipient": "reference: a reference mailbox",
                "to": "an inbound route with to",
                "arrives_in": "reference: the reference mailbox that it is sent to",
            },
            RouteDirection.INBOUND: {"recipient": "mailbox: the mailbox of the agency that it is looked for in"},
        }[direction]
        superfluous = [field for field in wrong if getattr(route, field) is not None]
        for field in superfluous:
            self._error(
                field, said("an {direction} route has no {field}", direction=direction, field=field), wrong[field]
            )
        if superfluous:
            return False
        if direction is not RouteDirection.INTERNAL and route.reference is None and self.references is not None:
            instead = said("reference: {references}", references=either(self.references))
            self.findings.error(said("an {direction} route needs a reference", direction=direction), instead)
            return False
        return self._forwards()

    def _forwards(self) -> bool:
        route = self.route
        if route.arrives_in is None:
            return True
        if route.to is None:
            self.findings.error(
                "arrives_in says where a copy comes, and not whose", "to: the address that forwards to it"
            )
            return False
        if route.mailbox is not None:
            self._error("mailbox", "it is looked for in the reference of arrives_in, not here", "mailbox or arrives_in")
            return False
        if route.arrives_in in self.pooled:
            singles = [name for name in self.references or () if name not in self.pooled and name != route.reference]
            self._error(
                "arrives_in",
                "is a pool: a copy is forwarded to one address, and each process looks into a mailbox of its own",
                either(singles) if singles else "a reference with one mailbox",
            )
            return False
        if route.arrives_in == route.reference:
            others = [name for name in self.references or () if name != route.reference]
            # Google hides a message that returns to its sender.
            self._error(
                "arrives_in", "is where it is sent from, and some providers hide what comes back", either(others)
            )
            return False
        return True

    def _exists(self) -> bool:
        """Record unknown mailboxes."""
        route, sound = self.route, True
        for field in ("mailbox", "recipient"):
            name = getattr(route, field)
            if name is not None and name not in self.mailboxes:
                sound = False
                if not self.findings.root["mailboxes"].is_blank:
                    self._error(
                        field, said("the agency has no mailbox '{name}'", name=name), one_of(name, self.mailboxes)
                    )
        for field in ("reference", "arrives_in"):
            name = getattr(route, field)
            if name is not None and self.references is not None and name not in self.references:
                sound = False
                self._error(
                    field, said("there is no reference mailbox '{name}'", name=name), one_of(name, self.references)
                )
        if not self.mailboxes and route.arrives_in is None:
            # Recorded once, at the mailboxes.
            return False
        return sound

    def _can(self) -> bool:
        """Record senders that cannot send, and recipients that cannot be read."""
        route, own = self.route, self.route.mailbox or next(iter(self.mailboxes), None)
        direction, references = route.direction, self.references or {}
        sender = recipient = _End(self.mailboxes, "mailbox", own)
        if direction is RouteDirection.INTERNAL:
            recipient = _End(self.mailboxes, "recipient", route.recipient)
            if route.recipient is None and not any(mailbox.is_read for mailbox in self.mailboxes.values()):
                recipient = _End(self.mailboxes, "recipient", own)
        elif direction is RouteDirection.OUTBOUND:
            recipient = _End(references, "reference", route.reference)
        else:
            sender = _End(references, "reference", route.reference)
            if route.arrives_in is not None:
                recipient = _End(references, "arrives_in", route.arrives_in)
        source, target = self._known(sender), self._known(recipient)
        sends, is_read = source is None or source.sends, target is None or target.is_read
        if not sends:
            self._error(
                sender.field,
                said("nothing can be sent from '{name}': it has no smtp", name=sender.name),
                "a mailbox with smtp",
            )
        if not is_read:
            message = said("nobody can look into '{name}': it has no imap and no pop3", name=recipient.name)
            self._error(recipient.field, message, "a mailbox with imap or pop3")
        return sends and is_read and self._address(own)

    def _known(self, end: _End) -> MailboxSettings | None:
        """Return the mailbox at an end; `None` if it is unknown or invalid, which is recorded elsewhere."""
        if end.name is None or self.findings.root["mailboxes", end.name].is_broken:
            return None
        return end.among.get(end.name)

    def _address(self, own: str | None) -> bool:
        """Record a recipient address that is the mailbox's own."""
        route = self.route
        if route.to is None or route.arrives_in is not None or own is None:
            return True
        if route.to.lower() == self.mailboxes[own].address.lower():
            self._error("to", said("is the address of '{own}' itself", own=own), "another address, or leave `to` out")
            return False
        return True

    def _error(self, field: str, message: str, instead: str) -> None:
        # If no mailbox is configured, the default is the first one, and the error is recorded at the route itself.
        written = getattr(self.route, field) is not None
        (self.findings[field] if written else self.findings).error(message, instead)
