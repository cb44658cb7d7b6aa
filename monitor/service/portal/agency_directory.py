"""Directory of agencies for administrators: all agencies, earlier holders of a code, and the consequences of a removal."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from alerts.decide.paper import WAITING
from monitor.access.principal import User
from monitor.model.document import DocumentVersion, secrets_named
from monitor.service.access.administration import Administration
from monitor.service.paper.letters import LetterView
from monitor.service.portal.agency_editor import AgencyEditor
from monitor.store.admin.documents import Documents, DocumentVersionInfo
from monitor.store.admin.traces import AgencyTrace, AgencyTraces
from monitor.store.engine.drills import Drill, drill_called

#: Number of agencies on a page: thousands would block the event loop.
AT_A_TIME: Final = 100
#: Number of users with a role that are named.
_NAMED: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class AgencyListItem:
    """One agency."""

    mark: DocumentVersionInfo
    #: "": the service does not use the agency's document.
    name: str = ""
    has_mailbox: bool = False
    #: Whether anyone is notified.
    tells: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviousAgency:
    """Remains of an earlier agency under a code that is to be given to a new one."""

    trace: AgencyTrace
    #: The version that removed the agency; `None`: there never was a document.
    gone: DocumentVersion | None
    #: The users who still have a role for it.
    users: Sequence[User]


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovalPreview:
    """Preview of a removal: what is removed with an agency, and what remains."""

    version: DocumentVersion
    name: str
    mailboxes: Sequence[str]
    #: Number of passwords typed in the portal that are deleted.
    secrets: int
    trace: AgencyTrace
    #: Number of letters about the agency that wait to be printed or posted.
    letters: int
    #: Numbers of the running drills of the agency's users.
    drills: Sequence[str]
    users: Sequence[User]


class AgencyDirectory:
    """Reader of the directory. Raises `StoreUnavailable`, and `NotFoundError` for an unknown agency."""

    def __init__(
        self,
        editor: AgencyEditor,
        documents: Documents,
        traces: AgencyTraces,
        people: Administration,
        *,
        letters: Callable[[], Awaitable[Sequence[LetterView]]],
        drills: Callable[[], Awaitable[Sequence[Drill]]],
    ) -> None:
        """*letters*: those of all agencies, as their clerks see them. *drills*: the running ones."""
        self._editor = editor
        self._documents = documents
        self._traces = traces
        self._people = people
        self._letters = letters
        self._drills = drills

    async def page(self, wanted: str = "", *, after: str = "") -> tuple[Sequence[AgencyListItem], bool]:
        """Return a page of agencies by code, *after* one, whose code or name contains *wanted*, and whether there are more."""
        agencies = self._editor.configuration().registry.agencies
        sought = wanted.casefold()
        named = [code for code, each in agencies.items() if sought in each.name.casefold()] if sought else []
        found = await self._documents.marks(wanted=wanted, named=named, after=after, at_most=AT_A_TIME + 1)
        entries = []
        for mark in found[:AT_A_TIME]:
            known = agencies.get(mark.agency)
            entries.append(
                AgencyListItem(mark=mark)
                if known is None
                else AgencyListItem(
                    mark=mark,
                    name=known.name,
                    # An agency without a mailbox of its own has only routes that end elsewhere.
                    has_mailbox=bool(known.mailboxes or known.routes),
                    tells=bool(known.escalation.steps),
                )
            )
        return entries, len(found) > AT_A_TIME

    async def past(self, agency: str) -> PreviousAgency | None:
        """Return the remains under a code that no agency has now; `None`: there are none, or an agency has the code."""
        gone = await self._editor.last(agency)
        if gone is not None and gone.text is not None:
            return None
        trace, users = await self._traces.of(agency), await self._users(agency)
        return PreviousAgency(trace=trace, gone=gone, users=users) if gone or trace or users else None

    async def departure(self, agency: str) -> RemovalPreview:
        """Return a preview of the removal of an agency."""
        version = await self._editor.latest(agency)
        known = self._editor.configuration().registry.agencies.get(agency)
        waiting = [each for each in await self._letters() if each.agency == agency and each.step in WAITING]
        drills = [drill_called(each.id) for each in await self._drills() if each.contact.startswith(f"{agency}/")]
        return RemovalPreview(
            version=version,
            name=known.name if known else "",
            mailboxes=[each.address for each in known.mailboxes.values()] if known else [],
            secrets=len(secrets_named(version.text or "")),
            trace=await self._traces.of(agency),
            letters=len(waiting),
            drills=drills,
            users=await self._users(agency),
        )

    async def _users(self, agency: str) -> Sequence[User]:
        # The search also finds users whose name contains the code.
        found = await self._people.page(agency, most=AT_A_TIME)
        return [each for each in found if any(given.agency == agency for given in each.assignments)][:_NAMED]
