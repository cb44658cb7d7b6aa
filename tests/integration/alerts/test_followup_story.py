"""A long outage: follow-ups, changes of type, and handover to the next officer."""

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
from tests.integration.alerts.simulated_env import MEI, SimulatedEnv
from tests.integration.alerts.test_escalation_story import BY_SMS, told_by
from tests.integration.alerts.test_on_call_story import DAILY
from tests.unit.alerts.people import FAX, LONG, MINISTRY, MINUTE, RAVI, SECOND, SNAPSHOT, trigger

pytestmark = pytest.mark.story

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
OFFICE = OfficeHours(calendar=Calendar(), zone=MALAYSIA)
REFERRED = replace(SNAPSHOT.office, reference="JCM.100-1/9/1")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=MALAYSIA)


def outside(*recipients: Recipient, agency: str = "JCM") -> PolicySnapshot:
    """Return a policy that notifies Siti, and follows up with these recipients each workday."""
    plan = AnnouncementPlan(recipients=recipients or (MINISTRY,), updates=OFFICE)
    office = replace(REFERRED, short=agency, name=SNAPSHOT.office.name if agency == "JCM" else f"Agensi {agency}")
    return replace(told_by(BY_SMS, announcement=plan), agency=agency, office=office)


async def released(env: SimulatedEnv, moment: datetime, snapshot: PolicySnapshot | None = None) -> None:
    """Notify Siti of an outage that is released at once."""
    env.clock.moment = moment
    await env.submit(trigger(snapshot=snapshot or outside(), at=moment))
    await env.siti.gets("AMARAN")
    await env.release()


async def until(env: SimulatedEnv, moment: datetime) -> None:
    await env.later(moment - env.clock.moment)


async def post(env: SimulatedEnv, number: int = -1) -> Notification:
    """Record that the clerk posted a letter; return it."""
    letter = [n for n in await env.notifications() if n.channel is Channel.LETTER][number]
    assert await env.posts(letter.id, "Kerani Contoh")
    await env.settle()
    return letter


async def test_followup_is_sent_each_workday_and_not_on_holidays(either_env: SimulatedEnv) -> None:
    """A recipient outside gets a follow-up each working day that cites the page before."""
    env = either_env
    # A Wednesday. Friday is Christmas.
    await released(env, at("2026-12-23 14:15"))
    env.gets_fax("JCM.100-1/9/1 (JCM-01/1)")
    env.gets_letter("JCM.100-1/9/1 (JCM-01/1)")
    await until(env, at("2026-12-23 16:00"))
    await post(env)
    await env.siti.gets("HASIL")

    await until(env, at("2026-12-24 08:00") - SECOND)
    env.expect_nothing_more()
    await until(env, at("2026-12-24 08:00"))
    cites = ("(JCM-01/2)", "rujukan JCM.100-1/9/1 (JCM-01/1) bertarikh 23 Disember 2026", "24 Disember 2026")
    env.gets_fax("MAKLUMAN SUSULAN", "masih belum pulih", *cites)
    env.gets_letter("PEMAKLUMAN SUSULAN", "masih belum pulih", *cites)

    for moment in ("2026-12-25 10:00", "2026-12-26 10:00", "2026-12-27 23:59"):
        await until(env, at(moment))
        env.expect_nothing_more()
    await until(env, at("2026-12-28 08:00"))
    env.gets_fax("SUSULAN", "(JCM-01/3)", "(JCM-01/2) bertarikh 24 Disember 2026")
    # Thursday's letter is in the tray: a clerk signs one at a time.
    env.expect_nothing_more()
    await until(env, at("2026-12-28 09:00"))
    await post(env)
    await until(env, at("2026-12-28 11:00"))

    await env.resolve()
    await env.siti.gets("PULIH")
    env.gets_fax("PEMULIHAN", "(JCM-01/4)", "(JCM-01/3) bertarikh 28 Disember 2026")
    env.gets_letter("PEMULIHAN", "(JCM-01/4)", "(JCM-01/2) bertarikh 24 Disember 2026")
    await until(env, at("2026-12-29 12:00"))


