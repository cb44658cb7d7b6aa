"""Parser of delivery status notifications (bounces, RFC 3464): a mail system's report about an accepted message."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from email.errors import MessageError
from email.message import Message
from enum import StrEnum

from probes.model.reply import find_status, shorten

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
    #: SMTP reply code of the remote server; `None` without an SMTP reply.
    code: int | None = None
    #: The remote server's text.
    text: str = ""
    #: The same notification's reports on its other recipients: an alias has several.
    others: tuple[DsnReport, ...] = ()

    def failure_at(self, address: str) -> DsnReport | None:
        """Return the failure at *address*, or in a report without an address; `None` without one."""
        return next(
            (report for report in self._failures() if (report.recipient or report.original) in {"", address.lower()}),
            None,
        )

    def has_failed_for(self, address: str) -> bool:
        """Return whether delivery to *address* failed, there or at an address that it is an alias for."""
        return self.failure_at(address) is not None or any(
            report.original == address.lower() for report in self._failures()
        )

    def _failures(self) -> Iterator[DsnReport]:
        return (report for report in (self, *self.others) if report.action is DsnAction.FAILED)


def parse_report(message: Message) -> DsnReport | None:
    """Parse a notification; return `None` when *message* is none.

    In a notification about several recipients, the worst result comes first. Free-text bounces (old Exim, qmail) do not
    count: a text heuristic could take an out-of-office reply for an outage.
    """
    try:
        if message.get_content_type() != "multipart/report":
            return None
        reports = [report for block in _find_blocks(message) if (report := _parse_block(block)) is not None]
    except (MessageError, LookupError, ValueError):
        return None
    if not reports:
        return None
    worst, *others = sorted(reports, key=lambda report: list(DsnAction).index(report.action))
    return replace(worst, others=tuple(others))


def _find_blocks(message: Message) -> list[Message]:
    """Return the groups of fields: one about the message, then one for each recipient."""
    for part in message.walk():
        if part.get_content_type() in {"message/delivery-status", "message/global-delivery-status"}:
            payload = part.get_payload()
            return [block for block in payload if isinstance(block, Message)] if isinstance(payload, list) else []
    return []


def _parse_block(block: Message) -> DsnReport | None:
    action = _read_field(block, "Action").lower()
    if action not in set(DsnAction):
        return None
    diagnostic = _strip_type(_read_field(block, "Diagnostic-Code"))
    code = _CODE.search(f" {diagnostic} ")
    return DsnReport(
        action=DsnAction(action),
        recipient=_read_address(block, "Final-Recipient"),
        original=_read_address(block, "Original-Recipient"),
        status=find_status(_read_field(block, "Status")) or find_status(diagnostic),
        code=int(code[1]) if code else None,
        text=shorten(diagnostic),
    )


def _read_address(block: Message, name: str) -> str:
    return _strip_type(_read_field(block, name)).strip("<>").lower()


def _read_field(block: Message, name: str) -> str:
    # Folded lines are one line; a header that is not ASCII is a Header object.
    return " ".join(str(block.get(name, "")).split())


def _strip_type(value: str) -> str:
    """Remove the type: "smtp; 550 5.1.1 ..." and "rfc822; name@domain"."""
    _, separator, rest = value.partition(";")
    return rest.strip() if separator else value.strip()
