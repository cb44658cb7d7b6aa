"""Own mail that stays in a mailbox although it was deleted there: a hold, a setting, a server that only says so."""

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
    """What stays in one mailbox, by its folders. The log tells of it once, and once that it is over."""

    def __init__(self, mailbox: str) -> None:
        self._mailbox = mailbox
        #: What was told to be deleted and may be there still, and how much of that was there at the last look for it.
        self._tried: dict[str, set[Hashable]] = {}
        self._stays: dict[str, int] = {}
        self._is_told = False

    @property
    def count(self) -> int:
        """How many of our messages are there that should be gone."""
        return sum(self._stays.values())

    def tried(self, folder: str, mails: Iterable[Hashable]) -> None:
        """Note that the server was told to delete these."""
        self._tried.setdefault(folder, set()).update(mails)

    def forget(self, folder: str) -> None:
        """Note that what the folder calls its mails means nothing any more."""
        self._tried.pop(folder, None)
        self._stays.pop(folder, None)

    def look(self, folder: str, present: Collection[Hashable]) -> None:
        """See what of it is there all the same, some time later: *present* are the mails that are in the folder."""
        self._tried[folder] = left = self._tried.get(folder, set()) & set(present)
        self._stays[folder] = len(left)
        if not left and not self.count and self._is_told:
            self._is_told = False
            _log.info("own mail can be deleted again", mailbox=self._mailbox)
        elif left:
            self._tell(mails=self.count)

    def refused(self, why: str) -> None:
        """Note that the server would not delete: no fault of mail delivery, and tried again at the next look."""
        self._tell(detail=why)

    def _tell(self, **what: object) -> None:
        if not self._is_told:
            self._is_told = True
            _log.warning("own mail cannot be deleted", mailbox=self._mailbox, advice=_ADVICE, **what)
