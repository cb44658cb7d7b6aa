"""Folders of an account, and the IMAP session on them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import NoReturn

from pymap.backend.mailbox import MailboxSetInterface
from pymap.backend.session import BaseSession
from pymap.config import IMAPConfig
from pymap.exceptions import NotSupportedError
from pymap.listtree import ListTree
from pymap.parsing.message import AppendMessage
from pymap.selected import SelectedMailbox

from pantau_lab.mail.resources.folder import Folder, StoredMessage


class FolderName(StrEnum):
    """Names of the folders of every account. There are no others."""

    INBOX = "INBOX"
    #: Has the attribute \\Junk (RFC 6154), by which a client finds it whatever its name.
    JUNK = "Junk"


#: Special-use attributes in LIST, without their backslash.
_SPECIAL_USE = {FolderName.JUNK: b"Junk"}


class Folders(MailboxSetInterface[Folder]):
    """Folders of one account. They cannot be added, renamed or deleted."""

    def __init__(self) -> None:
        self._folders = {name: Folder() for name in FolderName}

    @property
    def delimiter(self) -> str:
        """Hierarchy delimiter, which pymap requires although no folder has a subfolder."""
        return "/"

    def count(self, folder: FolderName) -> int:
        """Return the number of messages in a folder."""
        return len(self._folders[folder])

    async def deliver(self, content: bytes, folder: FolderName = FolderName.INBOX) -> None:
        """Put a message into a folder, and notify sessions in IDLE."""
        target = self._folders[folder]
        # The flag Recent is for a session that has the folder open, or else for the next that opens it.
        selected = target.selected_set.any_selected
        message = await target.append(AppendMessage(content), recent=selected is None)
        if selected is not None:
            selected.session_flags.add_recent(message.uid)

    async def get_mailbox(self, name: str) -> Folder:
        """Return a folder. Only the name INBOX is case-insensitive (RFC 9051 section 5.1)."""
        return self._folders[FolderName("INBOX" if name.upper() == "INBOX" else name)]

    async def list_mailboxes(self) -> ListTree:
        """Return the names of all folders."""
        return ListTree(self.delimiter).update(*FolderName)

    async def list_subscribed(self) -> ListTree:
        """Return the names of all folders: everybody is subscribed to everything."""
        return await self.list_mailboxes()

    async def set_subscribed(self, name: str, subscribed: bool) -> None:  # noqa: FBT001  # as pymap calls it
        """Change nothing."""

    async def add_mailbox(self, name: str) -> NoReturn:
        """Refuse."""
        raise NotSupportedError(f"The folders are fixed: no {name}.")

    async def delete_mailbox(self, name: str) -> NoReturn:
        """Refuse."""
        raise NotSupportedError(f"The folders are fixed: {name} stays.")

    async def rename_mailbox(self, before: str, after: str) -> NoReturn:
        """Refuse."""
        raise NotSupportedError(f"The folders are fixed: {before} does not become {after}.")


class ReaderSession(BaseSession[StoredMessage]):
    """Session of one signed-in connection. *owner*: address of its account."""

    def __init__(self, owner: str, config: IMAPConfig, folders: Folders) -> None:
        super().__init__(owner)
        self._config = config
        self._folders = folders

    @property
    def config(self) -> IMAPConfig:
        """The server's settings."""
        return self._config

    @property
    def mailbox_set(self) -> Folders:
        """The account's folders."""
        return self._folders

    async def list_mailboxes(
        self,
        ref_name: str,
        filter_: str,
        subscribed: bool = False,  # noqa: FBT001, FBT002  # as pymap calls it
        selected: SelectedMailbox | None = None,
    ) -> tuple[Iterable[tuple[str, str | None, Sequence[bytes]]], SelectedMailbox | None]:
        """List folders with their special-use attributes, which pymap omits."""
        listed, updates = await super().list_mailboxes(ref_name, filter_, subscribed, selected)
        marked = [
            (name, delimiter, [*attributes, _SPECIAL_USE[FolderName(name)]])
            if name in _SPECIAL_USE
            else (name, delimiter, attributes)
            for name, delimiter, attributes in listed
        ]
        return marked, updates
