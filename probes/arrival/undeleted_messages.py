"""Own messages that stay in a mailbox after deletion: legal hold, setting, or a server that only reports success."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable

import structlog

_log = structlog.get_logger(__name__)

_ADVICE = (
    "the server keeps what it is told to delete, and the mailbox fills with our messages: look for a legal hold, a read-only folder, "
    "mails that somebody has marked as deleted and not removed, or a setting such as Gmail's "
    "copy that is kept for POP; until then empty the mailbox by hand now and then"
)


class UndeletedMessages:
    """Undeleted messages of one mailbox, by folder. Their appearance and their end are logged once each."""

    def __init__(self, mailbox: str) -> None:
        self._mailbox = mailbox
        #: Messages that were deleted and may still be present, and how many of them were present at the last poll.
        self._tried: dict[str, set[Hashable]] = {}
        self._stays: dict[str, int] = {}
        self._is_told = False

    @property
    def count(self) -> int:
        """Number of our messages that should be gone and are present."""
        return sum(self._stays.values())

    def tried(self, folder: str, mails: Iterable[Hashable]) -> None:
        """Record that the server was asked to delete these."""
        self._tried.setdefault(folder, set()).update(mails)

    def forget(self, folder: str) -> None:
        """Drop the identifiers of the folder's mails, which are void."""
        self._tried.pop(folder, None)
        self._stays.pop(folder, None)

    def look(self, folder: str, present: Collection[Hashable]) -> None:
        """Compare with the mails in the folder, some time after the deletion. *present*: their identifiers."""
        self._tried[folder] = left = self._tried.get(folder, set()) & set(present)
        self._stays[folder] = len(left)
        if not left and not self.count and self._is_told:
            self._is_told = False
            _log.info("probe messages can be deleted again", mailbox=self._mailbox)
        elif left:
            self._tell(mails=self.count)

    def refused(self, why: str) -> None:
        """Record that the server refused to delete.

        It is no failure of mail delivery, and is retried at the next poll.
        """
        self._tell(detail=why)

    def _tell(self, **what: object) -> None:
        if not self._is_told:
            self._is_told = True
            _log.warning("probe messages cannot be deleted", mailbox=self._mailbox, advice=_ADVICE, **what)
