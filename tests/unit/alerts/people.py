"""Fictional people and agencies for the tests of `alerts`."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from alerts.model.channel import Channel
from alerts.model.contact import Address, Contact, Recipient
from alerts.model.delivery import (
    Attempt,
    AttemptState,
    Delivery,
    Notification,
    NotificationDraft,
    NotificationIncident,
    NotificationState,
)
from alerts.model.event import Trigger
from alerts.model.gateway import ErrorClass
from alerts.model.incident import Incident, open_incident
from alerts.model.notification import Addressee, IncidentType, IssuingOffice, Language
from alerts.model.policy_snapshot import AnnouncementPlan, EscalationPolicy, PolicySnapshot, Step

T0 = datetime(2026, 11, 24, 6, 15, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
#: Acknowledgement timeout and repeat interval where a test is about something else.
LONG = timedelta(days=7)

SMS_SITI = Address(channel=Channel.SMS, number="+60100000101")
VOICE_SITI = Address(channel=Channel.VOICE, number="+60100000101")
SMS_RAVI = Address(channel=Channel.SMS, number="+60100000102")
VOICE_RAVI = Address(channel=Channel.VOICE, number="+60100000102")
FAX = Address(channel=Channel.FAX, number="+60300000201")
LETTER = Address(channel=Channel.LETTER, number="Kementerian Contoh")

SITI = Contact(key="siti", name="Siti Contoh", language=Language.MALAY, addresses=(SMS_SITI, VOICE_SITI))
RAVI = Contact(key="ravi", name="Ravi Contoh", language=Language.MALAY, addresses=(SMS_RAVI, VOICE_RAVI))
MINISTRY = Recipient(
    key="kementerian",
    language=Language.MALAY,
    addressee=Addressee(title="Ketua Setiausaha", organisation="Kementerian Contoh", address=("62000 PUTRAJAYA",)),
    addresses=(FAX, LETTER),
)

POLICY = EscalationPolicy(
    steps=(
        Step(after=timedelta(0), contacts=(SITI,), channels=(Channel.SMS,)),
        Step(after=5 * MINUTE, contacts=(SITI, RAVI), channels=(Channel.VOICE,)),
    ),
    rounds=2,
    repeat_after=15 * MINUTE,
    repeat_interval=LONG,
    acknowledgement_timeout=LONG,
)
OFFICE = IssuingOffice(short="JCM", name="Jabatan Contoh Malaysia", domain="jabatan-contoh.gov.my")
SNAPSHOT = PolicySnapshot(
    agency="JCM", office=OFFICE, escalation=POLICY, announcement=AnnouncementPlan(recipients=(MINISTRY,))
)


def trigger(
    incident_type: IncidentType = IncidentType.BOTH, at: datetime = T0, snapshot: PolicySnapshot = SNAPSHOT
) -> Trigger:
    """Return the event that opens an incident."""
    return Trigger(dedup_key=snapshot.agency, at=at, type=incident_type, began_at=at - MINUTE, policy=snapshot)


def incident(incident_type: IncidentType = IncidentType.BOTH, snapshot: PolicySnapshot = SNAPSHOT) -> Incident:
    """Return an incident that was just opened."""
    return open_incident(trigger(incident_type, snapshot=snapshot), incident_id=1, number="JCM-01")


def written(
    draft: NotificationDraft, notification_id: int = 1, state: NotificationState = NotificationState.PENDING
) -> Notification:
    """Return the notification that a store creates from a draft."""
    return Notification(
        id=notification_id,
        key=draft.key,
        parts=(
            NotificationIncident(
                incident_id=1,
                person=draft.person,
                facts=draft.facts,
                restarts=draft.restarts,
                round=draft.round,
                step=draft.step,
            ),
        ),
        plan=draft.plan,
        purpose=draft.purpose,
        person=draft.person,
        language=draft.language,
        facts=draft.facts,
        state=state,
        created_at=draft.facts.notified_at,
        expires_at=draft.expires_at,
        addresses=draft.addresses,
        addressee=draft.addressee,
        restarts=draft.restarts,
        round=draft.round,
        step=draft.step,
    )


def attempt(state: AttemptState, n: int = 1, query_at: datetime = T0, error: ErrorClass | None = None) -> Attempt:
    """Return an attempt in this state."""
    return Attempt(
        id=n, n=n, reference=f"p1-{n}", gateway="first", state=state, started_at=T0, query_at=query_at, error=error
    )


def tried(notice: Notification, *attempts: Attempt) -> Notification:
    """Return the notification with these attempts on its next address."""
    address = notice.addresses[len(notice.deliveries)]
    delivery = Delivery(id=len(notice.deliveries) + 1, address=address, attempts=attempts)
    return replace(notice, deliveries=(*notice.deliveries, delivery))
