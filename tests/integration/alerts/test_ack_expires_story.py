"""An acknowledgement is a promise with an end, told as stories: reminded, prolonged, and gone on with when nobody is heard."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from alerts.model.channel import Channel
from alerts.model.event import Release
from alerts.model.incident import IncidentState
from alerts.model.policy_snapshot import AnnouncementPlan, EscalationPolicy, PolicySnapshot, Step
from monitor.service.errors import NotFoundError
from tests.integration.alerts.test_escalation_story import auditor_of
from tests.integration.alerts.town import Town
from tests.unit.alerts.people import BRIEF, MINUTE, OFFICE, RAVI, SECOND, SITI, trigger

pytestmark = pytest.mark.story

HOUR = timedelta(hours=1)
SITI_FIRST = EscalationPolicy(
    steps=(
        Step(after=timedelta(0), contacts=(SITI,), channels=(Channel.SMS,)),
        Step(after=5 * MINUTE, contacts=(RAVI,), channels=(Channel.SMS,)),
    ),
    rounds=1,
)
IN_TURN = replace(BRIEF, escalation=SITI_FIRST, announcement=AnnouncementPlan())


def of(agency: str, brief: PolicySnapshot = IN_TURN) -> PolicySnapshot:
    return replace(brief, agency=agency, office=replace(OFFICE, short=agency, name=f"Agensi {agency}"))


async def taken_on(town: Town, brief: PolicySnapshot = IN_TURN) -> None:
    """Let an outage be told to Siti, and be taken on by her."""
    await town.submit(trigger(brief=brief, at=town.clock.now()))
    await town.siti.gets("Balas 1A untuk sahkan")
    assert "telah disahkan oleh Siti Contoh" in await town.siti.replies("1A")


async def test_who_is_not_heard_of_any_more_is_reminded_and_then_the_next_is_told_who_had_it(either_town: Town) -> None:
    """The assignee gets a reminder, and then the next person is notified and told who had the incident."""
    town = either_town
    await taken_on(town)
    await town.advance(50 * MINUTE - SECOND)
    town.expect_nothing_more()
    await town.advance(SECOND)
    await town.siti.gets("RM0 JCM ICT: PERINGATAN.", "JCM-01", "hingga 24/11, 3.15 ptg", "Balas 1A")
    await town.advance(10 * MINUTE - SECOND)
    town.expect_nothing_more()
    await town.advance(SECOND)

    await town.ravi.gets("keluar/masuk", "Siti Contoh", "sejak 24/11, 2.15 ptg", "Balas 1A untuk sahkan", "JCM-01")
    now = await town.incident()
    assert (now.state, now.acknowledged_by, now.previous_assignee) == (IncidentState.TRIGGERED, None, "Siti Contoh")
    assert "acknowledgement expired" in await town.journal()
    assert "telah disahkan oleh Ravi Contoh" in await town.ravi.replies("1A")
    await town.siti.gets("JCM-01 telah disahkan oleh Ravi Contoh")
    await town.advance(49 * MINUTE)
    await town.resolve()
    await town.siti.gets("PULIH")
    await town.ravi.gets("PULIH")


async def test_an_answer_to_the_reminder_prolongs_it_and_so_on_as_long_as_it_lasts(town: Town) -> None:
    """Each answer to a reminder extends the acknowledgement."""
    await taken_on(town)
    for _ in range(5):
        await town.advance(50 * MINUTE)
        await town.siti.gets("PERINGATAN", "Balas 1A")
        assert "RM0 JCM: JCM-01 kekal di bawah Siti Contoh hingga" in await town.siti.replies("1A")
    assert (await town.incident()).acknowledged_by == "Siti Contoh"


async def test_a_machine_that_answers_everything_is_not_answered_for_ever(town: Town) -> None:
    """A telephone that answers every SMS automatically does not extend the acknowledgement for ever."""
    await taken_on(town)
    answers = [await town.siti.replies("OK 1A") for _ in range(5)]
    assert [bool(answer) for answer in answers] == [True, True, True, False, False]
    assert (await town.journal()).count("acknowledgement prolonged") == 0


async def test_a_key_in_a_later_call_a_remark_and_a_release_prolong_it(town: Town) -> None:
    """A key press, a note and a release extend the acknowledgement."""
    town.siti.presses("1")
    await taken_on(town, replace(IN_TURN, announcement=replace(BRIEF.announcement, release_offered_after=98 * MINUTE)))
    await town.advance(49 * MINUTE)
    await town.facade.add_note("JCM-01", "Siti Contoh", "cakera pelayan mel diganti")
    await town.advance(49 * MINUTE)
    await town.siti.is_called("menunggu kebenaran", keys="1")
    await town.advance(14 * MINUTE)
    town.expect_nothing_more()
    await town.submit(Release(incident_id=1, at=town.clock.now(), by="Siti Contoh"))
    town.gets_fax("JCM-01")
    town.gets_letter("JCM-01")
    await town.later(49 * MINUTE)
    await town.siti.gets("HASIL")
    assert not town.siti.waits
    await town.later(MINUTE)
    await town.siti.gets("PERINGATAN")


async def test_what_recovers_meanwhile_reminds_nobody_and_goes_on_to_nobody(town: Town) -> None:
    """An incident that recovers sends no reminder and no further step."""
    await taken_on(town)
    await town.advance(30 * MINUTE)
    await town.resolve()
    await town.siti.gets("PULIH")
    await town.advance(2 * HOUR)
    assert await town.active() == []


async def test_after_the_last_step_the_first_is_told_and_then_the_noc_who_had_it(town: Town) -> None:
    """After the last step the first is notified again; without an answer the NOC is told who had the incident."""
    auditor = auditor_of(town)
    town.go_round(30 * SECOND, auditor.audit)
    await taken_on(town)
    await town.advance(50 * MINUTE)
    await town.siti.gets("PERINGATAN")
    await town.advance(10 * MINUTE)
    await town.ravi.gets("Siti Contoh", "Balas 1A")
    await town.ravi.replies("1A")
    await town.siti.gets("JCM-01 telah disahkan oleh Ravi Contoh")
    await town.advance(50 * MINUTE)
    await town.ravi.gets("PERINGATAN", "pegawai lain akan dihubungi")
    await town.advance(10 * MINUTE)

    await town.siti.gets("MASIH GAGAL", "Ravi Contoh")
    await town.advance(20 * MINUTE)
    await town.ravi.gets("MASIH GAGAL", "Ravi Contoh")
    town.expect_nothing_more()
    await town.advance(MINUTE)
    await town.noc.gets("RM0 PANTAU: AMARAN", "JCM-01 (Ravi Contoh)", "dijawab")
    assert town.value('pantau_escalation_overdue{action="step"}') == 0
    assert "telah disahkan oleh Ravi Contoh" in await town.ravi.replies("1A")
    await town.siti.gets("JCM-01 telah disahkan oleh Ravi Contoh")
    await town.advance(MINUTE)
    await town.noc.gets("RM0 PANTAU: SELESAI", "JCM-01")


async def test_the_auditor_finds_an_acknowledgement_that_expires_and_nobody_is_told(town: Town) -> None:
    """The auditor finds an acknowledgement that expires while the cycle stands still."""
    auditor = auditor_of(town)
    await taken_on(town)
    town.clock.moment += 70 * MINUTE  # The cycle stands still.
    await auditor.audit()
    assert town.value('pantau_escalation_overdue{action="step"}') == 1
    assert town.value("pantau_escalation_overdue_seconds") == 600

    await town.settle()
    await town.siti.gets("PERINGATAN", "hingga 24/11, 3.35 ptg")
    await auditor.audit()
    assert town.value('pantau_escalation_overdue{action="step"}') == 0


async def test_a_service_that_was_down_at_the_end_reminds_first(either_town: Town) -> None:
    """A service that was down at the expiry sends the reminder first."""
    town = either_town
    await taken_on(town)
    town.clock.moment += 3 * HOUR
    town.restart()
    await town.settle()
    await town.siti.gets("PERINGATAN", "hingga 24/11, 5.25 ptg")
    await town.advance(10 * MINUTE - SECOND)
    town.expect_nothing_more()
    town.restart()
    await town.advance(SECOND)
    await town.ravi.gets("Siti Contoh")


async def test_a_clock_that_is_set_back_leaves_the_promise_as_long_as_it_is(either_town: Town) -> None:
    """An acknowledgement keeps its duration when the clock is set back."""
    town = either_town
    await taken_on(town)
    town.clock.moment -= 5 * HOUR
    await town.advance(50 * MINUTE)
    await town.siti.gets("PERINGATAN")
    town.clock.moment -= 5 * MINUTE
    await town.advance(15 * MINUTE)
    await town.ravi.gets("Siti Contoh")


async def test_the_time_is_that_of_the_plan_with_which_it_opened(town: Town) -> None:
    """The acknowledgement timeout is frozen with the plan at opening."""
    shorter = replace(IN_TURN, escalation=replace(SITI_FIRST, acknowledgement_timeout=20 * MINUTE))
    await taken_on(town, shorter)
    # The configuration was changed, and the same trouble is told again.
    await town.submit(trigger(brief=IN_TURN, at=town.clock.now()))
    await town.advance(15 * MINUTE)
    await town.siti.gets("PERINGATAN", "hingga 24/11, 2.35 ptg")
    await town.advance(5 * MINUTE)
    await town.ravi.gets("Siti Contoh")


async def test_of_a_bundle_one_reminder_and_one_answer_are_enough_and_the_next_hears_of_all(town: Town) -> None:
    """One reminder and one answer cover all incidents of a bundle."""
    for agency in ("JCM", "MDC", "UCM"):
        await town.submit(trigger(brief=of(agency)))
    await town.siti.gets("RM0 JCM ICT")
    await town.advance(2 * MINUTE)
    await town.siti.gets("2 agensi", "MDC, UCM", "Balas 2A untuk sahkan semua")
    await town.siti.replies("1A")
    await town.siti.replies("2A")

    await town.advance(50 * MINUTE)
    await town.siti.gets("PERINGATAN. JCM-01")
    await town.advance(2 * MINUTE)
    await town.siti.gets("PERINGATAN. 2 insiden", "MDC, UCM", "Balas 2A untuk lanjutkan")
    assert "kekal di bawah Siti Contoh hingga 24/11, 4.09 ptg" in await town.siti.replies("2A")
    await town.advance(8 * MINUTE)
    await town.ravi.gets("MASIH GAGAL", "Siti Contoh", "JCM-01")
    await town.ravi.replies("1A")
    await town.siti.gets("JCM-01 telah disahkan oleh Ravi Contoh")

    await town.resolve("JCM")
    await town.siti.gets("PULIH", "JCM-01")
    await town.ravi.gets("PULIH", "JCM-01")
    await town.advance(42 * MINUTE)
    await town.siti.gets("PERINGATAN. MDC-01")
    await town.advance(2 * MINUTE)
    await town.siti.gets("PERINGATAN. UCM-01")
    await town.advance(8 * MINUTE)
    await town.ravi.gets("MASIH GAGAL", "Siti Contoh", "MDC-01")
    await town.advance(2 * MINUTE)
    await town.ravi.gets("MASIH GAGAL", "Siti Contoh", "UCM-01")


# -- handed on -------------------------------------------------------------------------------------------------------

BY_CALL = replace(
    IN_TURN,
    escalation=replace(
        SITI_FIRST,
        steps=tuple(replace(step, channels=(Channel.VOICE,), after=step.after * 6) for step in SITI_FIRST.steps),
    ),
)


async def test_who_has_it_hands_it_on_by_sms_and_the_next_is_told_at_once(either_town: Town) -> None:
    """The assignee escalates by SMS, and the next person is notified at once."""
    town = either_town
    await taken_on(town)
    await town.advance(10 * MINUTE)
    answer = await town.siti.replies("serah 1A")
    assert answer == "RM0 JCM: JCM-01 telah diserahkan. Pegawai seterusnya sedang dihubungi. Terima kasih."
    await town.ravi.gets("MASIH GAGAL", "Diserahkan oleh Siti Contoh pada 24/11, 2.25 ptg", "Balas 1A untuk sahkan")
    assert "telah disahkan oleh Ravi Contoh" in await town.ravi.replies("1A")
    await town.siti.gets("JCM-01 telah disahkan oleh Ravi Contoh")

    assert "disahkan lebih awal oleh Ravi Contoh" in await town.siti.replies("serah 1A")
    assert (await town.incident()).acknowledged_by == "Ravi Contoh"
    await town.advance(49 * MINUTE)
    assert (await town.journal()).count("handed on") == 1


async def test_who_is_called_and_cannot_take_it_presses_four_and_the_next_is_rung_at_once(town: Town) -> None:
    """Key 4 in a call escalates, and the next person is called at once."""
    town.siti.presses("4")
    town.ravi.presses("1")
    await town.submit(trigger(brief=BY_CALL, at=town.clock.now()))
    await town.siti.is_called("Tekan empat untuk menyerahkannya", "Perkara ini telah diserahkan", keys="4")
    await town.ravi.is_called("diserahkan oleh Siti Contoh pada hari Selasa", "telah disahkan", keys="1")
    await town.siti.gets("JCM-01 telah disahkan oleh Ravi Contoh")


async def test_the_operations_centre_hands_on_what_nobody_answers_for(town: Town) -> None:
    """The NOC escalates an incident that nobody answers."""
    await taken_on(town)
    handed = await town.facade.escalate("JCM-01", "Puan NOC Contoh")
    assert handed is not None
    assert (handed.acknowledged_by, handed.previous_assignee, handed.escalated) == (None, "Puan NOC Contoh", True)
    await town.advance(SECOND)
    await town.ravi.gets("Diserahkan oleh Puan NOC Contoh")
    with pytest.raises(NotFoundError, match="there is no incident JCM-99"):
        await town.facade.escalate("JCM-99", "Puan NOC Contoh")


async def test_who_hands_it_on_is_not_told_again_while_there_is_somebody_else(town: Town) -> None:
    """Whoever escalates is not notified again while the plan has somebody else."""
    both = replace(SITI_FIRST, steps=(SITI_FIRST.steps[0], replace(SITI_FIRST.steps[1], contacts=(SITI, RAVI))))
    await taken_on(town, replace(IN_TURN, escalation=both))
    await town.siti.replies("Saya serahkan kepada pegawai seterusnya")
    await town.ravi.gets("Diserahkan oleh Siti Contoh")


async def test_of_a_bundle_what_is_theirs_is_handed_on_together(town: Town) -> None:
    """Escalating a bundle passes on the sender's incidents together."""
    for agency in ("JCM", "MDC", "UCM"):
        await town.submit(trigger(brief=of(agency)))
    await town.siti.gets("RM0 JCM ICT")
    await town.advance(2 * MINUTE)
    await town.siti.gets("2 agensi", "Balas 2A untuk sahkan semua")
    await town.siti.replies("2A")
    assert "MDC-01 (+1) telah diserahkan" in await town.siti.replies("2A serah")
    await town.ravi.gets("Diserahkan oleh Siti Contoh", "MDC-01")
    await town.advance(2 * MINUTE)
    await town.ravi.gets("Diserahkan oleh Siti Contoh", "UCM-01")
