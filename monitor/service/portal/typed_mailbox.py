"""A mailbox as typed in the portal, and the resulting edits of the agency's document.

Pure, except for the random name of a secret.
"""

from __future__ import annotations

from base64 import b32encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from secrets import token_bytes
from typing import Any, Final

from monitor.config.files.document import document_of
from monitor.config.files.edit import RemoveValue, SetValue, TextEdit, edit_text
from monitor.config.files.problem import Path
from monitor.config.files.reading import sources
from monitor.service.portal.agency_editor import AgencyDraft
from monitor.service.portal.delegation import Application

#: Keys of a server.
SERVER_KEYS: Final = ("host", "port", "security", "tls_name")
PROTOCOLS: Final = ("smtp", "imap", "pop3")
_TOKENS: Final = ("token_file", "token_command")


@dataclass(frozen=True, slots=True, kw_only=True)
class EnteredMailbox:
    """The desired state of a mailbox. The checks of the document report its problems."""

    #: Its key.
    key: str
    address: str
    #: By protocol ("smtp", "imap", "pop3"), each by `SERVER_KEYS`; missing servers are removed.
    servers: Mapping[str, Mapping[str, str]]
    username: str
    #: "": unchanged.
    password: str = field(default="", repr=False)
    #: Instead of a password: provider, tenant, flow, client_id, scope.
    oauth: Mapping[str, str] = field(default_factory=dict)
    #: Typed or consented secrets, by the key of the document; empty ones are ignored.
    tokens: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def secrets(self) -> Mapping[str, str]:
        """Typed secrets, by the key of the document."""
        return {key: secret for key, secret in {"password": self.password, **self.tokens}.items() if secret}


def mailbox_draft(agency: str, before: str, started_from: str, typed: EnteredMailbox) -> AgencyDraft:
    """Return the draft that adds a mailbox to the document *before*, or changes the one of that key.

    *started_from*: the digest of the edited version. Raise `NotEditableError`.
    """
    names = {key: new_secret_name() for key in typed.secrets}
    mailboxes = document_of(before, agency).data.get("mailboxes")
    there = mailboxes.get(typed.key) if isinstance(mailboxes, Mapping) else None
    path: Path = ("mailboxes", typed.key)
    edits = _changed(path, there, typed, names) if isinstance(there, Mapping) else [_added(path, typed, names)]
    text = edit_text(before, edits)
    return AgencyDraft(
        agency=agency,
        text=text,
        started_from=started_from,
        typed={name: typed.secrets[key] for key, name in names.items()},
    )


def login_draft(agency: str, before: str, started_from: str, key: str, way: str | Application) -> AgencyDraft:
    """Return the draft by which the mailbox of that key signs in with a password, or as an application, and in no other way.

    Raise `NotEditableError`, or `KeyError` if there is no such mailbox.
    """
    mailboxes = document_of(before, agency).data.get("mailboxes")
    if not isinstance(mailboxes, Mapping) or key not in mailboxes:
        raise KeyError(key)
    secrets, oauth = ({"password": way}, {}) if isinstance(way, str) else (way.secrets, way.written)
    names = {each: new_secret_name() for each in secrets}
    text = edit_text(before, _signed_in(("mailboxes", key, "login"), _ways(oauth, names)))
    typed = {name: secrets[each] for each, name in names.items()}
    return AgencyDraft(agency=agency, text=text, started_from=started_from, typed=typed)


def new_secret_name() -> str:
    """Return a name by which a document refers to a secret that is being typed."""
    return f"typed-{b32encode(token_bytes(10)).decode().lower()}"


def _added(path: Path, typed: EnteredMailbox, names: Mapping[str, str]) -> TextEdit:
    login: dict[str, Any] = {"username": typed.username, **_ways(typed.oauth, names)}
    servers = {each: _server(typed.servers[each]) for each in PROTOCOLS if each in typed.servers}
    return SetValue(path=path, value={"address": typed.address, **servers, "login": login})


def _changed(
    path: Path, there: Mapping[str, Any], typed: EnteredMailbox, names: Mapping[str, str]
) -> Iterator[TextEdit]:
    yield SetValue(path=(*path, "address"), value=typed.address)
    for protocol in PROTOCOLS:
        if protocol not in typed.servers:
            yield RemoveValue(path=(*path, protocol))
        elif not isinstance(there.get(protocol), Mapping):
            yield SetValue(path=(*path, protocol), value=_server(typed.servers[protocol]))
        else:
            wanted = _server(typed.servers[protocol])
            for key in SERVER_KEYS:
                place = (*path, protocol, key)
                yield SetValue(path=place, value=wanted[key]) if key in wanted else RemoveValue(path=place)
    login: Path = (*path, "login")
    yield SetValue(path=(*login, "username"), value=typed.username)
    if names:
        yield from _signed_in(login, _ways(typed.oauth, names))


def _signed_in(login: Path, ways: Mapping[str, Any]) -> Iterator[TextEdit]:
    """Yield the edits that leave only these ways of signing in."""
    # New keys first, so that the section is never empty.
    for key, value in ways.items():
        yield RemoveValue(path=(*login, key))
        yield SetValue(path=(*login, key), value=value)
    for key in sorted({*_TOKENS, *sources("password"), "oauth"} - ways.keys()):
        yield RemoveValue(path=(*login, key))


def _ways(oauth: Mapping[str, str], names: Mapping[str, str]) -> Mapping[str, Any]:
    """Return the keys of a login besides the user name."""
    kept = {sources(key)[-1]: name for key, name in names.items()}
    return {"oauth": {**{key: value for key, value in oauth.items() if value}, **kept}} if oauth else kept


def _server(written: Mapping[str, str]) -> dict[str, str]:
    return {key: written[key] for key in SERVER_KEYS if written.get(key)}
