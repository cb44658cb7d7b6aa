"""What every store promises to the dispatcher (`alerts.persistence.store.Store`)."""

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
from monitor.store.engine.ledger import SqlStore
from tests.unit.alerts.people import BRIEF, FAX, LETTER, MINUTE, OFFICE, SMS_SITI, T0, VOICE_SITI, trigger


def draft(of: Incident, key: str = "k", *addresses: Address) -> NotificationDraft:
    return NotificationDraft(
        incident_id=of.id,
        once=key,
        person="siti",
        language=Language.MALAY,
        facts=build_facts(of, Plan.ESCALATION, Purpose.OUTAGE, T0),
        expires_at=T0 + 30 * MINUTE,
        addresses=addresses or (SMS_SITI, VOICE_SITI),
    )


async def with_notice(uow: UnitOfWork, key: str = "k") -> Notification:
    """Open an incident with one notice that has one delivery."""
    [opened] = await uow.add_incidents([replace(trigger(), dedup_key=key)])
    await uow.add_notification(opened, draft(opened, key), T0)
    (notice,) = await uow.notifications(opened.id)
    await uow.add_delivery(notice.id, SMS_SITI)
    return await uow.notification(notice.id)


async def with_attempt(uow: UnitOfWork, key: str = "k") -> Attempt:
    notice = await with_notice(uow, key)
    return await uow.add_attempt(notice.deliveries[0], "first", T0, query_at=T0 + MINUTE)


