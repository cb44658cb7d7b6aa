"""Release (approval) of announcements in a telephone call: key 5, the PIN, the announcement read out, key 1.

All announcements that wait for the called person's release are read out and released together, because a mass outage
has many. Each step is committed before the call continues. Each step also checks again that the announcements may be
released: the call may come hours after the notification, and another person may have released them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType

import structlog

from alerts.decide.contradiction import LatestArrivals, operation_effect
from alerts.decide.escalation import build_facts
from alerts.engine.event_handler import handle_event
from alerts.hours.elapsed import is_recent
from alerts.inbound.pin import PinStore
from alerts.model.event import Release
from alerts.model.gateway import ReleasePrompt, ReleaseStage
from alerts.model.incident import Incident, release_is_offered
from alerts.model.notification import Plan, Purpose
from alerts.model.policy_snapshot import AnnouncementPlan
from alerts.persistence.store import AuditEntry, PinAttempt, UnitOfWork
from alerts.wording import release as release_texts
from alerts.wording.texts import Wording

log = structlog.get_logger()

#: A person is locked out after this many wrong PINs within `LOCKOUT_PERIOD`, in one call or several.
MAX_WRONG_PINS = 3
LOCKOUT_PERIOD = timedelta(hours=1)
#: After the correct PIN, key 1 is accepted for this long in the same call.
PIN_VALIDITY = timedelta(minutes=3)


@dataclass(frozen=True, slots=True, kw_only=True)
class _CallContext:
    """Person in a call, and the incidents whose announcements the person may release."""

    #: Reference of the attempt (one request to a gateway), which identifies the call.
    reference: str
    #: The first one belongs to the notification of the call, the others to other notifications.
    incidents: tuple[Incident, ...]
    #: Key of the person's contact in the policy of the first incident.
    person: str
    #: Name of the person.
    name: str

    @property
    def agency(self) -> str:
        """The agency of the first incident, at which the person's PIN is looked up."""
        return self.incidents[0].policy.agency


class PhoneRelease:
    """Steps of a release by telephone, each in its own transaction."""

    def __init__(self, wording: Wording) -> None:
        self._wording = wording

    async def begin(self, uow: UnitOfWork, pins: PinStore, reference: str, now: datetime) -> ReleasePrompt:
        """Return the prompt for the PIN, or the reason why nothing can be released."""
        context = await self._find_call(uow, pins, reference, now)
        if context is None:
            return self._end("over")
        if not pins.has_pin(context.agency, context.person):
            return self._end("nobody")
        if await _is_locked(uow, pins, context, now):
            return self._end("locked")
        return ReleasePrompt(
            stage=ReleaseStage.PIN,
            texts=release_texts.texts_by_language("pin", self._wording),
            fallback_texts=self._cancelled(),
        )

    async def agencies(self, uow: UnitOfWork, pins: PinStore, reference: str, now: datetime) -> Sequence[str]:
        """Return the agencies whose announcements a call may release."""
        context = await self._find_call(uow, pins, reference, now)
        return [] if context is None else [incident.policy.agency for incident in context.incidents]

    async def pin_owner(self, uow: UnitOfWork, pins: PinStore, reference: str, now: datetime) -> tuple[str, str] | None:
        """Return agency and key of the contact whose PIN is expected; `None`: no PIN, or the person is locked out."""
        context = await self._find_call(uow, pins, reference, now)
        return (
            None if context is None or await _is_locked(uow, pins, context, now) else (context.agency, context.person)
        )

    async def record_pin(
        self, uow: UnitOfWork, pins: PinStore, reference: str, now: datetime, *, is_correct: bool
    ) -> ReleasePrompt:
        """Record a typed PIN. Return the prompt to confirm the announcements, or that the PIN was wrong."""
        context = await self._find_call(uow, pins, reference, now)
        if context is None:
            return self._end("over")
        if await _is_locked(uow, pins, context, now):
            return self._end("locked")
        await uow.responses.add_pin_attempt(
            PinAttempt(reference=reference, agency=context.agency, person=context.person, at=now, accepted=is_correct)
        )
        await _add_audit_entry(uow, context, "PIN proven" if is_correct else "wrong PIN", now)
        if is_correct:
            announcements = [
                (build_facts(incident, Plan.ANNOUNCEMENT, Purpose.OUTAGE, now), incident.policy.announcement)
                for incident in context.incidents
            ]
            confirm = release_texts.question_texts(announcements, self._wording)
            return ReleasePrompt(stage=ReleaseStage.CONFIRM, texts=confirm, fallback_texts=self._cancelled())
        log.warning("wrong PIN", incident=context.incidents[0].number, person=context.name)
        if await _is_locked(uow, pins, context, now):
            return self._end("locked")
        return ReleasePrompt(
            stage=ReleaseStage.PIN,
            texts=release_texts.texts_by_language("wrong", self._wording),
            fallback_texts=self._cancelled(),
        )

    async def release(
        self,
        uow: UnitOfWork,
        pins: PinStore,
        reference: str,
        now: datetime,
        arrivals: Mapping[str, LatestArrivals] = MappingProxyType({}),
    ) -> ReleasePrompt:
        """Release the announcements that were read out, if the correct PIN was typed in this call recently.

        *arrivals*: newest arrivals of probe messages, by agency. If they show that the mail works, the announcement is
        not released, because the call has no key by which the person could release it nevertheless.
        """
        context = await self._find_call(uow, pins, reference, now)
        if context is None:
            return self._end("over")
        pin_attempts = await uow.responses.pin_attempts({context.agency}, context.person, now - PIN_VALIDITY)
        if not pin_attempts or not pin_attempts[-1].accepted or pin_attempts[-1].reference != reference:
            return self._end("cancelled")
        released, contradicted = list[AnnouncementPlan](), list[str]()
        for incident in context.incidents:
            if not release_is_offered(incident, pin_attempts[-1].at):
                continue  # The announcement was not read out after the PIN.
            release = Release(incident_id=incident.id, at=now, by=context.name)
            # `()`: the effect of a release does not depend on the incident's notifications.
            effect = operation_effect(incident, release, (), arrivals.get(incident.policy.agency, {}), now)
            if effect.contradiction is None:
                await handle_event(uow, release)
                released.append(incident.policy.announcement)
            else:
                contradicted.append(incident.policy.office.name)
        return ReleasePrompt(
            stage=ReleaseStage.END, texts=release_texts.result_texts(released, contradicted, self._wording)
        )

    async def _find_call(self, uow: UnitOfWork, pins: PinStore, reference: str, now: datetime) -> _CallContext | None:
        """Return the context of a call; `None` if there is nothing to release in it."""
        match = await uow.attempt(reference)
        if match is None:
            return None
        notification, _ = match
        if notification.plan is not Plan.ESCALATION:
            return None
        incidents = await uow.incidents(notification.incident_ids)
        parts = [part for part in notification.parts if part.incident_id in incidents]
        called_about = [(incidents[part.incident_id], part.person) for part in parts]
        offered = [(incident, person) for incident, person in called_about if release_is_offered(incident, now)]
        if not offered:
            return None
        by_pin = _first_by_pin(offered, pins)
        waiting = await uow.unreleased_incidents({agency for _, _, agencies in by_pin for agency in agencies})
        waiting = [incident for incident in waiting if release_is_offered(incident, now)]
        first, person, releasable = _choose_pin(offered[0], by_pin, waiting)
        others = (incident for incident in releasable if incident.id != first.id)
        return _CallContext(
            reference=reference, incidents=(first, *others), person=person, name=first.contact_name(person)
        )

    def _end(self, text_key: str) -> ReleasePrompt:
        return ReleasePrompt(stage=ReleaseStage.END, texts=release_texts.texts_by_language(text_key, self._wording))

    def _cancelled(self) -> dict[str, str]:
        return dict(release_texts.texts_by_language("cancelled", self._wording))