async def test_short_or_unreleased_outage_has_no_followup(env: SimulatedEnv) -> None:
    """A short or unreleased outage has no follow-up."""
    await env.submit(trigger(snapshot=outside()))
    await env.siti.gets("AMARAN")
    await env.later(3 * DAY)
    env.expect_nothing_more()
    await env.release()
    env.gets_fax("(JCM-01/1)")
    env.gets_letter("(JCM-01/1)")
    await env.later(11 * HOUR)
    await env.siti.gets("HASIL")
    await env.resolve()
    await env.siti.gets("PULIH")
    env.gets_fax("PEMULIHAN")
    assert env.tray_letters(LetterPlace.WITHDRAWN) == 1


async def test_undelivered_page_gets_followup_only_once_delivered(env: SimulatedEnv) -> None:
    """A page that may not have arrived gets no follow-up until it has."""
    env.fax_service.machines[FAX.number].behaviour = FaxBehaviour.DEAD
    await released(env, at("2026-11-24 14:15"))
    env.gets_letter("(JCM-01/1)")
    await until(env, at("2026-11-24 15:00"))
    await env.siti.gets("HASIL", "0 sampai, 1 TIDAK SAMPAI")
    await until(env, at("2026-11-26 10:00"))
    env.expect_nothing_more()
    await post(env)
    # Posted this morning, so the follow-up is due tomorrow.
    await until(env, at("2026-11-26 16:59"))
    await env.siti.gets("PERINGATAN. 1 surat bagi JCM-01 belum dipos")
    env.expect_nothing_more()
    await until(env, at("2026-11-27 08:00"))
    env.gets_letter("(JCM-01/2)")


async def test_recipient_without_paper_gets_followup_by_sms_not_call(env: SimulatedEnv) -> None:
    """A recipient without paper gets follow-ups by SMS, not by call."""
    by_phone = replace(
        MINISTRY, key="pejabat", addresses=tuple(Address(channel=c, number=MEI) for c in (Channel.VOICE, Channel.SMS))
    )
    env.mei.presses("1")
    await released(env, at("2026-11-24 14:15"), outside(by_phone))
    await env.mei.is_called("mengalami gangguan", keys="1")
    await env.mei.gets("E-mel rasmi terganggu")
    await until(env, at("2026-11-25 08:00"))
    await env.mei.gets("RM0 JCM: E-mel rasmi masih terganggu setakat 25/11, 8.00 pg", "Ruj JCM-01")
    await until(env, at("2026-11-25 20:00"))


async def test_restart_and_reload_do_not_change_followup(either_env: SimulatedEnv) -> None:
    """A follow-up uses the plan from opening; restart and reload change nothing."""
    env = either_env
    await released(env, at("2026-11-24 14:15"))
    env.gets_fax("(JCM-01/1)")
    env.gets_letter("(JCM-01/1)")
    await post(env)
    # The configuration has no follow-ups now; it had them when this incident opened.
    plan = AnnouncementPlan(recipients=(MINISTRY,))
    await env.submit(trigger(snapshot=replace(outside(), announcement=plan), at=env.clock.now()))
    # Stopped from seven until half past nine.
    await until(env, at("2026-11-25 07:00"))
    env.clock.moment = at("2026-11-25 09:30")
    env.restart()
    await env.settle()
    env.gets_fax("(JCM-01/2)", "pukul 9.30 pagi")
    env.gets_letter("(JCM-01/2)")
    for _ in range(3):
        env.restart()
        await env.later(MINUTE)
    env.expect_nothing_more()
    # Stopped over the evening: at night no fax is sent.
    env.clock.moment = at("2026-11-26 20:00")
    env.restart()
    await env.settle()
    env.expect_nothing_more()
    await until(env, at("2026-11-27 08:00"))
    env.gets_fax("(JCM-01/3)")


async def test_silence_stops_followup_and_recovery_withdraws_waiting_one(env: SimulatedEnv) -> None:
    """A silence stops follow-ups; the end of the outage withdraws waiting ones."""
    await released(env, at("2026-11-24 14:15"))
    env.gets_fax("(JCM-01/1)")
    env.gets_letter("(JCM-01/1)")
    await post(env)
    async with env.real_store.transaction() as uow:
        begins = env.clock.now()
        await uow.add_silence("JCM", begins, begins + DAY, reason="vendor bekerja", by="Siti Contoh")
    await until(env, at("2026-11-25 12:00"))
    env.expect_nothing_more()
    await until(env, at("2026-11-25 14:30"))
    env.gets_fax("(JCM-01/2)")
    env.gets_letter("(JCM-01/2)")
    await env.resolve()
    await env.siti.gets("PULIH")
    env.gets_fax("PEMULIHAN", "(JCM-01/3)")
    # The unposted follow-up is withdrawn, and the recovery cites the posted letter.
    env.gets_letter("PEMULIHAN", "(JCM-01/3)", "(JCM-01/1) bertarikh 24 November 2026")
    assert env.tray_letters(LetterPlace.WITHDRAWN) == 1


