"""Fields of an agency's document that only an administrator may change.

These are recipients of secrets, files, numbers abroad, and long lists. A user who edits an agency in the portal is no
operator of this machine. A document names files that Pantau reads and servers that receive their content. An edit of
either could fetch any file, or send the mailbox's password (possibly an access token for all mailboxes) to an arbitrary
server.

A secret entered in the portal belongs to the officers of its mailbox, who may also change its servers. It is sent only
to the hosts that it was entered for (`monitor.config.agency.mailbox`), and an egress policy limits its connections.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path as FilePath
from typing import Any, Final

from pydantic import ValidationError

from monitor.config.agency.mailbox import MailboxSettings, ServerSettings
from monitor.config.fields.phone import is_abroad
from monitor.config.files.document import Document
from monitor.config.files.problem import Path, Problem, dotted
from monitor.config.files.reading import as_model, core, is_mapping, is_secret, item, names, of_field, sources
from monitor.config.model.registry import Agency
from monitor.model.lazy_text import said
from probes.model.domain import is_within
from probes.model.egress import EgressDeniedError, EgressPolicy

#: Keys of a mailbox: sign-in, and the servers that receive the password.
_OF_A_MAILBOX: Final = frozenset({"smtp", "imap", "pop3", "login", "ca_file"})
#: Keys of a login: an operator's files and commands on this machine, or the URL that issues tokens.
_WAYS_IN: Final = frozenset({"token_file", "token_command", "token_url"})
_SECRETS: Final = ("password", "client_secret", "refresh_token", "service_account")
#: Keys that name a secret entered in the portal, and keys that name an operator's secret.
_NAMES: Final = frozenset(sources(key)[-1] for key in _SECRETS)
_PLACES: Final = frozenset(place for key in _SECRETS for place in sources(key)[:-1])


def check_custody(before: Mapping[str, Any], document: Document, typed: Collection[str] = ()) -> tuple[Problem, ...]:
    """Return the differences between *document* and *before* in fields that only an administrator may change.

    Such a field may be removed together with its contact or mailbox, or when a password entered in the portal replaces
    it. It may not be removed alone, because the user could not restore it. *typed*: the names of secrets that are
    submitted with the document.
    """
    was, now = dict(_kept(Agency, before, ())), dict(_kept(Agency, document.data, ()))
    changed = [
        _innermost(was.get(path), value, path)
        for path, value in now.items()
        if was.get(path) != value and not (_is_name(path) and isinstance(value, str) and value in typed)
    ]
    lost = [
        (path, f"{path[-1]}: {value}" if isinstance(value, str) else value)
        for path, value in was.items()
        if path not in now and not _is_name(path) and _is_missed(path, document.data)
    ]
    return tuple(_problem(document, path, value) for path, value in (*changed, *lost))


def _is_missed(path: Path, data: Mapping[str, Any]) -> bool:
    """Whether the removed value at *path* is still needed.

    Its owner exists, and is no mailbox with secrets from the portal alone.
    """
    section, key, *below = path
    if not below:
        return True
    holder = _mapping(data.get(str(section))).get(str(key))
    return holder is not None and not (section == "mailboxes" and rests_on_typing(holder))


def _kept(asked: Any, value: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    """Yield the paths and values of restricted fields."""
    model = as_model(asked)
    if model is None:
        below = item(asked)
        if isinstance(value, Mapping) and is_mapping(asked):
            for key, each in value.items():
                yield from _kept(below, each, (*path, key))
        elif isinstance(value, list) and below is not None:
            for number, each in enumerate(value):
                yield from _kept(below, each, (*path, number))
        elif core(asked) is FilePath:
            yield path, value
        return
    if not isinstance(value, Mapping):
        return
    fields = names(model)
    is_typed = model is MailboxSettings and rests_on_typing(value)
    secret = {source for key, field in fields.items() if is_secret(of_field(field)) for source in (key, *sources(key))}
    for key, each in value.items():
        if key in secret or key in _WAYS_IN or (key in _OF_A_MAILBOX and model is MailboxSettings and not is_typed):
            yield (*path, key), each
        elif key in fields:
            yield from _kept(of_field(fields[key]), each, (*path, key))


def rests_on_typing(mailbox: Any) -> bool:
    """Whether a mailbox signs in with secrets entered in the portal alone."""
    login = mailbox.get("login") if isinstance(mailbox, Mapping) else None
    if not isinstance(login, Mapping):
        return False
    oauth = login.get("oauth")
    keys = [*login, *(oauth if isinstance(oauth, Mapping) else ())]
    placed = {*_PLACES, *_WAYS_IN}
    return any(key in _NAMES for key in keys) and not placed.intersection(keys)


def check_bounds(before: Mapping[str, Any], document: Document, bounds: EgressPolicy) -> tuple[Problem, ...]:
    """Return the servers of mailboxes with secrets from the portal that *document* adds and the policy rejects.

    Addresses and ports are checked here. The addresses of a host name are checked when a connection is opened.
    """
    problems = []
    for key, mailbox in _mapping(document.data.get("mailboxes")).items():
        was = _mapping(_mapping(before.get("mailboxes")).get(key))
        for protocol in ("smtp", "imap", "pop3") if rests_on_typing(mailbox) else ():
            server = _mapping(mailbox.get(protocol))
            if server and server != was.get(protocol) and (wrong := _outside(protocol, server, bounds)) is not None:
                field, why = wrong
                problems.append(_refusal(document, ("mailboxes", key, protocol, field), why))
    return tuple(problems)


def _outside(protocol: str, server: Mapping[str, Any], bounds: EgressPolicy) -> tuple[str, EgressDeniedError] | None:
    """Return the key of a server that the egress policy rejects without resolving its name, and the reason."""
    try:
        port = ServerSettings.model_validate(server).port_of(protocol)
    except ValidationError:
        return None  # Another check reports it.
    try:
        why = bounds.refusal(str(server.get("host")), port)
    except ValueError:  # It is a host name.
        open_somewhere = {each.port for each in bounds.openings}
        why = None if port in bounds.ports or port in open_somewhere else EgressDeniedError.PORT
    return None if why is None else ("port" if why is EgressDeniedError.PORT else "host", why)


def _refusal(document: Document, path: Path, why: EgressDeniedError) -> Problem:
    message = said("is {why}; an administrator may open it (portal.allowed_mail_networks)", why=said(why))
    return document.problem(
        path,
        message,
        "25, 465, 587, 143, 993, 110 or 995"
        if why is EgressDeniedError.PORT
        else "the name by which the Internet has it",
    )


def check_domains(before: Mapping[str, Any], document: Document) -> tuple[Problem, ...]:
    """Return the domains that *document* adds to its agency.

    The owner of a domain determines where mailboxes may be and where mail is sent. A domain belongs to one agency only.
    """
    own = [str(each).lower() for each in _listed(before.get("domains"))]
    message = "only an administrator registers a domain as the agency's"
    instead = said("one below {domain}", domain=own[0]) if own else "nothing"
    return tuple(
        document.problem(("domains", number), message, instead)
        for number, each in enumerate(_listed(document.data.get("domains")))
        if not is_within(str(each).lower(), own)
    )


#: Keys whose values are called, faxed or sent SMS.
_NUMBERS: Final = frozenset({"sms", "voice", "fax", "mobile", "landline"})
#: Sections with such keys. Numbers that letters print are not called.
_CALLED: Final = frozenset({"contacts", "announcement"})


def check_foreign_numbers(before: Mapping[str, Any], document: Document) -> tuple[Problem, ...]:
    """Return the telephone numbers abroad that *document* adds.

    A user who edits an agency decides which numbers Pantau calls repeatedly, and can start calls at once. Satellite
    numbers and those of some countries pay their holder for each minute (toll fraud); libphonenumber classifies them as
    ordinary.
    """
    message = "is a number abroad, which only an administrator adds: calls there may cost a lot"
    instead = "a number in Malaysia: 010-000 0000, or 03-1234 5678"
    known = {number for _, number in _abroad(before)}
    new = (path for path, number in _abroad(document.data) if number not in known)
    return tuple(document.problem(path, message, instead) for path in new)


def _abroad(data: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    for path, _, value in _stated(Agency, data):
        if path and path[0] in _CALLED and path[-1] in _NUMBERS and isinstance(value, str) and is_abroad(value):
            yield path, value


#: Maximum length of each list and mapping, by path: ten times the need of a large ministry, and still readable on a
#: page.
MOST: Final[Mapping[Path, int]] = {
    ("domains",): 50,
    ("letterhead", "address"): 10,
    ("letterhead", "slogans"): 10,
    ("letterhead", "copies"): 50,
    ("mailboxes",): 50,
    ("mailboxes", "*", "login", "token_command"): 50,
    ("mailboxes", "*", "junk_folders"): 50,
    ("routes",): 200,
    ("probing", "active_hours"): 50,
    ("maintenance",): 400,
    ("contacts",): 300,
    ("contacts", "*", "addresses"): 20,
    ("rotas",): 50,
    ("rotas", "*", "layers"): 20,
    ("rotas", "*", "layers", "*", "people"): 100,
    ("calendar", "office_hours"): 50,
    ("calendar", "office_hours", "*"): 50,
    ("escalation", "steps"): 20,
    ("escalation", "steps", "*", "contacts"): 50,
    ("escalation", "steps", "*", "rotas"): 20,
    ("escalation", "steps", "*", "channels"): 10,
    ("announcement", "recipients"): 200,
    ("announcement", "recipients", "*", "channels"): 10,
    ("announcement", "recipients", "*", "address"): 10,
}


def check_list_lengths(before: Mapping[str, Any], document: Document) -> tuple[Problem, ...]:
    """Return the lists of *document* that are too long. A list that was as long *before* may stay.

    Each entry costs resources of the shared service: a route is probed repeatedly, a step calls people, a window is
    evaluated at each probe. The size limit of a draft permits a thousand of each.
    """
    was = {path: len(value) for path, _, value in _lists(before)}
    return tuple(
        _too_many(document, path, value, most)
        for path, kind, value in _lists(document.data)
        if (most := max(MOST[kind], was.get(path, 0))) < len(value)
    )


def _lists(data: Mapping[str, Any]) -> Iterator[tuple[Path, Path, Any]]:
    return (each for each in _stated(Agency, data) if each[1] in MOST and isinstance(each[2], Mapping | list))


def _too_many(document: Document, path: Path, value: Any, most: int) -> Problem:
    # The first entry beyond the limit.
    key: str | int = list(value)[most] if isinstance(value, Mapping) else most
    instead = said("{most} at most; an administrator may write more", most=most)
    there = document.problem((*path, key), said("has more than {most} entries", most=most), instead)
    return replace(there, key=dotted(path))


def _stated(asked: Any, value: Any, path: Path = (), kind: Path = ()) -> Iterator[tuple[Path, Path, Any]]:
    """Yield all values of a document with their paths and kinds of paths ("*" for any name or position)."""
    yield path, kind, value
    model, below = as_model(asked), item(asked)
    if model is not None and isinstance(value, Mapping):
        for key, field in names(model).items():
            if key in value:
                yield from _stated(of_field(field), value[key], (*path, key), (*kind, key))
    elif below is not None and isinstance(value, Mapping if is_mapping(asked) else list):
        for place, each in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from _stated(below, each, (*path, place), (*kind, "*"))


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def _is_name(path: Path) -> bool:
    return path[-1] in _NAMES


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _innermost(was: Any, value: Any, path: Path) -> tuple[Path, Any]:
    """Return the innermost path with a difference, and its previous value."""
    if isinstance(was, Mapping) and isinstance(value, Mapping) and was.keys() <= value.keys():
        for key, each in value.items():
            if was.get(key) != each:
                return _innermost(was.get(key), each, (*path, key))
    return path, was


def _problem(document: Document, path: Path, was: Any) -> Problem:
    if _is_name(path):
        message, was = "names a secret that nobody has typed here", "the secret, typed again in the form of the mailbox"
    else:
        message = "only an administrator changes where a secret or a file is kept, and which server is given it"
    instead = was if isinstance(was, str) else "what stood here before" if was is not None else "nothing"
    return document.problem(path, message, instead)
