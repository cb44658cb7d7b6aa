"""Directory of agencies for administrators: the list, previews of removals, and traces of removed agencies.

A trace is data of a removed agency, such as incidents and roles of users, that a new agency with its code would get.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from alerts.decide.paper import PENDING_STEPS
from monitor.access.principal import User
from monitor.model.document import DocumentVersion, secret_names_in
from monitor.service.access.administration import Administration
from monitor.service.paper.letters import LetterView
from monitor.service.portal.agency_editor import AgencyEditor
from monitor.store.admin.documents import Documents, DocumentVersionInfo
from monitor.store.admin.traces import AgencyTrace, AgencyTraces
from monitor.store.engine.drills import Drill, drill_number_of

#: Number of agencies on a page: thousands would block the event loop.
PAGE_SIZE: Final = 100
#: Number of users with a role that are named.
_MAX_USERS: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class AgencyListItem:
    """Agency in the list."""

    #: The latest version of its document (YAML settings), without the text.
    version: DocumentVersionInfo
    #: Name; "": the running service does not use the agency's document.
    name: str = ""
    #: Whether its mail is probed.
    has_mailbox: bool = False
    #: Whether staff are notified of its incidents.
    notifies: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviousAgency:
    """Data of a removed agency whose code a new agency is to get."""

    #: Records that remain in the database.
    trace: AgencyTrace
    #: The version that removed the agency; `None`: there never was a document.
    removal: DocumentVersion | None
    #: The users who still have a role for the agency.
    users: Sequence[User]


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovalPreview:
    """Preview of a removal: what is deleted with an agency, and what remains."""

    #: The version of the document that is removed.
    version: DocumentVersion
    #: Name; "": the running service does not use the agency's document.
    name: str
    #: Addresses of the agency's mailboxes.
    mailboxes: Sequence[str]
    #: Number of secrets typed in the portal that are deleted.
    secrets: int
    #: Records that remain in the database.
    trace: AgencyTrace
    #: Number of letters about the agency that wait to be printed or posted.
    letters: int
    #: Numbers of the running drills (test notifications) of the agency's contacts.
    drills: Sequence[str]
    #: The users who have a role for the agency.
    users: Sequence[User]


class AgencyDirectory:
    """Reader of the directory. Raises `StoreUnavailable`, and `NotFoundError` for an unknown agency."""

    def __init__(
        self,
        editor: AgencyEditor,
        documents: Documents,
        traces: AgencyTraces,
        administration: Administration,
        *,
        letters: Callable[[], Awaitable[Sequence[LetterView]]],
        drills: Callable[[], Awaitable[Sequence[Drill]]],
    ) -> None:
        """*administration* finds users. *letters* returns the letters of all agencies, as clerks see them.

        *drills* returns the drills in progress.
        """
        self._editor = editor
        self._documents = documents
        self._traces = traces
        self._administration = administration
        self._letters = letters
        self._drills = drills

    async def page(self, query: str = "", *, after: str = "") -> tuple[Sequence[AgencyListItem], bool]:
        """Return agencies whose code or name contains *query*, sorted by code, and whether there are more.

        At most `PAGE_SIZE` agencies are returned. *after*: the last code of the previous page.
        """
        agencies = self._editor.configuration().registry.agencies
        folded_query = query.casefold()
        codes_by_name = (
            [code for code, each in agencies.items() if folded_query in each.name.casefold()] if folded_query else []
        )
        versions = await self._documents.list_latest(
            search=query, agencies=codes_by_name, after=after, at_most=PAGE_SIZE + 1
        )
        entries = []
        for version in versions[:PAGE_SIZE]:
            settings = agencies.get(version.agency)
            entries.append(
                AgencyListItem(version=version)
                if settings is None
                else AgencyListItem(
                    version=version,
                    name=settings.name,
                    # An agency without a mailbox has explicit routes to addresses that forward its mail.
                    has_mailbox=bool(settings.mailboxes or settings.routes),
                    notifies=bool(settings.escalation.steps),
                )
            )
        return entries, len(versions) > PAGE_SIZE

    async def previous_agency(self, agency: str) -> PreviousAgency | None:
        """Return the data of a removed agency with this code; `None`: there is none, or an agency has the code now."""
        removal = await self._editor.last_version(agency)
        if removal is not None and removal.text is not None:
            return None
        trace, users = await self._traces.of(agency), await self._users(agency)
        return PreviousAgency(trace=trace, removal=removal, users=users) if removal or trace or users else None

    async def removal_preview(self, agency: str) -> RemovalPreview:
        """Return a preview of the removal of an agency."""
        version = await self._editor.latest(agency)
        agency_settings = self._editor.configuration().registry.agencies.get(agency)
        pending_letters = [
            each for each in await self._letters() if each.agency == agency and each.step in PENDING_STEPS
        ]
        drills = [drill_number_of(each.id) for each in await self._drills() if each.contact.startswith(f"{agency}/")]
        return RemovalPreview(
            version=version,
            name=agency_settings.name if agency_settings else "",
            mailboxes=[each.address for each in agency_settings.mailboxes.values()] if agency_settings else [],
            secrets=len(secret_names_in(version.text or "")),
            trace=await self._traces.of(agency),
            letters=len(pending_letters),
            drills=drills,
            users=await self._users(agency),
        )

    async def _users(self, agency: str) -> Sequence[User]:
        # The search also finds users whose names contain the code: keep those with a role for the agency.
        matches = await self._administration.page(agency, limit=PAGE_SIZE)
        return [each for each in matches if any(assignment.agency == agency for assignment in each.assignments)][
            :_MAX_USERS
        ]