async def test_correction_after_false_alarm_cites_first_page_and_ends_followup(env: SimulatedEnv) -> None:
    """After a false alarm only the correction follows."""
    await released(env, at("2026-11-24 14:15"))
    env.gets_fax("(JCM-01/1)")
    env.gets_letter("(JCM-01/1)")
    await until(env, at("2026-11-25 08:00"))
    env.gets_fax("(JCM-01/2)")
    await env.facade.mark_false_alarm(
        "JCM-01", "Siti Contoh", "pelayan rujukan silap", despite=Contradiction.STILL_FAILS
    )
    await env.settle()
    await env.siti.gets("PEMBETULAN")
    env.gets_fax("PEMBETULAN", "(JCM-01/3)", "(JCM-01/1) bertarikh 24 November 2026")
    await until(env, at("2026-11-26 12:00"))
    assert [n.purpose for n in await env.notifications() if n.channel is Channel.LETTER] == [Purpose.OUTAGE]


async def test_mass_outage_followup_is_two_faxes_a_day(env: SimulatedEnv) -> None:
    """In a mass outage an office gets two faxes a day."""
    by_fax = replace(MINISTRY, addresses=(FAX,))
    env.clock.moment = at("2026-11-24 14:15")
    for agency in ("JCM", "MDC", "UCM"):
        snapshot = outside(by_fax, agency=agency)
        await env.submit(trigger(snapshot=snapshot, at=env.clock.now()))
    await env.siti.gets("JCM-01")
    for incident_id in (1, 2, 3):
        await env.release(incident_id)
    env.gets_fax("JCM-01")
    await env.advance(2 * MINUTE)
    await env.siti.gets("2 agensi")
    env.gets_fax("MDC-01", "UCM-01")
    await until(env, at("2026-11-25 08:00"))
    env.gets_fax("SUSULAN", "JCM-01")
    await env.advance(2 * MINUTE)
    env.gets_fax("SENARAI SUSULAN", "MDC-01", "UCM-01")
    await env.later(6 * HOUR)


# -- something else is wrong by now ----------------------------------------------------------------------------------


async def change_type(env: SimulatedEnv, matter: IncidentType, snapshot: PolicySnapshot | None = None) -> None:
    """Report another incident type."""
    now = env.clock.now()
    await env.submit(replace(trigger(matter, now, snapshot or outside()), began_at=now - MINUTE))


async def released_outage_of_both(env: SimulatedEnv, moment: str = "2026-11-24 14:15") -> None:
    await released(env, at(moment))
    env.gets_fax("(JCM-01/1)", "tidak dapat dihantar dan diterima")
    env.gets_letter("(JCM-01/1)")
    await post(env)


async def test_partial_recovery_is_reported_once_it_lasts(either_env: SimulatedEnv) -> None:
    """A partial recovery is reported to staff and outside once it has lasted."""
    env = either_env
    await released_outage_of_both(env)
    await env.later(HOUR)
    await env.siti.gets("HASIL")
    await change_type(env, IncidentType.RECEIVING)
    await env.later(10 * MINUTE - SECOND)
    env.expect_nothing_more()
    await env.later(SECOND)
    await env.siti.gets("RM0 JCM ICT: PERUBAHAN. E-mel keluar kini berfungsi. E-mel masuk GAGAL", "JCM-01")
    await env.later(20 * MINUTE - SECOND)
    env.expect_nothing_more()
    await env.later(SECOND)
    cites = ("(JCM-01/2)", "(JCM-01/1) bertarikh 24 November 2026", "JCM dapat menghantar e-mel rasmi")
    env.gets_fax("PERUBAHAN KEADAAN", *cites)
    env.gets_letter("PERUBAHAN KEADAAN", *cites)
    await post(env)
    # The next day nothing has changed.
    await until(env, at("2026-11-25 08:00"))
    env.gets_fax("MAKLUMAN SUSULAN", "(JCM-01/3)", "tidak dapat menerima e-mel", "(JCM-01/2)")
    env.gets_letter("MAKLUMAN SUSULAN", "(JCM-01/3)", "tidak dapat menerima e-mel", "(JCM-01/2)")

    await env.resolve()
    await env.siti.gets("PULIH")
    env.gets_fax("PEMULIHAN", "(JCM-01/4)")
    env.gets_letter("PEMULIHAN", "(JCM-01/4)", "(JCM-01/2)")


