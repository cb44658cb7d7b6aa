"""Pending tasks of signed-in users, the page of an incident, and the preview of a release.

A *release* approves the announcement of an outage to the agency's recipients (other offices). Its preview composes the
notifications that the release would send, and stores nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Final

from alerts.decide.contradiction import operation_effect
from alerts.decide.silence import Silence, SilenceLookup
from alerts.engine.composer import Composer
from alerts.model.channel import ON_PAPER, Channel
from alerts.model.delivery import Notification, NotificationDraft, NotificationIncident, NotificationState
from alerts.model.event import Close, MarkFalseAlarm, Release
from alerts.model.gateway import Content, PageContent, SmsContent, VoiceContent
from alerts.model.incident import Incident, release_is_offered
from alerts.model.notification import IncidentType
from alerts.persistence.clock import Clock
from monitor.access.principal import Principal
from monitor.access.role import AgencyScope, Permission
from monitor.service.errors import Bilingual, NotFoundError, find_incident
from monitor.service.operation_check import format_recipients
from monitor.store.engine.listing import HistoryEntry, IncidentFilter, NotificationFilter
from monitor.store.engine.unit_of_work import SqlStore, SqlUnitOfWork
from monitor.views.incident_action import may_release
from monitor.views.overview import NotificationView, view_notification

#: Maximum of entries in each list.
MAX_LISTED: Final = 50
#: Maximum of outages that are read to find those whose release is offered.
_MAX_EXAMINED: Final = 2 * MAX_LISTED
#: Stored names of the audit events that an incident's page shows.
_HISTORY_EVENTS: Final = frozenset(
    {
        "incident opened",
        "incident got worse",
        "incident changed",
        "incident acknowledged",
        "incident taken over",
        "acknowledgement prolonged",
        "acknowledgement expired",
        "handed on",
        "remark",
        "incident resolved",
        "outage declared",
        "outage measured, too",
        "outage measured no more",
        "declared outage over, measured still",
        "incident closed",
        "announcement released",
        "announcement released by itself",
        "declared a false alarm",
        "notice settled by hand: arrived",
        "notice settled by hand: lost",
        "notice settled by hand: resend",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingTasks:
    """Pending tasks of a user, at most `MAX_LISTED` in each list."""

    #: Open incidents without an assignee, outages first, then the oldest.
    unassigned: Sequence[Incident]
    unassigned_count: int
    #: Incidents assigned to the user.
    own: Sequence[Incident]
    has_more_own: bool
    #: Outages whose announcements may be released, oldest first.
    releases: Sequence[Incident]
    has_more_releases: bool
    #: Notifications whose delivery is unknown, newest first: a person sets their status.
    unknown_notifications: Sequence[NotificationView]
    has_more_unknown: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentPage:
    """Content of the page of an incident."""

    incident: Incident
    #: Audit entries about the incident, the newest first.
    history: Sequence[HistoryEntry]
    #: The silence that suppresses the incident's notifications; `None`: they are sent.
    silence: Silence | None
    #: Recipients of the notifications that a closure of the incident as recovered would send now.
    recovery_recipients: Bilingual
    #: Recipients of the corrections that a false alarm would send now.
    correction_recipients: Bilingual


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedNotification:
    """One notification that a release would send."""

    #: Position in the preview, counted from 1.
    position: int
    #: The office, by its title and name.
    to: str
    channel: Channel
    #: When the office opens; `None`: it is open.
    not_before: datetime | None
    #: Text of an SMS or a voice call; empty for a letter or fax, whose page is shown separately.
    lines: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleasePreview:
    """Preview of a release."""

    incident: Incident
    #: The incident type that the offices would be notified of.
    type: IncidentType
    notifications: Sequence[PlannedNotification]
    #: Whether duty officers have been asked by now to release the announcement.
    is_offered: bool
    #: Whether there are letters or faxes, and they would wait because the database may be an older copy.
    is_paper_paused: bool
    silence: Silence | None

    @property
    def digest(self) -> str:
        """Digest of the preview that the user has seen: a release that would send other notifications is rejected."""
        recipients = [f"{each.channel} {each.to}" for each in self.notifications]
        text = "\n".join(
            [self.incident.number, self.type, self.incident.reported_type_began_at.isoformat(), *recipients]
        )
        return blake2b(text.encode(), digest_size=8).hexdigest()


class Worklist:
    """Reader of pending tasks, and of the pages on which users complete them."""

    def __init__(
        self,
        *,
        store: SqlStore,
        composer: Composer,
        clock: Clock,
        silence_lookup: SilenceLookup,
        begin_measurement: Callable[[Collection[str]], object],
        contact_names: Callable[[str], AbstractSet[str]],
    ) -> None:
        """*silence_lookup* returns the silence of an incident; *begin_measurement* starts runs of agencies' routes.

        *contact_names* returns the names of a user's contacts (entries for on-call staff). Acknowledgements by
        telephone are recorded under these names.
        """
        self._store = store
        self._composer = composer
        self._clock = clock
        self._silence_lookup = silence_lookup
        self._begin_measurement = begin_measurement
        self._contact_names = contact_names

    async def pending_tasks(self, principal: Principal) -> PendingTasks:
        """Return the pending tasks of a user, at the agencies for which the user has the permissions."""
        now = self._clock.now()
        acknowledge_scope, release_scope = principal.scope(Permission.ACKNOWLEDGE), principal.scope(Permission.RELEASE)
        async with self._store.reading() as uow:
            listing, filters = uow.listing, _filter_for(acknowledge_scope)
            unassigned, count = await listing.unacknowledged(filters, most=MAX_LISTED) if acknowledge_scope else ((), 0)
            names = principal.names | (self._contact_names(principal.user.name) if principal.user else frozenset())
            assigned = await listing.acknowledged_by(names, filters, most=MAX_LISTED + 1) if acknowledge_scope else ()
            # Whether a release is offered depends on the policy, which is large: read only the oldest outages.
            outages = (
                await listing.unreleased_outages(_filter_for(release_scope), most=_MAX_EXAMINED)
                if release_scope
                else ()
            )
            incidents = await uow.incidents({*unassigned, *assigned, *outages})
            unknown = await _unknown_notifications(uow, principal.scope(Permission.MANAGE_INCIDENTS))
        # `is_assigned_to` checks more precisely: a contact of the same name at another agency may be another person.
        own = [incidents[each] for each in assigned if incidents[each].is_assigned_to(principal.names)]
        offered = [incidents[each] for each in outages if release_is_offered(incidents[each], now)]
        return PendingTasks(
            unassigned=[incidents[each] for each in unassigned],
            unassigned_count=count,
            own=own[:MAX_LISTED],
            has_more_own=len(assigned) > MAX_LISTED,
            releases=offered[:MAX_LISTED],
            has_more_releases=len(offered) > MAX_LISTED or len(outages) == _MAX_EXAMINED,
            unknown_notifications=unknown[:MAX_LISTED],
            has_more_unknown=len(unknown) > MAX_LISTED,
        )

    async def incident_page(self, number: str) -> IncidentPage:
        """Return an incident by its number in any notation. Raise `NotFoundError`."""
        now = self._clock.now()
        async with self._store.reading() as uow:
            incident = await find_incident(uow, number)
            history = await uow.listing.incident_history(incident.id, _HISTORY_EVENTS, most=MAX_LISTED)
            silence = await self._silence(uow, incident)
            notifications = await uow.notifications(incident.id)
        # The effects need no latest arrivals of mail (`{}`): these only show whether an operation contradicts them.
        closing = Close(incident_id=incident.id, at=now, by="", reason="", recovered=True)
        correction = MarkFalseAlarm(incident_id=incident.id, at=now, by="", reason="")
        return IncidentPage(
            incident=incident,
            history=history,
            silence=silence,
            recovery_recipients=format_recipients(
                incident, operation_effect(incident, closing, notifications, {}, now).drafts
            ),
            correction_recipients=format_recipients(
                incident, operation_effect(incident, correction, notifications, {}, now).drafts
            ),
        )

    async def preview_release(self, number: str) -> ReleasePreview:
        """Return the preview of a release. Raise `NotFoundError`."""
        now = self._clock.now()
        async with self._store.reading() as uow:
            incident = await find_incident(uow, number)
            is_paper_paused = await uow.is_paper_paused()
            silence = await self._silence(uow, incident)
        notifications = [_to_notification(draft, incident, now) for draft in _drafts(incident, now)]
        # `detected` is `None` if the probes detect nothing, and only a person has declared the outage.
        if notifications and incident.detected is not None:
            # A release is checked against the newest probe runs: start them now, while the user reads the preview.
            self._begin_measurement([incident.policy.agency])
        return ReleasePreview(
            incident=incident,
            type=incident.reported_type,
            notifications=[
                await self._plan_notification(each, position, now) for position, each in enumerate(notifications, 1)
            ],
            is_offered=release_is_offered(incident, now),
            is_paper_paused=is_paper_paused and any(each.channel in ON_PAPER for each in notifications),
            silence=silence,
        )

    async def preview_page(self, number: str, position: int) -> PageContent:
        """Return the page of a previewed letter or fax by its position in the preview. Raise `NotFoundError`."""
        now = self._clock.now()
        async with self._store.reading() as uow:
            incident = await find_incident(uow, number)
        drafts = _drafts(incident, now)
        if position <= len(drafts):
            notification = _to_notification(drafts[position - 1], incident, now)
            content = await self._composer.compose(notification, notification.channel)
            if isinstance(content, PageContent):
                return content
        raise NotFoundError.from_text("no_page", place=position, number=incident.number)

    async def _silence(self, uow: SqlUnitOfWork, incident: Incident) -> Silence | None:
        now = self._clock.now()
        return self._silence_lookup(incident, await uow.silences(now), now) if incident.is_open else None

    async def _plan_notification(self, notification: Notification, position: int, now: datetime) -> PlannedNotification:
        [address] = notification.addresses
        opens = now if address.hours is None else address.hours.first_open_time(now)
        # `preview_page` typesets a page on request, because that takes some time.
        is_page = notification.channel in ON_PAPER
        texts = () if is_page else _text_lines(await self._composer.compose(notification, notification.channel))
        return PlannedNotification(
            position=position,
            to=str(notification.addressee or notification.person),
            channel=notification.channel,
            not_before=opens if opens > now else None,
            lines=texts,
        )


def _filter_for(scope: AgencyScope) -> IncidentFilter:
    """Return the filter of the incidents in a scope.

    A filter without agencies matches all incidents, also those without an agency.
    """
    return IncidentFilter(agencies=frozenset() if scope.is_unrestricted else scope.agencies)


async def _unknown_notifications(uow: SqlUnitOfWork, scope: AgencyScope) -> Sequence[NotificationView]:
    if not scope:
        return ()
    filters = NotificationFilter(
        agencies=scope.agencies if not scope.is_unrestricted else set(), states={NotificationState.UNKNOWN}
    )
    notifications = await uow.list_notifications(await uow.listing.notifications(filters, most=MAX_LISTED + 1), None)
    incidents = await uow.incidents({each.incident_id for each in notifications})
    return [
        view_notification(each, incident)
        for each in notifications
        # The first incident of a bundle (a notification about several incidents) decides who may set its status.
        if (incident := incidents.get(each.incident_id)) is not None and incident.policy.agency in scope
    ]


def _drafts(incident: Incident, now: datetime) -> Sequence[NotificationDraft]:
    """Return the drafts of the notifications that a release would send now."""
    release = Release(incident_id=incident.id, at=now, by="")
    return operation_effect(incident, release, (), {}, now).drafts if may_release(incident) else ()


def _to_notification(draft: NotificationDraft, incident: Incident, now: datetime) -> Notification:
    """Return a draft as a notification that is not stored, so that it can be composed."""
    return Notification(
        id=0,
        key=draft.key,
        parts=(NotificationIncident(incident_id=incident.id, person=draft.person, facts=draft.facts),),
        plan=draft.plan,
        purpose=draft.purpose,
        person=draft.person,
        language=draft.language,
        facts=draft.facts,
        state=NotificationState.PENDING,
        created_at=now,
        expires_at=draft.expires_at,
        addresses=draft.addresses,
        addressee=draft.addressee,
    )


def _text_lines(content: Content) -> Sequence[str]:
    match content:
        case SmsContent(text=text):
            return (text,)
        case VoiceContent(scripts=scripts):
            return [line for script in scripts for line in (script.headline, *script.blocks) if line]
        case PageContent(title=title):
            return (title,)