async def test_what_is_declared_and_what_is_measured_are_kept_apart(store: SqlStore) -> None:
    declare = Declare(
        dedup_key="JCM",
        at=T0,
        by="Siti Contoh",
        type=IncidentType.RECEIVING,
        began_at=T0,
        reason="penapis spam",
        policy=BRIEF,
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


async def test_what_was_closed_by_hand_is_kept_and_counts_as_a_fall_when_it_is_measured_no_more(
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


async def stored(uow: UnitOfWork, reference: str) -> Attempt:
    found = await uow.attempt(reference)
    assert found is not None
    return found[1]


# -- transactions ----------------------------------------------------------------------------------------------------


class Interrupted(Exception):
    pass


async def break_off(store: SqlStore) -> None:
    async with store.transaction() as uow:
        [opened] = await uow.add_incidents([trigger()])
        await uow.add_notification(opened, draft(opened), T0)
        await uow.add_callback("sms", "1", T0)
        raise Interrupted


async def test_a_transaction_is_written_whole_or_not_at_all(store: SqlStore) -> None:
    with pytest.raises(Interrupted):
        await break_off(store)

    async with store.transaction() as uow:
        assert await uow.active_incidents() == []
        assert await uow.add_callback("sms", "1", T0)
        # Nor is the number gone that it would have had.
        assert (await uow.add_incidents([trigger()]))[0].number == "JCM-01"


async def test_a_cancelled_transaction_leaves_nothing_and_holds_up_nobody(store: SqlStore) -> None:
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


async def test_transactions_come_one_after_the_other(store: SqlStore) -> None:
    async def count_up() -> str:
        async with store.transaction() as uow:
            last = await uow.last_incident("JCM")
            if last is not None:
                await uow.save_incident(apply(last, Resolve(dedup_key="JCM", at=T0, ended_at=T0)))
            return (await uow.add_incidents([trigger()]))[0].number

    numbers = await asyncio.gather(*(count_up() for _ in range(10)))

    assert sorted(numbers) == [f"JCM-{n:02d}" for n in range(1, 11)]


async def test_what_was_committed_is_there_after_the_store_was_closed(
    open_database: Callable[[], AbstractAsyncContextManager[Database]],
) -> None:
    async with open_database() as database, SqlStore(database).transaction() as uow:
        [opened] = await uow.add_incidents([trigger()])
    async with open_database() as database, SqlStore(database).transaction() as uow:
        assert await uow.incident(opened.id) == opened


# -- what there is only one of ---------------------------------------------------------------------------------------


async def test_there_is_one_open_incident_about_a_thing(store: SqlStore) -> None:
    async with store.transaction() as uow:
        await uow.add_incidents([trigger()])

    with pytest.raises(IntegrityError):
        async with store.transaction() as uow:
            await uow.add_incidents([trigger()])


async def test_when_it_is_over_there_may_be_another(store: SqlStore) -> None:
    async with store.transaction() as uow:
        [first] = await uow.add_incidents([trigger()])
        over = apply(first, Resolve(dedup_key="JCM", at=T0, ended_at=T0))
        await uow.save_incident(over)
        assert await uow.last_incident("JCM") == over

        [second] = await uow.add_incidents([trigger()])
        assert await uow.last_incident("JCM") == second


async def test_a_notice_is_written_once_however_often_it_is_decided_on(store: SqlStore) -> None:
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


async def test_every_attempt_has_a_reference_of_its_own(store: SqlStore) -> None:
    async with store.transaction() as uow:
        references = set()
        for key in ("a", "b"):
            notice = await with_notice(uow, key)
            for _ in range(3):
                made = await uow.add_attempt(notice.deliveries[0], "first", T0, query_at=T0)
                references.add(made.reference)
                notice = await uow.notification(notice.id)
                assert await stored(uow, made.reference) == made
            assert [a.n for a in notice.deliveries[0].attempts] == [1, 2, 3]

    assert len(references) == 6


async def test_two_attempts_decided_on_from_the_same_view_are_not_both_written(store: SqlStore) -> None:
    async with store.transaction() as uow:
        notice = await with_notice(uow)
        await uow.add_attempt(notice.deliveries[0], "first", T0, query_at=T0)

    with pytest.raises(IntegrityError):
        async with store.transaction() as uow:
            await uow.add_attempt(notice.deliveries[0], "second", T0 + MINUTE, query_at=T0)


async def test_the_latest_that_arrived_by_a_gateway_and_the_latest_that_did_not_are_told_apart(store: SqlStore) -> None:
    async with store.transaction() as uow:
        for n in range(6):
            notice = await with_notice(uow, f"k{n}")
            at = T0 + n * MINUTE
            sent = await uow.add_attempt(notice.deliveries[0], "first", at, query_at=at)
            state = (AttemptState.DELIVERED, AttemptState.ACCEPTED, AttemptState.SENT)[n % 3]
            await uow.save_attempt(replace(sent, state=state, ended_at=at + MINUTE if n % 3 == 0 else None))
        answered = [ReceivedReceipt(accepted_at=T0 + n * MINUTE, received_at=T0 + (n + 1) * MINUTE) for n in (0, 3)]
        assert await uow.latest_receipts(["first"], 20) == {"first": answered}
        assert await uow.latest_receipts(["second", "first"], 1) == {"first": answered[1:], "second": []}
        assert await uow.latest_receipts([], 20) == {}
        # SQLite joins 500 questions at the most.
        others = [f"other {n}" for n in range(199)]
        assert await uow.latest_receipts([*others, "first"], 20) == {**{name: [] for name in others}, "first": answered}

        async def unanswered(after: int, until: int, at_most: int = 20) -> list[int]:
            found = await uow.missing_receipts("first", T0 + after * MINUTE, T0 + until * MINUTE, at_most)
            assert {each.number for each in found} <= {SMS_SITI.number}
            return [(each.accepted_at - T0) // MINUTE for each in found]

        assert await unanswered(0, 9) == [1, 2, 4, 5]
        assert await unanswered(1, 4) == [2, 4]
        assert await unanswered(0, 9, 2) == [4, 5]


async def test_a_callback_is_heard_for_the_first_time_once_by_gateway(store: SqlStore) -> None:
    async with store.transaction() as uow:
        assert await uow.add_callback("sms", "1", T0)
        assert not await uow.add_callback("sms", "1", T0)
        assert await uow.add_callback("sms", "2", T0)
        assert await uow.add_callback("voice", "1", T0)
        # The transaction goes on as if nothing had happened.
        await uow.add_incidents([trigger()])
    async with store.transaction() as uow:
        assert not await uow.add_callback("sms", "1", T0 + MINUTE)
        assert len(await uow.active_incidents()) == 1


async def open_and_end(uow: UnitOfWork, agency: str) -> str:
    event = trigger(brief=replace(BRIEF, agency=agency))
    [opened] = await uow.add_incidents([event])
    await uow.save_incident(apply(opened, Resolve(dedup_key=agency, at=T0, ended_at=T0)))
    await uow.deactivate_incident(opened.id)
    return opened.number


async def test_numbers_go_up_by_prefix_and_are_never_used_again(store: SqlStore) -> None:
    async with store.transaction() as uow:
        numbers = [await open_and_end(uow, agency) for agency in ("jkr", "jkr", "", "kementerian-a", "kementerian-b")]
    async with store.transaction() as uow:
        numbers += [await open_and_end(uow, agency) for agency in ("JKR", "kementerian-a", "")]

    assert numbers == ["JKR-01", "JKR-02", "NOC-01", "KEMEN-01", "KEMEN-02", "JKR-03", "KEMEN-03", "NOC-02"]


async def test_an_incident_is_found_by_its_agencys_whole_code(store: SqlStore) -> None:
    async with store.transaction() as uow:
        numbers = [await open_and_end(uow, agency) for agency in ("JBA1001", "JBA1002", "JCONTOH")]
    async with store.reading() as asked:
        quoted = ("jba1001-01", "JBA10-01", "JBA1002-2", "JCONTOH-01", "jcont-1", "JBA1002-01", "JCONTAN-01")
        found = [await asked.incident_by_number(each) for each in quoted]

    assert numbers == ["JBA10-01", "JBA10-02", "JCONT-01"]
    assert [each and each.number for each in found] == [
        *("JBA10-01", "JBA10-01", "JBA10-02", "JCONT-01", "JCONT-01"),
        *(None, None),
    ]


async def test_an_incident_of_the_centre_is_found_by_what_its_sms_begins_with(store: SqlStore) -> None:
    async with store.transaction() as uow:
        ours = replace(BRIEF, agency="", office=replace(OFFICE, short="PANTAU"))
        await uow.add_incidents([replace(trigger(brief=ours), dedup_key="ours/network")])
        await open_and_end(uow, "JCM")
        found = [await uow.incident_by_number(each) for each in ("NOC-01", "pantau-1", "JCM-01", "PANTA-01", "JKR-1")]
    assert [each and each.number for each in found] == ["NOC-01", "NOC-01", "JCM-01", None, None]


async def test_the_hundredth_incident_has_three_digits(store: SqlStore) -> None:
    numbers = []
    # Not in one transaction: a busy machine may not end it before its deadline.
    for _ in range(10):
        async with store.transaction() as uow:
            numbers += [await open_and_end(uow, "jkr") for _ in range(10)]

    assert numbers[-2:] == ["JKR-99", "JKR-100"]


# -- states only go forward ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", AttemptState)
async def test_a_late_report_never_takes_an_attempt_back(store: SqlStore, first: AttemptState) -> None:
    for then in AttemptState:
        async with store.transaction() as uow:
            made = await with_attempt(uow, f"{first}-{then}")
            assert await uow.save_attempt(replace(made, state=first, detail="first"))
            written = await uow.save_attempt(replace(made, state=then, detail="then"))
            after = await stored(uow, made.reference)

        # A failure that is reported after the arrival: providers' reports overtake each other.
        arrived = first is AttemptState.DELIVERED and then is AttemptState.FAILED
        assert written is (RANK[then] >= RANK[first] and not arrived)
        assert (after.state, after.detail) == ((then, "then") if written else (first, "first"))


async def test_an_attempt_that_is_not_there_cannot_be_written(store: SqlStore) -> None:
    async with store.transaction() as uow:
        made = await with_attempt(uow)

        assert not await uow.save_attempt(replace(made, id=made.id + 1))


# -- everything comes back as it went in -----------------------------------------------------------------------------

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
WHOLE_BRIEF = replace(
    BRIEF,
    office=WHOLE_OFFICE,
    subject="peti rujukan A",
    subject_en="reference mailbox A",
    cause=Cause.CONNECT,
    announcement=AnnouncementPlan(
        recipients=BRIEF.announcement.recipients,
        automatic=True,
        release_offered_after=timedelta(seconds=90, microseconds=5),
    ),
)


def test_the_examples_below_leave_nothing_at_its_default() -> None:
    # A field that is added later and not stored would go unnoticed here.
    default = IssuingOffice(short="", name="", domain="")
    assert all(getattr(WHOLE_OFFICE, f.name) != getattr(default, f.name) for f in fields(IssuingOffice))


async def test_an_incident_comes_back_with_everything_frozen_into_it(store: SqlStore) -> None:
    event = replace(trigger(IncidentType.SENDING, brief=WHOLE_BRIEF), began_at=LATER - MINUTE, at=LATER)
    async with store.transaction() as uow:
        [opened] = await uow.add_incidents([event])
    async with store.transaction() as uow:
        assert await uow.incident(opened.id) == opened
        assert await uow.last_incident("JCM") == opened
    assert opened.policy == WHOLE_BRIEF
    assert (opened.began_at, opened.opened_at, opened.since) == (LATER - MINUTE, LATER, LATER)


async def test_every_change_of_an_incident_comes_back(store: SqlStore) -> None:
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


async def test_a_notice_comes_back_with_all_that_words_and_pages_need(store: SqlStore) -> None:
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
    # Stores know it by this.
    assert wanted.key == "1/announcement/1.2.3/recovery/kementerian/letter"
    assert replace(wanted, once="2026-11-24").key == "1/announcement/1.2.3/recovery/kementerian/letter/2026-11-24"
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
        *(field.name for field in fields(NotificationDraft) if field.name != "once"),
    ):
        assert getattr(notice, name) == getattr(wanted, name), name
    assert (notice.incident_id, notice.state, notice.created_at) == (
        opened.id,
        NotificationState.PENDING,
        T0 + 9 * MINUTE,
    )
    assert [d.address for d in notice.deliveries] == [wanted.addresses[1]]


async def test_every_change_of_an_attempt_comes_back(store: SqlStore) -> None:
    async with store.transaction() as uow:
        made = await with_attempt(uow)
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
        assert await stored(uow, made.reference) == changed


async def test_what_others_say_is_kept_as_far_as_it_fits(store: SqlStore) -> None:
    nul, long = "a\0b", "ü" * 1000
    async with store.transaction() as uow:
        made = await with_attempt(uow)
        await uow.save_attempt(replace(made, code=nul + long, detail=nul + long, provider_id=nul))
        back = await stored(uow, made.reference)
        assert (back.code, back.detail, back.provider_id) == ("ab" + "ü" * 62, "ab" + long, "ab")
        for event_id in (nul, "ab", long, long + "ü"):
            assert await uow.add_callback("sms", event_id, T0)
            assert not await uow.add_callback("sms", event_id, T0)
        await uow.add_audit_entry(AuditEntry(at=T0, actor=nul + long, event=long, detail={"why": nul}))


async def test_moments_come_back_aware_and_in_utc_wherever_they_were_said(store: SqlStore) -> None:
    async with store.transaction() as uow:
        [opened] = await uow.add_incidents([replace(trigger(), at=LATER)])
        back = await uow.incident(opened.id)

    assert back is not None
    assert back.opened_at == LATER
    assert back.opened_at.tzinfo is UTC


async def test_a_moment_without_a_zone_is_refused(store: SqlStore) -> None:
    naive = replace(trigger(), at=T0.replace(tzinfo=None))
    with pytest.raises(Exception, match="has no time zone"):
        async with store.transaction() as uow:
            await uow.add_incidents([naive])


async def test_notices_deliveries_and_attempts_come_in_the_order_in_which_they_were_written(store: SqlStore) -> None:
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


async def test_what_is_not_there_is_not_found(store: SqlStore) -> None:
    async with store.transaction() as uow:
        assert await uow.incident(7) is None
        assert await uow.last_incident("JCM") is None
        assert await uow.attempt("p7-1-0") is None
        assert await uow.notifications(7) == []
        with pytest.raises(LookupError):
            await uow.notification(7)


# -- what is still to be done ----------------------------------------------------------------------------------------


async def test_an_incident_is_active_until_nothing_more_is_owed(store: SqlStore) -> None:
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


async def test_of_the_open_incidents_a_new_outage_goes_before_what_has_been_slow_for_long(store: SqlStore) -> None:
    async with store.transaction() as uow:
        slow = await uow.add_incidents(
            [replace(trigger(IncidentType.DEGRADED, T0 - n * MINUTE), dedup_key=f"slow/{n}") for n in range(6)]
        )
        [outage] = await uow.add_incidents([replace(trigger(IncidentType.RECEIVING), dedup_key="outage")])
        assert [i.id for i in await uow.open_incidents_first(3)] == [outage.id, slow[5].id, slow[4].id]


async def test_what_waits_for_its_release_is_found_by_agency_however_much_it_is(store: SqlStore) -> None:
    async with store.transaction() as uow:
        opened = await uow.add_incidents(
            [
                replace(trigger(brief=replace(BRIEF, agency=agency)), dedup_key=f"{agency}/{n}")
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


#: What an engine waits for: the end of its own call, or a receipt.
AWAITED = {AttemptState.CALLING, AttemptState.ACCEPTED, AttemptState.SENT}


async def test_where_one_engine_is_alone_what_a_dead_one_waited_for_is_asked_about_at_once(
    store: SqlStore, server: PostgresServer | None
) -> None:
    now = T0 + timedelta(seconds=5)
    # Where others are at work, a call may be theirs, and goes on.
    due = now if server is None else T0 + MINUTE
    async with store.transaction() as uow:
        made = {}
        for state in AttemptState:
            made[state] = await with_attempt(uow, state)
            await uow.save_attempt(replace(made[state], state=state))

        assert await uow.requery_orphaned_calls(now) == (due == now)
        for state, before in made.items():
            after = await stored(uow, before.reference)
            assert after.query_at == (due if state in AWAITED else T0 + MINUTE)
            assert after.state is state


# -- who does it -----------------------------------------------------------------------------------------------------

LEASE = timedelta(seconds=30)


async def opened_about(store: SqlStore, *keys: str) -> list[int]:
    async with store.transaction() as uow:
        return [(await uow.add_incidents([replace(trigger(), dedup_key=key)]))[0].id for key in keys]


async def test_an_incident_is_one_engines_until_its_lease_ends(store: SqlStore) -> None:
    (first,) = await opened_about(store, "a")
    async with store.transaction() as uow:
        assert await uow.claim_incident(first, "utama", T0, LEASE)
        assert await uow.claim_incident(first, "utama", T0, LEASE), "claimed twice, it is still its own"
        assert not await uow.claim_incident(first, "kedua", T0 + LEASE - timedelta(microseconds=1), LEASE)
        assert await uow.claim_incident(first, "kedua", T0 + LEASE, LEASE)
        assert not await uow.claim_incident(first, "utama", T0 + LEASE, LEASE)


async def test_a_claim_is_renewed_before_it_ends(store: SqlStore) -> None:
    (first,) = await opened_about(store, "a")
    for seconds in range(0, 120, 10):
        async with store.transaction() as uow:
            assert await uow.claim_incident(first, "utama", T0 + timedelta(seconds=seconds), LEASE)
            assert not await uow.claim_incident(first, "kedua", T0 + timedelta(seconds=seconds + 10), LEASE)


async def test_what_is_anothers_or_at_rest_is_not_to_be_claimed(store: SqlStore) -> None:
    mine, anothers, free, resting = await opened_about(store, *"abcd")
    async with store.transaction() as uow:
        await uow.claim_incident(mine, "utama", T0, LEASE)
        await uow.claim_incident(anothers, "kedua", T0, LEASE)
        await uow.deactivate_incident(resting)

        assert await uow.claimable_incidents("utama", T0) == [mine, free]
        assert await uow.claimable_incidents("utama", T0 + LEASE) == [mine, anothers, free]
        assert not await uow.claim_incident(resting + 1, "utama", T0, LEASE), "there is no such incident"


async def test_an_engine_that_stops_leaves_its_work_and_its_calls_to_the_others_at_once(store: SqlStore) -> None:
    now = T0 + timedelta(seconds=5)
    async with store.transaction() as uow:
        its, anothers = await with_attempt(uow, "a"), await with_attempt(uow, "b")
        arrived = await with_attempt(uow, "c")
        await uow.save_attempt(replace(arrived, state=AttemptState.DELIVERED))
        for incident_id, owner in ((1, "utama"), (2, "kedua"), (3, "utama")):
            await uow.claim_incident(incident_id, owner, T0, LEASE)
        await uow.release_leases("utama", now)

        assert await uow.renew_leases("ketiga", now, LEASE) == [1, 3]
        assert await uow.renew_leases("ketiga", now, LEASE) == []
        assert not await uow.claim_incident(1, "utama", now, LEASE)
        assert (await stored(uow, its.reference)).query_at == now
        assert (await stored(uow, anothers.reference)).query_at == T0 + MINUTE
        assert (await stored(uow, arrived.reference)).query_at == T0 + MINUTE


async def test_whoever_takes_over_asks_for_the_receipts_that_a_dead_engine_has_not_heard(store: SqlStore) -> None:
    now = T0 + LEASE
    async with store.transaction() as uow:
        for incident_id, owner in ((1, "utama"), (2, "ketiga")):
            sent = await with_attempt(uow, owner)
            await uow.save_attempt(replace(sent, state=AttemptState.SENT))
            await uow.claim_incident(incident_id, owner, T0, LEASE)
        await uow.renew_leases("ketiga", T0 + LEASE / 2, LEASE)

        assert await uow.renew_leases("kedua", now, LEASE) == [1]
        looks = [(await uow.notifications(i))[0].deliveries[0].attempts[0].query_at for i in (1, 2)]
        assert looks == [now, T0 + MINUTE]


async def test_who_wanted_to_claim_what_is_anothers_has_nudged_that_one(store: SqlStore) -> None:
    first, second = await opened_about(store, "a", "b")
    async with store.transaction() as uow:
        for incident_id in (first, second):
            await uow.claim_incident(incident_id, "utama", T0, LEASE)
        assert not await uow.claim_incident(second, "kedua", T0, LEASE)
        assert await uow.renew_leases("utama", T0, LEASE) == [second]
        assert await uow.renew_leases("utama", T0, LEASE) == []


async def test_a_change_of_an_incident_is_no_change_of_who_brings_it_forward(store: SqlStore) -> None:
    (first,) = await opened_about(store, "a")
    async with store.transaction() as uow:
        await uow.claim_incident(first, "utama", T0, LEASE)
        opened = await uow.incident(first)
        assert opened is not None
        await uow.save_incident(apply(opened, Resolve(dedup_key="a", at=T0, ended_at=T0)))
        assert not await uow.claim_incident(first, "kedua", T0, LEASE)


async def test_a_notice_keeps_the_state_that_was_last_written(store: SqlStore) -> None:
    async with store.transaction() as uow:
        notice = await with_notice(uow)
        for state in NotificationState:
            await uow.set_notification_state(notice.id, state)
            assert (await uow.notification(notice.id)).state is state


async def test_the_journal_takes_what_it_is_given(store: SqlStore) -> None:
    async with store.transaction() as uow:
        await uow.add_audit_entry(AuditEntry(at=T0, actor="engine", event="started"))
        await uow.add_audit_entry(
            AuditEntry(
                at=LATER, actor="Siti", event="x", incident_id=1, notification_id=2, detail={"channel": Channel.SMS}
            )
        )
