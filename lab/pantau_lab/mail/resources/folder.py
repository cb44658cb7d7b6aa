"""Mail folders in memory, as a backend of pymap.

pymap's own in-memory backend never frees a message, and its IDLE waits for the next change even if one has happened since
the last update. The lab runs for days with a message every second, so it needs this backend.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from pymap.backend.mailbox import MailboxDataInterface
from pymap.concurrent import Event
from pymap.flags import FlagOp
from pymap.interfaces.message import CachedMessage
from pymap.mailbox import MailboxSnapshot
from pymap.message import BaseLoadedMessage, BaseMessage
from pymap.mime import MessageContent
from pymap.parsing.message import AppendMessage
from pymap.parsing.specials import FetchRequirement, ObjectId
from pymap.parsing.specials.flag import Flag, Seen
from pymap.selected import SelectedMailbox, SelectedSet


class StoredMessage(BaseMessage):
    """Message with its content. `recent`: no session has seen it yet."""

    __slots__ = ("content", "recent")

    def __init__(
        self,
        *,
        uid: int,
        internal_date: datetime,
        flags: Iterable[Flag],
        content: MessageContent,
        recent: bool = False,
        expunged: bool = False,
    ) -> None:
        super().__init__(uid, internal_date, flags, expunged=expunged)
        self.content = content
        self.recent = recent

    async def load_content(self, requirement: FetchRequirement) -> BaseLoadedMessage:
        """Return the whole content, whatever part is requested."""
        return BaseLoadedMessage(self, requirement, self.content)


class Folder(MailboxDataInterface[StoredMessage]):
    """One folder of one account. It needs no lock, because no method awaits between changes."""

    def __init__(self) -> None:
        self._mailbox_id = ObjectId.random_mailbox_id()
        self._uid_validity = MailboxSnapshot.new_uid_validity()
        self._selections = SelectedSet()
        self._messages: dict[int, StoredMessage] = {}
        self._last_uid = 0
        #: Counts changes, so that a session can tell whether it has seen the last one.
        self._version = 0
        self._changed = Event.for_asyncio()

    def __len__(self) -> int:
        return len(self._messages)

    @property
    def mailbox_id(self) -> ObjectId:
        """Unique identifier of the folder (RFC 8474)."""
        return self._mailbox_id

    @property
    def readonly(self) -> bool:
        """Always `False`."""
        return False

    @property
    def uid_validity(self) -> int:
        """UIDVALIDITY, which differs after each start, because no messages are kept."""
        return self._uid_validity

    @property
    def selected_set(self) -> SelectedSet:
        """Sessions that have the folder open."""
        return self._selections

    async def update_selected(self, selected: SelectedMailbox, *, wait_on: Event | None = None) -> SelectedMailbox:
        """Update a session. With *wait_on*, first wait for that event or a change, unless the session has missed one."""
        if wait_on is not None and selected.mod_sequence == self._version:
            await wait_on.or_event(self._changed).wait()
        selected.mod_sequence = self._version
        selected.set_messages(list(self._messages.values()))
        return selected

    async def append(self, append_msg: AppendMessage, *, recent: bool = False) -> StoredMessage:
        """Add a message, and wake sessions in IDLE."""
        return self._add(
            flags=append_msg.flag_set,
            internal_date=append_msg.when or datetime.now(UTC),
            content=MessageContent.parse(append_msg.literal),
            recent=recent,
        )

    async def copy(self, uid: int, destination: Folder, *, recent: bool = False) -> int | None:
        """Return the UID of the copy; `None` if there is no such message."""
        message = self._messages.get(uid)
        if message is None:
            return None
        return destination._add(
            flags=message.permanent_flags,
            internal_date=message.internal_date,
            content=message.content,
            recent=recent,
        ).uid

    async def move(self, uid: int, destination: Folder, *, recent: bool = False) -> int | None:
        """Copy and delete."""
        moved = await self.copy(uid, destination, recent=recent)
        await self.delete([uid])
        return moved

    async def get(self, uid: int, cached_msg: CachedMessage) -> StoredMessage:
        """Return a message. One that another session has expunged is returned from *cached_msg*."""
        message = self._messages.get(uid)
        if message is not None:
            return message
        if not isinstance(cached_msg, StoredMessage):
            raise TypeError(cached_msg)
        return StoredMessage(
            uid=uid,
            internal_date=cached_msg.internal_date,
            flags=cached_msg.permanent_flags,
            content=cached_msg.content,
            expunged=True,
        )

    async def update(
        self, uid: int, cached_msg: CachedMessage, flag_set: frozenset[Flag], mode: FlagOp
    ) -> StoredMessage:
        """Change the flags of a message."""
        message = await self.get(uid, cached_msg)
        message.permanent_flags = mode.apply(message.permanent_flags, flag_set)
        self._touch()
        return message

    async def delete(self, uids: Iterable[int]) -> None:
        """Remove messages."""
        for uid in uids:
            self._messages.pop(uid, None)
        self._touch()

    async def claim_recent(self, selected: SelectedMailbox) -> None:
        r"""Give the \Recent flag of new messages to the session that is the first to see them (RFC 3501)."""
        for message in self._messages.values():
            if message.recent:
                message.recent = False
                selected.session_flags.add_recent(message.uid)

    async def cleanup(self) -> None:
        """Do nothing: pymap's hook to free resources is not needed."""

    async def snapshot(self) -> MailboxSnapshot:
        """Return the data for SELECT and STATUS."""
        messages = list(self._messages.values())
        unseen = [index for index, message in enumerate(messages, 1) if Seen not in message.permanent_flags]
        return MailboxSnapshot(
            self.mailbox_id,
            self.readonly,
            self.uid_validity,
            self.permanent_flags,
            self.session_flags,
            exists=len(messages),
            recent=sum(message.recent for message in messages),
            unseen=len(unseen),
            first_unseen=unseen[0] if unseen else None,
            next_uid=self._last_uid + 1,
        )

    def _add(
        self, *, flags: Iterable[Flag], internal_date: datetime, content: MessageContent, recent: bool
    ) -> StoredMessage:
        self._last_uid += 1
        message = StoredMessage(
            uid=self._last_uid, internal_date=internal_date, flags=flags, content=content, recent=recent
        )
        self._messages[message.uid] = message
        self._touch()
        return message

    def _touch(self) -> None:
        self._version += 1
        self._changed.set()