async def test_worsening_is_reported_to_assignee(env: SimulatedEnv) -> None:
    """A worsening is reported to the assignee too."""
    env.clock.moment = at("2026-11-24 14:15")
    await env.submit(trigger(IncidentType.SENDING, snapshot=outside(), at=env.clock.now()))
    await env.siti.gets("E-mel keluar gagal", "Balas 1A")
    await env.siti.replies("1A")
    await change_type(env, IncidentType.BOTH)
    await env.later(10 * MINUTE)
    await env.siti.gets("PERUBAHAN. E-mel keluar dan e-mel masuk kini GAGAL")
    # Not announced yet: the release uses the type of its time.
    await env.release()
    env.gets_fax("(JCM-01/1)", "tidak dapat dihantar dan diterima")
    env.gets_letter("(JCM-01/1)")
    await env.later(2 * HOUR)
    await env.siti.gets("HASIL")


async def test_alternating_change_is_not_reported(env: SimulatedEnv) -> None:
    """A change that alternates is reported to nobody."""
    await released_outage_of_both(env)
    for matter in (IncidentType.RECEIVING, IncidentType.BOTH, IncidentType.SENDING, IncidentType.BOTH):
        await env.later(9 * MINUTE)
        await change_type(env, matter)
    await env.siti.gets("HASIL")
    await env.later(3 * HOUR)


async def test_slow_mail_after_outage_is_reported_to_staff_only(env: SimulatedEnv) -> None:
    """Slow mail at the end of an outage is reported to staff only."""
    await released_outage_of_both(env)
    await change_type(env, IncidentType.DEGRADED)
    await env.later(10 * MINUTE)
    await env.siti.gets("PERUBAHAN. E-mel kini berfungsi tetapi lambat")
    await until(env, at("2026-11-26 12:00"))
    env.expect_nothing_more()
    await change_type(env, IncidentType.SENDING)
    await env.later(30 * MINUTE)
    await env.siti.gets("PERUBAHAN. E-mel masuk kini berfungsi. E-mel keluar GAGAL")
    env.gets_fax("PERUBAHAN KEADAAN", "JCM tidak dapat menghantar e-mel rasmi")
    env.gets_letter("PERUBAHAN KEADAAN", "JCM tidak dapat menghantar e-mel rasmi")


async def test_restart_during_change_reports_it_once(either_env: SimulatedEnv) -> None:
    """A restart during a change reports it once."""
    env = either_env
    await released_outage_of_both(env)
    await change_type(env, IncidentType.SENDING)
    await env.later(9 * MINUTE)
    env.restart()
    await change_type(env, IncidentType.SENDING)
    await env.later(MINUTE)
    await env.siti.gets("PERUBAHAN")
    env.clock.moment += 50 * MINUTE
    env.restart()
    await env.settle()
    env.gets_fax("PERUBAHAN KEADAAN")
    await env.siti.gets("HASIL")
    env.gets_letter("PERUBAHAN KEADAAN")
    for _ in range(3):
        env.restart()
        await change_type(env, IncidentType.SENDING)
        await env.later(20 * MINUTE)


async def test_change_during_silence_is_reported_at_its_end(env: SimulatedEnv) -> None:
    """A change during a silence is reported when the silence ends."""
    await released_outage_of_both(env)
    async with env.real_store.transaction() as uow:
        begins = env.clock.now()
        await uow.add_silence("JCM", begins, begins + 2 * HOUR, reason="vendor bekerja", by="Siti Contoh")
    await change_type(env, IncidentType.RECEIVING)
    await env.later(2 * HOUR - SECOND)
    await env.siti.gets("HASIL")  # A released announcement is sent, and its result reported, despite the silence.
    env.expect_nothing_more()
    await env.later(SECOND)
    await env.siti.gets("PERUBAHAN")
    env.gets_fax("PERUBAHAN KEADAAN")
    env.gets_letter("PERUBAHAN KEADAAN")


