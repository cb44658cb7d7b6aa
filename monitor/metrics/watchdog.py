"""What is shown of how Pantau watches itself: the auditor, the heartbeat, the lifeline and the drills."""

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
    """The series of all that watches the watcher, and the moments that it judges itself by."""

    def __init__(self, metrics: Definitions) -> None:
        self._all = metrics
        #: When the engine's cycle last came round, and when the auditor last looked.
        self.cycled_at: datetime | None = None
        self.audited_at: datetime | None = None
        #: How long the longest lapse has lasted.
        self.overdue = timedelta(0)
        #: The other sites that are shown: few, and named by the settings.
        self.sites: set[str] = set()
        #: The agencies whose contacts are shown.
        self._drilled: set[str] = set()

    # The auditor

    def audited(
        self, now: datetime, overdue: Iterable[tuple[MissedAction, datetime]], unheard: Iterable[EscalationFailure]
    ) -> None:
        """Show what the auditor found: lapses, each with since when, and incidents that nobody heard of."""
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

    def ailing(self, found: Collection[LivenessFailure]) -> None:
        """Show what keeps the heartbeat back."""
        for ailment in LivenessFailure:
            self._all.heartbeat_suppressed.labels(ailment).set(ailment in found)

    def watch_heartbeat(self, receiver: str) -> None:
        """Announce that somebody listens: 0 until the first beat was heard."""
        if receiver not in RECEIVERS:
            raise ValueError(f"{receiver!r} is none of {', '.join(RECEIVERS)}")
        self._all.heartbeat_at.labels(receiver).set(0)

    def forget_heartbeat(self, receiver: str) -> None:
        """Remove the series of one that listens no more."""
        self._all.heartbeat_at.remove_by_labels({"receiver": receiver})

    def heartbeat_heard(self, receiver: str, now: datetime) -> None:
        """Show when a beat was last heard."""
        self._all.heartbeat_at.labels(receiver).set(now.timestamp())

    # Other sites

    def site_heard(self, site: str, *, is_fresh: bool, behind: timedelta | None, offset: timedelta | None) -> None:
        """Show whether another site has a vote, how old what it says is, and how its clock goes; `None`: not known."""
        self.sites.add(site)
        self._all.site_fresh.labels(site).set(is_fresh)
        self._all.site_lag.labels(site).set(math.nan if behind is None else behind.total_seconds())
        self._all.site_offset.labels(site).set(math.nan if offset is None else offset.total_seconds())

    def site_replicates(
        self, site: str, state: ReplicationState | None, *, behind: int | None = None, errors: int = 0
    ) -> None:
        """Show what becomes of what another site says, and *errors* more; `None`: not known."""
        for each in ReplicationState:
            self._all.site_replication.labels(site, each).set(math.nan if state is None else state is each)
        self._all.site_replication_lag.labels(site).set(math.nan if behind is None else behind)
        # Its statistics may have begun anew.
        self._all.site_errors.labels(site).inc(max(errors, 0))

    def site_goes_by(self, site: str, behind: int | None) -> None:
        """Show how many of the hub's documents another site does not go by; `None`: not known, or it keeps its own."""
        self._all.site_documents_outdated.labels(site).set(math.nan if behind is None else behind)

    # The lifeline

    def lifeline_known(self, numbers: int) -> None:
        """Show how many numbers can be rung without the store."""
        self._all.out_of_band_numbers.set(numbers)

    def forget_lifeline(self) -> None:
        """Show nothing of a lifeline that is not configured any more, and that nobody is rung."""
        self._all.out_of_band_numbers.set(math.nan)
        self.distressed(())

    def distressed(self, troubles: Collection[OutOfBandReason]) -> None:
        """Show what the NOC is being rung about."""
        for trouble in OutOfBandReason:
            self._all.out_of_band_active.labels(trouble).set(trouble in troubles)

    # Drills

    def exercised(self, channel: Channel, state: DrillState) -> None:
        """Count a notice of a drill by how it ended."""
        self._all.drill_notifications.labels(channel, state).inc()

    def drill_ended(self, at: datetime | None, *, overdue_at: datetime | None) -> None:
        """Show when a drill of everybody last came to its end, and from when on the next is overdue.

        `None`: none has, or none is planned.
        """
        self._all.drilled_at.set(math.nan if at is None else at.timestamp())
        self._all.drill_overdue.set(math.nan if overdue_at is None else overdue_at.timestamp())

    def reached(self, contacts: Mapping[str, Mapping[str, datetime | None]]) -> None:
        """Show when each contact was last reached in a drill, by agency ("" for those of all) and key; `None`: never.

        Those that are not named have left, and are forgotten.
        """
        for agency in self._drilled - contacts.keys():
            self._all.reached_at.drop(agency)
        self._drilled = set(contacts)
        for agency, reached in contacts.items():
            for contact, at in reached.items():
                value = 0.0 if at is None else at.timestamp()
                self._all.reached_at.put(agency, contact, [((agency, contact), value)])
            self._all.reached_at.keep(agency, reached)
