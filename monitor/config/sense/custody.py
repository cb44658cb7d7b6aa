"""What of an agency's document only an administrator changes: where secrets and files of this machine are, and who is given them.

Whoever edits an agency in the portal knows its mail, and is no operator of this machine. A document names files that
Pantau reads, and servers that what is in them is sent to: an edit that moved either would fetch any file, or hand the
mailbox's password (with an access token perhaps everybody's mail) to a server of somebody's choice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path as FilePath
from typing import Any, Final

from monitor.config.agency.mailbox import MailboxSettings
from monitor.config.files.document import Document
from monitor.config.files.problem import Path, Problem, dotted
from monitor.config.files.reading import as_model, core, is_mapping, is_secret, item, names, of_field, sources
from monitor.config.model.registry import Agency

#: Of a mailbox: how it is signed in to, and who hears the password.
_OF_A_MAILBOX: Final = frozenset({"smtp", "imap", "pop3", "login", "ca_file"})


def check_custody(before: Mapping[str, Any], document: Document) -> tuple[Problem, ...]:
    """Return what *document* says otherwise than *before* of what only an administrator changes.

    What stands there no more is no matter: it leads nowhere.
    """
    was = dict(_kept(Agency, before, ()))
    changed = [(path, value) for path, value in _kept(Agency, document.data, ()) if was.get(path) != value]
    return tuple(_problem(document, *_innermost(was.get(path), value, path)) for path, value in changed)


def _kept(asked: Any, value: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    """Yield the places and the values that are in custody."""
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
    secret = {source for key, field in fields.items() if is_secret(of_field(field)) for source in (key, *sources(key))}
    for key, each in value.items():
        if key in secret or (model is MailboxSettings and key in _OF_A_MAILBOX):
            yield (*path, key), each
        elif key in fields:
            yield from _kept(of_field(fields[key]), each, (*path, key))


def _innermost(was: Any, value: Any, path: Path) -> tuple[Path, Any]:
    """Return the innermost place that is different, and what stood there."""
    if isinstance(was, Mapping) and isinstance(value, Mapping) and was.keys() <= value.keys():
        for key, each in value.items():
            if was.get(key) != each:
                return _innermost(was.get(key), each, (*path, key))
    return path, was


def _problem(document: Document, path: Path, was: Any) -> Problem:
    place = document.place(path)
    message = "only an administrator changes where a secret or a file is kept, and which server is given it"
    instead = was if isinstance(was, str) else "what stood here before" if was is not None else "nothing"
    return Problem(
        file=document.file, line=place.line, column=place.column, key=dotted(path), message=message, instead=instead
    )