# -- the duty is handed over -----------------------------------------------------------------------------------------


def duty(*steps: Step, rota: Rota = DAILY, fallback: Contact | None = None) -> PolicySnapshot:
    """Return a policy whose first step notifies the person on call, without recipients outside."""
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


async def outage_at_night(env: SimulatedEnv, snapshot: PolicySnapshot | None = None) -> None:
    """Notify Siti, who is on duty on the 24th, of an outage at two in the morning."""
    env.clock.moment = at("2026-11-25 02:00")
    await env.submit(trigger(snapshot=snapshot or duty(), at=env.clock.moment))
    await env.siti.gets("AMARAN", "Balas 1A")


async def test_officer_coming_on_duty_is_told_of_open_incident_and_acknowledges(either_env: SimulatedEnv) -> None:
    """Whoever comes on duty is told of open incidents and can acknowledge them."""
    env = either_env
    await outage_at_night(env)
    await until(env, at("2026-11-25 08:00") - SECOND)
    env.expect_nothing_more()
    await until(env, at("2026-11-25 08:00"))
    await env.ravi.gets(
        "RM0 JCM ICT: SERAH TUGAS",
        "MASIH GAGAL sejak 25/11, 1.59 pg",
        "Belum disahkan",
        "Balas 1A untuk sahkan",
        "JCM-01",
    )
    assert "telah disahkan oleh Ravi Contoh" in await env.ravi.replies("1A")
    await env.siti.gets("JCM-01 telah disahkan oleh Ravi Contoh")
    # A day later Ravi is still assignee, and Siti is on duty again.
    await until(env, at("2026-11-26 08:00"))
    await env.siti.gets("SERAH TUGAS", "Disahkan oleh Ravi Contoh 25/11, 8.00 pg")
    await env.resolve()
    await env.siti.gets("PULIH")
    await env.ravi.gets("PULIH")
    await until(env, at("2026-11-27 12:00"))


async def test_officer_coming_on_duty_takes_over_from_assignee(either_env: SimulatedEnv) -> None:
    """Whoever comes on duty takes the incident over from the assignee."""
    env = either_env
    await outage_at_night(env)
    await env.siti.replies("1A")
    await until(env, at("2026-11-25 08:00"))
    await env.ravi.gets("SERAH TUGAS", "Disahkan oleh Siti", "Balas 1A ambil alih")
    assert "telah disahkan oleh Ravi Contoh" in await env.ravi.replies("1A")
    await env.siti.gets("JCM-01 telah disahkan oleh Ravi Contoh")
    # Her reply to an old SMS takes nothing back.
    assert "telah disahkan lebih awal oleh Ravi Contoh" in await env.siti.replies("1A")
    assert (await env.incident()).acknowledged_by == "Ravi Contoh"
    journal = await env.journal()
    by_whom = ("incident acknowledged", "incident taken over")
    assert [journal.count(each) for each in by_whom] == [1, 1], "by whom is on record"
    await env.resolve()
    await env.siti.gets("PULIH")
    await env.ravi.gets("PULIH")


async def test_incident_acknowledged_by_third_person_is_not_taken_over(env: SimulatedEnv) -> None:
    """An incident that a third person acknowledged meanwhile is not taken over."""
    await outage_at_night(env)
    await env.siti.replies("1A")
    await until(env, at("2026-11-25 08:00"))
    await env.ravi.gets("SERAH TUGAS", "Disahkan oleh Siti")
    await env.submit(Escalate(incident_id=1, at=env.clock.now(), by="Siti Contoh"))
    await env.submit(Acknowledge(incident_id=1, at=env.clock.now(), by="Puan NOC Contoh"))
    await env.settle()
    while env.siti.waits:
        await env.siti.gets()
    while env.ravi.waits:
        await env.ravi.gets()

    assert "telah disahkan lebih awal oleh Puan NOC Contoh" in await env.ravi.replies("1A")
    assert (await env.incident()).acknowledged_by == "Puan NOC Contoh"


async def test_restart_during_handover_notifies_once(either_env: SimulatedEnv) -> None:
    """A restart during the handover notifies once."""
    env = either_env
    await outage_at_night(env)
    env.clock.moment = at("2026-11-25 09:40")
    env.restart()
    await env.settle()
    await env.ravi.gets("SERAH TUGAS")
    for _ in range(3):
        env.restart()
        await env.later(HOUR)
    env.expect_nothing_more()


