"""Order in which the work queue returns incidents."""

from __future__ import annotations

import pytest

from alerts.engine.processing_result import OpenIncident
from alerts.engine.work_queue import FULL_PASS_INTERVAL, REFRESH_INTERVAL, WorkItem, WorkQueue
from alerts.model.notification import IncidentType
from alerts.model.urgency import RANK, Priority, Urgency
from tests.unit.alerts.people import MINUTE, SECOND, T0


def open_incident(agency: str, declared: IncidentType | None = None) -> OpenIncident:
    return OpenIncident(agency=agency, number=f"{agency}-01", opened_at=T0, declared=declared)


def rank_of(urgency: Urgency) -> Priority:
    return RANK[urgency], T0, 1


def processed_queue(*incident_ids: int) -> WorkQueue:
    """Return a queue that has processed these incidents."""
    queue = WorkQueue()
    queue.set_active(incident_ids, T0, shared=False)
    for incident_id in queue.take_next([], T0, 100):
        queue.record(incident_id, WorkItem())
    return queue


def test_take_next_order_is_new_then_waiting_then_changed_then_due() -> None:
    queue = processed_queue(1, 2, 3, 4, 5)
    queue.record(1, WorkItem(next_due_at=T0))
    queue.enqueue([2, 6])

    waits = (rank_of(Urgency.RECOVERY), 4)
    assert queue.take_next([(rank_of(Urgency.FIRST), 3), waits], T0, 100) == [3, 6]
    assert queue.take_next([waits], T0, 100) == [4, 2, 1]


@pytest.mark.blind
def test_incidents_of_alerts_follow_new_incidents_of_mail() -> None:
    """Defect: Incidents are processed in order of arrival.

    Pantau: Those of alerts follow new ones of mail.
    """
    queue = processed_queue(1)
    queue.enqueue(range(10, 20), first=False)
    queue.enqueue([30])
    assert queue.take_next([], T0, 4) == [30]
    queue.record(30, WorkItem())
    queue.set_active([1, 30, *range(10, 20), 40], T0 + REFRESH_INTERVAL, shared=False)
    assert queue.take_next([], T0 + REFRESH_INTERVAL, 4) == [40], "also after the store was asked which there are"
    queue.enqueue([10])
    assert queue.take_next([], T0 + REFRESH_INTERVAL, 4) == [10, 11, 12, 13]


def test_processed_incident_is_taken_again_only_when_due_or_enqueued() -> None:
    queue = processed_queue(1, 2)
    queue.record(1, WorkItem(next_due_at=T0 + MINUTE))

    assert queue.take_next([], T0 + MINUTE - SECOND, 100) == []
    assert queue.next_due_at == T0 + MINUTE
    assert queue.take_next([], T0 + MINUTE, 100) == [1]
    queue.enqueue([2])
    assert not queue.is_empty
    assert queue.take_next([], T0, 100) == [2]


def test_enqueue_agencies_takes_open_incidents_of_those_agencies() -> None:
    queue = processed_queue(1, 2, 3)
    queue.record(1, WorkItem(open_incident=open_incident("JCM")))
    queue.record(2, WorkItem(open_incident=open_incident("MDC")))
    queue.enqueue_agencies({"MDC", "JAS"})

    assert queue.take_next([], T0, 100) == [2]


def test_take_next_respects_limit_and_keeps_rest() -> None:
    queue = WorkQueue()
    queue.enqueue([1, 2, 3])

    assert queue.take_next([], T0, 2) == [1, 2]
    assert queue.take_next([], T0, 2) == [3]


def test_set_active_adds_new_and_drops_missing_incidents() -> None:
    queue = processed_queue(1, 2)
    queue.record(1, WorkItem(open_incident=open_incident("JCM"), oldest_pending=T0))
    queue.set_active([2, 3], T0 + REFRESH_INTERVAL, shared=False)

    assert queue.take_next([], T0 + REFRESH_INTERVAL, 100) == [3]
    assert not queue.open_incidents
    assert queue.oldest_pending is None


def test_full_pass_runs_periodically_and_each_time_when_store_is_shared() -> None:
    queue = processed_queue(1, 2)
    assert not queue.is_refresh_due(T0 + REFRESH_INTERVAL - SECOND)
    assert queue.is_refresh_due(T0 + REFRESH_INTERVAL)
    assert queue.is_refresh_due(T0 - SECOND), "a clock that was set back"

    queue.set_active([1, 2], T0 + REFRESH_INTERVAL, shared=True)
    assert queue.take_next([], T0 + REFRESH_INTERVAL, 100) == [1, 2]
    queue.set_active([1, 2], T0 + FULL_PASS_INTERVAL, shared=False)
    assert queue.take_next([], T0 + FULL_PASS_INTERVAL, 100) == [1, 2]


def test_postponed_incident_keeps_recorded_item() -> None:
    queue = processed_queue(1)
    queue.record(1, WorkItem(open_incident=open_incident("JCM", IncidentType.SENDING)))
    queue.postpone(1, T0 + MINUTE)

    assert queue.open_incidents == [open_incident("JCM", IncidentType.SENDING)]
    assert queue.declared == {"JCM": IncidentType.SENDING}
    assert queue.take_next([], T0 + MINUTE, 1) == [1]


def test_declared_combines_types_of_open_incidents_of_agency() -> None:
    queue = processed_queue(1, 2, 3)
    queue.record(1, WorkItem(open_incident=open_incident("JCM", IncidentType.SENDING)))
    queue.record(2, WorkItem(open_incident=open_incident("JCM", IncidentType.RECEIVING)))
    queue.record(3, WorkItem(open_incident=open_incident("MDC")))
    assert queue.declared == {"JCM": IncidentType.BOTH}

    queue.record(1, WorkItem(open_incident=open_incident("JCM")))
    queue.record(2, None)
    assert queue.declared == {}


def test_has_processed_all_after_each_incident_was_recorded_once() -> None:
    queue = WorkQueue()
    queue.set_active([1, 2], T0, shared=False)
    found = [queue.has_processed_all]
    queue.take_next([], T0, 100)
    queue.record(1, WorkItem())
    queue.postpone(2, T0 + MINUTE)  # The store was unavailable.
    found.append(queue.has_processed_all)
    queue.record(2, None)
    found.append(queue.has_processed_all)
    queue.enqueue([1])
    found.append(queue.has_processed_all)
    assert found == [False, False, True, True]
