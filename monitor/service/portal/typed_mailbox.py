"""A mailbox as typed in the portal, and the edits of the agency's document (YAML text) that store it.

The functions are pure, except that the names of new secrets are random. A document contains the names of secrets; the
secrets themselves are stored encrypted.
"""

from __future__ import annotations

from base64 import b32encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from secrets import token_bytes
from typing import Any, Final

from monitor.config.files.document import document_from_text
from monitor.config.files.edit import RemoveValue, SetValue, TextEdit, edit_text
from monitor.config.files.problem import Path
from monitor.config.files.reading import source_keys
from monitor.service.portal.agency_editor import AgencyDraft
from monitor.service.portal.delegation import Application

#: Keys of a server in the document.
SERVER_KEYS: Final = ("host", "port", "security", "tls_name")
PROTOCOLS: Final = ("smtp", "imap", "pop3")
#: Keys of a login section that name the source of an access token.
_TOKEN_KEYS: Final = ("token_file", "token_command")


@dataclass(frozen=True, slots=True, kw_only=True)
class EnteredMailbox:
    """The desired state of a mailbox, unchecked. The checks of the edited document report its problems."""

    #: Key below `mailboxes` in the document.
    key: str
    address: str
    #: Servers by protocol (`PROTOCOLS`), each with values by `SERVER_KEYS`. Missing protocols are removed.
    servers: Mapping[str, Mapping[str, str]]
    username: str
    #: "": the password is unchanged.
    password: str = field(default="", repr=False)
    #: Settings of `login.oauth` instead of a password: provider, tenant, flow, client_id, scope.
    oauth: Mapping[str, str] = field(default_factory=dict)
    #: Secrets for `login.oauth`, such as the refresh token, by the key of the document; empty ones are ignored.
    tokens: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def secrets(self) -> Mapping[str, str]:
        """Typed secrets, by the key of the document."""
        return {key: secret for key, secret in {"password": self.password, **self.tokens}.items() if secret}


def mailbox_draft(agency: str, text_before: str, started_from: str, mailbox: EnteredMailbox) -> AgencyDraft:
    """Return the draft that adds a mailbox to the document *text_before*, or changes the mailbox with the same key.

    *started_from*: the digest of the edited version. `edit_text` raises `NotEditableError`.
    """
    names = {key: new_secret_name() for key in mailbox.secrets}
    mailboxes = document_from_text(text_before, agency).data.get("mailboxes")
    existing = mailboxes.get(mailbox.key) if isinstance(mailboxes, Mapping) else None
    path: Path = ("mailboxes", mailbox.key)
    edits = (
        _change_mailbox(path, existing, mailbox, names)
        if isinstance(existing, Mapping)
        else [_add_mailbox(path, mailbox, names)]
    )
    text = edit_text(text_before, edits)
    return AgencyDraft(
        agency=agency,
        text=text,
        started_from=started_from,
        typed={name: mailbox.secrets[key] for key, name in names.items()},
    )


def login_draft(
    agency: str, text_before: str, started_from: str, key: str, credential: str | Application
) -> AgencyDraft:
    """Return the draft that gives the mailbox *key* a new *credential*: a password or an application.

    Raise `KeyError` if there is no such mailbox. `edit_text` raises `NotEditableError`.
    """
    mailboxes = document_from_text(text_before, agency).data.get("mailboxes")
    if not isinstance(mailboxes, Mapping) or key not in mailboxes:
        raise KeyError(key)
    secrets, oauth = (
        ({"password": credential}, {})
        if isinstance(credential, str)
        else (credential.secrets, credential.oauth_settings)
    )
    names = {each: new_secret_name() for each in secrets}
    text = edit_text(text_before, _set_login(("mailboxes", key, "login"), _login_keys(oauth, names)))
    typed = {name: secrets[each] for each, name in names.items()}
    return AgencyDraft(agency=agency, text=text, started_from=started_from, typed=typed)


def new_secret_name() -> str:
    """Return a name by which a document refers to a secret that is being typed."""
    return f"typed-{b32encode(token_bytes(10)).decode().lower()}"


def _add_mailbox(path: Path, mailbox: EnteredMailbox, names: Mapping[str, str]) -> TextEdit:
    login: dict[str, Any] = {"username": mailbox.username, **_login_keys(mailbox.oauth, names)}
    servers = {each: _server_keys(mailbox.servers[each]) for each in PROTOCOLS if each in mailbox.servers}
    return SetValue(path=path, value={"address": mailbox.address, **servers, "login": login})


def _change_mailbox(
    path: Path, existing: Mapping[str, Any], mailbox: EnteredMailbox, names: Mapping[str, str]
) -> Iterator[TextEdit]:
    yield SetValue(path=(*path, "address"), value=mailbox.address)
    for protocol in PROTOCOLS:
        if protocol not in mailbox.servers:
            yield RemoveValue(path=(*path, protocol))
        elif not isinstance(existing.get(protocol), Mapping):
            yield SetValue(path=(*path, protocol), value=_server_keys(mailbox.servers[protocol]))
        else:
            server = _server_keys(mailbox.servers[protocol])
            for key in SERVER_KEYS:
                key_path = (*path, protocol, key)
                yield SetValue(path=key_path, value=server[key]) if key in server else RemoveValue(path=key_path)
    login: Path = (*path, "login")
    yield SetValue(path=(*login, "username"), value=mailbox.username)
    if names:
        yield from _set_login(login, _login_keys(mailbox.oauth, names))


def _set_login(login: Path, keys: Mapping[str, Any]) -> Iterator[TextEdit]:
    """Yield the edits that leave only *keys* and the user name in a login section."""
    # Set the new keys first, so that the section is never empty.
    for key, value in keys.items():
        yield RemoveValue(path=(*login, key))
        yield SetValue(path=(*login, key), value=value)
    for key in sorted({*_TOKEN_KEYS, *source_keys("password"), "oauth"} - keys.keys()):
        yield RemoveValue(path=(*login, key))


def _login_keys(oauth: Mapping[str, str], names: Mapping[str, str]) -> Mapping[str, Any]:
    """Return the keys of a login section besides the user name; *names*: the names of its secrets, by key."""
    # The last source key names a secret of the database, such as password_stored.
    secret_keys = {source_keys(key)[-1]: name for key, name in names.items()}
    return {"oauth": {**{key: value for key, value in oauth.items() if value}, **secret_keys}} if oauth else secret_keys


def _server_keys(typed: Mapping[str, str]) -> dict[str, str]:
    return {key: typed[key] for key in SERVER_KEYS if typed.get(key)}
