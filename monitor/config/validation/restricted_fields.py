"""Checks of the fields in an agency's document that only an administrator may change.

These fields are paths of files, servers that receive secrets, foreign telephone numbers, and long lists. Users who edit
an agency in the portal are not operators of this machine. By editing a path or a server, such a user could read any
file, or send the mailbox's password (possibly an access token for all mailboxes) to an arbitrary server.

A *stored secret* is one that a user entered in the portal. It belongs to the officers of its mailbox, who may also
change the servers. The secret is sent only to the hosts for which it was entered (`monitor.config.agency.mailbox`), and
an egress policy limits the connections.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path as FilePath
from typing import Any, Final

from pydantic import ValidationError

from monitor.config.agency.mailbox import MailboxSettings, ServerSettings
from monitor.config.fields.phone import is_foreign
from monitor.config.files.document import Document
from monitor.config.files.problem import Path, Problem, format_path
from monitor.config.files.reading import (
    as_model,
    field_annotation,
    is_mapping,
    is_secret,
    item_type,
    keys_of,
    source_keys,
    unwrap,
)
from monitor.config.model.registry import Agency
from monitor.model.translatable import translatable
from probes.model.domain import is_within
from probes.model.egress import EgressDenial, EgressPolicy

#: Keys of a mailbox that determine its sign-in, and the servers that receive the password.
_MAILBOX_KEYS: Final = frozenset({"smtp", "imap", "pop3", "login", "ca_file"})
#: Keys of a login that name an operator's files or commands on this machine, or the URL that issues tokens.
_LOGIN_KEYS: Final = frozenset({"token_file", "token_command", "token_url"})
#: Keys of a login that hold secrets. The document has their source keys, such as `password_file`.
_SECRETS: Final = ("password", "client_secret", "refresh_token", "service_account")
#: Keys that name a stored secret (such as `password_stored`).
_STORED_SECRET_KEYS: Final = frozenset(source_keys(key)[-1] for key in _SECRETS)
#: Keys that name a secret of the operator (such as `password_file`).
_OPERATOR_SECRET_KEYS: Final = frozenset(source_key for key in _SECRETS for source_key in source_keys(key)[:-1])


def check_restricted_fields(
    before: Mapping[str, Any], document: Document, new_secret_names: Collection[str] = ()
) -> tuple[Problem, ...]:
    """Return a problem for each restricted field in which *document* differs from *before*, the present data.

    A restricted field may be removed together with its contact or mailbox, or if a stored secret replaces it. Users
    must not remove the field alone, because they could not restore it. *new_secret_names*: names of the stored secrets
    that are submitted with the document.
    """
    old_values = dict(_restricted_values(Agency, before, ()))
    new_values = dict(_restricted_values(Agency, document.data, ()))
    # Both lists have pairs of a path and what to restore there.
    changed = [
        _innermost_difference(old_values.get(path), value, path)
        for path, value in new_values.items()
        if old_values.get(path) != value
        and not (_is_stored_secret_key(path) and isinstance(value, str) and value in new_secret_names)
    ]
    removed = [
        (path, f"{path[-1]}: {value}" if isinstance(value, str) else value)
        for path, value in old_values.items()
        if path not in new_values and not _is_stored_secret_key(path) and _is_still_needed(path, document.data)
    ]
    return tuple(_restriction_problem(document, path, value) for path, value in (*changed, *removed))


def _is_still_needed(path: Path, data: Mapping[str, Any]) -> bool:
    """Whether *data* still needs the removed value at *path*.

    The value is needed if its contact or mailbox still exists, unless that mailbox has only stored secrets.
    """
    section, key, *rest = path
    # The value belongs to no contact or mailbox.
    if not rest:
        return True
    owner = _as_mapping(data.get(str(section))).get(str(key))
    return owner is not None and not (section == "mailboxes" and uses_only_stored_secrets(owner))


def _restricted_values(annotation: Any, value: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    """Yield path and value of each restricted field in *value*, which is at *path* and has the type *annotation*."""
    model = as_model(annotation)
    if model is None:
        child_type = item_type(annotation)
        if isinstance(value, Mapping) and is_mapping(annotation):
            for key, each in value.items():
                yield from _restricted_values(child_type, each, (*path, key))
        elif isinstance(value, list) and child_type is not None:
            for number, each in enumerate(value):
                yield from _restricted_values(child_type, each, (*path, number))
        elif unwrap(annotation) is FilePath:
            yield path, value
        return
    if not isinstance(value, Mapping):
        return
    fields = keys_of(model)
    only_stored_secrets = model is MailboxSettings and uses_only_stored_secrets(value)
    secret_keys = {
        source
        for key, field in fields.items()
        if is_secret(field_annotation(field))
        for source in (key, *source_keys(key))
    }
    for key, each in value.items():
        if (
            key in secret_keys
            or key in _LOGIN_KEYS
            or (key in _MAILBOX_KEYS and model is MailboxSettings and not only_stored_secrets)
        ):
            yield (*path, key), each
        elif key in fields:
            yield from _restricted_values(field_annotation(fields[key]), each, (*path, key))


def uses_only_stored_secrets(mailbox: Any) -> bool:
    """Whether a mailbox's login has stored secrets, and names no file, variable, command or URL of the operator."""
    login = mailbox.get("login") if isinstance(mailbox, Mapping) else None
    if not isinstance(login, Mapping):
        return False
    oauth = login.get("oauth")
    keys = [*login, *(oauth if isinstance(oauth, Mapping) else ())]
    operator_keys = {*_OPERATOR_SECRET_KEYS, *_LOGIN_KEYS}
    return any(key in _STORED_SECRET_KEYS for key in keys) and not operator_keys.intersection(keys)


