"""Acknowledgement, told as stories: by key, by SMS, at the portal; thanked when it is stored, and answered when late."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from alerts.gateways.twilio.sms import Replies
from alerts.model.channel import Channel
from alerts.model.event import Acknowledge, Resolve
from alerts.model.incident import IncidentState
from alerts.model.notification import IncidentType
from alerts.model.policy_snapshot import AnnouncementPlan, EscalationPolicy, Step
from monitor.service.errors import NotFoundError
from pantau_lab.carrier.phone import PhoneBehaviour
from pantau_lab.provider_fault import CallbackFault, ReplyFault
from tests.integration.alerts.town import MEI, Town, town_at
from tests.unit.alerts.people import BRIEF, LONG, MINUTE, OFFICE, RAVI, SECOND, SITI, trigger

pytestmark = pytest.mark.story

HOUR = timedelta(hours=1)
AT_ONCE = timedelta(0)
BY_SMS = Step(after=AT_ONCE, contacts=(SITI, RAVI), channels=(Channel.SMS,))
BY_CALL = Step(after=5 * MINUTE, contacts=(SITI, RAVI), channels=(Channel.VOICE,))


def told_by(*steps: Step) -> EscalationPolicy:
    return EscalationPolicy(steps=steps, rounds=1, repeat_interval=LONG, acknowledgement_timeout=LONG)


BOTH_BY_SMS = replace(BRIEF, escalation=told_by(BY_SMS, BY_CALL), announcement=AnnouncementPlan())
SITI_BY_CALL = replace(
    BOTH_BY_SMS, escalation=told_by(replace(BY_CALL, after=AT_ONCE, contacts=(SITI,)), replace(BY_CALL, after=HOUR))
)


async def test_an_sms_with_its_code_ends_the_escalation_and_the_second_hears_who_was_first(either_town: Town) -> None:
    """An SMS with its code acknowledges; a second person is told who was first."""
    town = either_town
    await town.submit(trigger(brief=BOTH_BY_SMS))
    await town.siti.gets("Balas 1A untuk sahkan")
    await town.ravi.gets("Balas 1A untuk sahkan")

    assert await town.siti.replies("1a") == "RM0 JCM: JCM-01 telah disahkan oleh Siti Contoh. Terima kasih."
    await town.ravi.gets("RM0 JCM ICT: JCM-01 telah disahkan oleh Siti Contoh. Tuan/puan tidak perlu bertindak")
    answered = await town.ravi.replies("1A")
    assert answered == "RM0 JCM: JCM-01 telah disahkan lebih awal oleh Siti Contoh. Terima kasih."
    await town.advance(HOUR)
    assert (await town.incident()).acknowledged_by == "Siti Contoh"


async def test_an_sms_that_is_brought_twice_is_thanked_once_and_one_that_comes_late_is_told_that_it_is_over(
    town: Town,
) -> None:
    """An SMS that arrives twice counts once; a late one is told that the incident is over."""
    await town.submit(trigger(brief=BOTH_BY_SMS))
    await town.siti.gets("Balas 1A")
    await town.ravi.gets("Balas 1A")
    await town.carrier.answer(town.ravi.phone, "1A", ReplyFault.HELD)
    await town.carrier.answer(town.siti.phone, "1A", ReplyFault.TWICE)
    await town.settle()
    await town.siti.gets("telah disahkan oleh Siti Contoh")
    await town.ravi.gets("telah disahkan oleh Siti Contoh", "tidak perlu bertindak")
    town.expect_nothing_more()

    await town.resolve()
    await town.siti.gets("PULIH")
    await town.ravi.gets("PULIH")
    await town.carrier.let_through()
    await town.settle()
    await town.ravi.gets("telah selesai dan tidak perlu disahkan lagi")


async def test_whoever_was_told_hears_who_has_it_by_sms_and_nobody_else_does(town: Town) -> None:
    """Everybody who was notified is told by SMS who acknowledged."""
    mei = replace(RAVI, key="mei", name="Mei Contoh", addresses=(replace(RAVI.addresses[0], number=MEI),))
    later = replace(BY_SMS, after=5 * MINUTE, contacts=(mei,))
    steps = (BY_SMS, replace(BY_CALL, after=AT_ONCE, contacts=(SITI,)), later)
    town.siti.behaves(PhoneBehaviour.NO_ANSWER)
    await town.submit(trigger(brief=replace(BOTH_BY_SMS, escalation=told_by(*steps))))
    await town.siti.gets("Balas 1A")
    await town.ravi.gets("Balas 1A")
    await town.siti.is_rung()
    await town.ravi.replies("1A")

    text = await town.siti.gets("JCM-01 telah disahkan oleh Ravi Contoh")
    assert text == (
        "RM0 JCM ICT: JCM-01 telah disahkan oleh Ravi Contoh. Tuan/puan tidak perlu bertindak lagi melainkan dihubungi. "
        "Terima kasih."
    )
    await town.advance(HOUR)


async def test_in_a_mass_outage_who_has_it_is_told_in_two_sms(town: Town) -> None:
    """In a mass outage two SMS tell who acknowledged."""
    for agency in ("JCM", "MDC", "UCM", "DCM"):
        brief = replace(BOTH_BY_SMS, agency=agency, office=replace(OFFICE, short=agency, name=f"Agensi {agency}"))
        await town.submit(trigger(brief=brief))
    for person in (town.siti, town.ravi):
        await person.gets("RM0 JCM ICT")
    await town.advance(2 * MINUTE)
    for person in (town.siti, town.ravi):
        await person.gets("3 agensi")
    await town.siti.replies("2A")
    await town.siti.replies("1A")
    await town.ravi.gets("MDC-01 telah disahkan oleh Siti Contoh")
    await town.advance(2 * MINUTE)
    await town.ravi.gets("3 insiden telah disahkan oleh Siti Contoh: JCM, UCM, DCM")


async def test_a_stranger_is_not_answered_and_neither_is_a_guess(town: Town) -> None:
    """A stranger gets no answer, and an unknown code has no effect."""
    stranger = town.moves_in("+60100000199")
    await town.submit(trigger(brief=BOTH_BY_SMS))
    await town.siti.gets("Balas 1A")
    await town.ravi.gets("Balas 1A")

    assert [await stranger.replies(text) for text in ("1A", "JCM-01", "STOP")] == [""] * 3
    assert "no more SMS wanted" not in await town.journal()
    assert "Jawapan tidak difahami" in await town.siti.replies("siapa ini?")
    assert (await town.incident()).state is IncidentState.TRIGGERED
    await town.advance(5 * MINUTE - SECOND)


async def test_a_key_in_the_call_is_thanked_and_ends_the_escalation(town: Town) -> None:
    """A key press in a call acknowledges and ends the escalation."""
    town.siti.presses("2", "1")  # First once more from the beginning.
    await town.submit(trigger(brief=SITI_BY_CALL))
    await town.siti.is_called("Penerimaan tuan atau puan telah disahkan", keys="21")
    await town.advance(2 * HOUR)
    assert (await town.incident()).acknowledged_by == "Siti Contoh"


async def test_a_key_that_could_not_be_stored_is_not_thanked_and_the_menu_comes_again(either_town: Town) -> None:
    """A key press that could not be stored is not confirmed, and the menu repeats."""
    town = either_town

    async def be_full() -> None:
        town.store.refuse_next("attempt")

    town.siti.presses("1", "")
    town.facade.just_before["key"] = be_full
    await town.submit(trigger(brief=SITI_BY_CALL))
    said = await town.siti.is_called("Tekan satu", keys="1")
    assert "telah disahkan" not in said
    assert (await town.incident()).state is IncidentState.TRIGGERED
    assert [error.rsplit(" ", 1)[1] for error in town.carrier.errors] == ["503"]
    town.carrier.errors.clear()

    town.siti.presses("1")
    await town.advance(MINUTE)
    await town.siti.is_called("telah disahkan", keys="1")


async def test_after_a_key_that_could_not_be_stored_the_next_one_in_the_same_call_is_thanked(town: Town) -> None:
    """After a failed store, the next key press in the same call is confirmed."""

    async def be_full() -> None:
        town.store.refuse_next("attempt")

    town.siti.presses("1", "1")
    town.facade.just_before["key"] = be_full
    await town.submit(trigger(brief=SITI_BY_CALL))
    await town.siti.is_called("telah disahkan", keys="11")
    town.carrier.errors.clear()
    await town.advance(2 * HOUR)


async def meanwhile(town: Town, event: Callable[[], Awaitable[object]]) -> str:
    """Call Siti; while she thinks about her key something happens. Return what she heard."""
    town.siti.presses("1")
    town.facade.just_before["key"] = event
    await town.submit(trigger(brief=SITI_BY_CALL))
    return await town.siti.is_called(keys="1")


async def test_who_presses_the_key_after_somebody_else_is_told_so(town: Town) -> None:
    """A key press after another person's is told who was first."""
    at = town.clock.now()
    said = await meanwhile(
        town, lambda: town.dispatcher.submit(Acknowledge(incident_id=1, at=at, by="Puan NOC Contoh"))
    )

    assert "telah disahkan oleh pegawai lain sebelum ini" in said
    assert (await town.incident()).acknowledged_by == "Puan NOC Contoh"
    await town.siti.gets("JCM-01 telah disahkan oleh Puan NOC Contoh")
    await town.advance(2 * HOUR)


