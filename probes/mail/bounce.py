"""Delivery status notifications (RFC 3464): a mail system's report about an accepted message."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from email.errors import MessageError
from email.message import Message
from enum import StrEnum

from probes.model.reply import shortened, status_in

_CODE = re.compile(r"(?:^|[\s;:])([245]\d\d)(?=[\s-])", re.ASCII)


class DsnAction(StrEnum):
    """Outcome of the message (RFC 3464 2.3.3)."""

    #: It will not arrive.
    FAILED = "failed"
    #: It has not arrived yet and is retried: not final.
    DELAYED = "delayed"
    DELIVERED = "delivered"
    #: It was passed to a system that does not report.
    RELAYED = "relayed"
    #: It was delivered to a list.
    EXPANDED = "expanded"


@dataclass(frozen=True, slots=True, kw_only=True)
class DsnReport:
    """Notification about one recipient."""

    action: DsnAction
    #: Address where delivery failed, in lower case (Final-Recipient); "" when the report has none.
    recipient: str = ""
    #: Address before aliases were followed (Original-Recipient); "" when the report has none.
    original: str = ""
    #: RFC 3463: "5.1.1".
    status: str | None = None
    #: SMTP reply code of the remote server, if it was one that replied.
    code: int | None = None
    #: The remote server's text.
    text: str = ""
    #: The same notification's reports on its other recipients: an alias has several.
    others: tuple[DsnReport, ...] = ()

    def on(self, address: str) -> DsnReport | None:
        """Return the failure at *address* itself, or at an unnamed address; `None` without one."""
        return next((one for one in self._failures() if (one.recipient or one.original) in {"", address.lower()}), None)

    def is_for(self, address: str) -> bool:
        """Return whether delivery to *address* failed, there or at an address that it is an alias for."""
        return self.on(address) is not None or any(one.original == address.lower() for one in self._failures())

    def _failures(self) -> Iterator[DsnReport]:
        return (one for one in (self, *self.others) if one.action is DsnAction.FAILED)


def parse(message: Message) -> DsnReport | None:
    """Parse a notification; return `None` when *message* is none.

    In a notification about several recipients, the worst result comes first. Free-text bounces (old Exim, qmail) do not
    count: a text heuristic could take an out-of-office reply for an outage. The body of another kind would also have to
    be fetched: `probes.mail.observed_message.may_hide_token`.
    """
    try:
        if message.get_content_type() != "multipart/report":
            return None
        reports = [report for block in _blocks(message) if (report := _report(block)) is not None]
    except (MessageError, LookupError, ValueError):
        return None
    if not reports:
        return None
    worst, *others = sorted(reports, key=lambda report: list(DsnAction).index(report.action))
    return replace(worst, others=tuple(others))


def _blocks(message: Message) -> list[Message]:
    """Return the groups of fields: one about the message, then one for each recipient."""
    for part in message.walk():
        if part.get_content_type() in {"message/delivery-status", "message/global-delivery-status"}:
            payload = part.get_payload()
            return [block for block in payload if isinstance(block, Message)] if isinstance(payload, list) else []
    return []


def _report(block: Message) -> DsnReport | None:
    action = _field(block, "Action").lower()
    if action not in set(DsnAction):
        return None
    diagnostic = _after_type(_field(block, "Diagnostic-Code"))
    code = _CODE.search(f" {diagnostic} ")
    return DsnReport(
        action=DsnAction(action),
        recipient=_address(block, "Final-Recipient"),
        original=_address(block, "Original-Recipient"),
        status=status_in(_field(block, "Status")) or status_in(diagnostic),
        code=int(code[1]) if code else None,
        text=shortened(diagnostic),
    )


def _address(block: Message, name: str) -> str:
    return _after_type(_field(block, name)).strip("<>").lower()


def _field(block: Message, name: str) -> str:
    # Folded lines are one line; a header that is not ASCII is a Header object.
    return " ".join(str(block.get(name, "")).split())


def _after_type(value: str) -> str:
    """Remove the type: "smtp; 550 5.1.1 ..." and "rfc822; name@domain"."""
    _, separator, rest = value.partition(";")
    return rest.strip() if separator else value.strip()