async def test_assignee_coming_on_duty_is_not_notified(env: SimulatedEnv) -> None:
    """An assignee who comes on duty is not notified."""
    await outage_at_night(env, duty(Step(after=10 * MINUTE, contacts=(RAVI,), channels=(Channel.SMS,))))
    await env.later(10 * MINUTE)
    await env.ravi.gets("AMARAN", "Balas 1A")
    await env.ravi.replies("1A")
    await env.siti.gets("JCM-01 telah disahkan oleh Ravi Contoh")
    await until(env, at("2026-11-25 12:00"))


async def test_substitute_and_returning_officer_are_told_of_open_incident(env: SimulatedEnv) -> None:
    """Substitutes are told of open incidents, and so is whoever returns."""
    mei = replace(RAVI, key="mei", name="Mei Contoh", addresses=(Address(channel=Channel.SMS, number=MEI),))
    async with env.real_store.transaction() as uow:
        begins, ends = at("2026-11-25 04:00"), at("2026-11-25 06:00")
        await uow.oncall.add(
            rota=DAILY.name, contact=mei, starts_at=begins, ends_at=ends, by="Pegawai Contoh", now=env.clock.now()
        )
    await outage_at_night(env)
    await until(env, at("2026-11-25 04:00"))
    await env.mei.gets("SERAH TUGAS", "Balas 1A")
    assert "telah disahkan oleh Mei Contoh" in await env.mei.replies("1A")
    await env.siti.gets("JCM-01 telah disahkan oleh Mei Contoh")
    await until(env, at("2026-11-25 06:00"))
    await env.siti.gets("SERAH TUGAS", "Disahkan oleh Mei Contoh")
    await until(env, at("2026-11-25 08:00"))
    await env.ravi.gets("SERAH TUGAS", "Disahkan oleh Mei Contoh")


async def test_officer_coming_on_duty_gets_acknowledgement_and_recovery(env: SimulatedEnv) -> None:
    """Whoever came on duty is told who acknowledged, and of the end."""
    await outage_at_night(env)
    await until(env, at("2026-11-25 08:00"))
    await env.ravi.gets("SERAH TUGAS")
    await env.siti.replies("1A")
    await env.ravi.gets("JCM-01 telah disahkan oleh Siti Contoh")
    await env.resolve()
    await env.siti.gets("PULIH")
    await env.ravi.gets("PULIH")


async def test_silence_delays_handover_notification_until_its_end(env: SimulatedEnv) -> None:
    """A silence suppresses the handover notification until it ends."""
    await outage_at_night(env)
    async with env.real_store.transaction() as uow:
        begins = env.clock.now()
        await uow.add_silence("JCM", begins, at("2026-11-25 10:00"), reason="vendor bekerja", by="Siti Contoh")
    await until(env, at("2026-11-25 09:00"))
    env.expect_nothing_more()
    await until(env, at("2026-11-25 10:00"))
    await env.ravi.gets("SERAH TUGAS")


async def test_handover_of_many_incidents_takes_two_sms(env: SimulatedEnv) -> None:
    """Many open incidents are reported to whoever comes on duty in two SMS."""
    env.clock.moment = at("2026-11-25 02:00")
    for agency in ("JCM", "MDC", "UCM"):
        snapshot = replace(duty(), agency=agency, office=replace(REFERRED, short=agency, name=f"Agensi {agency}"))
        await env.submit(trigger(snapshot=snapshot, at=env.clock.now()))
    await env.siti.gets("JCM")
    await env.advance(2 * MINUTE)
    await env.siti.gets("2 agensi")
    await until(env, at("2026-11-25 08:00"))
    await env.ravi.gets("SERAH TUGAS", "JCM-01")
    await env.advance(2 * MINUTE)
    await env.ravi.gets("SERAH TUGAS. 2 insiden MASIH TERBUKA: MDC, UCM", "Balas 2A")
    assert "MDC-01 (+1) telah disahkan" in await env.ravi.replies("2A")
    await env.siti.gets("MDC-01 telah disahkan")
    await env.advance(2 * MINUTE)
    await env.siti.gets("UCM-01 telah disahkan")