def check_egress(before: Mapping[str, Any], document: Document, egress: EgressPolicy) -> tuple[Problem, ...]:
    """Return a problem for each new server in *document* that *egress* denies, in mailboxes with only stored secrets.

    *before*: the present data. Only IP addresses and ports are checked here; the addresses of a host name are checked
    when a connection is opened.
    """
    problems = []
    for key, mailbox in _as_mapping(document.data.get("mailboxes")).items():
        old_mailbox = _as_mapping(_as_mapping(before.get("mailboxes")).get(key))
        for protocol in ("smtp", "imap", "pop3") if uses_only_stored_secrets(mailbox) else ():
            server = _as_mapping(mailbox.get(protocol))
            if (
                server
                and server != old_mailbox.get(protocol)
                and (denied := _find_denied_key(protocol, server, egress)) is not None
            ):
                field, denial = denied
                problems.append(_egress_problem(document, ("mailboxes", key, protocol, field), denial))
    return tuple(problems)


def _find_denied_key(protocol: str, server: Mapping[str, Any], egress: EgressPolicy) -> tuple[str, EgressDenial] | None:
    """Return the key ("host" or "port") for which *egress* denies the server, and the reason; `None` if it is allowed.

    Host names are not resolved.
    """
    try:
        port = ServerSettings.model_validate(server).port_of(protocol)
    except ValidationError:
        # Another check reports the invalid server.
        return None
    try:
        denial = egress.denial(str(server.get("host")), port)
    except ValueError:
        # The host is a name, so only the port can be checked. The operator may allow exceptions, networks with a port.
        exception_ports = {each.port for each in egress.exceptions}
        denial = None if port in egress.ports or port in exception_ports else EgressDenial.PORT
    return None if denial is None else ("port" if denial is EgressDenial.PORT else "host", denial)


def _egress_problem(document: Document, path: Path, denial: EgressDenial) -> Problem:
    message = translatable(
        "is {why}; an administrator may open it (portal.allowed_mail_networks)", why=translatable(denial)
    )
    return document.problem(
        path,
        message,
        "25, 465, 587, 143, 993, 110 or 995" if denial is EgressDenial.PORT else "its public host name",
    )


def check_domains(before: Mapping[str, Any], document: Document) -> tuple[Problem, ...]:
    """Return a problem for each domain that *document* adds to *before*, the present data.

    A domain below one that is already registered may be added.

    The registered domains of an agency determine which addresses its mailboxes may have and where mail is sent.
    """
    registered = [str(each).lower() for each in _as_list(before.get("domains"))]
    message = "only an administrator may register a domain for the agency"
    instead = translatable("one below {domain}", domain=registered[0]) if registered else "nothing"
    return tuple(
        document.problem(("domains", number), message, instead)
        for number, each in enumerate(_as_list(document.data.get("domains")))
        if not is_within(str(each).lower(), registered)
    )


#: Keys with telephone numbers that Pantau calls.
_NUMBER_KEYS: Final = frozenset({"sms", "voice", "fax", "mobile", "landline"})
#: Sections with such keys. Numbers in other sections are only printed on letters.
_CALLED_SECTIONS: Final = frozenset({"contacts", "announcement"})


