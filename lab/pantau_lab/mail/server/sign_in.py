"""Authentication of IMAP users: pymap's login interfaces for an agency's accounts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import NoReturn

from pymap.config import IMAPConfig
from pymap.exceptions import AuthorizationFailure, InvalidAuth, NotSupportedError, ResponseError
from pymap.interfaces.login import IdentityInterface, LoginInterface
from pymap.parsing.response import ResponseCode, ResponseNo
from pymap.user import UserMetadata
from pysasl.creds.server import ServerCredentials
from pysasl.identity import ClearIdentity

from pantau_lab.mail.faults.condition import Condition
from pantau_lab.mail.resources.account import Accounts
from pantau_lab.mail.resources.mailbox import Folders, ReaderSession
from pantau_lab.mail.resources.port import Port
from pantau_lab.mail.transport.queued_message import SmtpReply


class LabSignInError(ResponseError):
    """Sign-in that a fault refuses. Its response code distinguishes a server fault from wrong credentials (RFC 5530)."""

    def __init__(self, reply: SmtpReply) -> None:
        super().__init__(str(reply))
        self._reply = reply

    def get_response(self, tag: bytes) -> ResponseNo:
        """Return the IMAP response for the SMTP reply of the fault."""
        code = b"UNAVAILABLE" if self._reply.code < 500 else b"AUTHENTICATIONFAILED"
        return ResponseNo(tag, self._reply.text.encode(), ResponseCode.of(code))


class SignedIn(IdentityInterface):
    """Signed-in user. Tokens and administration, which pymap's interface has, are not supported."""

    def __init__(self, name: str, config: IMAPConfig, folders: Folders) -> None:
        self._name = name
        self._config = config
        self._folders = folders

    @property
    def name(self) -> str:
        """Address of the account."""
        return self._name

    @property
    def roles(self) -> frozenset[str]:
        """Always empty."""
        return frozenset()

    @asynccontextmanager
    async def new_session(self) -> AsyncIterator[ReaderSession]:
        """Yield a session on the account's folders."""
        yield ReaderSession(self._name, self._config, self._folders)

    async def new_token(self, **_options: object) -> None:
        """Return `None`: tokens are not supported."""

    async def get(self) -> NoReturn:
        """Refuse."""
        raise NotSupportedError

    async def set(self, metadata: UserMetadata) -> NoReturn:
        """Refuse."""
        raise NotSupportedError(f"{metadata.name} stays as it is.")

    async def delete(self) -> NoReturn:
        """Refuse."""
        raise NotSupportedError


class SignIn(LoginInterface):
    """LOGIN and AUTHENTICATE."""

    def __init__(
        self, *, accounts: Accounts, folders: Mapping[str, Folders], condition: Condition, config: IMAPConfig
    ) -> None:
        self._accounts = accounts
        self._folders = folders
        self._condition = condition
        self._config = config

    @property
    def tokens(self) -> NoReturn:
        """Not supported: only pymap's administration services use tokens."""
        raise NotSupportedError

    async def authenticate(self, credentials: ServerCredentials) -> SignedIn:
        """Return the user with these credentials.

        Raise `InvalidAuth` if they are wrong, or `LabSignInError` while a fault refuses every sign-in.
        """
        if reply := self._condition.sign_in_refusal(Port.IMAP):
            raise LabSignInError(reply)
        account = self._accounts.find(credentials.authcid)
        if account is None or not credentials.verify(ClearIdentity(credentials.authcid, account.secret)):
            raise InvalidAuth
        return SignedIn(account.address, self._config, self._folders[account.address])

    async def authorize(self, authenticated: IdentityInterface, authzid: str) -> IdentityInterface:
        """Refuse to act for another user."""
        if authzid.lower() != authenticated.name.lower():
            raise AuthorizationFailure
        return authenticated
