"""What every store promises to the dispatcher, run over every implementation of `alerts.store.Store`.

A new implementation adds a line to `STORES`: how to open it at a place of its own, again and again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from sqlalchemy.exc import IntegrityError

from alerts.brief import AnnouncementPlan
from alerts.channel import Channel
from alerts.contact import Address
from alerts.delivery import RANK, Attempt, AttemptState, Draft, Notice, NoticeState
from alerts.escalation import facts
from alerts.event import Resolve
from alerts.gateway import ErrorClass
from alerts.incident import Incident, IncidentState, Position, apply
from alerts.notice import Addressee, Facts, Language, Matter, Office, Plan, Purpose
from alerts.store import Entry, Ledger, Store
from monitor.store.database import Database
from monitor.store.ledger import SqlStore
from tests.unit.alerts.people import BRIEF, FAX, LETTER, MINUTE, SMS_SITI, T0, VOICE_SITI, trigger

Open = Callable[[Path], AbstractAsyncContextManager[Store]]


@asynccontextmanager
async def on_sqlite(place: Path) -> AsyncIterator[Store]:
    async with Database.open(place) as database:
        yield SqlStore(database)


STORES: dict[str, Open] = {"sqlite": on_sqlite}


@pytest.fixture(params=STORES)
def open_store(request: pytest.FixtureRequest) -> Open:
    return STORES[request.param]


@pytest.fixture
async def store(open_store: Open, tmp_path: Path) -> AsyncIterator[Store]:
    async with open_store(tmp_path) as opened:
        yield opened


def draft(of: Incident, key: str = "k", *addresses: Address) -> Draft:
    return Draft(
        key=key,
        plan=Plan.ESCALATION,
        purpose=Purpose.OUTAGE,
        person="siti",
        language=Language.MALAY,
        facts=facts(of, Plan.ESCALATION, Purpose.OUTAGE, T0),
        expires_at=T0 + 30 * MINUTE,
        addresses=addresses or (SMS_SITI, VOICE_SITI),
    )


async def with_notice(ledger: Ledger, key: str = "k") -> Notice:
    """Open an incident with one notice that has one delivery."""
    opened = await ledger.add_incident(replace(trigger(), dedup_key=key))
    await ledger.add_notice(opened, draft(opened, key), T0)
    (notice,) = await ledger.notices(opened.id)
    await ledger.add_delivery(notice.id, SMS_SITI)
    return await ledger.notice(notice.id)


async def with_attempt(ledger: Ledger, key: str = "k") -> Attempt:
    notice = await with_notice(ledger, key)
    return await ledger.add_attempt(notice.deliveries[0], "first", T0, look_at=T0 + MINUTE)


async def stored(ledger: Ledger, reference: str) -> Attempt:
    found = await ledger.attempt(reference)
    assert found is not None
    return found[1]


# -- transactions ----------------------------------------------------------------------------------------------------


class Interrupted(Exception):
    pass


async def break_off(store: Store) -> None:
    async with store.transaction() as ledger:
        opened = await ledger.add_incident(trigger())
        await ledger.add_notice(opened, draft(opened), T0)
        await ledger.first_heard("sms", "1", T0)
        raise Interrupted


async def test_a_transaction_is_written_whole_or_not_at_all(store: Store) -> None:
    with pytest.raises(Interrupted):
        await break_off(store)

    async with store.transaction() as ledger:
        assert await ledger.active_incidents() == []
        assert await ledger.first_heard("sms", "1", T0)
        # Nor is the number gone that it would have had.
        assert (await ledger.add_incident(trigger())).number == "JCM-01"


async def test_a_cancelled_transaction_leaves_nothing_and_holds_up_nobody(store: Store) -> None:
    inside = asyncio.Event()

    async def hang() -> None:
        async with store.transaction() as ledger:
            await ledger.add_incident(trigger())
            inside.set()
            await asyncio.Event().wait()

    hanging = asyncio.create_task(hang())
    await inside.wait()
    hanging.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hanging

    async with store.transaction() as ledger:
        assert await ledger.active_incidents() == []


async def test_transactions_come_one_after_the_other(store: Store) -> None:
    async def count_up() -> str:
        async with store.transaction() as ledger:
            opened = await ledger.open_incident("JCM")
            if opened is not None:
                await ledger.save_incident(apply(opened, Resolve(dedup_key="JCM", at=T0, ended_at=T0)))
            return (await ledger.add_incident(trigger())).number

    numbers = await asyncio.gather(*(count_up() for _ in range(10)))

    assert sorted(numbers) == [f"JCM-{n:02d}" for n in range(1, 11)]


async def test_what_was_committed_is_there_after_the_store_was_closed(open_store: Open, tmp_path: Path) -> None:
    async with open_store(tmp_path) as store, store.transaction() as ledger:
        opened = await ledger.add_incident(trigger())
    async with open_store(tmp_path) as store, store.transaction() as ledger:
        assert await ledger.incident(opened.id) == opened


# -- what there is only one of ---------------------------------------------------------------------------------------


async def test_there_is_one_open_incident_about_a_thing(store: Store) -> None:
    async with store.transaction() as ledger:
        await ledger.add_incident(trigger())

    with pytest.raises(IntegrityError):
        async with store.transaction() as ledger:
            await ledger.add_incident(trigger())


async def test_when_it_is_over_there_may_be_another(store: Store) -> None:
    async with store.transaction() as ledger:
        first = await ledger.add_incident(trigger())
        await ledger.save_incident(apply(first, Resolve(dedup_key="JCM", at=T0, ended_at=T0)))
        assert await ledger.open_incident("JCM") is None

        second = await ledger.add_incident(trigger())
        assert await ledger.open_incident("JCM") == second


async def test_a_notice_is_written_once_however_often_it_is_decided_on(store: Store) -> None:
    async with store.transaction() as ledger:
        opened = await ledger.add_incident(trigger())
        assert await ledger.add_notice(opened, draft(opened), T0)
    async with store.transaction() as ledger:
        assert not await ledger.add_notice(opened, draft(opened, "k", FAX), T0 + MINUTE)
        (notice,) = await ledger.notices(opened.id)
        assert notice.addresses == (SMS_SITI, VOICE_SITI)
        assert notice.created_at == T0


async def test_every_attempt_has_a_reference_of_its_own(store: Store) -> None:
    async with store.transaction() as ledger:
        references = set()
        for key in ("a", "b"):
            notice = await with_notice(ledger, key)
            for _ in range(3):
                made = await ledger.add_attempt(notice.deliveries[0], "first", T0, look_at=T0)
                references.add(made.reference)
                notice = await ledger.notice(notice.id)
                assert await stored(ledger, made.reference) == made
            assert [a.n for a in notice.deliveries[0].attempts] == [1, 2, 3]

    assert len(references) == 6


async def test_two_attempts_decided_on_from_the_same_view_are_not_both_written(store: Store) -> None:
    async with store.transaction() as ledger:
        notice = await with_notice(ledger)
        await ledger.add_attempt(notice.deliveries[0], "first", T0, look_at=T0)

    with pytest.raises(IntegrityError):
        async with store.transaction() as ledger:
            await ledger.add_attempt(notice.deliveries[0], "second", T0 + MINUTE, look_at=T0)


async def test_a_callback_is_heard_for_the_first_time_once_by_gateway(store: Store) -> None:
    async with store.transaction() as ledger:
        assert await ledger.first_heard("sms", "1", T0)
        assert not await ledger.first_heard("sms", "1", T0)
        assert await ledger.first_heard("sms", "2", T0)
        assert await ledger.first_heard("voice", "1", T0)
        # The transaction goes on as if nothing had happened.
        await ledger.add_incident(trigger())
    async with store.transaction() as ledger:
        assert not await ledger.first_heard("sms", "1", T0 + MINUTE)
        assert len(await ledger.active_incidents()) == 1


async def open_and_end(ledger: Ledger, agency: str) -> str:
    event = trigger(brief=replace(BRIEF, agency=agency))
    opened = await ledger.add_incident(event)
    await ledger.save_incident(apply(opened, Resolve(dedup_key=agency, at=T0, ended_at=T0)))
    await ledger.put_to_rest(opened.id)
    return opened.number


async def test_numbers_go_up_by_prefix_and_are_never_used_again(store: Store) -> None:
    async with store.transaction() as ledger:
        numbers = [
            await open_and_end(ledger, agency) for agency in ("jkr", "jkr", "", "kementerian-a", "kementerian-b")
        ]
    async with store.transaction() as ledger:
        numbers += [await open_and_end(ledger, agency) for agency in ("JKR", "kementerian-a", "")]

    assert numbers == ["JKR-01", "JKR-02", "NOC-01", "KEMEN-01", "KEMEN-02", "JKR-03", "KEMEN-03", "NOC-02"]


async def test_the_hundredth_incident_has_three_digits(store: Store) -> None:
    async with store.transaction() as ledger:
        numbers = [await open_and_end(ledger, "jkr") for _ in range(100)]

    assert numbers[-2:] == ["JKR-99", "JKR-100"]


# -- states only go forward ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", AttemptState)
async def test_a_late_report_never_takes_an_attempt_back(store: Store, first: AttemptState) -> None:
    for then in AttemptState:
        async with store.transaction() as ledger:
            made = await with_attempt(ledger, f"{first}-{then}")
            assert await ledger.save_attempt(replace(made, state=first, detail="first"))
            written = await ledger.save_attempt(replace(made, state=then, detail="then"))
            after = await stored(ledger, made.reference)

        # A failure that is reported after the arrival: providers' reports overtake each other.
        arrived = first is AttemptState.DELIVERED and then is AttemptState.FAILED
        assert written is (RANK[then] >= RANK[first] and not arrived)
        assert (after.state, after.detail) == ((then, "then") if written else (first, "first"))


async def test_an_attempt_that_is_not_there_cannot_be_written(store: Store) -> None:
    async with store.transaction() as ledger:
        made = await with_attempt(ledger)

        assert not await ledger.save_attempt(replace(made, id=made.id + 1))


# -- everything comes back as it went in -----------------------------------------------------------------------------

MALAYSIA = timezone(timedelta(hours=8))
LATER = datetime(2027, 1, 1, 7, 59, 59, 999999, tzinfo=MALAYSIA)

WHOLE_OFFICE = Office(
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
    announcement=AnnouncementPlan(
        recipients=BRIEF.announcement.recipients, automatic=True, offered_after=timedelta(seconds=90, microseconds=5)
    ),
)


def test_the_examples_below_leave_nothing_at_its_default() -> None:
    # A field that is added later and not stored would go unnoticed here.
    default = Office(short="", name="", domain="")
    assert all(getattr(WHOLE_OFFICE, f.name) != getattr(default, f.name) for f in fields(Office))


async def test_an_incident_comes_back_with_everything_frozen_into_it(store: Store) -> None:
    event = replace(trigger(Matter.SENDING, brief=WHOLE_BRIEF), began_at=LATER - MINUTE, at=LATER)
    async with store.transaction() as ledger:
        opened = await ledger.add_incident(event)
    async with store.transaction() as ledger:
        assert await ledger.incident(opened.id) == opened
        assert await ledger.open_incident("JCM") == opened
    assert opened.brief == WHOLE_BRIEF
    assert (opened.began_at, opened.opened_at, opened.since) == (LATER - MINUTE, LATER, LATER)


async def test_every_change_of_an_incident_comes_back(store: Store) -> None:
    async with store.transaction() as ledger:
        opened = await ledger.add_incident(trigger())
        changed = replace(
            opened,
            matter=Matter.BOTH,
            state=IncidentState.RESOLVED,
            position=Position(wave=1, round=2, step=3, since=LATER),
            since=LATER + 1 * MINUTE,
            acknowledged_at=LATER + 2 * MINUTE,
            acknowledged_by="Siti Contoh",
            released_at=LATER + 3 * MINUTE,
            released_by="Ravi Contoh",
            resolved_at=LATER + 4 * MINUTE,
            ended_at=LATER + 5 * MINUTE,
        )
        await ledger.save_incident(changed)
    async with store.transaction() as ledger:
        back = await ledger.incident(opened.id)
    assert back == changed


async def test_a_notice_comes_back_with_all_that_words_and_pages_need(store: Store) -> None:
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
        matter=Matter.RECEIVING,
        office=WHOLE_OFFICE,
        number="JCM-01",
        began_at=T0,
        noticed_at=T0 + MINUTE,
        first_noticed_at=T0 + 2 * MINUTE,
        ended_at=LATER,
        subject="peti rujukan A",
        subject_en="reference mailbox A",
    )
    wanted = Draft(
        key="1/announcement/0.0.0/recovery/kementerian/letter",
        plan=Plan.ANNOUNCEMENT,
        purpose=Purpose.RECOVERY,
        person="kementerian",
        language=Language.ENGLISH,
        facts=told,
        expires_at=LATER,
        addresses=(LETTER, Address(channel=Channel.VOICE, number="+60380000000", extension="W1234#")),
        addressee=addressee,
        wave=1,
        round=2,
        step=3,
    )
    async with store.transaction() as ledger:
        opened = await ledger.add_incident(trigger())
        await ledger.add_notice(opened, wanted, T0 + 9 * MINUTE)
        (notice,) = await ledger.notices(opened.id)
        await ledger.add_delivery(notice.id, wanted.addresses[1])
        notice = await ledger.notice(notice.id)

    for field in fields(Draft):
        assert getattr(notice, field.name) == getattr(wanted, field.name), field.name
    assert (notice.incident_id, notice.state, notice.created_at) == (opened.id, NoticeState.PENDING, T0 + 9 * MINUTE)
    assert [d.address for d in notice.deliveries] == [wanted.addresses[1]]


async def test_every_change_of_an_attempt_comes_back(store: Store) -> None:
    async with store.transaction() as ledger:
        made = await with_attempt(ledger)
        changed = replace(
            made,
            state=AttemptState.FAILED,
            look_at=LATER,
            asked=4,
            provider_id="SM1",
            error=ErrorClass.CONFIGURATION,
            code="21606",
            detail="the sender isn't ours; 'DROP TABLE attempt'",
            ended_at=LATER + MINUTE,
        )
        await ledger.save_attempt(changed)
    async with store.transaction() as ledger:
        assert await stored(ledger, made.reference) == changed


async def test_moments_come_back_aware_and_in_utc_wherever_they_were_said(store: Store) -> None:
    async with store.transaction() as ledger:
        opened = await ledger.add_incident(replace(trigger(), at=LATER))
        back = await ledger.incident(opened.id)

    assert back is not None
    assert back.opened_at == LATER
    assert back.opened_at.tzinfo is UTC


async def test_a_moment_without_a_zone_is_refused(store: Store) -> None:
    naive = replace(trigger(), at=T0.replace(tzinfo=None))
    with pytest.raises(Exception, match="has no time zone"):
        async with store.transaction() as ledger:
            await ledger.add_incident(naive)


async def test_notices_deliveries_and_attempts_come_in_the_order_in_which_they_were_written(store: Store) -> None:
    async with store.transaction() as ledger:
        opened = await ledger.add_incident(trigger())
        for key in ("c", "a", "b"):
            await ledger.add_notice(opened, draft(opened, key), T0)
        notice = (await ledger.notices(opened.id))[0]
        for address in (VOICE_SITI, SMS_SITI):
            await ledger.add_delivery(notice.id, address)
            notice = await ledger.notice(notice.id)
            for _ in range(11):
                await ledger.add_attempt(notice.deliveries[-1], "first", T0, look_at=T0)
                notice = await ledger.notice(notice.id)
        keys = [n.key for n in await ledger.notices(opened.id)]

    assert keys == ["c", "a", "b"]
    assert [d.address for d in notice.deliveries] == [VOICE_SITI, SMS_SITI]
    assert [[a.n for a in d.attempts] for d in notice.deliveries] == [list(range(1, 12))] * 2


async def test_what_is_not_there_is_not_found(store: Store) -> None:
    async with store.transaction() as ledger:
        assert await ledger.incident(7) is None
        assert await ledger.open_incident("JCM") is None
        assert await ledger.attempt("p7-1-0") is None
        assert await ledger.notices(7) == []
        with pytest.raises(LookupError):
            await ledger.notice(7)


# -- what is still to be done ----------------------------------------------------------------------------------------


async def test_an_incident_is_active_until_nothing_more_is_owed(store: Store) -> None:
    async with store.transaction() as ledger:
        ids = [(await ledger.add_incident(replace(trigger(), dedup_key=key))).id for key in "abc"]
        opened = await ledger.incident(ids[1])
        assert opened is not None
        await ledger.save_incident(apply(opened, Resolve(dedup_key="b", at=T0, ended_at=T0)))
        assert await ledger.active_incidents() == ids

        await ledger.put_to_rest(ids[1])
    async with store.transaction() as ledger:
        assert await ledger.active_incidents() == [ids[0], ids[2]]
        assert (await ledger.incident(ids[1])) is not None


async def test_only_calls_that_were_cut_off_become_due_for_a_question(store: Store) -> None:
    now = T0 + timedelta(seconds=5)
    async with store.transaction() as ledger:
        made = {}
        for state in AttemptState:
            made[state] = await with_attempt(ledger, state)
            await ledger.save_attempt(replace(made[state], state=state))

        assert await ledger.orphan_calls(now) == 1
        for state, before in made.items():
            after = await stored(ledger, before.reference)
            assert after.look_at == (now if state is AttemptState.CALLING else T0 + MINUTE)
            assert after.state is state


async def test_a_notice_keeps_the_state_that_was_last_written(store: Store) -> None:
    async with store.transaction() as ledger:
        notice = await with_notice(ledger)
        for state in NoticeState:
            await ledger.settle(notice.id, state)
            assert (await ledger.notice(notice.id)).state is state


async def test_the_journal_takes_what_it_is_given(store: Store) -> None:
    async with store.transaction() as ledger:
        await ledger.journal(Entry(at=T0, actor="engine", event="started"))
        await ledger.journal(
            Entry(at=LATER, actor="Siti", event="x", incident_id=1, notice_id=2, detail={"channel": Channel.SMS})
        )