def check_foreign_numbers(before: Mapping[str, Any], document: Document) -> tuple[Problem, ...]:
    """Return a problem for each foreign telephone number in *document* that is not in *before*, the present data.

    A user who edits an agency decides which numbers Pantau calls repeatedly, and can start calls at once. Calls to
    satellite numbers and to some countries earn money for the holder of the number (toll fraud), although
    libphonenumber classifies these numbers as ordinary.
    """
    message = "is a foreign number, which only an administrator may add: calls may be expensive"
    instead = "a number in Malaysia: 010-000 0000, or 03-1234 5678"
    old_numbers = {number for _, number in _foreign_numbers(before)}
    new_paths = (path for path, number in _foreign_numbers(document.data) if number not in old_numbers)
    return tuple(document.problem(path, message, instead) for path in new_paths)


def _foreign_numbers(data: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """Yield path and text of each foreign number in *data*."""
    for path, _, value in _walk_values(Agency, data):
        if (
            path
            and path[0] in _CALLED_SECTIONS
            and path[-1] in _NUMBER_KEYS
            and isinstance(value, str)
            and is_foreign(value)
        ):
            yield path, value


#: Maximum length of each list and mapping, by path; "*" stands for any key or position. The limits are ten times what a
#: large ministry needs.
MAX_LENGTHS: Final[Mapping[Path, int]] = {
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
    """Return a problem for each list in *document* that is too long. A list that is as long in *before* may stay.

    Each entry uses resources of the shared service: a route is probed repeatedly, a step calls people, an active
    hour or maintenance window is evaluated at each probe. The size limit of a document would allow a thousand of each.
    """
    old_lengths = {path: len(value) for path, _, value in _lists(before)}
    return tuple(
        _length_problem(document, path, value, limit)
        for path, pattern, value in _lists(document.data)
        if (limit := max(MAX_LENGTHS[pattern], old_lengths.get(path, 0))) < len(value)
    )


def _lists(data: Mapping[str, Any]) -> Iterator[tuple[Path, Path, Any]]:
    """Yield path, pattern (a key of `MAX_LENGTHS`) and value of each list and mapping with a limit."""
    for path, pattern, value in _walk_values(Agency, data):
        if pattern in MAX_LENGTHS and isinstance(value, Mapping | list):
            yield path, pattern, value


def _length_problem(document: Document, path: Path, value: Any, limit: int) -> Problem:
    # Locate the problem at the first entry beyond the limit, and name the list as its key.
    key: str | int = list(value)[limit] if isinstance(value, Mapping) else limit
    instead = translatable("{most} at most; an administrator may write more", most=limit)
    located = document.problem((*path, key), translatable("has more than {most} entries", most=limit), instead)
    return replace(located, key=format_path(path))


def _walk_values(annotation: Any, value: Any, path: Path = (), pattern: Path = ()) -> Iterator[tuple[Path, Path, Any]]:
    """Yield path, pattern (the path with "*" for keys of mappings and positions) and value of all values in *value*."""
    yield path, pattern, value
    model, child_type = as_model(annotation), item_type(annotation)
    if model is not None and isinstance(value, Mapping):
        for key, field in keys_of(model).items():
            if key in value:
                yield from _walk_values(field_annotation(field), value[key], (*path, key), (*pattern, key))
    elif child_type is not None and isinstance(value, Mapping if is_mapping(annotation) else list):
        for position_or_key, each in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from _walk_values(child_type, each, (*path, position_or_key), (*pattern, "*"))


def _as_list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def _is_stored_secret_key(path: Path) -> bool:
    return path[-1] in _STORED_SECRET_KEYS


def _as_mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _innermost_difference(old_value: Any, value: Any, path: Path) -> tuple[Path, Any]:
    """Return the path of the innermost value that differs from the old one, and the old one."""
    if isinstance(old_value, Mapping) and isinstance(value, Mapping) and old_value.keys() <= value.keys():
        for key, each in value.items():
            if old_value.get(key) != each:
                return _innermost_difference(old_value.get(key), each, (*path, key))
    return path, old_value


def _restriction_problem(document: Document, path: Path, old_value: Any) -> Problem:
    if _is_stored_secret_key(path):
        message, old_value = (
            "names a secret that nobody has entered here",
            "the secret, entered again in the form of the mailbox",
        )
    else:
        message = "only an administrator may change files, the source of a secret, and the servers that receive it"
    instead = old_value if isinstance(old_value, str) else "the previous value" if old_value is not None else "nothing"
    return document.problem(path, message, instead)
