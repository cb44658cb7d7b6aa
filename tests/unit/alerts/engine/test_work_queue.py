"""Which incidents are looked at next."""

from __future__ import annotations

import pytest

from alerts.engine.processing_result import OpenIncident
from alerts.engine.work_queue import FULL_PASS_INTERVAL, REFRESH_INTERVAL, WorkItem, WorkQueue
from alerts.model.notification import IncidentType
from alerts.model.urgency import RANK, Priority, Urgency
from tests.unit.alerts.people import MINUTE, SECOND, T0


def of(agency: str, declared: IncidentType | None = None) -> OpenIncident:
    return OpenIncident(agency=agency, number=f"{agency}-01", opened_at=T0, declared=declared)


def place(urgency: Urgency) -> Priority:
    return RANK[urgency], T0, 1


def seen(*incident_ids: int) -> WorkQueue:
    """Return an agenda that has looked at these."""
    agenda = WorkQueue()
    agenda.set_active(incident_ids, T0, shared=False)
    for incident_id in agenda.take_next([], T0, 100):
        agenda.record(incident_id, WorkItem())
    return agenda


def test_news_comes_by_itself_and_then_what_waits_before_what_has_changed_before_what_is_due() -> None:
    agenda = seen(1, 2, 3, 4, 5)
    agenda.record(1, WorkItem(wake=T0))
    agenda.enqueue([2, 6])

    waits = (place(Urgency.RECOVERY), 4)
    assert agenda.take_next([(place(Urgency.FIRST), 3), waits], T0, 100) == [3, 6]
    assert agenda.take_next([waits], T0, 100) == [4, 2, 1]


@pytest.mark.blind
def test_agenda_incidents_of_alerts_come_after_new_ones_of_mail() -> None:
    """Defect: Incidents are processed in order of arrival.

    Pantau: Those of alerts follow new ones of mail.
    """
    agenda = seen(1)
    agenda.enqueue(range(10, 20), first=False)
    agenda.enqueue([30])
    assert agenda.take_next([], T0, 4) == [30]
    agenda.record(30, WorkItem())
    agenda.set_active([1, 30, *range(10, 20), 40], T0 + REFRESH_INTERVAL, shared=False)
    assert agenda.take_next([], T0 + REFRESH_INTERVAL, 4) == [40], "also after the store was asked which there are"
    agenda.enqueue([10])
    assert agenda.take_next([], T0 + REFRESH_INTERVAL, 4) == [10, 11, 12, 13]


def test_what_was_looked_at_is_looked_at_again_only_when_something_happens() -> None:
    agenda = seen(1, 2)
    agenda.record(1, WorkItem(wake=T0 + MINUTE))

    assert agenda.take_next([], T0 + MINUTE - SECOND, 100) == []
    assert agenda.wake == T0 + MINUTE
    assert agenda.take_next([], T0 + MINUTE, 100) == [1]
    agenda.enqueue([2])
    assert not agenda.is_empty
    assert agenda.take_next([], T0, 100) == [2]


def test_what_is_open_of_an_agency_is_looked_at_again_when_something_about_it_has_changed() -> None:
    agenda = seen(1, 2, 3)
    agenda.record(1, WorkItem(open=of("JCM")))
    agenda.record(2, WorkItem(open=of("MDC")))
    agenda.enqueue_agencies({"MDC", "JAS"})

    assert agenda.take_next([], T0, 100) == [2]


def test_no_more_are_looked_at_than_were_asked_for_and_the_rest_is_not_forgotten() -> None:
    agenda = WorkQueue()
    agenda.enqueue([1, 2, 3])

    assert agenda.take_next([], T0, 2) == [1, 2]
    assert agenda.take_next([], T0, 2) == [3]


def test_a_sweep_finds_new_ones_and_forgets_those_that_are_gone() -> None:
    agenda = seen(1, 2)
    agenda.record(1, WorkItem(open=of("JCM"), oldest_pending=T0))
    agenda.set_active([2, 3], T0 + REFRESH_INTERVAL, shared=False)

    assert agenda.take_next([], T0 + REFRESH_INTERVAL, 100) == [3]
    assert not agenda.open
    assert agenda.oldest_pending is None


def test_all_are_looked_at_now_and_then_and_each_time_where_the_store_is_shared() -> None:
    agenda = seen(1, 2)
    assert not agenda.is_refresh_due(T0 + REFRESH_INTERVAL - SECOND)
    assert agenda.is_refresh_due(T0 + REFRESH_INTERVAL)
    assert agenda.is_refresh_due(T0 - SECOND), "a clock that was set back"

    agenda.set_active([1, 2], T0 + REFRESH_INTERVAL, shared=True)
    assert agenda.take_next([], T0 + REFRESH_INTERVAL, 100) == [1, 2]
    agenda.set_active([1, 2], T0 + FULL_PASS_INTERVAL, shared=False)
    assert agenda.take_next([], T0 + FULL_PASS_INTERVAL, 100) == [1, 2]


def test_what_could_not_be_looked_at_keeps_what_was_known_of_it() -> None:
    agenda = seen(1)
    agenda.record(1, WorkItem(open=of("JCM", IncidentType.SENDING)))
    agenda.postpone(1, T0 + MINUTE)

    assert agenda.open == [of("JCM", IncidentType.SENDING)]
    assert agenda.declared == {"JCM": IncidentType.SENDING}
    assert agenda.take_next([], T0 + MINUTE, 1) == [1]


def test_what_is_declared_of_an_agency_is_all_that_stands_in_its_incidents() -> None:
    agenda = seen(1, 2, 3)
    agenda.record(1, WorkItem(open=of("JCM", IncidentType.SENDING)))
    agenda.record(2, WorkItem(open=of("JCM", IncidentType.RECEIVING)))
    agenda.record(3, WorkItem(open=of("MDC")))
    assert agenda.declared == {"JCM": IncidentType.BOTH}

    agenda.record(1, WorkItem(open=of("JCM")))
    agenda.record(2, None)
    assert agenda.declared == {}


def test_all_have_been_seen_only_when_each_has_been_looked_at_once() -> None:
    agenda = WorkQueue()
    agenda.set_active([1, 2], T0, shared=False)
    found = [agenda.has_processed_all]
    agenda.take_next([], T0, 100)
    agenda.record(1, WorkItem())
    agenda.postpone(2, T0 + MINUTE)  # The store was away.
    found.append(agenda.has_processed_all)
    agenda.record(2, None)
    found.append(agenda.has_processed_all)
    agenda.enqueue([1])
    found.append(agenda.has_processed_all)
    assert found == [False, False, True, True]
