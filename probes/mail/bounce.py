"""Delivery status notifications (RFC 3464): what a mail system reports about a message it took."""

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
    """What became of the message (RFC 3464 2.3.3)."""

    #: It will not arrive.
    FAILED = "failed"
    #: It has not arrived yet and is tried again: no end.
    DELAYED = "delayed"
    DELIVERED = "delivered"
    #: It went on to a system that does not report.
    RELAYED = "relayed"
    #: It was delivered to a list.
    EXPANDED = "expanded"


@dataclass(frozen=True, slots=True, kw_only=True)
class DsnReport:
    """A notification about one recipient."""

    action: DsnAction
    #: Where it could not be delivered, in small letters (Final-Recipient); "" when the report does not say.
    recipient: str = ""
    #: Whom it was for before aliases were followed (Original-Recipient); "" when the report does not say.
    original: str = ""
    #: RFC 3463: "5.1.1".
    status: str | None = None
    #: SMTP reply code of the remote server, when it was one that spoke.
    code: int | None = None
    #: The remote server's own words.
    text: str = ""
    #: What the same notification says of its other recipients: an alias has several.
    others: tuple[DsnReport, ...] = ()

    def on(self, address: str) -> DsnReport | None:
        """Return the failure at *address* itself, or at an address that is not named; `None` if there is none."""
        return next((one for one in self._failures() if (one.recipient or one.original) in {"", address.lower()}), None)

    def is_for(self, address: str) -> bool:
        """Whether what was sent to *address* failed, there or at an address that this stands for."""
        return self.on(address) is not None or any(one.original == address.lower() for one in self._failures())

    def _failures(self) -> Iterator[DsnReport]:
        return (one for one in (self, *self.others) if one.action is DsnAction.FAILED)


def parse(message: Message) -> DsnReport | None:
    """Read a notification; `None` when *message* is none.

    Of a notification about several recipients, the worst news comes first. Free-text bounces (old Exim, qmail) are
    none: guessing from prose is how an out-of-office reply becomes an outage. The body of another kind would have to be
    asked for, too: `probes.mail.observed_message.may_hide_token`.
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
    """Drop the type: "smtp; 550 5.1.1 ..." and "rfc822; name@domain"."""
    _, separator, rest = value.partition(";")
    return rest.strip() if separator else value.strip()
