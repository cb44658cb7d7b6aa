"""Probe messages that stay in a mailbox after their deletion, for example because of a legal hold or a setting."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable

import structlog

_log = structlog.get_logger(__name__)

_ADVICE = (
    "the server keeps messages that Pantau deletes, so the mailbox fills up: check for a legal hold, a read-only "
    "folder, "
    "mails that another client has marked as deleted and not removed, or a setting such as Gmail's "
    "copy that is kept for POP; until this is solved, empty the mailbox by hand from time to time"
)


class UndeletedMessages:
    """Undeleted probe messages of one mailbox, by folder. Their appearance and their end are logged once each."""

    def __init__(self, mailbox: str) -> None:
        self._mailbox = mailbox
        #: By folder: identifiers of messages that were deleted and may still be present.
        self._deleted: dict[str, set[Hashable]] = {}
        #: By folder: number of those that were present at the last comparison.
        self._present_counts: dict[str, int] = {}
        self._is_logged = False

    @property
    def count(self) -> int:
        """Number of messages that were deleted and are still present."""
        return sum(self._present_counts.values())

    def record_deletion(self, folder: str, message_ids: Iterable[Hashable]) -> None:
        """Record that the server was asked to delete these messages, given by their identifiers."""
        self._deleted.setdefault(folder, set()).update(message_ids)

    def forget(self, folder: str) -> None:
        """Drop the identifiers of the folder's messages, because they are no longer valid."""
        self._deleted.pop(folder, None)
        self._present_counts.pop(folder, None)

    def compare(self, folder: str, present: Collection[Hashable]) -> None:
        """Compare the deleted messages with *present*, the identifiers of the folder's messages some time later."""
        self._deleted[folder] = remaining = self._deleted.get(folder, set()) & set(present)
        self._present_counts[folder] = len(remaining)
        if not remaining and not self.count and self._is_logged:
            self._is_logged = False
            _log.info("probe messages can be deleted again", mailbox=self._mailbox)
        elif remaining:
            self._log_once(mails=self.count)

    def record_refusal(self, reason: str) -> None:
        """Record that the server refused to delete messages.

        A refusal is no failure of mail delivery. The deletion is tried again at the next periodic search.
        """
        self._log_once(detail=reason)

    def _log_once(self, **fields: object) -> None:
        if not self._is_logged:
            self._is_logged = True
            _log.warning("probe messages cannot be deleted", mailbox=self._mailbox, advice=_ADVICE, **fields)