async def test_who_presses_the_key_after_the_recovery_is_told_that_it_is_over(town: Town) -> None:
    """A key press after the recovery is told that the incident is over."""
    at = town.clock.now()
    said = await meanwhile(town, lambda: town.dispatcher.submit(Resolve(dedup_key="JCM", at=at, ended_at=at)))

    assert "Perkara ini telah selesai" in said
    assert "Penerimaan tuan atau puan telah disahkan" not in said
    await town.settle()
    await town.siti.gets("PULIH")
    assert (await town.incident()).acknowledged_by is None


async def test_who_presses_the_key_about_slowness_that_became_an_outage_has_not_taken_that_on(town: Town) -> None:
    """A key press about slow mail does not acknowledge the outage it became."""

    async def worse() -> None:
        await town.dispatcher.submit(trigger(IncidentType.BOTH, town.clock.now(), SITI_BY_CALL))

    town.siti.presses("1", "1")
    town.facade.just_before["key"] = worse
    await town.submit(trigger(IncidentType.DEGRADED, brief=SITI_BY_CALL))
    said = await town.siti.is_called("lambat", keys="1")
    assert "Keadaan kini lebih teruk" in said
    await town.siti.is_called("gagal", "Penerimaan tuan atau puan telah disahkan", keys="1")


