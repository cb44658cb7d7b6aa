"""Metrics of self-monitoring.

The *auditor* looks for missed actions of escalations. The *heartbeat* is sent to external receivers, such as a dead
man's switch, while the service works. *Sites* are other installations of Pantau that probe the same agencies.
*Out-of-band calls* alert the operations centre and need no database. *Drills* send test notifications to all contacts.
"""

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
        self._definitions = metrics
        #: When the engine last finished a cycle; `None`: not since the start.
        self.cycled_at: datetime | None = None
        #: When the auditor last finished an audit; `None`: not since the start.
        self.audited_at: datetime | None = None
        #: How long the oldest missed action is overdue.
        self.overdue = timedelta(0)
        #: Names of the other sites that have series. They come from the settings.
        self.sites: set[str] = set()
        #: Agencies whose contacts have series.
        self._agencies_with_contacts: set[str] = set()

    # The auditor

    def record_audit(
        self,
        now: datetime,
        overdue: Iterable[tuple[MissedAction, datetime]],
        escalation_failures: Iterable[EscalationFailure],
    ) -> None:
        """Export the results of an audit.

        *overdue*: missed actions, each with its due time. *escalation_failures*: one item per incident whose escalation
        failed.
        """
        overdue_actions = list(overdue)
        self.audited_at = now
        self.overdue = max((now - since for _, since in overdue_actions), default=timedelta(0))
        self._definitions.overdue_seconds.set(self.overdue.total_seconds())
        action_counts, failure_counts = Counter(action for action, _ in overdue_actions), Counter(escalation_failures)
        for action in MissedAction:
            self._definitions.overdue.labels(action).set(action_counts[action])
        for failure in EscalationFailure:
            self._definitions.escalation_failed.labels(failure).set(failure_counts[failure])

    # The heartbeat

    def set_liveness_failures(self, active_failures: Collection[LivenessFailure]) -> None:
        """Export the failures that suppress the heartbeat."""
        for failure in LivenessFailure:
            self._definitions.heartbeat_suppressed.labels(failure).set(failure in active_failures)

    def register_heartbeat(self, receiver: str) -> None:
        """Register a receiver of heartbeats. Its series is 0 until it accepts the first heartbeat."""
        if receiver not in RECEIVERS:
            raise ValueError(f"{receiver!r} is none of {', '.join(RECEIVERS)}")
        self._definitions.heartbeat_at.labels(receiver).set(0)

    def unregister_heartbeat(self, receiver: str) -> None:
        """Remove the series of a receiver."""
        self._definitions.heartbeat_at.remove_by_labels({"receiver": receiver})

    def record_heartbeat(self, receiver: str, now: datetime) -> None:
        """Export when the receiver last accepted a heartbeat."""
        self._definitions.heartbeat_at.labels(receiver).set(now.timestamp())

    # Other sites

    def set_site_connection(
        self, site: str, *, is_fresh: bool, lag: timedelta | None, offset: timedelta | None
    ) -> None:
        """Export whether the reports of another site are recent enough to be used, their age, and its clock offset.

        *lag*: maximum age of the reports. *offset*: time by which its clock is behind ours. `None`: unknown.
        """
        self.sites.add(site)
        self._definitions.site_fresh.labels(site).set(is_fresh)
        self._definitions.site_lag.labels(site).set(math.nan if lag is None else lag.total_seconds())
        self._definitions.site_offset.labels(site).set(math.nan if offset is None else offset.total_seconds())

    def set_site_replication(
        self, site: str, state: ReplicationState | None, *, lag_bytes: int | None = None, errors: int = 0
    ) -> None:
        """Export the state of the replication from another site (`None`: unknown), and count new *errors*.

        *lag_bytes*: bytes that the site retains for this hub; `None`: unknown.
        """
        for possible_state in ReplicationState:
            self._definitions.site_replication.labels(site, possible_state).set(
                math.nan if state is None else state is possible_state
            )
        self._definitions.site_replication_lag.labels(site).set(math.nan if lag_bytes is None else lag_bytes)
        # *errors* is a difference of two values of PostgreSQL's statistics, and negative after they were reset.
        self._definitions.site_errors.labels(site).inc(max(errors, 0))

    def set_outdated_site_documents(self, site: str, outdated_documents: int | None) -> None:
        """Export how many agency documents of this hub another site has not applied.

        `None`: unknown, or the site has its own documents.
        """
        self._definitions.site_documents_outdated.labels(site).set(
            math.nan if outdated_documents is None else outdated_documents
        )

    # Out-of-band calls

    def set_out_of_band_numbers(self, numbers: int) -> None:
        """Export the number of telephone numbers for out-of-band calls."""
        self._definitions.out_of_band_numbers.set(numbers)

    def remove_out_of_band_numbers(self) -> None:
        """Unset the series of out-of-band calls when these are not configured any more."""
        self._definitions.out_of_band_numbers.set(math.nan)
        self.set_out_of_band_active(())

    def set_out_of_band_active(self, active_reasons: Collection[OutOfBandReason]) -> None:
        """Export the reasons for which out-of-band calls are active."""
        for reason in OutOfBandReason:
            self._definitions.out_of_band_active.labels(reason).set(reason in active_reasons)

    # Drills

    def count_drill_notification(self, channel: Channel, state: DrillState) -> None:
        """Count a notification of a drill by its result."""
        self._definitions.drill_notifications.labels(channel, state).inc()

    def record_drill(self, at: datetime | None, *, overdue_at: datetime | None) -> None:
        """Export when a drill of all contacts last finished, and when the next one becomes overdue.

        *at*: `None` if none has finished. *overdue_at*: `None` if none is planned.
        """
        self._definitions.drilled_at.set(math.nan if at is None else at.timestamp())
        self._definitions.drill_overdue.set(math.nan if overdue_at is None else overdue_at.timestamp())

    def set_contacts_reached(self, contacts: Mapping[str, Mapping[str, datetime | None]]) -> None:
        """Export when a drill last reached each contact, by agency and key of the contact; `None`: never.

        Contacts that agencies share have the agency "". Contacts that are not in *contacts* lose their series.
        """
        for agency in self._agencies_with_contacts - contacts.keys():
            self._definitions.reached_at.drop(agency)
        self._agencies_with_contacts = set(contacts)
        for agency, reached in contacts.items():
            for contact, at in reached.items():
                value = 0.0 if at is None else at.timestamp()
                self._definitions.reached_at.put(agency, contact, [((agency, contact), value)])
            self._definitions.reached_at.keep(agency, reached)
