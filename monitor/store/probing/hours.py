"""Probe runs in the database, and their counts per hour, which remain when the runs are deleted.

A run is counted only in the transaction that stores it. So the counts are right if a run is written late, if the clock
was changed, and if several processes count runs of the same hour.
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
#: Fields of a result that have a column of their own. The other fields are in the JSON column `result`.
_RESULT_COLUMNS = ("route", "token_id", "started_at", "duration", "outcome")
_RUN_COLUMNS = [column.name for column in run.c if column.name != "id"]

#: Condition that the run is stored already: if the connection breaks during a commit, the commit is repeated, although
#: it may have succeeded.
_IS_STORED = exists().where(
    run.c.agency == bindparam("agency"),
    run.c.route == bindparam("route"),
    run.c.started_at == bindparam("started_at"),
    run.c.token_id == bindparam("token_id"),
)

#: Statement that stores a run, with the parameters of `run_values`, unless it is stored already. It is a constant, so
#: that the inserts of many callers are executed together (`monitor.store.backend.repository`).
STORE_RUN = insert(run).from_select(
    _RUN_COLUMNS, select(*(bindparam(name, type_=run.c[name].type) for name in _RUN_COLUMNS)).where(~_IS_STORED)
)


def count_statement(database: Database) -> Executable:
    """Return the statement that counts a run, with the parameters of `hour_values`, unless the run is stored already.

    Execute it before `STORE_RUN`. All writers get the same statement object, because a group commit executes equal
    statements together: first it counts all its runs, and then it stores them.
    """
    return _count_statement(database.upsert)


@cache
def _count_statement(upsert: Callable[[Table], Upsert]) -> Executable:
    values = select(*(bindparam(f"hour_{each.name}", type_=each.type) for each in hour.c)).where(~_IS_STORED)
    insert_hour = upsert(hour).from_select([each.name for each in hour.c], values)
    new = insert_hour.excluded
    return insert_hour.on_conflict_do_update(
        index_elements=list(hour.primary_key), set_={**add_counts(new), "interval": new.interval}
    )


def add_counts(new: Any) -> dict[str, Any]:
    """Return the SET clause that adds the counts, maxima and minutes of the row *new* to the stored row."""
    sums = {name: hour.c[name] + new[name] for name in ("runs", "duration", "transit")}
    maxima = {name: case((hour.c[name] > new[name], hour.c[name]), else_=new[name]) for name in ("longest", "slowest")}
    return {**sums, **maxima, "minutes": hour.c.minutes.bitwise_or(new.minutes)}


def run_values(result: ProbeResult, agency: str) -> dict[str, Any]:
    """Return the parameters of `STORE_RUN`."""
    return {
        "agency": agency,
        "route": result.route,
        "token_id": result.token_id,
        "started_at": result.started_at,
        "duration": result.duration.total_seconds(),
        "outcome": result.outcome,
        "result": _RESULT.dump_json(result, exclude=set(_RESULT_COLUMNS), exclude_defaults=True).decode(),
    }


def hour_values(result: ProbeResult, agency: str, grade: Grade | None, interval: timedelta) -> Mapping[str, Any]:
    """Return the parameters of `count_statement`: what a run adds to its hour, and the key of the run.

    *grade*: how the run counts for the health (good, slow, bad ...); `None`: not at all. *interval*: probe interval of its route. Durations are in seconds.
    """
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
        # A bit set of the minutes in which runs started.
        "hour_minutes": 1 << result.started_at.minute,
        "hour_interval": round(interval.total_seconds()),
        "hour_duration": duration,
        # Maxima: "longest" of the durations, "slowest" of the transit times.
        "hour_longest": duration,
        "hour_transit": transit,
        "hour_slowest": transit,
    }


def to_result(row: Row[Any]) -> ProbeResult:
    """Return the result in a row of the table `run`. Raise `ValueError` if it is invalid."""
    return _RESULT.validate_python(
        {**_JSON.validate_json(row.result), **{name: getattr(row, name) for name in _RESULT_COLUMNS}}
    )
