"""Errors of operations that the service rejects, and of queries for objects that do not exist.

The texts are in `errors.yaml`, in Malay and in English.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from alerts.wording.source import sections
from monitor.config.files.problem import closest_match

if TYPE_CHECKING:
    from alerts.model.incident import Incident
    from monitor.store.engine.unit_of_work import SqlUnitOfWork

#: By key: the Malay text, the English text, and, if the English text names commands, a second one for pages.
REJECTION_TEXTS: Final[Mapping[str, Sequence[str]]] = sections(Path(__file__).with_suffix(".yaml"))["refused"]


@dataclass(frozen=True, slots=True)
class Bilingual:
    """Value of a placeholder in an error text, in both languages."""

    english: str
    malay: str

    def __str__(self) -> str:
        return self.english


class OperationRejectedError(Exception):
    """Error for an operation that the service rejects. The message gives the reason, and what to do or write instead.

    The message is in English, for commands and API clients. A Malay page shows `malay`, an English page `page_text`; if
    that text is empty, the page shows the message.
    """

    #: The message in Malay.
    malay: str = ""
    #: The English message for a page, if it differs from the message for commands.
    page_text: str = ""
    #: Value of the operation's parameter `despite` that overrides this rejection; "": nothing overrides it.
    despite: str = ""

    @classmethod
    def from_text(cls, key: str, **placeholders: object) -> Self:
        """Return an error with the text of *key* in `errors.yaml`."""
        malay, english, *page_text = REJECTION_TEXTS[key]
        error = cls(english.format(**placeholders))
        # Into the Malay text, insert the Malay form of a value that has one: a `Bilingual`, or another error.
        error.malay = malay.format(
            **{name: getattr(value, "malay", "") or value for name, value in placeholders.items()}
        )
        error.page_text = "".join(page_text).format(**placeholders)
        return error


class NotFoundError(OperationRejectedError):
    """Error for an object that does not exist."""


def incident_not_found(number: str) -> NotFoundError:
    """Return the error that no incident has this number."""
    return NotFoundError.from_text("no_incident", number=number)


async def find_incident(uow: SqlUnitOfWork, number: str) -> Incident:
    """Return the incident with *number*, such as "JCM-01", in any notation. Raise `NotFoundError`."""
    incident = await uow.incident_by_number(number)
    if incident is None:
        raise incident_not_found(number)
    return incident


def notification_not_found(notification_id: int) -> NotFoundError:
    """Return the error that no notification has this ID."""
    return NotFoundError.from_text("no_notice", notice=notification_id)


def find_agency_code(name: str, codes: Iterable[str]) -> str:
    """Return the one of *codes* that equals *name* without regard to case. Raise `NotFoundError`."""
    code_by_folded_name = {code.casefold(): code for code in codes}
    code = code_by_folded_name.get(name.strip().casefold())
    if code is not None:
        return code
    if suggestion := closest_match(name.strip(), code_by_folded_name):
        raise NotFoundError.from_text("no_agency_near", agency=name.strip(), near=code_by_folded_name[suggestion])
    raise NotFoundError.from_text("no_agency", agency=name.strip())