def _first_by_pin(
    offered: Sequence[tuple[Incident, str]], pins: PinStore
) -> Sequence[tuple[Incident, str, frozenset[str]]]:
    """Return, for each PIN, the first of the *offered* incidents, the person, and the agencies where the PIN is valid.

    *offered*: incidents, each with the key of the called person's contact.
    """
    first_by_pin, known = list[tuple[Incident, str, frozenset[str]]](), set[tuple[str, str]]()
    for incident, person in offered:
        # The agencies of a PIN are searched once, because in a mass outage one person is offered hundreds of incidents.
        if (incident.policy.agency, person) not in known and pins.has_pin(incident.policy.agency, person):
            agencies = pins.agencies(incident.policy.agency, person)
            known |= {(agency, person) for agency in agencies}
            first_by_pin.append((incident, person, agencies))
    return first_by_pin


def _choose_pin(
    first: tuple[Incident, str], by_pin: Sequence[tuple[Incident, str, frozenset[str]]], waiting: Sequence[Incident]
) -> tuple[Incident, str, Sequence[Incident]]:
    """Return the incident and person of the PIN to ask for, and the *waiting* incidents that it may release.

    In a notification about several agencies, one person may have a different contact key and PIN, or no PIN, at each
    agency. The PIN that releases the most incidents is chosen; without any PIN, *first* is returned.
    """
    (chosen_incident, chosen_person), most = first, list[Incident]()
    for incident, person, agencies in by_pin:
        releasable = [
            each
            for each in waiting
            if each.policy.agency in agencies and each.policy.escalation.contact(person) is not None
        ]
        if len(releasable) > len(most):
            chosen_incident, chosen_person, most = incident, person, releasable
    return chosen_incident, chosen_person, most


async def _is_locked(uow: UnitOfWork, pins: PinStore, context: _CallContext, now: datetime) -> bool:
    """Whether too many wrong PINs were typed since the last correct one, at any agency where the PIN is valid."""
    wrong_count, agencies = 0, pins.agencies(context.agency, context.person)
    for pin_attempt in await uow.responses.pin_attempts(agencies, context.person, now - LOCKOUT_PERIOD):
        if is_recent(pin_attempt.at, now, LOCKOUT_PERIOD):
            wrong_count = 0 if pin_attempt.accepted else wrong_count + 1
    return wrong_count >= MAX_WRONG_PINS


async def _add_audit_entry(uow: UnitOfWork, context: _CallContext, event: str, now: datetime) -> None:
    first = context.incidents[0]
    detail = {"number": first.number, "reference": context.reference}
    await uow.add_audit_entry(AuditEntry(at=now, actor=context.name, event=event, incident_id=first.id, detail=detail))
