"""Metrics of self-monitoring: auditor, heartbeat, sites, out-of-band calls and drills."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta

from alerts.decide.auditor import EscalationFailure, MissedAction
from alerts.decide.drill import DrillState
from alerts.model.channel import Channel
from monitor.evaluation.joint.replication import ReplicationState
from monitor.evaluation.liveness import LivenessFailure
from monitor.evaluation.out_of_band import OutOfBandReason
from monitor.metrics.definition import RECEIVERS, Definitions


class WatchdogSeries:
    """Series of self-monitoring, and the times that the liveness check reads."""

    def __init__(self, metrics: Definitions) -> None:
        self._all = metrics
        #: When the engine last finished a cycle, and when the auditor last ran.
        self.cycled_at: datetime | None = None
        self.audited_at: datetime | None = None
        #: Time since the oldest missed action was due.
        self.overdue = timedelta(0)
        #: Other sites with series: few, and named by the settings.
        self.sites: set[str] = set()
        #: Agencies whose contacts have series.
        self._drilled: set[str] = set()

    # The auditor

    def audited(
        self, now: datetime, overdue: Iterable[tuple[MissedAction, datetime]], unheard: Iterable[EscalationFailure]
    ) -> None:
        """Export the auditor's findings: missed actions, each with its due time, and incidents whose escalation failed."""
        found = list(overdue)
        self.audited_at = now
        self.overdue = max((now - since for _, since in found), default=timedelta(0))
        self._all.overdue_seconds.set(self.overdue.total_seconds())
        lapses, incidents = Counter(lapse for lapse, _ in found), Counter(unheard)
        for lapse in MissedAction:
            self._all.overdue.labels(lapse).set(lapses[lapse])
        for how in EscalationFailure:
            self._all.escalation_failed.labels(how).set(incidents[how])

    # The heartbeat

    def set_liveness_failures(self, found: Collection[LivenessFailure]) -> None:
        """Export what suppresses the heartbeat."""
        for ailment in LivenessFailure:
            self._all.heartbeat_suppressed.labels(ailment).set(ailment in found)

    def watch_heartbeat(self, receiver: str) -> None:
        """Announce a receiver: 0 until it accepts the first heartbeat."""
        if receiver not in RECEIVERS:
            raise ValueError(f"{receiver!r} is none of {', '.join(RECEIVERS)}")
        self._all.heartbeat_at.labels(receiver).set(0)

    def forget_heartbeat(self, receiver: str) -> None:
        """Remove the series of a receiver."""
        self._all.heartbeat_at.remove_by_labels({"receiver": receiver})

    def heartbeat_heard(self, receiver: str, now: datetime) -> None:
        """Export when the receiver last accepted a heartbeat."""
        self._all.heartbeat_at.labels(receiver).set(now.timestamp())

    # Other sites

    def site_heard(self, site: str, *, is_fresh: bool, behind: timedelta | None, offset: timedelta | None) -> None:
        """Export whether another site has a vote, the age of its reports, and its clock offset; `None`: unknown."""
        self.sites.add(site)
        self._all.site_fresh.labels(site).set(is_fresh)
        self._all.site_lag.labels(site).set(math.nan if behind is None else behind.total_seconds())
        self._all.site_offset.labels(site).set(math.nan if offset is None else offset.total_seconds())

    def site_replicates(
        self, site: str, state: ReplicationState | None, *, behind: int | None = None, errors: int = 0
    ) -> None:
        """Export the replication state of another site, and add *errors*; `None`: unknown."""
        for each in ReplicationState:
            self._all.site_replication.labels(site, each).set(math.nan if state is None else state is each)
        self._all.site_replication_lag.labels(site).set(math.nan if behind is None else behind)
        # PostgreSQL may have reset its statistics.
        self._all.site_errors.labels(site).inc(max(errors, 0))

    def site_goes_by(self, site: str, behind: int | None) -> None:
        """Export how many of the hub's documents another site has not applied; `None`: unknown, or it has its own."""
        self._all.site_documents_outdated.labels(site).set(math.nan if behind is None else behind)

    # Out-of-band calls

    def set_out_of_band_numbers(self, numbers: int) -> None:
        """Export how many numbers out-of-band calls have."""
        self._all.out_of_band_numbers.set(numbers)

    def remove_out_of_band_numbers(self) -> None:
        """Remove the numbers of out-of-band calls that are not configured any more; no call is active."""
        self._all.out_of_band_numbers.set(math.nan)
        self.set_out_of_band_active(())

    def set_out_of_band_active(self, troubles: Collection[OutOfBandReason]) -> None:
        """Export the reasons of active out-of-band calls."""
        for trouble in OutOfBandReason:
            self._all.out_of_band_active.labels(trouble).set(trouble in troubles)

    # Drills

    def drill_notification_ended(self, channel: Channel, state: DrillState) -> None:
        """Count a notification of a drill by its result."""
        self._all.drill_notifications.labels(channel, state).inc()

    def drill_ended(self, at: datetime | None, *, overdue_at: datetime | None) -> None:
        """Export when a drill of all contacts last finished, and when the next becomes overdue.

        `None`: none has finished, or none is planned.
        """
        self._all.drilled_at.set(math.nan if at is None else at.timestamp())
        self._all.drill_overdue.set(math.nan if overdue_at is None else overdue_at.timestamp())

    def reached(self, contacts: Mapping[str, Mapping[str, datetime | None]]) -> None:
        """Export when a drill last reached each contact, by agency ("" for shared ones) and key; `None`: never.

        Contacts that are not named lose their series.
        """
        for agency in self._drilled - contacts.keys():
            self._all.reached_at.drop(agency)
        self._drilled = set(contacts)
        for agency, reached in contacts.items():
            for contact, at in reached.items():
                value = 0.0 if at is None else at.timestamp()
                self._all.reached_at.put(agency, contact, [((agency, contact), value)])
            self._all.reached_at.keep(agency, reached)
