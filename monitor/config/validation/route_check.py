"""Checks of configured routes: whether their sender can send and their recipient can be read.

A *reference* is a mailbox of the operator outside the agencies. A *pool* is a reference of several mailboxes, of which
each process uses its own. A *forwarded* route (with the key `arrives_in`) is addressed to the agency, which forwards
its messages to a reference, where they are read.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass

from monitor.config.agency.mailbox import MailboxSettings
from monitor.config.agency.route import Mailboxes, RouteDirection, RouteSettings, resolve_route
from monitor.config.files.findings import Findings
from monitor.config.files.problem import suggest
from monitor.model.translatable import any_of, translatable


def check_routes(
    routes: Sequence[RouteSettings],
    agency_code: str,
    mailboxes: Mailboxes,
    references: Mailboxes | None,
    findings: Findings,
    *,
    domain: str,
    pooled: Container[str] = (),
) -> None:
    """Record invalid or duplicate routes of the agency *agency_code*, whose first domain is *domain*.

    *references* is `None` if they are unknown. *pooled*: the names of the references that are pools.
    """
    first_use: dict[str, Findings] = {}
    for number, route in enumerate(routes):
        route_findings = findings["routes", number]
        is_valid = _RouteCheck(route, mailboxes, references, route_findings, pooled).check()
        if not is_valid or route_findings.is_broken:
            continue
        name = resolve_route(agency_code, route, mailboxes, domain).name
        if name in first_use:
            route_findings.error(
                translatable("the route '{name}' is also at {where}", name=name, where=first_use[name].location_text),
                "it once",
            )
        first_use.setdefault(name, route_findings)


def check_default_routes(mailboxes: Mailboxes, findings: Findings, if_intended: str = "") -> None:
    """Record that no mailbox can send, or that none can be read. Half of the default routes are missing then.

    *if_intended*: end of the remedy, for an author who intends this: ", or routes: with those that there are".
    """
    # Mailboxes without any server have been recorded as errors.
    if not any(mailbox.servers for mailbox in mailboxes.values()) or findings.is_broken:
        return
    if not any(mailbox.can_send for mailbox in mailboxes.values()):
        findings.warning(
            "nothing is sent from here: there is no smtp",
            translatable("smtp: in one of them{meant}", meant=if_intended),
        )
    if not any(mailbox.is_readable for mailbox in mailboxes.values()):
        message = "nothing that arrives here can be read: there is no imap and no pop3"
        findings.warning(message, translatable("imap: in one of them{meant}", meant=if_intended))


@dataclass(frozen=True, slots=True)
class _End:
    """Sender or recipient of a route."""

    #: Mailboxes from which the key selects.
    candidates: Mailboxes
    #: Key of the route that selects the mailbox.
    key: str
    #: Name of the selected mailbox; `None`: there is none.
    name: str | None


@dataclass(frozen=True, slots=True)
class _RouteCheck:
    """Check of one configured route."""

    route: RouteSettings
    #: Mailboxes of the agency.
    mailboxes: Mailboxes
    #: `None`: unknown, because the settings are invalid.
    references: Mailboxes | None
    #: Findings of the route.
    findings: Findings
    #: Names of the references that are pools.
    pooled: Container[str]

    def check(self) -> bool:
        """Record errors of the route. Return whether it is valid, so that its name can be determined."""
        if not (self._check_keys() and self._check_mailboxes_exist()):
            return False
        return self._check_capabilities()

    def _check_keys(self) -> bool:
        """Record keys that routes of this direction must not have, and required keys that are missing."""
        route, direction = self.route, self.route.direction
        # By forbidden key, what to write instead.
        forbidden = {
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
            RouteDirection.INBOUND: {"recipient": "mailbox: the mailbox of the agency in which it arrives"},
        }[direction]
        present_keys = [key for key in forbidden if getattr(route, key) is not None]
        for key in present_keys:
            self._record_error(
                key, translatable("an {direction} route has no {field}", direction=direction, field=key), forbidden[key]
            )
        if present_keys:
            return False
        if direction is not RouteDirection.INTERNAL and route.reference is None and self.references is not None:
            instead = translatable("reference: {references}", references=any_of(self.references))
            self.findings.error(translatable("an {direction} route needs a reference", direction=direction), instead)
            return False
        return self._check_forwarding()

    def _check_forwarding(self) -> bool:
        """Record an incomplete or impossible `arrives_in`."""
        route = self.route
        if route.arrives_in is None:
            return True
        if route.to is None:
            self.findings.error(
                "arrives_in needs to: it says only where the copy arrives", "to: the address that forwards to it"
            )
            return False
        if route.mailbox is not None:
            self._record_error(
                "mailbox", "the message arrives in the reference of arrives_in, not here", "mailbox or arrives_in"
            )
            return False
        if route.arrives_in in self.pooled:
            singles = [name for name in self.references or () if name not in self.pooled and name != route.reference]
            self._record_error(
                "arrives_in",
                "is a pool: the copy is forwarded to one address, but each process reads another mailbox",
                any_of(singles) if singles else "a reference with one mailbox",
            )
            return False
        if route.arrives_in == route.reference:
            other_references = [name for name in self.references or () if name != route.reference]
            # Google does not show a message that returns to its sender's own mailbox.
            self._record_error(
                "arrives_in",
                "is also the sender, and some providers hide a message that returns to its sender",
                any_of(other_references),
            )
            return False
        return True

    def _check_mailboxes_exist(self) -> bool:
        """Record unknown mailboxes."""
        route, all_exist = self.route, True
        for key in ("mailbox", "recipient"):
            name = getattr(route, key)
            if name is not None and name not in self.mailboxes:
                all_exist = False
                if not self.findings.root["mailboxes"].is_blank:
                    self._record_error(
                        key,
                        translatable("the agency has no mailbox '{name}'", name=name),
                        suggest(name, self.mailboxes),
                    )
        for key in ("reference", "arrives_in"):
            name = getattr(route, key)
            if name is not None and self.references is not None and name not in self.references:
                all_exist = False
                self._record_error(
                    key,
                    translatable("there is no reference mailbox '{name}'", name=name),
                    suggest(name, self.references),
                )
        if not self.mailboxes and route.arrives_in is None:
            # The missing mailboxes have been recorded once, at the key `mailboxes`.
            return False
        return all_exist

    def _check_capabilities(self) -> bool:
        """Record senders that cannot send, and recipients that cannot be read."""
        route, agency_mailbox = self.route, self.route.mailbox or next(iter(self.mailboxes), None)
        direction, references = route.direction, self.references or {}
        sender = recipient = _End(self.mailboxes, "mailbox", agency_mailbox)
        if direction is RouteDirection.INTERNAL:
            recipient = _End(self.mailboxes, "recipient", route.recipient)
            # Without a readable mailbox, there is no default recipient: the error names the sender.
            if route.recipient is None and not any(mailbox.is_readable for mailbox in self.mailboxes.values()):
                recipient = _End(self.mailboxes, "recipient", agency_mailbox)
        elif direction is RouteDirection.OUTBOUND:
            recipient = _End(references, "reference", route.reference)
        else:
            sender = _End(references, "reference", route.reference)
            if route.arrives_in is not None:
                recipient = _End(references, "arrives_in", route.arrives_in)
        sending_mailbox, receiving_mailbox = self._find_mailbox(sender), self._find_mailbox(recipient)
        can_send = sending_mailbox is None or sending_mailbox.can_send
        is_readable = receiving_mailbox is None or receiving_mailbox.is_readable
        if not can_send:
            self._record_error(
                sender.key,
                translatable("nothing can be sent from '{name}': it has no smtp", name=sender.name),
                "a mailbox with smtp",
            )
        if not is_readable:
            message = translatable("'{name}' cannot be read: it has no imap and no pop3", name=recipient.name)
            self._record_error(recipient.key, message, "a mailbox with imap or pop3")
        return can_send and is_readable and self._check_recipient_address(agency_mailbox)

    def _find_mailbox(self, end: _End) -> MailboxSettings | None:
        """Return the mailbox at *end*; `None` if it is unknown or invalid, which has already been recorded."""
        if end.name is None or self.findings.root["mailboxes", end.name].is_broken:
            return None
        return end.candidates.get(end.name)

    def _check_recipient_address(self, agency_mailbox: str | None) -> bool:
        """Record a recipient address `to` that is the mailbox's own, and therefore superfluous."""
        route = self.route
        if route.to is None or route.arrives_in is not None or agency_mailbox is None:
            return True
        if route.to.lower() == self.mailboxes[agency_mailbox].address.lower():
            self._record_error(
                "to",
                translatable("is the address of '{own}' itself", own=agency_mailbox),
                "another address, or leave `to` out",
            )
            return False
        return True

    def _record_error(self, key: str, message: str, instead: str) -> None:
        # A missing key has a default, whose error is recorded at the route itself.
        is_in_file = getattr(self.route, key) is not None
        (self.findings[key] if is_in_file else self.findings).error(message, instead)
