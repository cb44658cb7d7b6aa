"""Which agencies there are, for administrators: all of them, what a code was before, and what goes and stays with one."""

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

#: On a page: thousands would hold the loop, and nobody reads them.
AT_A_TIME: Final = 100
#: Of users with a role so many are named.
_NAMED: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class AgencyListItem:
    """One agency."""

    mark: DocumentVersionInfo
    #: "": the service does not go by its document.
    name: str = ""
    has_mailbox: bool = False
    #: Whether anybody is told.
    tells: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviousAgency:
    """What there is under a code that somebody wants to give to an agency, and that is watched no more or never was."""

    trace: AgencyTrace
    #: By which it was taken out; `None`: there never was a document.
    gone: DocumentVersion | None
    #: Who has a role for it still.
    users: Sequence[User]


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovalPreview:
    """What goes with an agency that is taken out, and what stays."""

    version: DocumentVersion
    name: str
    mailboxes: Sequence[str]
    #: How many passwords that were typed in the portal are forgotten.
    secrets: int
    trace: AgencyTrace
    #: How many letters about it wait to be printed or posted.
    letters: int
    #: Numbers of the drills of its people that are under way.
    drills: Sequence[str]
    users: Sequence[User]


class AgencyDirectory:
    """Reads them. Raises `StoreUnavailable`, and `NotFoundError` of an agency that there is not."""

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
        """*letters*: of all agencies, as their clerks see them. *drills*: those under way."""
        self._editor = editor
        self._documents = documents
        self._traces = traces
        self._people = people
        self._letters = letters
        self._drills = drills

    async def page(self, wanted: str = "", *, after: str = "") -> tuple[Sequence[AgencyListItem], bool]:
        """Return some agencies, by code, *after* one, whose code or name has *wanted* in it; and whether there are more."""
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
                    # Without one of its own all of its routes end elsewhere.
                    has_mailbox=bool(known.mailboxes or known.routes),
                    tells=bool(known.escalation.steps),
                )
            )
        return entries, len(found) > AT_A_TIME

    async def past(self, agency: str) -> PreviousAgency | None:
        """Return what there is under a code that no agency has now; `None`: nothing, or an agency has it."""
        gone = await self._editor.last(agency)
        if gone is not None and gone.text is not None:
            return None
        trace, users = await self._traces.of(agency), await self._users(agency)
        return PreviousAgency(trace=trace, gone=gone, users=users) if gone or trace or users else None

    async def departure(self, agency: str) -> RemovalPreview:
        """Return what taking an agency out would do."""
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
        # Also found are those whose name has the code in it.
        found = await self._people.page(agency, most=AT_A_TIME)
        return [each for each in found if any(given.agency == agency for given in each.assignments)][:_NAMED]