async def test_at_the_portal_or_the_command_line_it_is_taken_on_by_name_and_nobody_is_rung(either_town: Town) -> None:
    """The portal's API and the command line acknowledge in a person's name."""
    town = either_town
    await town.submit(trigger(brief=BOTH_BY_SMS))
    await town.siti.gets("Balas 1A")
    await town.ravi.gets("Balas 1A")

    with pytest.raises(NotFoundError, match="there is no incident JCM-99"):
        await town.facade.acknowledge("JCM-99", "Puan NOC Contoh")
    taken = await town.facade.acknowledge("JCM-01", "Puan NOC Contoh")
    assert taken is not None
    assert taken.acknowledged_by == "Puan NOC Contoh"
    await town.advance(2 * HOUR)
    await town.siti.gets("JCM-01 telah disahkan oleh Puan NOC Contoh")
    await town.ravi.gets("JCM-01 telah disahkan oleh Puan NOC Contoh")
    assert "disahkan lebih awal oleh Puan NOC Contoh" in await town.siti.replies("1A")


async def test_one_code_takes_on_all_that_an_sms_told_of_and_each_phone_has_its_own(town: Town) -> None:
    """One code acknowledges all incidents of its SMS, and each phone has its own code."""
    for agency in ("JCM", "MDC", "UCM"):
        brief = replace(BOTH_BY_SMS, agency=agency, office=replace(OFFICE, short=agency, name=f"Agensi {agency}"))
        await town.submit(trigger(brief=brief))
    await town.siti.gets("RM0 JCM ICT", "Balas 1A untuk sahkan")
    await town.ravi.gets("RM0 JCM ICT", "Balas 1A untuk sahkan")
    await town.advance(2 * MINUTE)
    await town.siti.gets("2 agensi", "MDC, UCM", "Balas 2A untuk sahkan semua")
    await town.ravi.gets("2 agensi", "Balas 2A untuk sahkan semua")

    assert "telah disahkan oleh Siti Contoh" in await town.siti.replies("2A")
    states = [(await town.incident(n)).state for n in (1, 2, 3)]
    assert states == [IncidentState.TRIGGERED, IncidentState.ACKNOWLEDGED, IncidentState.ACKNOWLEDGED]
    await town.ravi.gets("MDC-01 telah disahkan oleh Siti Contoh")
    assert "telah disahkan oleh Ravi Contoh" in await town.ravi.replies("1A")
    await town.siti.gets("JCM-01 telah disahkan oleh Ravi Contoh")
    await town.advance(2 * HOUR)
    await town.ravi.gets("UCM-01 telah disahkan oleh Siti Contoh")


