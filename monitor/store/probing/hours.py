"""Runs in the database, and their counts per hour, which remain when the runs are deleted.

A run is counted in the transaction that stores it, and only then. So the counts are right however late a run is written,
even if the clock was set, and although several processes count the same hour.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import cache
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import Executable, Row, Table, bindparam, case, exists, insert, select

from monitor.model.health import Grade
from monitor.store.backend.database import Database, Upsert
from monitor.store.schema.tables import hour, run
from probes.model.result import Phase, ProbeResult

_RESULT = TypeAdapter(ProbeResult)
_JSON = TypeAdapter(dict[str, Any])
#: Fields of a result that have a column of their own.
_COLUMNS = ("route", "token_id", "started_at", "duration", "outcome")
_RUN = [column.name for column in run.c if column.name != "id"]

#: Whether the run is stored: a commit whose connection broke is repeated, although it may have succeeded.
_IS_STORED = exists().where(
    run.c.agency == bindparam("agency"),
    run.c.route == bindparam("route"),
    run.c.started_at == bindparam("started_at"),
    run.c.token_id == bindparam("token_id"),
)

#: Stores a run, by the parameters of `run_values`, unless it is stored. A constant, so that the inserts of many callers
#: are executed together (`monitor.store.backend.repository`).
STORE = insert(run).from_select(
    _RUN, select(*(bindparam(name, type_=run.c[name].type) for name in _RUN)).where(~_IS_STORED)
)


def counting(database: Database) -> Executable:
    """Return the statement that counts a run by `hour_values`, unless it is stored; it is executed before `STORE`.

    It is the same for all writers of a kind of store: in a shared commit all runs are counted before any is stored.
    """
    return _counting(database.upsert)


@cache
def _counting(upsert: Callable[[Table], Upsert]) -> Executable:
    values = select(*(bindparam(f"hour_{each.name}", type_=each.type) for each in hour.c)).where(~_IS_STORED)
    counted = upsert(hour).from_select([each.name for each in hour.c], values)
    new = counted.excluded
    return counted.on_conflict_do_update(
        index_elements=list(hour.primary_key), set_={**with_added(new), "interval": new.interval}
    )


def with_added(new: Any) -> dict[str, Any]:
    """Return the columns of a stored hour after the counts in the row *new*, of the same hour, are added."""
    sums = {name: hour.c[name] + new[name] for name in ("runs", "duration", "transit")}
    maxima = {name: case((hour.c[name] > new[name], hour.c[name]), else_=new[name]) for name in ("longest", "slowest")}
    return {**sums, **maxima, "minutes": hour.c.minutes.bitwise_or(new.minutes)}


def run_values(result: ProbeResult, agency: str) -> dict[str, Any]:
    """Return the columns of a run."""
    return {
        "agency": agency,
        "route": result.route,
        "token_id": result.token_id,
        "started_at": result.started_at,
        "duration": result.duration.total_seconds(),
        "outcome": result.outcome,
        "result": _RESULT.dump_json(result, exclude=set(_COLUMNS), exclude_defaults=True).decode(),
    }


def hour_values(result: ProbeResult, agency: str, grade: Grade | None, every: timedelta) -> Mapping[str, Any]:
    """Return the parameters of `counting`: what a run adds to its hour, and the key by which a stored run is found."""
    duration = result.duration.total_seconds()
    transit = result.phases.get(Phase.TRANSIT, timedelta(0)).total_seconds()
    return {
        "agency": agency,
        "route": result.route,
        "started_at": result.started_at,
        "token_id": result.token_id,
        "hour_agency": agency,
        "hour_route": result.route,
        "hour_starts_at": result.started_at.replace(minute=0, second=0, microsecond=0),
        "hour_outcome": result.outcome,
        "hour_grade": grade or "",
        "hour_runs": 1,
        "hour_minutes": 1 << result.started_at.minute,
        "hour_interval": round(every.total_seconds()),
        "hour_duration": duration,
        "hour_longest": duration,
        "hour_transit": transit,
        "hour_slowest": transit,
    }


def to_result(row: Row[Any]) -> ProbeResult:
    """Return the result in the row of a run. Raise `ValueError` for an invalid one."""
    return _RESULT.validate_python(
        {**_JSON.validate_json(row.result), **{name: getattr(row, name) for name in _COLUMNS}}
    )
