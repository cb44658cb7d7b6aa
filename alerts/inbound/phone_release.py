"""Release of announcements in a telephone call: key 5, the PIN, the announcement read out, key 1.

All announcements that wait for the officer are read out and released together: a mass outage has many.

Each step is committed before it is answered, and verifies anew that the announcement may still be released: hours may
lie between a notification and the call, and another officer may have released it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType

import structlog

from alerts.decide.contradiction import Delivered, effect
from alerts.decide.escalation import facts
from alerts.engine.event_handler import take_in
from alerts.hours.elapsed import is_recent
from alerts.inbound.pin import PinStore
from alerts.model.event import Release
from alerts.model.gateway import ReleasePrompt, ReleaseStage
from alerts.model.incident import Incident, release_is_offered
from alerts.model.notification import Plan, Purpose
from alerts.model.policy_snapshot import AnnouncementPlan
from alerts.persistence.store import AuditEntry, PinAttempt, UnitOfWork
from alerts.wording import release as words
from alerts.wording.texts import Wording

log = structlog.get_logger()

#: Wrong PINs within `LOCKED_FOR`, in any number of calls, before the person is locked out.
MOST_WRONG = 3
LOCKED_FOR = timedelta(hours=1)
#: How long the PIN stays valid for key 1, in the same call.
PROVEN_FOR = timedelta(minutes=3)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """The person in the call, and what may be released."""

    reference: str
    #: All that wait for this person, first those of the call.
    incidents: tuple[Incident, ...]
    person: str
    name: str

    @property
    def agency(self) -> str:
        return self.incidents[0].policy.agency


class PhoneRelease:
    """The three steps of a release, each in its own transaction."""

    def __init__(self, wording: Wording) -> None:
        self._wording = wording

    async def begin(self, ledger: UnitOfWork, pins: PinStore, reference: str, now: datetime) -> ReleasePrompt:
        """Ask for the PIN, or return why nothing can be released."""
        case = await self._case(ledger, pins, reference, now)
        if case is None:
            return self._end("over")
        if not pins.has(case.agency, case.person):
            return self._end("nobody")
        if await _is_locked(ledger, pins, case, now):
            return self._end("locked")
        return ReleasePrompt(stage=ReleaseStage.PIN, words=words.say("pin", self._wording), otherwise=self._cancelled())

    async def about(self, ledger: UnitOfWork, pins: PinStore, reference: str, now: datetime) -> Sequence[str]:
        """Return the agencies whose announcements a call may release."""
        case = await self._case(ledger, pins, reference, now)
        return [] if case is None else [incident.policy.agency for incident in case.incidents]

    async def whose(self, ledger: UnitOfWork, pins: PinStore, reference: str, now: datetime) -> tuple[str, str] | None:
        """Return agency and contact whose PIN a call requires; `None` if there is none."""
        case = await self._case(ledger, pins, reference, now)
        return None if case is None or await _is_locked(ledger, pins, case, now) else (case.agency, case.person)

    async def prove(
        self, ledger: UnitOfWork, pins: PinStore, reference: str, now: datetime, *, right: bool
    ) -> ReleasePrompt:
        """Record a typed PIN. Return what would be released, or that the PIN was wrong."""
        case = await self._case(ledger, pins, reference, now)
        if case is None:
            return self._end("over")
        if await _is_locked(ledger, pins, case, now):
            return self._end("locked")
        await ledger.responses.add_pin_entry(
            PinAttempt(reference=reference, agency=case.agency, person=case.person, at=now, accepted=right)
        )
        await _journal(ledger, case, "PIN proven" if right else "wrong PIN", now)
        if right:
            told = [(facts(i, Plan.ANNOUNCEMENT, Purpose.OUTAGE, now), i.policy.announcement) for i in case.incidents]
            confirm = words.confirm(told, self._wording)
            return ReleasePrompt(stage=ReleaseStage.CONFIRM, words=confirm, otherwise=self._cancelled())
        log.warning("wrong PIN", incident=case.incidents[0].number, person=case.name)
        if await _is_locked(ledger, pins, case, now):
            return self._end("locked")
        return ReleasePrompt(
            stage=ReleaseStage.PIN, words=words.say("wrong", self._wording), otherwise=self._cancelled()
        )

    async def confirm(
        self,
        ledger: UnitOfWork,
        pins: PinStore,
        reference: str,
        now: datetime,
        delivered: Mapping[str, Delivered] = MappingProxyType({}),
    ) -> ReleasePrompt:
        """Release what was read out, if the PIN was proven in this call recently.

        *delivered*: the newest runs, by agency. An announcement that they contradict is not released: a call has no key
        to insist.
        """
        case = await self._case(ledger, pins, reference, now)
        if case is None:
            return self._end("over")
        entries = await ledger.responses.pin_entries({case.agency}, case.person, now - PROVEN_FOR)
        if not entries or not entries[-1].accepted or entries[-1].reference != reference:
            return self._end("cancelled")
        released, kept = list[AnnouncementPlan](), list[str]()
        for incident in case.incidents:
            if not release_is_offered(incident, entries[-1].at):
                continue  # It was not read out.
            release = Release(incident_id=incident.id, at=now, by=case.name)
            if effect(incident, release, (), delivered.get(incident.policy.agency, {}), now).contradiction is None:
                await take_in(ledger, release)
                released.append(incident.policy.announcement)
            else:
                kept.append(incident.policy.office.name)
        return ReleasePrompt(stage=ReleaseStage.END, words=words.done(released, kept, self._wording))

    async def _case(self, ledger: UnitOfWork, pins: PinStore, reference: str, now: datetime) -> _Case | None:
        found = await ledger.attempt(reference)
        if found is None:
            return None
        notice, _ = found
        if notice.plan is not Plan.ESCALATION:
            return None
        told = await ledger.incidents(notice.incident_ids)
        offered = [(told[p.incident_id], p.person) for p in notice.parts if p.incident_id in told]
        offered = [(each, person) for each, person in offered if release_is_offered(each, now)]
        if not offered:
            return None
        by_pin = _by_pin(offered, pins)
        waiting = await ledger.unreleased({agency for _, _, agencies in by_pin for agency in agencies})
        waiting = [each for each in waiting if release_is_offered(each, now)]
        first, person, together = _most(offered[0], by_pin, waiting)
        others = (each for each in together if each.id != first.id)
        return _Case(reference=reference, incidents=(first, *others), person=person, name=first.name_of(person))

    def _end(self, line: str) -> ReleasePrompt:
        return ReleasePrompt(stage=ReleaseStage.END, words=words.say(line, self._wording))

    def _cancelled(self) -> dict[str, str]:
        return dict(words.say("cancelled", self._wording))


def _by_pin(offered: Sequence[tuple[Incident, str]], pins: PinStore) -> Sequence[tuple[Incident, str, frozenset[str]]]:
    """Return one of *offered* for each PIN, with the person there and the agencies where the PIN is valid."""
    found, known = list[tuple[Incident, str, frozenset[str]]](), set[tuple[str, str]]()
    for each, person in offered:
        # In a mass outage hundreds are offered to one person, and the lookup searches all PINs.
        if (each.policy.agency, person) not in known and pins.has(each.policy.agency, person):
            agencies = pins.agencies(each.policy.agency, person)
            known |= {(agency, person) for agency in agencies}
            found.append((each, person, agencies))
    return found


def _most(
    first: tuple[Incident, str], by_pin: Sequence[tuple[Incident, str, frozenset[str]]], waiting: Sequence[Incident]
) -> tuple[Incident, str, Sequence[Incident]]:
    """Return the PIN's owner, and what of *waiting* that person may release by it; *first*: the fallback without any PIN.

    Two agencies of a bundle may have one person under different keys with different PINs, or none: the PIN that
    releases most is chosen.
    """
    found: tuple[Incident, str, Sequence[Incident]] = (*first, ())
    for each, person, agencies in by_pin:
        theirs = [i for i in waiting if i.policy.agency in agencies and i.policy.escalation.contact(person) is not None]
        if len(theirs) > len(found[2]):
            found = each, person, theirs
    return found


async def _is_locked(ledger: UnitOfWork, pins: PinStore, case: _Case, now: datetime) -> bool:
    """Whether too many wrong PINs were typed since the last correct one, in calls of any agency."""
    wrong, agencies = 0, pins.agencies(case.agency, case.person)
    for entry in await ledger.responses.pin_entries(agencies, case.person, now - LOCKED_FOR):
        if is_recent(entry.at, now, LOCKED_FOR):
            wrong = 0 if entry.accepted else wrong + 1
    return wrong >= MOST_WRONG


async def _journal(ledger: UnitOfWork, case: _Case, event: str, now: datetime) -> None:
    first = case.incidents[0]
    detail = {"number": first.number, "reference": case.reference}
    await ledger.journal(AuditEntry(at=now, actor=case.name, event=event, incident_id=first.id, detail=detail))
