"""Expiry of an acknowledgement: reminder, extension, and the next step without an answer."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from alerts.model.channel import Channel
from alerts.model.event import Release
from alerts.model.incident import IncidentState
from alerts.model.policy_snapshot import AnnouncementPlan, EscalationPolicy, PolicySnapshot, Step
from monitor.service.errors import NotFoundError
from tests.integration.alerts.simulated_env import SimulatedEnv
from tests.integration.alerts.test_escalation_story import auditor_of
from tests.unit.alerts.people import MINUTE, OFFICE, RAVI, SECOND, SITI, SNAPSHOT, trigger

pytestmark = pytest.mark.story

HOUR = timedelta(hours=1)
SITI_FIRST = EscalationPolicy(
    steps=(
        Step(after=timedelta(0), contacts=(SITI,), channels=(Channel.SMS,)),
        Step(after=5 * MINUTE, contacts=(RAVI,), channels=(Channel.SMS,)),
    ),
    rounds=1,
)
IN_TURN = replace(SNAPSHOT, escalation=SITI_FIRST, announcement=AnnouncementPlan())


def of(agency: str, snapshot: PolicySnapshot = IN_TURN) -> PolicySnapshot:
    return replace(snapshot, agency=agency, office=replace(OFFICE, short=agency, name=f"Agensi {agency}"))


async def acknowledged_outage(env: SimulatedEnv, snapshot: PolicySnapshot = IN_TURN) -> None:
    """Notify Siti of an outage that she acknowledges."""
    await env.submit(trigger(snapshot=snapshot, at=env.clock.now()))
    await env.siti.gets("Balas 1A untuk sahkan")
    assert "telah disahkan oleh Siti Contoh" in await env.siti.replies("1A")


async def test_assignee_reminded_before_next_person_notified(either_env: SimulatedEnv) -> None:
    """The assignee gets a reminder, and then the next person is notified and told who had the incident."""
    env = either_env
    await acknowledged_outage(env)
    await env.advance(50 * MINUTE - SECOND)
    env.expect_nothing_more()
    await env.advance(SECOND)
    await env.siti.gets("RM0 JCM ICT: PERINGATAN.", "JCM-01", "hingga 24/11, 3.15 ptg", "Balas 1A")
    await env.advance(10 * MINUTE - SECOND)
    env.expect_nothing_more()
    await env.advance(SECOND)

    await env.ravi.gets("keluar/masuk", "Siti Contoh", "sejak 24/11, 2.15 ptg", "Balas 1A untuk sahkan", "JCM-01")
    now = await env.incident()
    assert (now.state, now.acknowledged_by, now.previous_assignee) == (IncidentState.TRIGGERED, None, "Siti Contoh")
    assert "acknowledgement expired" in await env.journal()
    assert "telah disahkan oleh Ravi Contoh" in await env.ravi.replies("1A")
    await env.siti.gets("JCM-01 telah disahkan oleh Ravi Contoh")
    await env.advance(49 * MINUTE)
    await env.resolve()
    await env.siti.gets("PULIH")
    await env.ravi.gets("PULIH")


async def test_reminder_answer_extends_acknowledgement_each_time(env: SimulatedEnv) -> None:
    """Each answer to a reminder extends the acknowledgement."""
    await acknowledged_outage(env)
    for _ in range(5):
        await env.advance(50 * MINUTE)
        await env.siti.gets("PERINGATAN", "Balas 1A")
        assert "RM0 JCM: JCM-01 kekal di bawah Siti Contoh hingga" in await env.siti.replies("1A")
    assert (await env.incident()).acknowledged_by == "Siti Contoh"


async def test_automatic_replies_are_not_answered_forever(env: SimulatedEnv) -> None:
    """A telephone that answers every SMS automatically does not extend the acknowledgement for ever."""
    await acknowledged_outage(env)
    answers = [await env.siti.replies("OK 1A") for _ in range(5)]
    assert [bool(answer) for answer in answers] == [True, True, True, False, False]
    assert (await env.journal()).count("acknowledgement prolonged") == 0


async def test_key_press_note_and_release_extend_acknowledgement(env: SimulatedEnv) -> None:
    """A key press, a note and a release extend the acknowledgement."""
    env.siti.presses("1")
    await acknowledged_outage(
        env, replace(IN_TURN, announcement=replace(SNAPSHOT.announcement, release_offered_after=98 * MINUTE))
    )
    await env.advance(49 * MINUTE)
    await env.facade.add_note("JCM-01", "Siti Contoh", "cakera pelayan mel diganti")
    await env.advance(49 * MINUTE)
    await env.siti.is_called("menunggu kebenaran", keys="1")
    await env.advance(14 * MINUTE)
    env.expect_nothing_more()
    await env.submit(Release(incident_id=1, at=env.clock.now(), by="Siti Contoh"))
    env.gets_fax("JCM-01")
    env.gets_letter("JCM-01")
    await env.later(49 * MINUTE)
    await env.siti.gets("HASIL")
    assert not env.siti.waits
    await env.later(MINUTE)
    await env.siti.gets("PERINGATAN")


async def test_recovered_incident_sends_no_reminder_and_no_further_step(env: SimulatedEnv) -> None:
    """An incident that recovers sends no reminder and no further step."""
    await acknowledged_outage(env)
    await env.advance(30 * MINUTE)
    await env.resolve()
    await env.siti.gets("PULIH")
    await env.advance(2 * HOUR)
    assert await env.active() == []


async def test_expiry_after_last_step_notifies_first_person_then_noc(env: SimulatedEnv) -> None:
    """After the last step the first is notified again; without an answer the NOC is told who had the incident."""
    auditor = auditor_of(env)
    env.run_every(30 * SECOND, auditor.audit)
    await acknowledged_outage(env)
    await env.advance(50 * MINUTE)
    await env.siti.gets("PERINGATAN")
    await env.advance(10 * MINUTE)
    await env.ravi.gets("Siti Contoh", "Balas 1A")
    await env.ravi.replies("1A")
    await env.siti.gets("JCM-01 telah disahkan oleh Ravi Contoh")
    await env.advance(50 * MINUTE)
    await env.ravi.gets("PERINGATAN", "pegawai lain akan dihubungi")
    await env.advance(10 * MINUTE)

    await env.siti.gets("MASIH GAGAL", "Ravi Contoh")
    await env.advance(20 * MINUTE)
    await env.ravi.gets("MASIH GAGAL", "Ravi Contoh")
    env.expect_nothing_more()
    await env.advance(MINUTE)
    await env.noc.gets("RM0 PANTAU: AMARAN", "JCM-01 (Ravi Contoh)", "dijawab")
    assert env.value('pantau_escalation_overdue{action="step"}') == 0
    assert "telah disahkan oleh Ravi Contoh" in await env.ravi.replies("1A")
    await env.siti.gets("JCM-01 telah disahkan oleh Ravi Contoh")
    await env.advance(MINUTE)
    await env.noc.gets("RM0 PANTAU: SELESAI", "JCM-01")


async def test_auditor_finds_expired_acknowledgement_without_notification(env: SimulatedEnv) -> None:
    """The auditor finds an acknowledgement that expires while the cycle stands still."""
    auditor = auditor_of(env)
    await acknowledged_outage(env)
    env.clock.moment += 70 * MINUTE  # No cycle runs.
    await auditor.audit()
    assert env.value('pantau_escalation_overdue{action="step"}') == 1
    assert env.value("pantau_escalation_overdue_seconds") == 600

    await env.settle()
    await env.siti.gets("PERINGATAN", "hingga 24/11, 3.35 ptg")
    await auditor.audit()
    assert env.value('pantau_escalation_overdue{action="step"}') == 0


async def test_restart_after_expiry_sends_reminder_first(either_env: SimulatedEnv) -> None:
    """A service that was down at the expiry sends the reminder first."""
    env = either_env
    await acknowledged_outage(env)
    env.clock.moment += 3 * HOUR
    env.restart()
    await env.settle()
    await env.siti.gets("PERINGATAN", "hingga 24/11, 5.25 ptg")
    await env.advance(10 * MINUTE - SECOND)
    env.expect_nothing_more()
    env.restart()
    await env.advance(SECOND)
    await env.ravi.gets("Siti Contoh")


async def test_clock_set_back_keeps_acknowledgement_duration(either_env: SimulatedEnv) -> None:
    """An acknowledgement keeps its duration when the clock is set back."""
    env = either_env
    await acknowledged_outage(env)
    env.clock.moment -= 5 * HOUR
    await env.advance(50 * MINUTE)
    await env.siti.gets("PERINGATAN")
    env.clock.moment -= 5 * MINUTE
    await env.advance(15 * MINUTE)
    await env.ravi.gets("Siti Contoh")


async def test_acknowledgement_timeout_is_frozen_at_opening(env: SimulatedEnv) -> None:
    """The acknowledgement timeout is frozen with the plan at opening."""
    shorter = replace(IN_TURN, escalation=replace(SITI_FIRST, acknowledgement_timeout=20 * MINUTE))
    await acknowledged_outage(env, shorter)
    # The configuration was changed, and the same outage is triggered again.
    await env.submit(trigger(snapshot=IN_TURN, at=env.clock.now()))
    await env.advance(15 * MINUTE)
    await env.siti.gets("PERINGATAN", "hingga 24/11, 2.35 ptg")
    await env.advance(5 * MINUTE)
    await env.ravi.gets("Siti Contoh")


async def test_bundle_needs_one_reminder_and_one_answer(env: SimulatedEnv) -> None:
    """One reminder and one answer cover all incidents of a bundle."""
    for agency in ("JCM", "MDC", "UCM"):
        await env.submit(trigger(snapshot=of(agency)))
    await env.siti.gets("RM0 JCM ICT")
    await env.advance(2 * MINUTE)
    await env.siti.gets("2 agensi", "MDC, UCM", "Balas 2A untuk sahkan semua")
    await env.siti.replies("1A")
    await env.siti.replies("2A")

    await env.advance(50 * MINUTE)
    await env.siti.gets("PERINGATAN. JCM-01")
    await env.advance(2 * MINUTE)
    await env.siti.gets("PERINGATAN. 2 insiden", "MDC, UCM", "Balas 2A untuk lanjutkan")
    assert "kekal di bawah Siti Contoh hingga 24/11, 4.09 ptg" in await env.siti.replies("2A")
    await env.advance(8 * MINUTE)
    await env.ravi.gets("MASIH GAGAL", "Siti Contoh", "JCM-01")
    await env.ravi.replies("1A")
    await env.siti.gets("JCM-01 telah disahkan oleh Ravi Contoh")

    await env.resolve("JCM")
    await env.siti.gets("PULIH", "JCM-01")
    await env.ravi.gets("PULIH", "JCM-01")
    await env.advance(42 * MINUTE)
    await env.siti.gets("PERINGATAN. MDC-01")
    await env.advance(2 * MINUTE)
    await env.siti.gets("PERINGATAN. UCM-01")
    await env.advance(8 * MINUTE)
    await env.ravi.gets("MASIH GAGAL", "Siti Contoh", "MDC-01")
    await env.advance(2 * MINUTE)
    await env.ravi.gets("MASIH GAGAL", "Siti Contoh", "UCM-01")


# -- handed on -------------------------------------------------------------------------------------------------------

BY_CALL = replace(
    IN_TURN,
    escalation=replace(
        SITI_FIRST,
        steps=tuple(replace(step, channels=(Channel.VOICE,), after=step.after * 6) for step in SITI_FIRST.steps),
    ),
)


async def test_sms_escalation_notifies_next_person_at_once(either_env: SimulatedEnv) -> None:
    """The assignee escalates by SMS, and the next person is notified at once."""
    env = either_env
    await acknowledged_outage(env)
    await env.advance(10 * MINUTE)
    answer = await env.siti.replies("serah 1A")
    assert answer == "RM0 JCM: JCM-01 telah diserahkan. Pegawai seterusnya sedang dihubungi. Terima kasih."
    await env.ravi.gets("MASIH GAGAL", "Diserahkan oleh Siti Contoh pada 24/11, 2.25 ptg", "Balas 1A untuk sahkan")
    assert "telah disahkan oleh Ravi Contoh" in await env.ravi.replies("1A")
    await env.siti.gets("JCM-01 telah disahkan oleh Ravi Contoh")

    assert "disahkan lebih awal oleh Ravi Contoh" in await env.siti.replies("serah 1A")
    assert (await env.incident()).acknowledged_by == "Ravi Contoh"
    await env.advance(49 * MINUTE)
    assert (await env.journal()).count("handed on") == 1


async def test_call_key_four_escalates_and_calls_next_person_at_once(env: SimulatedEnv) -> None:
    """Key 4 in a call escalates, and the next person is called at once."""
    env.siti.presses("4")
    env.ravi.presses("1")
    await env.submit(trigger(snapshot=BY_CALL, at=env.clock.now()))
    await env.siti.is_called("Tekan empat untuk menyerahkannya", "Perkara ini telah diserahkan", keys="4")
    await env.ravi.is_called("diserahkan oleh Siti Contoh pada hari Selasa", "telah disahkan", keys="1")
    await env.siti.gets("JCM-01 telah disahkan oleh Ravi Contoh")


async def test_noc_escalates_unanswered_incident(env: SimulatedEnv) -> None:
    """The NOC escalates an incident that nobody answers."""
    await acknowledged_outage(env)
    handed = await env.facade.escalate("JCM-01", "Puan NOC Contoh")
    assert handed is not None
    assert (handed.acknowledged_by, handed.previous_assignee, handed.escalated) == (None, "Puan NOC Contoh", True)
    await env.advance(SECOND)
    await env.ravi.gets("Diserahkan oleh Puan NOC Contoh")
    with pytest.raises(NotFoundError, match="there is no incident JCM-99"):
        await env.facade.escalate("JCM-99", "Puan NOC Contoh")


async def test_escalating_person_not_notified_again_while_plan_has_others(env: SimulatedEnv) -> None:
    """Whoever escalates is not notified again while the plan has somebody else."""
    both = replace(SITI_FIRST, steps=(SITI_FIRST.steps[0], replace(SITI_FIRST.steps[1], contacts=(SITI, RAVI))))
    await acknowledged_outage(env, replace(IN_TURN, escalation=both))
    await env.siti.replies("Saya serahkan kepada pegawai seterusnya")
    await env.ravi.gets("Diserahkan oleh Siti Contoh")


async def test_bundle_escalates_incidents_of_assignee_together(env: SimulatedEnv) -> None:
    """Escalating a bundle passes on the sender's incidents together."""
    for agency in ("JCM", "MDC", "UCM"):
        await env.submit(trigger(snapshot=of(agency)))
    await env.siti.gets("RM0 JCM ICT")
    await env.advance(2 * MINUTE)
    await env.siti.gets("2 agensi", "Balas 2A untuk sahkan semua")
    await env.siti.replies("2A")
    assert "MDC-01 (+1) telah diserahkan" in await env.siti.replies("2A serah")
    await env.ravi.gets("Diserahkan oleh Siti Contoh", "MDC-01")
    await env.advance(2 * MINUTE)
    await env.ravi.gets("Diserahkan oleh Siti Contoh", "UCM-01")
