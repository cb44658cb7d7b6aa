"""Errors of commands that cannot be executed and of queries about objects that do not exist."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from alerts.wording.source import sections
from monitor.config.files.problem import nearest

if TYPE_CHECKING:
    from alerts.model.incident import Incident
    from monitor.store.engine.ledger import SqlUnitOfWork

#: By key: the Malay text, the English text, and, if that names commands, the English text for a page.
REFUSED: Final[Mapping[str, Sequence[str]]] = sections(Path(__file__).with_suffix(".yaml"))["refused"]


@dataclass(frozen=True, slots=True)
class Bilingual:
    """Words of an error that differ by language."""

    english: str
    malay: str

    def __str__(self) -> str:
        return self.english


class OperationRejectedError(Exception):
    """An operation is refused. The message gives the reason, and what to do or write instead.

    It is in English, for commands and programs. A page shows `malay` instead, or `on_page`; "": there is none.
    """

    malay: str = ""
    on_page: str = ""
    #: Name that overrides the refusal.
    despite: str = ""

    @classmethod
    def said(cls, key: str, **words: object) -> Self:
        """Return an error with the words of `errors.yaml`."""
        malay, english, *on_page = REFUSED[key]
        made = cls(english.format(**words))
        # The words of another error are inserted in the same language.
        made.malay = malay.format(**{key: getattr(word, "malay", "") or word for key, word in words.items()})
        made.on_page = "".join(on_page).format(**words)
        return made


class NotFoundError(OperationRejectedError):
    """The object of the command does not exist."""


def no_incident(number: str) -> NotFoundError:
    """Return the error that no incident has this number."""
    return NotFoundError.said("no_incident", number=number)


async def numbered(ledger: SqlUnitOfWork, number: str) -> Incident:
    """Return the incident with *number* in any notation. Raise `NotFoundError`."""
    found = await ledger.incident_numbered(number)
    if found is None:
        raise no_incident(number)
    return found


def no_notice(notification_id: int) -> NotFoundError:
    """Return the error that no notification has this number."""
    return NotFoundError.said("no_notice", notice=notification_id)


def agency_called(quoted: str, codes: Iterable[str]) -> str:
    """Return the code of an agency, whatever the case of the given one. Raise `NotFoundError`."""
    known = {code.casefold(): code for code in codes}
    code = known.get(quoted.strip().casefold())
    if code is not None:
        return code
    if near := nearest(quoted.strip(), known):
        raise NotFoundError.said("no_agency_near", agency=quoted.strip(), near=known[near])
    raise NotFoundError.said("no_agency", agency=quoted.strip())
