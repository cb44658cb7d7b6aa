"""Records that exist under an agency's code, even if it was removed: days with results, incidents, and a rename."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from sqlalchemy import func, select

from monitor.model.renaming import RenamedKind
from monitor.store.admin.renames import RENAMED
from monitor.store.backend.database import Database
from monitor.store.schema.tables import audit_log, day, incident

#: Maximum number of audit entries about renames, of all agencies and mailboxes, that are searched.
_MAX_RENAMES = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class AgencyTrace:
    """Records under an agency's code."""

    #: First and last day with stored probe results; `None`: there is none.
    since: date | None = None
    until: date | None = None
    #: Incident numbers of the latest and of the open incident; "": there is none.
    latest: str = ""
    open: str = ""
    #: The new code of the agency that had this code before a rename; "": there was no rename.
    renamed_to: str = ""

    def __bool__(self) -> bool:
        """Whether there are any records."""
        return bool(self.since or self.latest or self.renamed_to)


class AgencyTraces:
    """Reads the records. Raises `StoreUnavailable`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of(self, agency: str) -> AgencyTrace:
        """Return the records under this code."""
        # The dedup key of an agency's incident is the agency's code.
        is_of_agency = incident.c.dedup_key == agency
        days = [select(each).where(day.c.agency == agency) for each in (func.min(day.c.date), func.max(day.c.date))]
        latest = select(incident.c.number).where(is_of_agency).order_by(incident.c.id.desc()).limit(1)
        open_incident = select(incident.c.number).where(is_of_agency, incident.c.resolved_at.is_(None)).limit(1)
        renamed = (
            select(audit_log.c.detail)
            .where(audit_log.c.event == RENAMED)
            .order_by(audit_log.c.id.desc())
            .limit(_MAX_RENAMES)
        )
        async with self._database.read() as connection:
            since, until = [(await connection.execute(each)).scalar() for each in days]
            latest_number = (await connection.execute(latest)).scalar() or ""
            open_number = (await connection.execute(open_incident)).scalar() or ""
            details = (await connection.execute(renamed)).scalars().all()
        new_codes = (
            str(each.get("new"))
            for each in details
            if (each.get("what"), each.get("old")) == (str(RenamedKind.AGENCY), agency)
        )
        renamed_to = next(new_codes, "")
        return AgencyTrace(since=since, until=until, latest=latest_number, open=open_number, renamed_to=renamed_to)
