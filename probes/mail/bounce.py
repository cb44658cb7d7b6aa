"""Parser of delivery status notifications (RFC 3464): reports on accepted messages, such as bounces."""

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
    """Outcome for a recipient (RFC 3464 2.3.3), the worst first."""

    #: The message will not arrive.
    FAILED = "failed"
    #: The message has not arrived yet, and delivery is retried.
    DELAYED = "delayed"
    DELIVERED = "delivered"
    #: The message was passed to a system that does not send notifications.
    RELAYED = "relayed"
    #: The message was delivered to an alias and passed on to several addresses.
    EXPANDED = "expanded"


@dataclass(frozen=True, slots=True, kw_only=True)
class DsnReport:
    """Report on one recipient."""

    action: DsnAction
    #: Address to which the message could be delivered or not, in lower case (Final-Recipient); "" if it is not stated.
    recipient: str = ""
    #: Address before aliases were resolved (Original-Recipient); "" if the report has none.
    original_recipient: str = ""
    #: Enhanced status code (RFC 3463) such as "5.1.1".
    status: str | None = None
    #: SMTP reply code of the remote server; `None` without an SMTP reply.
    code: int | None = None
    #: The remote server's text.
    text: str = ""
    #: Reports of the same notification on other recipients: an alias may stand for several addresses.
    other_reports: tuple[DsnReport, ...] = ()

    def failure_at(self, address: str) -> DsnReport | None:
        """Return the first report of a failed delivery to *address*, or to an unstated address; `None` without one."""
        return next(
            (
                report
                for report in self._failures()
                if (report.recipient or report.original_recipient) in {"", address.lower()}
            ),
            None,
        )

    def has_failed_for(self, address: str) -> bool:
        """Return whether delivery failed at *address*, or at an address for which it is an alias."""
        return self.failure_at(address) is not None or any(
            report.original_recipient == address.lower() for report in self._failures()
        )

    def _failures(self) -> Iterator[DsnReport]:
        return (report for report in (self, *self.other_reports) if report.action is DsnAction.FAILED)


def parse_report(message: Message) -> DsnReport | None:
    """Parse a notification; return `None` if *message* is not one.

    The report with the worst action is returned, with the others as `other_reports`. Free-text bounces (old Exim,
    qmail) do not count, because a text heuristic could take an out-of-office reply for an outage.
    """
    try:
        if message.get_content_type() != "multipart/report":
            return None
        reports = [report for block in _find_blocks(message) if (report := _parse_block(block)) is not None]
    except (MessageError, LookupError, ValueError):
        return None
    if not reports:
        return None
    worst, *other_reports = sorted(reports, key=lambda report: list(DsnAction).index(report.action))
    return replace(worst, other_reports=tuple(other_reports))


def _find_blocks(message: Message) -> list[Message]:
    """Return the groups of fields of a notification: one about the message, then one for each recipient."""
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
        original_recipient=_read_address(block, "Original-Recipient"),
        status=find_status(_read_field(block, "Status")) or find_status(diagnostic),
        code=int(code[1]) if code else None,
        text=shorten(diagnostic),
    )


def _read_address(block: Message, name: str) -> str:
    return _strip_type(_read_field(block, name)).strip("<>").lower()


def _read_field(block: Message, name: str) -> str:
    # `split` unfolds the lines. `str` is needed, because a header that is not ASCII is a `Header` object.
    return " ".join(str(block.get(name, "")).split())


def _strip_type(value: str) -> str:
    """Remove the type before the semicolon, as in "smtp; 550 5.1.1 ..." and "rfc822; name@domain"."""
    _, separator, rest = value.partition(";")
    return rest.strip() if separator else value.strip()
