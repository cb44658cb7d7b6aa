"""A long outage, told as stories: who was told of it hears whether it lasts, and how."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from alerts.gateways.tray import LetterPlace
from alerts.hours.calendar import Calendar
from alerts.hours.office_hours import OfficeHours
from alerts.model.channel import Channel
from alerts.model.contact import Address, Contact, Recipient
from alerts.model.contradiction import Contradiction
from alerts.model.delivery import Notification
from alerts.model.event import Acknowledge, Escalate
from alerts.model.notification import IncidentType, Purpose
from alerts.model.oncall import Rota
from alerts.model.policy_snapshot import AnnouncementPlan, EscalationPolicy, PolicySnapshot, Step
from monitor.config.fields.window import MALAYSIA
from pantau_lab.faxservice.machine import FaxBehaviour
from tests.integration.alerts.test_escalation_story import BY_SMS, told_by
from tests.integration.alerts.test_on_call_story import DAILY
from tests.integration.alerts.town import MEI, Town
from tests.unit.alerts.people import BRIEF, FAX, LONG, MINISTRY, MINUTE, RAVI, SECOND, trigger

pytestmark = pytest.mark.story

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
OFFICE = OfficeHours(calendar=Calendar(), zone=MALAYSIA)
REFERRED = replace(BRIEF.office, reference="JCM.100-1/9/1")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=MALAYSIA)


def outside(*recipients: Recipient, agency: str = "JCM") -> PolicySnapshot:
    """Return a plan that tells Siti, and these outside, again on each working day."""
    plan = AnnouncementPlan(recipients=recipients or (MINISTRY,), updates=OFFICE)
    office = replace(REFERRED, short=agency, name=BRIEF.office.name if agency == "JCM" else f"Agensi {agency}")
    return replace(told_by(BY_SMS, announcement=plan), agency=agency, office=office)


async def released(town: Town, moment: datetime, brief: PolicySnapshot | None = None) -> None:
    """Let an outage be told to Siti, and be released at once."""
    town.clock.moment = moment
    await town.submit(trigger(brief=brief or outside(), at=moment))
    await town.siti.gets("AMARAN")
    await town.release()


async def until(town: Town, moment: datetime) -> None:
    await town.later(moment - town.clock.moment)


async def post(town: Town, number: int = -1) -> Notification:
    """Let the clerk post a letter; return it."""
    letter = [n for n in await town.notifications() if n.channel is Channel.LETTER][number]
    assert await town.posts(letter.id, "Kerani Contoh")
    await town.settle()
    return letter


async def test_on_each_working_day_an_office_hears_that_it_lasts_and_on_no_holiday(either_town: Town) -> None:
    """A recipient outside gets a follow-up each working day that cites the page before."""
    town = either_town
    # Wednesday. Friday is Christmas.
    await released(town, at("2026-12-23 14:15"))
    town.gets_fax("JCM.100-1/9/1 (JCM-01/1)")
    town.gets_letter("JCM.100-1/9/1 (JCM-01/1)")
    await until(town, at("2026-12-23 16:00"))
    await post(town)
    await town.siti.gets("HASIL")

    await until(town, at("2026-12-24 08:00") - SECOND)
    town.expect_nothing_more()
    await until(town, at("2026-12-24 08:00"))
    cites = ("(JCM-01/2)", "rujukan JCM.100-1/9/1 (JCM-01/1) bertarikh 23 Disember 2026", "24 Disember 2026")
    town.gets_fax("MAKLUMAN SUSULAN", "masih belum pulih", *cites)
    town.gets_letter("PEMAKLUMAN SUSULAN", "masih belum pulih", *cites)

    for moment in ("2026-12-25 10:00", "2026-12-26 10:00", "2026-12-27 23:59"):
        await until(town, at(moment))
        town.expect_nothing_more()
    await until(town, at("2026-12-28 08:00"))
    town.gets_fax("SUSULAN", "(JCM-01/3)", "(JCM-01/2) bertarikh 24 Disember 2026")
    # Thursday's letter lies in the tray: a clerk signs one at a time.
    town.expect_nothing_more()
    await until(town, at("2026-12-28 09:00"))
    await post(town)
    await until(town, at("2026-12-28 11:00"))

    await town.resolve()
    await town.siti.gets("PULIH")
    town.gets_fax("PEMULIHAN", "(JCM-01/4)", "(JCM-01/3) bertarikh 28 Disember 2026")
    town.gets_letter("PEMULIHAN", "(JCM-01/4)", "(JCM-01/2) bertarikh 24 Disember 2026")
    await until(town, at("2026-12-29 12:00"))


async def test_nobody_is_told_again_of_a_short_outage_or_of_one_that_was_not_released(town: Town) -> None:
    """A short or unreleased outage has no follow-up."""
    await town.submit(trigger(brief=outside()))
    await town.siti.gets("AMARAN")
    await town.later(3 * DAY)
    town.expect_nothing_more()
    await town.release()
    town.gets_fax("(JCM-01/1)")
    town.gets_letter("(JCM-01/1)")
    await town.later(11 * HOUR)
    await town.siti.gets("HASIL")
    await town.resolve()
    await town.siti.gets("PULIH")
    town.gets_fax("PEMULIHAN")
    assert town.tray_letters(LetterPlace.WITHDRAWN) == 1


async def test_what_did_not_arrive_is_not_followed_up_and_goes_on_when_it_has(town: Town) -> None:
    """A page that may not have arrived gets no follow-up until it has."""
    town.fax_service.machines[FAX.number].behaviour = FaxBehaviour.DEAD
    await released(town, at("2026-11-24 14:15"))
    town.gets_letter("(JCM-01/1)")
    await until(town, at("2026-11-24 15:00"))
    await town.siti.gets("HASIL", "0 sampai, 1 TIDAK SAMPAI")
    await until(town, at("2026-11-26 10:00"))
    town.expect_nothing_more()
    await post(town)
    # Posted this morning: tomorrow is soon enough.
    await until(town, at("2026-11-26 16:59"))
    await town.siti.gets("PERINGATAN. 1 surat bagi JCM-01 belum dipos")
    town.expect_nothing_more()
    await until(town, at("2026-11-27 08:00"))
    town.gets_letter("(JCM-01/2)")


async def test_whoever_has_no_paper_is_told_again_by_sms_and_is_not_called(town: Town) -> None:
    """A recipient without paper gets follow-ups by SMS, not by call."""
    by_phone = replace(
        MINISTRY, key="pejabat", addresses=tuple(Address(channel=c, number=MEI) for c in (Channel.VOICE, Channel.SMS))
    )
    town.mei.presses("1")
    await released(town, at("2026-11-24 14:15"), outside(by_phone))
    await town.mei.is_called("mengalami gangguan", keys="1")
    await town.mei.gets("E-mel rasmi terganggu")
    await until(town, at("2026-11-25 08:00"))
    await town.mei.gets("RM0 JCM: E-mel rasmi masih terganggu setakat 25/11, 8.00 pg", "Ruj JCM-01")
    await until(town, at("2026-11-25 20:00"))


async def test_a_restart_a_reload_and_a_second_look_change_nothing(either_town: Town) -> None:
    """A follow-up uses the plan from opening; restart and reload change nothing."""
    town = either_town
    await released(town, at("2026-11-24 14:15"))
    town.gets_fax("(JCM-01/1)")
    town.gets_letter("(JCM-01/1)")
    await post(town)
    # The configuration says now that nobody is to be told again; it was another when this one opened.
    plan = AnnouncementPlan(recipients=(MINISTRY,))
    await town.submit(trigger(brief=replace(outside(), announcement=plan), at=town.clock.now()))
    # Down from seven until half past nine.
    await until(town, at("2026-11-25 07:00"))
    town.clock.moment = at("2026-11-25 09:30")
    town.restart()
    await town.settle()
    town.gets_fax("(JCM-01/2)", "pukul 9.30 pagi")
    town.gets_letter("(JCM-01/2)")
    for _ in range(3):
        town.restart()
        await town.later(MINUTE)
    town.expect_nothing_more()
    # Down over the evening: at night nobody is faxed.
    town.clock.moment = at("2026-11-26 20:00")
    town.restart()
    await town.settle()
    town.expect_nothing_more()
    await until(town, at("2026-11-27 08:00"))
    town.gets_fax("(JCM-01/3)")


async def test_a_silence_stops_it_and_a_follow_up_that_waits_is_withdrawn_by_the_end(town: Town) -> None:
    """A silence stops follow-ups; the end of the outage withdraws waiting ones."""
    await released(town, at("2026-11-24 14:15"))
    town.gets_fax("(JCM-01/1)")
    town.gets_letter("(JCM-01/1)")
    await post(town)
    async with town.store_itself.transaction() as uow:
        begins = town.clock.now()
        await uow.add_silence("JCM", begins, begins + DAY, reason="vendor bekerja", by="Siti Contoh")
    await until(town, at("2026-11-25 12:00"))
    town.expect_nothing_more()
    await until(town, at("2026-11-25 14:30"))
    town.gets_fax("(JCM-01/2)")
    town.gets_letter("(JCM-01/2)")
    await town.resolve()
    await town.siti.gets("PULIH")
    town.gets_fax("PEMULIHAN", "(JCM-01/3)")
    # The follow-up was not posted: it is taken back, and the recovery cites what was.
    town.gets_letter("PEMULIHAN", "(JCM-01/3)", "(JCM-01/1) bertarikh 24 November 2026")
    assert town.tray_letters(LetterPlace.WITHDRAWN) == 1


async def test_after_a_false_alarm_the_correction_cites_the_first_and_nothing_follows(town: Town) -> None:
    """After a false alarm only the correction follows."""
    await released(town, at("2026-11-24 14:15"))
    town.gets_fax("(JCM-01/1)")
    town.gets_letter("(JCM-01/1)")
    await until(town, at("2026-11-25 08:00"))
    town.gets_fax("(JCM-01/2)")
    await town.facade.mark_false_alarm(
        "JCM-01", "Siti Contoh", "pelayan rujukan silap", despite=Contradiction.STILL_FAILS
    )
    await town.settle()
    await town.siti.gets("PEMBETULAN")
    town.gets_fax("PEMBETULAN", "(JCM-01/3)", "(JCM-01/1) bertarikh 24 November 2026")
    await until(town, at("2026-11-26 12:00"))
    assert [n.purpose for n in await town.notifications() if n.channel is Channel.LETTER] == [Purpose.OUTAGE]


async def test_of_many_agencies_an_office_hears_by_two_faxes_a_day(town: Town) -> None:
    """In a mass outage an office gets two faxes a day."""
    by_fax = replace(MINISTRY, addresses=(FAX,))
    town.clock.moment = at("2026-11-24 14:15")
    for agency in ("JCM", "MDC", "UCM"):
        brief = outside(by_fax, agency=agency)
        await town.submit(trigger(brief=brief, at=town.clock.now()))
    await town.siti.gets("JCM-01")
    for incident_id in (1, 2, 3):
        await town.release(incident_id)
    town.gets_fax("JCM-01")
    await town.advance(2 * MINUTE)
    await town.siti.gets("2 agensi")
    town.gets_fax("MDC-01", "UCM-01")
    await until(town, at("2026-11-25 08:00"))
    town.gets_fax("SUSULAN", "JCM-01")
    await town.advance(2 * MINUTE)
    town.gets_fax("SENARAI SUSULAN", "MDC-01", "UCM-01")
    await town.later(6 * HOUR)


# -- something else is wrong by now ----------------------------------------------------------------------------------


async def becomes(town: Town, matter: IncidentType, brief: PolicySnapshot | None = None) -> None:
    """Let the probers tell that something else is wrong now."""
    now = town.clock.now()
    await town.submit(replace(trigger(matter, now, brief or outside()), began_at=now - MINUTE))


async def told_of_both(town: Town, moment: str = "2026-11-24 14:15") -> None:
    await released(town, at(moment))
    town.gets_fax("(JCM-01/1)", "tidak dapat dihantar dan diterima")
    town.gets_letter("(JCM-01/1)")
    await post(town)


async def test_that_sending_works_again_and_receiving_not_is_told_once_it_has_lasted(either_town: Town) -> None:
    """A partial recovery is reported to staff and outside once it has lasted."""
    town = either_town
    await told_of_both(town)
    await town.later(HOUR)
    await town.siti.gets("HASIL")
    await becomes(town, IncidentType.RECEIVING)
    await town.later(10 * MINUTE - SECOND)
    town.expect_nothing_more()
    await town.later(SECOND)
    await town.siti.gets("RM0 JCM ICT: PERUBAHAN. E-mel keluar kini berfungsi. E-mel masuk GAGAL", "JCM-01")
    await town.later(20 * MINUTE - SECOND)
    town.expect_nothing_more()
    await town.later(SECOND)
    cites = ("(JCM-01/2)", "(JCM-01/1) bertarikh 24 November 2026", "JCM dapat menghantar e-mel rasmi")
    town.gets_fax("PERUBAHAN KEADAAN", *cites)
    town.gets_letter("PERUBAHAN KEADAAN", *cites)
    await post(town)
    # The next day it is still so.
    await until(town, at("2026-11-25 08:00"))
    town.gets_fax("MAKLUMAN SUSULAN", "(JCM-01/3)", "tidak dapat menerima e-mel", "(JCM-01/2)")
    town.gets_letter("MAKLUMAN SUSULAN", "(JCM-01/3)", "tidak dapat menerima e-mel", "(JCM-01/2)")

    await town.resolve()
    await town.siti.gets("PULIH")
    town.gets_fax("PEMULIHAN", "(JCM-01/4)")
    town.gets_letter("PEMULIHAN", "(JCM-01/4)", "(JCM-01/2)")


async def test_what_gets_worse_is_told_to_whoever_has_it_too(town: Town) -> None:
    """A worsening is reported to the assignee too."""
    town.clock.moment = at("2026-11-24 14:15")
    await town.submit(trigger(IncidentType.SENDING, brief=outside(), at=town.clock.now()))
    await town.siti.gets("E-mel keluar gagal", "Balas 1A")
    await town.siti.replies("1A")
    await becomes(town, IncidentType.BOTH)
    await town.later(10 * MINUTE)
    await town.siti.gets("PERUBAHAN. E-mel keluar dan e-mel masuk kini GAGAL")
    # Not announced yet: what is released then is what is true then.
    await town.release()
    town.gets_fax("(JCM-01/1)", "tidak dapat dihantar dan diterima")
    town.gets_letter("(JCM-01/1)")
    await town.later(2 * HOUR)
    await town.siti.gets("HASIL")


async def test_what_changes_to_and_fro_is_told_to_nobody(town: Town) -> None:
    """A change that alternates is reported to nobody."""
    await told_of_both(town)
    for matter in (IncidentType.RECEIVING, IncidentType.BOTH, IncidentType.SENDING, IncidentType.BOTH):
        await town.later(9 * MINUTE)
        await becomes(town, matter)
    await town.siti.gets("HASIL")
    await town.later(3 * HOUR)


async def test_of_slowness_in_the_end_staff_hear_alone_and_nobody_outside_that_it_still_lasts(town: Town) -> None:
    """Slow mail at the end of an outage is reported to staff only."""
    await told_of_both(town)
    await becomes(town, IncidentType.DEGRADED)
    await town.later(10 * MINUTE)
    await town.siti.gets("PERUBAHAN. E-mel kini berfungsi tetapi lambat")
    await until(town, at("2026-11-26 12:00"))
    town.expect_nothing_more()
    await becomes(town, IncidentType.SENDING)
    await town.later(30 * MINUTE)
    await town.siti.gets("PERUBAHAN. E-mel masuk kini berfungsi. E-mel keluar GAGAL")
    town.gets_fax("PERUBAHAN KEADAAN", "JCM tidak dapat menghantar e-mel rasmi")
    town.gets_letter("PERUBAHAN KEADAAN", "JCM tidak dapat menghantar e-mel rasmi")


async def test_a_restart_in_the_middle_of_a_change_doubles_and_loses_nothing(either_town: Town) -> None:
    """A restart during a change reports it once."""
    town = either_town
    await told_of_both(town)
    await becomes(town, IncidentType.SENDING)
    await town.later(9 * MINUTE)
    town.restart()
    await becomes(town, IncidentType.SENDING)
    await town.later(MINUTE)
    await town.siti.gets("PERUBAHAN")
    town.clock.moment += 50 * MINUTE
    town.restart()
    await town.settle()
    town.gets_fax("PERUBAHAN KEADAAN")
    await town.siti.gets("HASIL")
    town.gets_letter("PERUBAHAN KEADAAN")
    for _ in range(3):
        town.restart()
        await becomes(town, IncidentType.SENDING)
        await town.later(20 * MINUTE)


async def test_after_a_silence_what_has_changed_is_told(town: Town) -> None:
    """A change during a silence is reported when the silence ends."""
    await told_of_both(town)
    async with town.store_itself.transaction() as uow:
        begins = town.clock.now()
        await uow.add_silence("JCM", begins, begins + 2 * HOUR, reason="vendor bekerja", by="Siti Contoh")
    await becomes(town, IncidentType.RECEIVING)
    await town.later(2 * HOUR - SECOND)
    await town.siti.gets("HASIL")  # What was released goes out, and comes to something, all the same.
    town.expect_nothing_more()
    await town.later(SECOND)
    await town.siti.gets("PERUBAHAN")
    town.gets_fax("PERUBAHAN KEADAAN")
    town.gets_letter("PERUBAHAN KEADAAN")


# -- the duty is handed over -----------------------------------------------------------------------------------------


def duty(*steps: Step, rota: Rota = DAILY, fallback: Contact | None = None) -> PolicySnapshot:
    """Return a plan whose first step tells whoever is on call; nobody outside."""
    first = Step(after=timedelta(0), rotas=(rota.name,), channels=(Channel.SMS,))
    policy = EscalationPolicy(
        steps=(first, *steps),
        rounds=1,
        repeat_interval=LONG,
        rotas=(rota,),
        fallback=fallback,
        acknowledgement_timeout=LONG,
    )
    return replace(outside(), escalation=policy, announcement=AnnouncementPlan())


async def in_the_night(town: Town, brief: PolicySnapshot | None = None) -> None:
    """Let Siti, who has the duty of the 24th, be told of an outage at two in the morning."""
    town.clock.moment = at("2026-11-25 02:00")
    await town.submit(trigger(brief=brief or duty(), at=town.clock.moment))
    await town.siti.gets("AMARAN", "Balas 1A")


async def test_whoever_comes_on_duty_hears_of_what_is_open_and_takes_it_on(either_town: Town) -> None:
    """Whoever comes on duty is told of open incidents and can acknowledge them."""
    town = either_town
    await in_the_night(town)
    await until(town, at("2026-11-25 08:00") - SECOND)
    town.expect_nothing_more()
    await until(town, at("2026-11-25 08:00"))
    await town.ravi.gets(
        "RM0 JCM ICT: SERAH TUGAS",
        "MASIH GAGAL sejak 25/11, 1.59 pg",
        "Belum disahkan",
        "Balas 1A untuk sahkan",
        "JCM-01",
    )
    assert "telah disahkan oleh Ravi Contoh" in await town.ravi.replies("1A")
    await town.siti.gets("JCM-01 telah disahkan oleh Ravi Contoh")
    # A day later it is still Ravi's, and Siti has the duty again.
    await until(town, at("2026-11-26 08:00"))
    await town.siti.gets("SERAH TUGAS", "Disahkan oleh Ravi Contoh 25/11, 8.00 pg")
    await town.resolve()
    await town.siti.gets("PULIH")
    await town.ravi.gets("PULIH")
    await until(town, at("2026-11-27 12:00"))


async def test_whoever_comes_on_duty_takes_it_over_from_whoever_had_it(either_town: Town) -> None:
    """Whoever comes on duty takes the incident over from the assignee."""
    town = either_town
    await in_the_night(town)
    await town.siti.replies("1A")
    await until(town, at("2026-11-25 08:00"))
    await town.ravi.gets("SERAH TUGAS", "Disahkan oleh Siti", "Balas 1A ambil alih")
    assert "telah disahkan oleh Ravi Contoh" in await town.ravi.replies("1A")
    await town.siti.gets("JCM-01 telah disahkan oleh Ravi Contoh")
    # She answers an old SMS, and takes nothing back.
    assert "telah disahkan lebih awal oleh Ravi Contoh" in await town.siti.replies("1A")
    assert (await town.incident()).acknowledged_by == "Ravi Contoh"
    journal = await town.journal()
    by_whom = ("incident acknowledged", "incident taken over")
    assert [journal.count(each) for each in by_whom] == [1, 1], "by whom is on record"
    await town.resolve()
    await town.siti.gets("PULIH")
    await town.ravi.gets("PULIH")


async def test_what_a_third_took_on_meanwhile_is_not_taken_over(town: Town) -> None:
    """An incident that a third person acknowledged meanwhile is not taken over."""
    await in_the_night(town)
    await town.siti.replies("1A")
    await until(town, at("2026-11-25 08:00"))
    await town.ravi.gets("SERAH TUGAS", "Disahkan oleh Siti")
    await town.submit(Escalate(incident_id=1, at=town.clock.now(), by="Siti Contoh"))
    await town.submit(Acknowledge(incident_id=1, at=town.clock.now(), by="Puan NOC Contoh"))
    await town.settle()
    while town.siti.waits:
        await town.siti.gets()
    while town.ravi.waits:
        await town.ravi.gets()

    assert "telah disahkan lebih awal oleh Puan NOC Contoh" in await town.ravi.replies("1A")
    assert (await town.incident()).acknowledged_by == "Puan NOC Contoh"


async def test_a_restart_over_the_handover_tells_once_and_nobody_twice(either_town: Town) -> None:
    """A restart during the handover notifies once."""
    town = either_town
    await in_the_night(town)
    town.clock.moment = at("2026-11-25 09:40")
    town.restart()
    await town.settle()
    await town.ravi.gets("SERAH TUGAS")
    for _ in range(3):
        town.restart()
        await town.later(HOUR)
    town.expect_nothing_more()


async def test_who_has_taken_it_on_and_comes_on_duty_is_told_nothing(town: Town) -> None:
    """An assignee who comes on duty is not notified."""
    await in_the_night(town, duty(Step(after=10 * MINUTE, contacts=(RAVI,), channels=(Channel.SMS,))))
    await town.later(10 * MINUTE)
    await town.ravi.gets("AMARAN", "Balas 1A")
    await town.ravi.replies("1A")
    await town.siti.gets("JCM-01 telah disahkan oleh Ravi Contoh")
    await until(town, at("2026-11-25 12:00"))


async def test_whoever_stands_in_hears_of_it_and_whoever_comes_back_does(town: Town) -> None:
    """Substitutes are told of open incidents, and so is whoever returns."""
    mei = replace(RAVI, key="mei", name="Mei Contoh", addresses=(Address(channel=Channel.SMS, number=MEI),))
    async with town.store_itself.transaction() as uow:
        begins, ends = at("2026-11-25 04:00"), at("2026-11-25 06:00")
        await uow.duty.add(
            rota=DAILY.name, contact=mei, begins=begins, ends=ends, by="Pegawai Contoh", now=town.clock.now()
        )
    await in_the_night(town)
    await until(town, at("2026-11-25 04:00"))
    await town.mei.gets("SERAH TUGAS", "Balas 1A")
    assert "telah disahkan oleh Mei Contoh" in await town.mei.replies("1A")
    await town.siti.gets("JCM-01 telah disahkan oleh Mei Contoh")
    await until(town, at("2026-11-25 06:00"))
    await town.siti.gets("SERAH TUGAS", "Disahkan oleh Mei Contoh")
    await until(town, at("2026-11-25 08:00"))
    await town.ravi.gets("SERAH TUGAS", "Disahkan oleh Mei Contoh")


async def test_whoever_came_on_duty_hears_who_takes_it_on_and_that_it_is_over(town: Town) -> None:
    """Whoever came on duty is told who acknowledged, and of the end."""
    await in_the_night(town)
    await until(town, at("2026-11-25 08:00"))
    await town.ravi.gets("SERAH TUGAS")
    await town.siti.replies("1A")
    await town.ravi.gets("JCM-01 telah disahkan oleh Siti Contoh")
    await town.resolve()
    await town.siti.gets("PULIH")
    await town.ravi.gets("PULIH")


async def test_a_silence_keeps_the_handover_quiet_and_its_end_tells_of_it(town: Town) -> None:
    """A silence suppresses the handover notification until it ends."""
    await in_the_night(town)
    async with town.store_itself.transaction() as uow:
        begins = town.clock.now()
        await uow.add_silence("JCM", begins, at("2026-11-25 10:00"), reason="vendor bekerja", by="Siti Contoh")
    await until(town, at("2026-11-25 09:00"))
    town.expect_nothing_more()
    await until(town, at("2026-11-25 10:00"))
    await town.ravi.gets("SERAH TUGAS")


async def test_of_many_incidents_whoever_comes_on_duty_hears_by_two_sms(town: Town) -> None:
    """Many open incidents are reported to whoever comes on duty in two SMS."""
    town.clock.moment = at("2026-11-25 02:00")
    for agency in ("JCM", "MDC", "UCM"):
        brief = replace(duty(), agency=agency, office=replace(REFERRED, short=agency, name=f"Agensi {agency}"))
        await town.submit(trigger(brief=brief, at=town.clock.now()))
    await town.siti.gets("JCM")
    await town.advance(2 * MINUTE)
    await town.siti.gets("2 agensi")
    await until(town, at("2026-11-25 08:00"))
    await town.ravi.gets("SERAH TUGAS", "JCM-01")
    await town.advance(2 * MINUTE)
    await town.ravi.gets("SERAH TUGAS. 2 insiden MASIH TERBUKA: MDC, UCM", "Balas 2A")
    assert "MDC-01 (+1) telah disahkan" in await town.ravi.replies("2A")
    await town.siti.gets("MDC-01 telah disahkan")
    await town.advance(2 * MINUTE)
    await town.siti.gets("UCM-01 telah disahkan")