async def test_who_says_thanks_for_one_outage_has_not_taken_on_another(town: Town) -> None:
    """An answer to one outage acknowledges no other."""
    await town.submit(trigger(brief=BOTH_BY_SMS))
    await town.siti.gets("RM0 JCM ICT", "Balas 1A untuk sahkan")
    await town.ravi.gets("RM0 JCM ICT")
    assert "telah disahkan oleh Siti Contoh" in await town.siti.replies("BALAS 1A")
    await town.ravi.gets("JCM-01 telah disahkan")
    await town.advance(10 * MINUTE)
    await town.submit(
        trigger(brief=replace(BOTH_BY_SMS, agency="MDC", office=replace(OFFICE, short="MDC")), at=town.clock.now())
    )
    await town.siti.gets("RM0 MDC ICT", "Balas 2A untuk sahkan")
    await town.ravi.gets("RM0 MDC ICT")

    for thanks in ("Terima kasih", "Baik, terima kasih"):
        assert "Jawapan tidak difahami. Balas 2A untuk sahkan MDC-01" in await town.siti.replies(thanks)
    assert (await town.incident(2)).state is IncidentState.TRIGGERED
    assert "MDC-01 telah disahkan oleh Siti Contoh" in await town.siti.replies("saya terima")
    await town.ravi.gets("MDC-01 telah disahkan")
    await town.advance(HOUR)


async def test_one_key_takes_on_all_that_a_call_told_of(town: Town) -> None:
    """One key press acknowledges all incidents of its call."""
    town.siti.presses("1", "1")
    for agency in ("JCM", "MDC", "UCM"):
        brief = replace(SITI_BY_CALL, agency=agency, office=replace(OFFICE, short=agency, name=f"Agensi {agency}"))
        await town.submit(trigger(brief=brief))
    await town.siti.is_called("Agensi JCM", keys="1")
    await town.advance(2 * MINUTE - SECOND)
    town.expect_nothing_more()
    await town.advance(SECOND)
    await town.siti.is_called("Agensi MDC", "Agensi UCM", "telah disahkan", keys="1")

    assert {(await town.incident(n)).state for n in (2, 3)} == {IncidentState.ACKNOWLEDGED}
    await town.advance(2 * HOUR)


# -- where no provider can reach us ----------------------------------------------------------------------------------


@pytest.fixture
async def far_town(tmp_path: Path) -> AsyncIterator[Town]:
    """Open a town without a port to the outside: providers are asked, every 20 seconds."""
    async with town_at(tmp_path, reachable=False, replies=Replies.POLL) as town:
        town.carrier.callback_fault = CallbackFault.NEVER
        town.go_round(town.poller.ACTIVE_INTERVAL, town.poller.poll)
        yield town


async def test_without_a_port_to_the_outside_answers_are_fetched_thanked_and_end_the_escalation(
    far_town: Town,
) -> None:
    """Without a public port the provider is polled for answers."""
    town = far_town
    await town.submit(trigger(brief=BOTH_BY_SMS))
    await town.siti.gets("Balas 1A")
    await town.ravi.gets("Balas 1A")
    assert await town.siti.replies("1A") == "", "nobody has looked yet"
    await town.advance(20 * SECOND)

    await town.siti.gets("telah disahkan oleh Siti Contoh")
    await town.ravi.gets("telah disahkan oleh Siti Contoh")
    await town.advance(10 * MINUTE)
    assert (await town.incident()).acknowledged_by == "Siti Contoh"
    assert {n.state for n in await town.notifications()} == {"delivered"}


async def test_an_answer_after_the_recovery_is_fetched_for_an_hour(far_town: Town) -> None:
    """Answers are polled for an hour after the recovery."""
    town = far_town
    await town.submit(trigger(brief=BOTH_BY_SMS))
    await town.siti.gets("Balas 1A")
    await town.ravi.gets("Balas 1A")
    await town.resolve()
    await town.siti.gets("PULIH")
    await town.ravi.gets("PULIH")
    await town.advance(30 * MINUTE)
    await town.siti.replies("1A")
    await town.advance(20 * SECOND)

    await town.siti.gets("telah selesai")
