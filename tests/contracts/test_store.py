"""Contract of `alerts.persistence.store.Store` on both stores."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy.exc import IntegrityError

from alerts.decide.escalation import build_facts
from alerts.decide.gateway.receipt import ReceivedReceipt
from alerts.model.channel import Channel
from alerts.model.contact import Address
from alerts.model.delivery import RANK, Attempt, AttemptState, Notification, NotificationDraft, NotificationState
from alerts.model.event import Close, Declare, Release, Resolve
from alerts.model.gateway import ErrorClass
from alerts.model.incident import Incident, IncidentState, Position, apply
from alerts.model.notification import Addressee, Cause, Facts, IncidentType, IssuingOffice, Language, Plan, Purpose
from alerts.model.policy_snapshot import AnnouncementPlan
from alerts.persistence.store import AuditEntry, UnitOfWork
from monitor.store.backend.database import Database
from monitor.store.backend.postgres import PostgresServer
from monitor.store.engine.unit_of_work import SqlStore
from tests.unit.alerts.people import FAX, LETTER, MINUTE, OFFICE, SMS_SITI, SNAPSHOT, T0, VOICE_SITI, trigger


def draft(of: Incident, key: str = "k", *addresses: Address) -> NotificationDraft:
    return NotificationDraft(
        incident_id=of.id,
        key_suffix=key,
        person="siti",
        language=Language.MALAY,
        facts=build_facts(of, Plan.ESCALATION, Purpose.OUTAGE, T0),
        expires_at=T0 + 30 * MINUTE,
        addresses=addresses or (SMS_SITI, VOICE_SITI),
    )


async def add_notification_with_delivery(uow: UnitOfWork, key: str = "k") -> Notification:
    """Open an incident with one notification that has one delivery."""
    [opened] = await uow.add_incidents([replace(trigger(), dedup_key=key)])
    await uow.add_notification(opened, draft(opened, key), T0)
    (notice,) = await uow.notifications(opened.id)
    await uow.add_delivery(notice.id, SMS_SITI)
    return await uow.notification(notice.id)


async def add_attempt_in_new_incident(uow: UnitOfWork, key: str = "k") -> Attempt:
    notice = await add_notification_with_delivery(uow, key)
    return await uow.add_attempt(notice.deliveries[0], "first", T0, query_at=T0 + MINUTE)


async def test_declared_and_detected_types_are_stored_separately(store: SqlStore) -> None:
    declare = Declare(
        dedup_key="JCM",
        at=T0,
        by="Siti Contoh",
        type=IncidentType.RECEIVING,
        began_at=T0,
        reason="penapis spam",
        policy=SNAPSHOT,
    )
    async with store.transaction() as uow:
        [opened] = await uow.add_incidents([declare])
        assert await uow.incident(opened.id) == opened
        assert list(await uow.detected_keys()) == []
        assert (await uow.open_incidents_by_key())["JCM"].detected is None
        assert await uow.opened_since(T0 - MINUTE) == []
        for event in (
            trigger(IncidentType.SENDING, T0 + MINUTE),
            Close(incident_id=opened.id, at=T0 + 2 * MINUTE, by="Ravi Contoh", reason="pulih"),
        ):
            opened = apply(opened, event)
            await uow.save_incident(opened)
            assert await uow.incident(opened.id) == opened
            assert list(await uow.detected_keys()) == ["JCM"]
            assert (await uow.open_incidents_by_key())["JCM"].detected is IncidentType.SENDING


async def test_manually_closed_incident_is_stored_and_counts_as_outage_when_resolved(
    store: SqlStore,
) -> None:
    async with store.transaction() as uow:
        [opened] = await uow.add_incidents([trigger()])
        for event in (
            Close(incident_id=opened.id, at=T0 + 2 * MINUTE, by="Ravi Contoh", reason="probe silap", recovered=False),
            Resolve(dedup_key="JCM", at=T0 + 3 * MINUTE, ended_at=T0 + 3 * MINUTE),
        ):
            opened = apply(opened, event)
            await uow.save_incident(opened)
            assert await uow.incident(opened.id) == opened
            assert list(await uow.detected_keys()) == []
            assert await uow.opened_since(T0 - MINUTE) == [("JCM", T0)]
    assert opened.detected is None


async def stored_attempt(uow: UnitOfWork, reference: str) -> Attempt:
    found = await uow.attempt(reference)
    assert found is not None
    return found[1]


# -- transactions ----------------------------------------------------------------------------------------------------


class Interrupted(Exception):
    pass


async def write_and_interrupt(store: SqlStore) -> None:
    async with store.transaction() as uow:
        [opened] = await uow.add_incidents([trigger()])
        await uow.add_notification(opened, draft(opened), T0)
        await uow.add_callback("sms", "1", T0)
        raise Interrupted


async def test_transaction_failed_leaves_nothing(store: SqlStore) -> None:
    with pytest.raises(Interrupted):
        await write_and_interrupt(store)

    async with store.transaction() as uow:
        assert await uow.active_incidents() == []
        assert await uow.add_callback("sms", "1", T0)
        # Nor is its incident number used.
        assert (await uow.add_incidents([trigger()]))[0].number == "JCM-01"


async def test_transaction_cancelled_leaves_nothing_and_blocks_no_other(store: SqlStore) -> None:
    inside = asyncio.Event()

    async def hang() -> None:
        async with store.transaction() as uow:
            await uow.add_incidents([trigger()])
            inside.set()
            await asyncio.Event().wait()

    hanging = asyncio.create_task(hang())
    await inside.wait()
    hanging.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hanging

    async with store.transaction() as uow:
        assert await uow.active_incidents() == []


async def test_transactions_are_serialized(store: SqlStore) -> None:
    async def count_up() -> str:
        async with store.transaction() as uow:
            last = await uow.last_incident("JCM")
            if last is not None:
                await uow.save_incident(apply(last, Resolve(dedup_key="JCM", at=T0, ended_at=T0)))
            return (await uow.add_incidents([trigger()]))[0].number

    numbers = await asyncio.gather(*(count_up() for _ in range(10)))

    assert sorted(numbers) == [f"JCM-{n:02d}" for n in range(1, 11)]


async def test_committed_incident_is_there_after_reopening(
    open_database: Callable[[], AbstractAsyncContextManager[Database]],
) -> None:
    async with open_database() as database, SqlStore(database).transaction() as uow:
        [opened] = await uow.add_incidents([trigger()])
    async with open_database() as database, SqlStore(database).transaction() as uow:
        assert await uow.incident(opened.id) == opened


# -- uniqueness ------------------------------------------------------------------------------------------------------


async def test_second_open_incident_with_same_key_is_refused(store: SqlStore) -> None:
    async with store.transaction() as uow:
        await uow.add_incidents([trigger()])

    with pytest.raises(IntegrityError):
        async with store.transaction() as uow:
            await uow.add_incidents([trigger()])


async def test_incident_after_resolved_one_with_same_key_is_allowed(store: SqlStore) -> None:
    async with store.transaction() as uow:
        [first] = await uow.add_incidents([trigger()])
        over = apply(first, Resolve(dedup_key="JCM", at=T0, ended_at=T0))
        await uow.save_incident(over)
        assert await uow.last_incident("JCM") == over

        [second] = await uow.add_incidents([trigger()])
        assert await uow.last_incident("JCM") == second


async def test_add_notification_same_key_is_written_once(store: SqlStore) -> None:
    async with store.transaction() as uow:
        [opened] = await uow.add_incidents([trigger()])
        added = await uow.add_notification(opened, draft(opened), T0)
        assert added is not None
        assert await uow.notifications(opened.id) == [added] == [await uow.notification(added.id)]
    async with store.transaction() as uow:
        assert not await uow.add_notification(opened, draft(opened, "k", FAX), T0 + MINUTE)
        (notice,) = await uow.notifications(opened.id)
        assert notice.addresses == (SMS_SITI, VOICE_SITI)
        assert notice.created_at == T0


async def test_attempt_references_are_unique(store: SqlStore) -> None:
    async with store.transaction() as uow:
        references = set()
        for key in ("a", "b"):
            notice = await add_notification_with_delivery(uow, key)
            for _ in range(3):
                made = await uow.add_attempt(notice.deliveries[0], "first", T0, query_at=T0)
                references.add(made.reference)
                notice = await uow.notification(notice.id)
                assert await stored_attempt(uow, made.reference) == made
            assert [a.n for a in notice.deliveries[0].attempts] == [1, 2, 3]

    assert len(references) == 6


async def test_two_attempts_from_same_read_are_not_both_written(store: SqlStore) -> None:
    async with store.transaction() as uow:
        notice = await add_notification_with_delivery(uow)
        await uow.add_attempt(notice.deliveries[0], "first", T0, query_at=T0)

    with pytest.raises(IntegrityError):
        async with store.transaction() as uow:
            await uow.add_attempt(notice.deliveries[0], "second", T0 + MINUTE, query_at=T0)


async def test_latest_and_missing_receipts_are_separated_by_gateway(store: SqlStore) -> None:
    async with store.transaction() as uow:
        for n in range(6):
            notice = await add_notification_with_delivery(uow, f"k{n}")
            at = T0 + n * MINUTE
            sent = await uow.add_attempt(notice.deliveries[0], "first", at, query_at=at)
            state = (AttemptState.DELIVERED, AttemptState.ACCEPTED, AttemptState.SENT)[n % 3]
            await uow.save_attempt(replace(sent, state=state, ended_at=at + MINUTE if n % 3 == 0 else None))
        received = [ReceivedReceipt(accepted_at=T0 + n * MINUTE, received_at=T0 + (n + 1) * MINUTE) for n in (0, 3)]
        assert await uow.latest_receipts(["first"], 20) == {"first": received}
        assert await uow.latest_receipts(["second", "first"], 1) == {"first": received[1:], "second": []}
        assert await uow.latest_receipts([], 20) == {}
        # SQLite joins at most 500 SELECTs.
        others = [f"other {n}" for n in range(199)]
        assert await uow.latest_receipts([*others, "first"], 20) == {**{name: [] for name in others}, "first": received}

        async def missing(after: int, until: int, at_most: int = 20) -> list[int]:
            found = await uow.missing_receipts("first", T0 + after * MINUTE, T0 + until * MINUTE, at_most)
            assert {each.number for each in found} <= {SMS_SITI.number}
            return [(each.accepted_at - T0) // MINUTE for each in found]

        assert await missing(0, 9) == [1, 2, 4, 5]
        assert await missing(1, 4) == [2, 4]
        assert await missing(0, 9, 2) == [4, 5]


async def test_add_callback_true_once_per_gateway_and_event(store: SqlStore) -> None:
    async with store.transaction() as uow:
        assert await uow.add_callback("sms", "1", T0)
        assert not await uow.add_callback("sms", "1", T0)
        assert await uow.add_callback("sms", "2", T0)
        assert await uow.add_callback("voice", "1", T0)
        # The transaction continues after a duplicate.
        await uow.add_incidents([trigger()])
    async with store.transaction() as uow:
        assert not await uow.add_callback("sms", "1", T0 + MINUTE)
        assert len(await uow.active_incidents()) == 1


async def open_and_end(uow: UnitOfWork, agency: str) -> str:
    event = trigger(snapshot=replace(SNAPSHOT, agency=agency))
    [opened] = await uow.add_incidents([event])
    await uow.save_incident(apply(opened, Resolve(dedup_key=agency, at=T0, ended_at=T0)))
    await uow.deactivate_incident(opened.id)
    return opened.number


async def test_incident_numbers_increase_by_prefix_and_are_not_reused(store: SqlStore) -> None:
    async with store.transaction() as uow:
        numbers = [await open_and_end(uow, agency) for agency in ("jkr", "jkr", "", "kementerian-a", "kementerian-b")]
    async with store.transaction() as uow:
        numbers += [await open_and_end(uow, agency) for agency in ("JKR", "kementerian-a", "")]

    assert numbers == ["JKR-01", "JKR-02", "NOC-01", "KEMEN-01", "KEMEN-02", "JKR-03", "KEMEN-03", "NOC-02"]


async def test_incident_by_number_accepts_whole_agency_code(store: SqlStore) -> None:
    async with store.transaction() as uow:
        numbers = [await open_and_end(uow, agency) for agency in ("JBA1001", "JBA1002", "JCONTOH")]
    async with store.reading() as asked:
        numbers_typed = ("jba1001-01", "JBA10-01", "JBA1002-2", "JCONTOH-01", "jcont-1", "JBA1002-01", "JCONTAN-01")
        found = [await asked.incident_by_number(each) for each in numbers_typed]

    assert numbers == ["JBA10-01", "JBA10-02", "JCONT-01"]
    assert [each and each.number for each in found] == [
        *("JBA10-01", "JBA10-01", "JBA10-02", "JCONT-01", "JCONT-01"),
        *(None, None),
    ]


async def test_incident_by_number_accepts_office_short_name_for_noc(store: SqlStore) -> None:
    async with store.transaction() as uow:
        ours = replace(SNAPSHOT, agency="", office=replace(OFFICE, short="PANTAU"))
        await uow.add_incidents([replace(trigger(snapshot=ours), dedup_key="ours/network")])
        await open_and_end(uow, "JCM")
        found = [await uow.incident_by_number(each) for each in ("NOC-01", "pantau-1", "JCM-01", "PANTA-01", "JKR-1")]
    assert [each and each.number for each in found] == ["NOC-01", "NOC-01", "JCM-01", None, None]


async def test_hundredth_incident_number_has_three_digits(store: SqlStore) -> None:
    numbers = []
    # Not in one transaction: a busy machine may not end it before its deadline.
    for _ in range(10):
        async with store.transaction() as uow:
            numbers += [await open_and_end(uow, "jkr") for _ in range(10)]

    assert numbers[-2:] == ["JKR-99", "JKR-100"]


# -- order of states -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", AttemptState)
async def test_save_attempt_late_report_does_not_move_state_back(store: SqlStore, first: AttemptState) -> None:
    for then in AttemptState:
        async with store.transaction() as uow:
            made = await add_attempt_in_new_incident(uow, f"{first}-{then}")
            assert await uow.save_attempt(replace(made, state=first, detail="first"))
            written = await uow.save_attempt(replace(made, state=then, detail="then"))
            after = await stored_attempt(uow, made.reference)

        # Reports of providers may be out of order: a failure after the delivery is ignored.
        arrived = first is AttemptState.DELIVERED and then is AttemptState.FAILED
        assert written is (RANK[then] >= RANK[first] and not arrived)
        assert (after.state, after.detail) == ((then, "then") if written else (first, "first"))


async def test_save_attempt_unknown_id_is_not_written(store: SqlStore) -> None:
    async with store.transaction() as uow:
        made = await add_attempt_in_new_incident(uow)

        assert not await uow.save_attempt(replace(made, id=made.id + 1))


# -- round trips -----------------------------------------------------------------------------------------------------

MALAYSIA = timezone(timedelta(hours=8))
LATER = datetime(2027, 1, 1, 7, 59, 59, 999999, tzinfo=MALAYSIA)

WHOLE_OFFICE = IssuingOffice(
    short="JCM",
    name='Jabatan "Contoh" Malaysia, عربي',
    domain="jabatan-contoh.gov.my",
    address=("Blok B5", "62000 PUTRAJAYA"),
    telephone="03-8872 3000",
    fax="03-8872 3001",
    hours="8.00 pagi",
    hours_en="8 a.m.",
    website="https://jabatan-contoh.gov.my",
    division="Bahagian Contoh",
    reference="JCM.100-1/2/3 (4)",
    signatory_name="SITI CONTOH",
    signatory_post="Pengarah",
    head_title="Ketua Pengarah",
    contact_name="Ravi Contoh",
    contact_post="Pegawai",
    contact_telephone="03-8872 3002",
    slogans=(),
    copies=("Ketua Setiausaha",),
    unsigned=True,
    english_attachment=True,
)
WHOLE_POLICY = replace(
    SNAPSHOT,
    office=WHOLE_OFFICE,
    subject="peti rujukan A",
    subject_en="reference mailbox A",
    cause=Cause.CONNECT,
    announcement=AnnouncementPlan(
        recipients=SNAPSHOT.announcement.recipients,
        automatic=True,
        release_offered_after=timedelta(seconds=90, microseconds=5),
    ),
)


def test_example_office_has_no_default_values() -> None:
    # Otherwise a new field that is not stored would not be noticed.
    default = IssuingOffice(short="", name="", domain="")
    assert all(getattr(WHOLE_OFFICE, f.name) != getattr(default, f.name) for f in fields(IssuingOffice))


async def test_incident_round_trip_with_whole_policy_snapshot(store: SqlStore) -> None:
    event = replace(trigger(IncidentType.SENDING, snapshot=WHOLE_POLICY), began_at=LATER - MINUTE, at=LATER)
    async with store.transaction() as uow:
        [opened] = await uow.add_incidents([event])
    async with store.transaction() as uow:
        assert await uow.incident(opened.id) == opened
        assert await uow.last_incident("JCM") == opened
    assert opened.policy == WHOLE_POLICY
    assert (opened.began_at, opened.opened_at, opened.since) == (LATER - MINUTE, LATER, LATER)


async def test_save_incident_round_trip_of_every_field(store: SqlStore) -> None:
    async with store.transaction() as uow:
        [opened] = await uow.add_incidents([trigger()])
        changed = replace(
            opened,
            type=IncidentType.BOTH,
            state=IncidentState.RESOLVED,
            position=Position(restarts=1, round=2, step=3, since=LATER),
            since=LATER + 1 * MINUTE,
            acknowledged_at=LATER + 2 * MINUTE,
            acknowledged_by="Siti Contoh",
            last_response_at=LATER + 6 * MINUTE,
            reminded_at=LATER + 7 * MINUTE,
            previous_assignee="Ravi Contoh",
            escalated=True,
            released_at=LATER + 3 * MINUTE,
            released_by="Ravi Contoh",
            resolved_at=LATER + 4 * MINUTE,
            ended_at=LATER + 5 * MINUTE,
        )
        await uow.save_incident(changed)
    async with store.transaction() as uow:
        back = await uow.incident(opened.id)
    assert back == changed


async def test_notification_round_trip_of_every_field(store: SqlStore) -> None:
    addressee = Addressee(
        title="Ketua Setiausaha",
        organisation="Kementerian Contoh",
        address=("62000 PUTRAJAYA",),
        attention="Bahagian Contoh",
        fax="03-8872 3001",
        salutation="YBhg. Datuk,",
    )
    told = Facts(
        purpose=Purpose.RECOVERY,
        plan=Plan.ANNOUNCEMENT,
        type=IncidentType.RECEIVING,
        office=WHOLE_OFFICE,
        number="JCM-01",
        began_at=T0,
        notified_at=T0 + MINUTE,
        first_notified_at=T0 + 2 * MINUTE,
        ended_at=LATER,
        subject="peti rujukan A",
        subject_en="reference mailbox A",
        cause=Cause.CERTIFICATE,
    )
    wanted = NotificationDraft(
        incident_id=1,
        person="kementerian",
        language=Language.ENGLISH,
        facts=told,
        expires_at=LATER,
        addresses=(LETTER, Address(channel=Channel.VOICE, number="+60380000000", extension="W1234#")),
        addressee=addressee,
        restarts=1,
        round=2,
        step=3,
    )
    # The stores use this key.
    assert wanted.key == "1/announcement/1.2.3/recovery/kementerian/letter"
    assert replace(wanted, key_suffix="2026-11-24").key == "1/announcement/1.2.3/recovery/kementerian/letter/2026-11-24"
    async with store.transaction() as uow:
        [opened] = await uow.add_incidents([trigger()])
        await uow.add_notification(opened, wanted, T0 + 9 * MINUTE)
        (notice,) = await uow.notifications(opened.id)
        await uow.add_delivery(notice.id, wanted.addresses[1])
        notice = await uow.notification(notice.id)

    for name in (
        "key",
        "plan",
        "purpose",
        *(field.name for field in fields(NotificationDraft) if field.name != "key_suffix"),
    ):
        assert getattr(notice, name) == getattr(wanted, name), name
    assert (notice.incident_id, notice.state, notice.created_at) == (
        opened.id,
        NotificationState.PENDING,
        T0 + 9 * MINUTE,
    )
    assert [d.address for d in notice.deliveries] == [wanted.addresses[1]]


async def test_save_attempt_round_trip_of_every_field(store: SqlStore) -> None:
    async with store.transaction() as uow:
        made = await add_attempt_in_new_incident(uow)
        changed = replace(
            made,
            state=AttemptState.FAILED,
            query_at=LATER,
            queries=4,
            provider_id="SM1",
            error=ErrorClass.CONFIGURATION,
            code="21606",
            detail="the sender isn't ours; 'DROP TABLE attempt'",
            ended_at=LATER + MINUTE,
        )
        await uow.save_attempt(changed)
    async with store.transaction() as uow:
        assert await stored_attempt(uow, made.reference) == changed


async def test_provider_texts_are_cleaned_and_truncated(store: SqlStore) -> None:
    nul, long = "a\0b", "ü" * 1000
    async with store.transaction() as uow:
        made = await add_attempt_in_new_incident(uow)
        await uow.save_attempt(replace(made, code=nul + long, detail=nul + long, provider_id=nul))
        back = await stored_attempt(uow, made.reference)
        assert (back.code, back.detail, back.provider_id) == ("ab" + "ü" * 62, "ab" + long, "ab")
        for event_id in (nul, "ab", long, long + "ü"):
            assert await uow.add_callback("sms", event_id, T0)
            assert not await uow.add_callback("sms", event_id, T0)
        await uow.add_audit_entry(AuditEntry(at=T0, actor=nul + long, event=long, detail={"why": nul}))


async def test_datetimes_are_read_in_utc(store: SqlStore) -> None:
    async with store.transaction() as uow:
        [opened] = await uow.add_incidents([replace(trigger(), at=LATER)])
        back = await uow.incident(opened.id)

    assert back is not None
    assert back.opened_at == LATER
    assert back.opened_at.tzinfo is UTC


async def test_naive_datetime_is_refused(store: SqlStore) -> None:
    naive = replace(trigger(), at=T0.replace(tzinfo=None))
    with pytest.raises(Exception, match="has no time zone"):
        async with store.transaction() as uow:
            await uow.add_incidents([naive])


async def test_notifications_deliveries_and_attempts_are_in_written_order(store: SqlStore) -> None:
    async with store.transaction() as uow:
        [opened] = await uow.add_incidents([trigger()])
        for key in ("c", "a", "b"):
            await uow.add_notification(opened, draft(opened, key), T0)
        notice = (await uow.notifications(opened.id))[0]
        for address in (VOICE_SITI, SMS_SITI):
            await uow.add_delivery(notice.id, address)
            notice = await uow.notification(notice.id)
            for _ in range(11):
                await uow.add_attempt(notice.deliveries[-1], "first", T0, query_at=T0)
                notice = await uow.notification(notice.id)
        keys = [n.key.rpartition("/")[2] for n in await uow.notifications(opened.id)]

    assert keys == ["c", "a", "b"]
    assert [d.address for d in notice.deliveries] == [VOICE_SITI, SMS_SITI]
    assert [[a.n for a in d.attempts] for d in notice.deliveries] == [list(range(1, 12))] * 2


async def test_missing_records_are_not_found(store: SqlStore) -> None:
    async with store.transaction() as uow:
        assert await uow.incident(7) is None
        assert await uow.last_incident("JCM") is None
        assert await uow.attempt("p7-1-0") is None
        assert await uow.notifications(7) == []
        with pytest.raises(LookupError):
            await uow.notification(7)


# -- active incidents ------------------------------------------------------------------------------------------------


async def test_incident_is_active_until_deactivated(store: SqlStore) -> None:
    async with store.transaction() as uow:
        ids = [(await uow.add_incidents([replace(trigger(), dedup_key=key)]))[0].id for key in "abc"]
        opened = await uow.incident(ids[1])
        assert opened is not None
        await uow.save_incident(apply(opened, Resolve(dedup_key="b", at=T0, ended_at=T0)))
        assert await uow.active_incidents() == ids

        await uow.deactivate_incident(ids[1])
    async with store.transaction() as uow:
        assert await uow.active_incidents() == [ids[0], ids[2]]
        assert (await uow.incident(ids[1])) is not None


async def test_most_urgent_incidents_new_outage_before_old_degradation(store: SqlStore) -> None:
    async with store.transaction() as uow:
        slow = await uow.add_incidents(
            [replace(trigger(IncidentType.DEGRADED, T0 - n * MINUTE), dedup_key=f"slow/{n}") for n in range(6)]
        )
        [outage] = await uow.add_incidents([replace(trigger(IncidentType.RECEIVING), dedup_key="outage")])
        assert [i.id for i in await uow.most_urgent_incidents(3)] == [outage.id, slow[5].id, slow[4].id]


async def test_unreleased_incidents_are_found_by_agency(store: SqlStore) -> None:
    async with store.transaction() as uow:
        opened = await uow.add_incidents(
            [
                replace(trigger(snapshot=replace(SNAPSHOT, agency=agency)), dedup_key=f"{agency}/{n}")
                for n in range(20)
                for agency in ("JCM", "MDC", "UCM")
            ]
        )
        over, out, *_ = opened
        await uow.save_incident(apply(over, Resolve(dedup_key=over.dedup_key, at=T0, ended_at=T0)))
        await uow.save_incident(apply(out, Release(incident_id=out.id, at=T0, by="Siti Contoh")))
    async with store.transaction() as uow:
        waiting = await uow.unreleased_incidents({"JCM", "MDC"})
        assert waiting == [each for each in opened[2:] if each.policy.agency != "UCM"]
        assert await uow.unreleased_incidents(()) == []
        found = await uow.incidents([each.id for each in opened])
        assert [found[each.id] for each in opened[2:]] == opened[2:]


#: States in which an engine waits for the end of its call or for a receipt.
AWAITED_STATES = {AttemptState.CALLING, AttemptState.ACCEPTED, AttemptState.SENT}


async def test_requery_orphaned_attempts_on_sqlite_sets_awaited_attempts_due(
    store: SqlStore, server: PostgresServer | None
) -> None:
    now = T0 + timedelta(seconds=5)
    # On a shared store the call may belong to another engine.
    due = now if server is None else T0 + MINUTE
    async with store.transaction() as uow:
        made = {}
        for state in AttemptState:
            made[state] = await add_attempt_in_new_incident(uow, state)
            await uow.save_attempt(replace(made[state], state=state))

        assert await uow.requery_orphaned_attempts(now) == (due == now)
        for state, before in made.items():
            after = await stored_attempt(uow, before.reference)
            assert after.query_at == (due if state in AWAITED_STATES else T0 + MINUTE)
            assert after.state is state


# -- leases ----------------------------------------------------------------------------------------------------------

LEASE = timedelta(seconds=30)


async def open_incidents_with_keys(store: SqlStore, *keys: str) -> list[int]:
    async with store.transaction() as uow:
        return [(await uow.add_incidents([replace(trigger(), dedup_key=key)]))[0].id for key in keys]


async def test_claim_incident_is_exclusive_until_lease_ends(store: SqlStore) -> None:
    (first,) = await open_incidents_with_keys(store, "a")
    async with store.transaction() as uow:
        assert await uow.claim_incident(first, "utama", T0, LEASE)
        assert await uow.claim_incident(first, "utama", T0, LEASE), "the owner may claim it again"
        assert not await uow.claim_incident(first, "kedua", T0 + LEASE - timedelta(microseconds=1), LEASE)
        assert await uow.claim_incident(first, "kedua", T0 + LEASE, LEASE)
        assert not await uow.claim_incident(first, "utama", T0 + LEASE, LEASE)


async def test_claim_incident_is_renewed_before_lease_ends(store: SqlStore) -> None:
    (first,) = await open_incidents_with_keys(store, "a")
    for seconds in range(0, 120, 10):
        async with store.transaction() as uow:
            assert await uow.claim_incident(first, "utama", T0 + timedelta(seconds=seconds), LEASE)
            assert not await uow.claim_incident(first, "kedua", T0 + timedelta(seconds=seconds + 10), LEASE)


async def test_claimable_incidents_leaves_out_leased_and_inactive(store: SqlStore) -> None:
    own, anothers, free, inactive = await open_incidents_with_keys(store, *"abcd")
    async with store.transaction() as uow:
        await uow.claim_incident(own, "utama", T0, LEASE)
        await uow.claim_incident(anothers, "kedua", T0, LEASE)
        await uow.deactivate_incident(inactive)

        assert await uow.claimable_incidents("utama", T0) == [own, free]
        assert await uow.claimable_incidents("utama", T0 + LEASE) == [own, anothers, free]
        assert not await uow.claim_incident(inactive + 1, "utama", T0, LEASE), "there is no such incident"


async def test_release_leases_makes_incidents_and_calls_available_at_once(store: SqlStore) -> None:
    now = T0 + timedelta(seconds=5)
    async with store.transaction() as uow:
        own_attempt, anothers = await add_attempt_in_new_incident(uow, "a"), await add_attempt_in_new_incident(uow, "b")
        arrived = await add_attempt_in_new_incident(uow, "c")
        await uow.save_attempt(replace(arrived, state=AttemptState.DELIVERED))
        for incident_id, owner in ((1, "utama"), (2, "kedua"), (3, "utama")):
            await uow.claim_incident(incident_id, owner, T0, LEASE)
        await uow.release_leases("utama", now)

        assert await uow.renew_leases("ketiga", now, LEASE) == [1, 3]
        assert await uow.renew_leases("ketiga", now, LEASE) == []
        assert not await uow.claim_incident(1, "utama", now, LEASE)
        assert (await stored_attempt(uow, own_attempt.reference)).query_at == now
        assert (await stored_attempt(uow, anothers.reference)).query_at == T0 + MINUTE
        assert (await stored_attempt(uow, arrived.reference)).query_at == T0 + MINUTE


async def test_renew_leases_takes_over_and_requeries_missing_receipts(store: SqlStore) -> None:
    now = T0 + LEASE
    async with store.transaction() as uow:
        for incident_id, owner in ((1, "utama"), (2, "ketiga")):
            sent = await add_attempt_in_new_incident(uow, owner)
            await uow.save_attempt(replace(sent, state=AttemptState.SENT))
            await uow.claim_incident(incident_id, owner, T0, LEASE)
        await uow.renew_leases("ketiga", T0 + LEASE / 2, LEASE)

        assert await uow.renew_leases("kedua", now, LEASE) == [1]
        query_times = [(await uow.notifications(i))[0].deliveries[0].attempts[0].query_at for i in (1, 2)]
        assert query_times == [now, T0 + MINUTE]


async def test_failed_claim_wakes_owner_of_lease(store: SqlStore) -> None:
    first, second = await open_incidents_with_keys(store, "a", "b")
    async with store.transaction() as uow:
        for incident_id in (first, second):
            await uow.claim_incident(incident_id, "utama", T0, LEASE)
        assert not await uow.claim_incident(second, "kedua", T0, LEASE)
        assert await uow.renew_leases("utama", T0, LEASE) == [second]
        assert await uow.renew_leases("utama", T0, LEASE) == []


async def test_save_incident_does_not_change_lease(store: SqlStore) -> None:
    (first,) = await open_incidents_with_keys(store, "a")
    async with store.transaction() as uow:
        await uow.claim_incident(first, "utama", T0, LEASE)
        opened = await uow.incident(first)
        assert opened is not None
        await uow.save_incident(apply(opened, Resolve(dedup_key="a", at=T0, ended_at=T0)))
        assert not await uow.claim_incident(first, "kedua", T0, LEASE)


async def test_set_notification_state_is_stored(store: SqlStore) -> None:
    async with store.transaction() as uow:
        notice = await add_notification_with_delivery(uow)
        for state in NotificationState:
            await uow.set_notification_state(notice.id, state)
            assert (await uow.notification(notice.id)).state is state


async def test_add_audit_entry_accepts_any_fields(store: SqlStore) -> None:
    async with store.transaction() as uow:
        await uow.add_audit_entry(AuditEntry(at=T0, actor="engine", event="started"))
        await uow.add_audit_entry(
            AuditEntry(
                at=LATER, actor="Siti", event="x", incident_id=1, notification_id=2, detail={"channel": Channel.SMS}
            )
        )
