"""Records of an agency besides its document: when its monitoring began, its incidents, and its present name."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from sqlalchemy import func, select

from monitor.model.renaming import Renamed
from monitor.store.admin.renames import RENAMED
from monitor.store.backend.database import Database
from monitor.store.schema.tables import audit_log, day, incident

#: Maximum of renames, of all agencies and mailboxes, that are searched.
_RENAMES = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class AgencyTrace:
    """Records under an agency's code."""

    #: The first and the last day that is stored; `None`: there is none.
    since: date | None = None
    until: date | None = None
    #: Number of the latest and of the open incident; "": there is none.
    latest: str = ""
    open: str = ""
    #: The present name of the agency that had this code; "": none was renamed.
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
        is_of_agency = incident.c.dedup_key == agency
        days = [select(each).where(day.c.agency == agency) for each in (func.min(day.c.date), func.max(day.c.date))]
        latest = select(incident.c.number).where(is_of_agency).order_by(incident.c.id.desc()).limit(1)
        open_incident = select(incident.c.number).where(is_of_agency, incident.c.resolved_at.is_(None)).limit(1)
        renamed = (
            select(audit_log.c.detail)
            .where(audit_log.c.event == RENAMED)
            .order_by(audit_log.c.id.desc())
            .limit(_RENAMES)
        )
        async with self._database.read() as connection:
            since, until = [(await connection.execute(each)).scalar() for each in days]
            numbers = [(await connection.execute(each)).scalar() or "" for each in (latest, open_incident)]
            renames = (await connection.execute(renamed)).scalars().all()
        names = (
            str(each.get("new"))
            for each in renames
            if (each.get("what"), each.get("old")) == (str(Renamed.AGENCY), agency)
        )
        return AgencyTrace(since=since, until=until, latest=numbers[0], open=numbers[1], renamed_to=next(names, ""))
