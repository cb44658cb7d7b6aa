"""Pending tasks of signed-in users, and one incident with its whole history.

The notifications that a release would send are decided and composed as for a release, and not stored.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Final

from alerts.decide.contradiction import effect
from alerts.decide.silence import Muter, Silence
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
from monitor.service.errors import Bilingual, NotFoundError, numbered
from monitor.service.order_check import readers
from monitor.store.engine.ledger import SqlStore, SqlUnitOfWork
from monitor.store.engine.listing import DoneEntry, IncidentFilter, NotificationFilter
from monitor.views.incident_action import may_release
from monitor.views.overview import NotificationView, view_notice

#: Maximum of each list; the total number is given as well.
MOST: Final = 50
_LOOKED_AT: Final = 2 * MOST
#: Audit events of an incident besides those of its notifications.
_DONE: Final = frozenset(
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
    """Pending tasks of a user. The first `MOST` of each list."""

    #: Open incidents without an assignee, outages first, then the oldest.
    untaken: Sequence[Incident]
    untaken_count: int
    #: Incidents assigned to the user.
    theirs: Sequence[Incident]
    has_more_theirs: bool
    #: Outages whose announcements may be released, oldest first.
    releases: Sequence[Incident]
    has_more_releases: bool
    #: Notifications with unknown status, newest first.
    unsettled: Sequence[NotificationView]
    has_more_unsettled: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentPage:
    """An incident, and its history."""

    incident: Incident
    #: The newest first.
    done: Sequence[DoneEntry]
    #: The silence that suppresses its notifications.
    silence: Silence | None
    #: Recipients of a notification of recovery, and of a false alarm, if a person declared one now.
    told_recovery: Bilingual
    told_correction: Bilingual


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedNotification:
    """One notification that a release would send."""

    #: Counted from 1; identifies its page.
    place: int
    #: The office, by its title and name.
    to: str
    channel: Channel
    #: When the office opens; `None`: it is open.
    not_before: datetime | None
    #: Text of an SMS or a call; empty for a page, which is shown separately.
    says: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleasePreview:
    """Preview of a release."""

    incident: Incident
    #: The incident type that the offices would be notified of.
    type: IncidentType
    goes: Sequence[PlannedNotification]
    #: Whether duty officers are asked to release it by now.
    is_offered: bool
    #: Whether letters and faxes are held because the store may be an older copy.
    is_paper_held: bool
    silence: Silence | None

    @property
    def mark(self) -> str:
        """Return a digest of the notifications and recipients: a release applies only to the previewed ones."""
        goes = [f"{each.channel} {each.to}" for each in self.goes]
        said = "\n".join([self.incident.number, self.type, self.incident.reported_type_began_at.isoformat(), *goes])
        return blake2b(said.encode(), digest_size=8).hexdigest()


class Worklist:
    """Reads pending tasks."""

    def __init__(
        self,
        *,
        store: SqlStore,
        composer: Composer,
        clock: Clock,
        muter: Muter,
        begin: Callable[[Collection[str]], object],
        called: Callable[[str], AbstractSet[str]],
    ) -> None:
        """*muter*: returns the silence of an incident; *begin* measures agencies.

        *called*: names of the contacts that name a user: an answer by telephone is recorded under one of them.
        """
        self._store = store
        self._composer = composer
        self._clock = clock
        self._muter = muter
        self._begin = begin
        self._called = called

    async def waiting(self, principal: Principal) -> PendingTasks:
        """Return the pending tasks of a user, of the agencies for which the user has permissions."""
        now = self._clock.now()
        takes, releases = principal.scope(Permission.ACKNOWLEDGE), principal.scope(Permission.RELEASE)
        async with self._store.reading() as ledger:
            listing, theirs = ledger.listing, _of(takes)
            untaken, count = await listing.untaken(theirs, most=MOST) if takes else ((), 0)
            names = principal.names | (self._called(principal.user.name) if principal.user else frozenset())
            taken = await listing.taken_by(names, theirs, most=MOST + 1) if takes else ()
            # Whether a release is offered depends on the policy, which is large: in a mass outage only the oldest
            # incidents are read.
            waiting = await listing.unreleased_outages(_of(releases), most=_LOOKED_AT) if releases else ()
            found = await ledger.incidents({*untaken, *taken, *waiting})
            unsettled = await _unsettled(ledger, principal.scope(Permission.MANAGE_INCIDENTS))
        # At another agency a contact of that name may be another person.
        had = [found[each] for each in taken if found[each].is_assigned_to(principal.names)]
        offered = [found[each] for each in waiting if release_is_offered(found[each], now)]
        return PendingTasks(
            untaken=[found[each] for each in untaken],
            untaken_count=count,
            theirs=had[:MOST],
            has_more_theirs=len(taken) > MOST,
            releases=offered[:MOST],
            has_more_releases=len(offered) > MOST or len(waiting) == _LOOKED_AT,
            unsettled=unsettled[:MOST],
            has_more_unsettled=len(unsettled) > MOST,
        )

    async def sheet(self, number: str) -> IncidentPage:
        """Return an incident by its number in any notation. Raise `NotFoundError`."""
        now = self._clock.now()
        async with self._store.reading() as ledger:
            found = await numbered(ledger, number)
            done = await ledger.listing.done_about(found.id, _DONE, most=MOST)
            silence = await self._silence(ledger, found)
            notices = await ledger.notices(found.id)
        closing = Close(incident_id=found.id, at=now, by="", reason="", recovered=True)
        correction = MarkFalseAlarm(incident_id=found.id, at=now, by="", reason="")
        return IncidentPage(
            incident=found,
            done=done,
            silence=silence,
            told_recovery=readers(found, effect(found, closing, notices, {}, now).drafts),
            told_correction=readers(found, effect(found, correction, notices, {}, now).drafts),
        )

    async def look(self, number: str) -> ReleasePreview:
        """Return the preview of a release. Raise `NotFoundError`."""
        now = self._clock.now()
        async with self._store.reading() as ledger:
            found = await numbered(ledger, number)
            held = await ledger.is_paper_held()
            silence = await self._silence(ledger, found)
        notices = [_unwritten(draft, found, now) for draft in _drafts(found, now)]
        if notices and found.detected is not None:
            # The measurement ends by the time the preview has been read.
            self._begin([found.policy.agency])
        return ReleasePreview(
            incident=found,
            type=found.reported_type,
            goes=[await self._outgoing(notice, place, now) for place, notice in enumerate(notices, 1)],
            is_offered=release_is_offered(found, now),
            is_paper_held=held and any(each.channel in ON_PAPER for each in notices),
            silence=silence,
        )

    async def page(self, number: str, place: int) -> PageContent:
        """Return the page of a previewed notification, by its place. Raise `NotFoundError`."""
        now = self._clock.now()
        async with self._store.reading() as ledger:
            found = await numbered(ledger, number)
        drafts = _drafts(found, now)
        if place <= len(drafts):
            notice = _unwritten(drafts[place - 1], found, now)
            content = await self._composer.compose(notice, notice.channel)
            if isinstance(content, PageContent):
                return content
        raise NotFoundError.said("no_page", place=place, number=found.number)

    async def _silence(self, ledger: SqlUnitOfWork, incident: Incident) -> Silence | None:
        now = self._clock.now()
        return self._muter(incident, await ledger.silences(now), now) if incident.is_open else None

    async def _outgoing(self, notice: Notification, place: int, now: datetime) -> PlannedNotification:
        [address] = notice.addresses
        opens = now if address.hours is None else address.hours.opening(now)
        # Pages are typeset on request: each takes some time.
        is_page = notice.channel in ON_PAPER
        said = () if is_page else _words(await self._composer.compose(notice, notice.channel))
        return PlannedNotification(
            place=place,
            to=str(notice.addressee or notice.person),
            channel=notice.channel,
            not_before=opens if opens > now else None,
            says=said,
        )


def _of(scope: AgencyScope) -> IncidentFilter:
    """Return the filter of the incidents in a scope; incidents of no agency are only in that of everything."""
    return IncidentFilter(agencies=frozenset() if scope.everything else scope.agencies)


async def _unsettled(ledger: SqlUnitOfWork, scope: AgencyScope) -> Sequence[NotificationView]:
    if not scope:
        return ()
    wanted = NotificationFilter(
        agencies=scope.agencies if not scope.everything else set(), states={NotificationState.UNKNOWN}
    )
    notices = await ledger.listed_notices(await ledger.listing.notices(wanted, most=MOST + 1), None)
    incidents = await ledger.incidents({each.incident_id for each in notices})
    return [
        view_notice(each, about)
        for each in notices
        # The first incident of a bundle decides who may set its status.
        if (about := incidents.get(each.incident_id)) is not None and about.policy.agency in scope
    ]


def _drafts(incident: Incident, now: datetime) -> Sequence[NotificationDraft]:
    """Return the notifications that would be decided if the announcement were released now."""
    release = Release(incident_id=incident.id, at=now, by="")
    return effect(incident, release, (), {}, now).drafts if may_release(incident) else ()


def _unwritten(draft: NotificationDraft, incident: Incident, now: datetime) -> Notification:
    """Return the notification of a draft."""
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


def _words(content: Content) -> Sequence[str]:
    match content:
        case SmsContent(text=text):
            return (text,)
        case VoiceContent(scripts=scripts):
            return [line for script in scripts for line in (script.headline, *script.blocks) if line]
        case PageContent(title=title):
            return (title,)
