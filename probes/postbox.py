"""The folders of a watched mailbox: where reading them stands, and what is done with each mail."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from probes.answer import Fetched, Position, Refused
from probes.expectation import Expectation, Folder, Seen
from probes.imap import Session, encoded
from probes.ledger import Ledger, decide
from probes.mailbox import Mailbox
from probes.result import Arrival, Party
from probes.sighting import Kind, Sighting, may_hide_token, recognise
from probes.token import TokenSigner

_log = structlog.get_logger(__name__)

#: At the start, and now and then, as many of the newest mails are searched for what was left behind.
_LEFTOVERS = 200
#: Mails asked for at once. Small, so that new mail is looked at in between.
_CHUNK = 25
#: A mail of this size may be ours with every header rewritten; a larger one is not ours.
_OURS_AT_MOST = 64 * 1024
#: The server announces news; how often it is asked for them all the same, in seconds.
_LIST_ANYWAY = 2.0
#: How long a folder that was refused is left alone, in seconds.
_AFTER_REFUSAL = 60.0


@dataclass(slots=True, kw_only=True)
class _Place:
    """A folder, and how far it has been read."""

    name: str
    folder: Folder
    validity: int | None = None
    next_uid: int = 1
    #: UIDs below `next_uid` still to be searched for leftovers, oldest first.
    backlog: list[int] = field(default_factory=list)
    #: UIDs whose mail has been dealt with and is to be deleted.
    done: set[int] = field(default_factory=set)
    #: What is found in the backlog has not been counted before.
    first_time: bool = True
    #: The server has refused to show it; said once.
    refused: bool = False
    looked_at: float = float("-inf")
    swept_at: float = float("-inf")


class Postbox:
    """Reads a mailbox through whatever connection there is at the moment, each mail once."""

    def __init__(
        self,
        *,
        mailbox: Mailbox,
        signer: TokenSigner,
        ledger: Ledger,
        waiting: Mapping[str, Sequence[Expectation]],
        deadline: timedelta,
        on_arrival: Callable[[Arrival, str | None, datetime], None],
        clock: Callable[[], datetime],
    ) -> None:
        self._mailbox = mailbox
        self._signer = signer
        self._ledger = ledger
        self._waiting = waiting
        self._deadline = deadline
        self._on_arrival = on_arrival
        self._clock = clock
        self._inbox = _Place(name="INBOX", folder=Folder.INBOX)
        self._junk: dict[str, _Place] = {}
        #: Whatever has been dealt with has been deleted, too.
        self.tidy = asyncio.Event()
        self.tidy.set()

    @property
    def has_more(self) -> bool:
        """Whether there are leftovers still to be searched for."""
        return bool(self._inbox.backlog)

    async def enter(self, session: Session) -> None:
        """Find the folders and open the inbox on a new connection."""
        try:
            marked = await session.junk()
        except Refused as refusal:
            # The inbox can be read all the same; the configured folders have to do.
            _log.warning("no list of folders", mailbox=self._mailbox.name, detail=refusal.text)
            marked = ()
        names = (*marked, *map(encoded, self._mailbox.junk_folders))
        self._junk = {name: self._junk.get(name) or _Place(name=name, folder=Folder.JUNK) for name in names}
        await self._open(session, self._inbox)

    async def look(self, session: Session, *, junk_every: timedelta, sweep: timedelta) -> None:
        """Read what is new in the inbox, a piece of what was left behind, and the junk when it is its turn."""
        if _now() - self._inbox.swept_at >= sweep.total_seconds():
            await self._open(session, self._inbox, sweep=True)
        news = await session.noop()
        if news or _now() - self._inbox.looked_at >= _LIST_ANYWAY:
            await self._read_new(session, self._inbox)
        await self._read_backlog(session, self._inbox)
        await self._delete(session, self._inbox)
        moved = [
            await self._look_into(session, place, sweep=_now() - place.swept_at >= sweep.total_seconds())
            for place in list(self._junk.values())
            if _now() - place.looked_at >= junk_every.total_seconds()
        ]
        if any(moved):
            await self._open(session, self._inbox)

    async def _look_into(self, session: Session, place: _Place, *, sweep: bool) -> bool:
        """Look at a junk folder; say whether the inbox has to be opened again."""
        try:
            return await self._read_junk(session, place, sweep=sweep)
        except Refused as refusal:
            # Not there, or not now: the inbox can be read all the same. A failed SELECT leaves no folder open.
            if not place.refused:
                _log.warning("no such folder", mailbox=self._mailbox.name, folder=place.name, detail=refusal.text)
            place.refused, place.looked_at = True, _now() + _AFTER_REFUSAL
            return True

    async def _read_junk(self, session: Session, place: _Place, *, sweep: bool) -> bool:
        standing = await session.standing(place.name)
        same = standing.validity == place.validity and standing.next_uid is not None
        if not sweep and same and standing.next_uid == place.next_uid and not place.done:
            place.looked_at = _now()
            return False
        await self._open(session, place, sweep=sweep)
        await self._read_new(session, place)
        while place.backlog:
            await self._read_backlog(session, place)
        await self._delete(session, place)
        return True

    async def _open(self, session: Session, place: _Place, *, sweep: bool = False) -> None:
        position = await session.select(place.name)
        if position.validity != place.validity:
            # UIDs of another life of the folder mean nothing in this one (RFC 3501 2.3.1.1).
            place.validity, place.done, place.first_time, sweep = position.validity, set(), True, True
            place.next_uid = await self._end_of(session, position)
            self._tidied()
        elif sweep:
            place.first_time = False
        if sweep:
            uids = await session.last_uids(_LEFTOVERS, position.exists)
            place.backlog = [uid for uid in uids if uid < place.next_uid]
            place.swept_at = _now()

    async def _end_of(self, session: Session, position: Position) -> int:
        if position.next_uid is not None:
            return position.next_uid
        last = await session.last_uids(1, position.exists)
        return last[-1] + 1 if last else 1

    async def _read_new(self, session: Session, place: _Place) -> None:
        uids = await session.uids_from(place.next_uid)
        for chunk in _chunks(uids):
            for mail in sorted(await session.headers(chunk), key=lambda mail: mail.uid):
                await self._deal_with(session, place, mail, count=True)
                # At once, so that nothing is handed over twice when the connection breaks now.
                place.next_uid = mail.uid + 1
            place.next_uid = chunk[-1] + 1
            await self._delete(session, place)
        place.looked_at = _now()

    async def _read_backlog(self, session: Session, place: _Place) -> None:
        if not place.backlog:
            return
        chunk = place.backlog[-_CHUNK:]
        for mail in await session.headers(chunk):
            if mail.uid in place.backlog:
                await self._deal_with(session, place, mail, count=place.first_time)
                place.backlog.remove(mail.uid)
        place.backlog = [uid for uid in place.backlog if uid < chunk[0]]
        await self._delete(session, place)

    async def _deal_with(self, session: Session, place: _Place, mail: Fetched, *, count: bool) -> None:
        if mail.deleted:
            # Without UIDPLUS ours may stay marked for long; it has been dealt with.
            return
        now = self._clock()
        sighting, content = await self._recognised(session, mail)
        token = sighting.token
        token_id = token.id if token else None
        expectations = self._waiting.get(token_id, ()) if token_id else ()
        verdict = decide(
            sighting,
            prober=self._signer.prober,
            awaited={one.party for one in expectations},
            fate=self._ledger.fate(token_id) if token_id else None,
            now=now,
            deadline=self._deadline,
        )
        if verdict.hand_over:
            seen = Seen(folder=place.folder, at=now)
            if sighting.report is not None:
                for expectation in expectations:
                    expectation.see(sighting.report)
            else:
                recipients = [one for one in expectations if one.party is Party.RECIPIENT]
                await self._hand_over(session, mail.uid, content, seen, recipients)
        if verdict.count is not None and count:
            self._on_arrival(verdict.count, token_id, now)
        if verdict.count is Arrival.LATE and token_id:
            self._ledger.arrived(token_id)
        if verdict.delete:
            place.done.add(mail.uid)
            self.tidy.clear()

    async def _recognised(self, session: Session, mail: Fetched) -> tuple[Sighting, bytes | None]:
        header = mail.content or b""
        whole: bytes | None = None
        sighting = Sighting(kind=Kind.FOREIGN)
        try:
            if not may_hide_token(header):
                sighting = recognise(header, self._signer)
            small = mail.size is not None and mail.size <= _OURS_AT_MOST
            bare = sighting.token is None and not sighting.forged and bool(self._waiting) and small
            if may_hide_token(header) or bare:
                whole = await session.message(mail.uid)
                sighting = recognise(whole or header, self._signer)
        except (RecursionError, ValueError, LookupError, TypeError, AttributeError):
            # The parser of the standard library gives up in many ways on hostile mail, which must not stop the watch.
            _log.warning("a mail cannot be parsed", mailbox=self._mailbox.name, uid=mail.uid)
        return sighting, whole

    async def _hand_over(
        self, session: Session, uid: int, content: bytes | None, seen: Seen, recipients: Sequence[Expectation]
    ) -> None:
        for expectation in recipients:
            expectation.see(seen)
        if content is None:
            content = await session.message(uid)
        for expectation in recipients:
            # Nothing to hand over: another client has taken the message away meanwhile.
            expectation.hand(content or b"")
            self._ledger.arrived(expectation.token.id)

    async def _delete(self, session: Session, place: _Place) -> None:
        if not place.done:
            return
        try:
            await session.delete(place.done)
        except Refused as refusal:
            # A legal hold, a quota, a read-only folder: no fault of mail delivery. The next sweep tries again.
            _log.warning("own mail cannot be deleted", mailbox=self._mailbox.name, detail=refusal.text)
        place.done = set()
        self._tidied()

    def _tidied(self) -> None:
        if not any(place.done for place in (self._inbox, *self._junk.values())):
            self.tidy.set()


def _chunks(uids: list[int]) -> Iterator[list[int]]:
    for start in range(0, len(uids), _CHUNK):
        yield uids[start : start + _CHUNK]


def _now() -> float:
    return asyncio.get_running_loop().time()
