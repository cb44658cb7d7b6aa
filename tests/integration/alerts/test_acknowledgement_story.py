"""Acknowledgement by key press, SMS and portal, with its confirmations and late answers."""

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
from tests.integration.alerts.simulated_env import MEI, SimulatedEnv, open_simulated_env
from tests.unit.alerts.people import LONG, MINUTE, OFFICE, RAVI, SECOND, SITI, SNAPSHOT, trigger

pytestmark = pytest.mark.story

HOUR = timedelta(hours=1)
AT_ONCE = timedelta(0)
BY_SMS = Step(after=AT_ONCE, contacts=(SITI, RAVI), channels=(Channel.SMS,))
BY_CALL = Step(after=5 * MINUTE, contacts=(SITI, RAVI), channels=(Channel.VOICE,))


def told_by(*steps: Step) -> EscalationPolicy:
    return EscalationPolicy(steps=steps, rounds=1, repeat_interval=LONG, acknowledgement_timeout=LONG)


BOTH_BY_SMS = replace(SNAPSHOT, escalation=told_by(BY_SMS, BY_CALL), announcement=AnnouncementPlan())
SITI_BY_CALL = replace(
    BOTH_BY_SMS, escalation=told_by(replace(BY_CALL, after=AT_ONCE, contacts=(SITI,)), replace(BY_CALL, after=HOUR))
)


async def test_sms_code_ends_escalation_and_second_reply_names_first(either_env: SimulatedEnv) -> None:
    """An SMS with its code acknowledges; a second person is told who was first."""
    env = either_env
    await env.submit(trigger(snapshot=BOTH_BY_SMS))
    await env.siti.gets("Balas 1A untuk sahkan")
    await env.ravi.gets("Balas 1A untuk sahkan")

    assert await env.siti.replies("1a") == "RM0 JCM: JCM-01 telah disahkan oleh Siti Contoh. Terima kasih."
    await env.ravi.gets("RM0 JCM ICT: JCM-01 telah disahkan oleh Siti Contoh. Tuan/puan tidak perlu bertindak")
    answered = await env.ravi.replies("1A")
    assert answered == "RM0 JCM: JCM-01 telah disahkan lebih awal oleh Siti Contoh. Terima kasih."
    await env.advance(HOUR)
    assert (await env.incident()).acknowledged_by == "Siti Contoh"


async def test_duplicate_sms_confirmed_once_and_late_sms_answered_as_resolved(
    env: SimulatedEnv,
) -> None:
    """An SMS that arrives twice counts once; a late one is told that the incident is over."""
    await env.submit(trigger(snapshot=BOTH_BY_SMS))
    await env.siti.gets("Balas 1A")
    await env.ravi.gets("Balas 1A")
    await env.carrier.send_reply(env.ravi.phone, "1A", ReplyFault.HELD)
    await env.carrier.send_reply(env.siti.phone, "1A", ReplyFault.TWICE)
    await env.settle()
    await env.siti.gets("telah disahkan oleh Siti Contoh")
    await env.ravi.gets("telah disahkan oleh Siti Contoh", "tidak perlu bertindak")
    env.expect_nothing_more()

    await env.resolve()
    await env.siti.gets("PULIH")
    await env.ravi.gets("PULIH")
    await env.carrier.let_through()
    await env.settle()
    await env.ravi.gets("telah selesai dan tidak perlu disahkan lagi")


async def test_acknowledgement_sms_goes_to_notified_persons_only(env: SimulatedEnv) -> None:
    """Everybody who was notified is told by SMS who acknowledged."""
    mei = replace(RAVI, key="mei", name="Mei Contoh", addresses=(replace(RAVI.addresses[0], number=MEI),))
    later = replace(BY_SMS, after=5 * MINUTE, contacts=(mei,))
    steps = (BY_SMS, replace(BY_CALL, after=AT_ONCE, contacts=(SITI,)), later)
    env.siti.behaves(PhoneBehaviour.NO_ANSWER)
    await env.submit(trigger(snapshot=replace(BOTH_BY_SMS, escalation=told_by(*steps))))
    await env.siti.gets("Balas 1A")
    await env.ravi.gets("Balas 1A")
    await env.siti.misses_call()
    await env.ravi.replies("1A")

    text = await env.siti.gets("JCM-01 telah disahkan oleh Ravi Contoh")
    assert text == (
        "RM0 JCM ICT: JCM-01 telah disahkan oleh Ravi Contoh. Tuan/puan tidak perlu bertindak lagi melainkan dihubungi. "
        "Terima kasih."
    )
    await env.advance(HOUR)


async def test_mass_outage_acknowledgement_is_announced_in_two_sms(env: SimulatedEnv) -> None:
    """In a mass outage two SMS tell who acknowledged."""
    for agency in ("JCM", "MDC", "UCM", "DCM"):
        snapshot = replace(BOTH_BY_SMS, agency=agency, office=replace(OFFICE, short=agency, name=f"Agensi {agency}"))
        await env.submit(trigger(snapshot=snapshot))
    for person in (env.siti, env.ravi):
        await person.gets("RM0 JCM ICT")
    await env.advance(2 * MINUTE)
    for person in (env.siti, env.ravi):
        await person.gets("3 agensi")
    await env.siti.replies("2A")
    await env.siti.replies("1A")
    await env.ravi.gets("MDC-01 telah disahkan oleh Siti Contoh")
    await env.advance(2 * MINUTE)
    await env.ravi.gets("3 insiden telah disahkan oleh Siti Contoh: JCM, UCM, DCM")


async def test_unknown_sender_and_unknown_code_have_no_effect(env: SimulatedEnv) -> None:
    """A stranger gets no answer, and an unknown code has no effect."""
    stranger = env.add_phone("+60100000199")
    await env.submit(trigger(snapshot=BOTH_BY_SMS))
    await env.siti.gets("Balas 1A")
    await env.ravi.gets("Balas 1A")

    assert [await stranger.replies(text) for text in ("1A", "JCM-01", "STOP")] == [""] * 3
    assert "no more SMS wanted" not in await env.journal()
    assert "Jawapan tidak difahami" in await env.siti.replies("siapa ini?")
    assert (await env.incident()).state is IncidentState.TRIGGERED
    await env.advance(5 * MINUTE - SECOND)


async def test_call_key_press_confirmed_and_ends_escalation(env: SimulatedEnv) -> None:
    """A key press in a call acknowledges and ends the escalation."""
    env.siti.presses("2", "1")  # Key 2 repeats the message.
    await env.submit(trigger(snapshot=SITI_BY_CALL))
    await env.siti.is_called("Penerimaan tuan atau puan telah disahkan", keys="21")
    await env.advance(2 * HOUR)
    assert (await env.incident()).acknowledged_by == "Siti Contoh"


async def test_key_press_not_stored_is_not_confirmed_and_menu_repeats(either_env: SimulatedEnv) -> None:
    """A key press that could not be stored is not confirmed, and the menu repeats."""
    env = either_env

    async def fail_store() -> None:
        env.store.refuse_next("attempt")

    env.siti.presses("1", "")
    env.facade.before_callback["key"] = fail_store
    await env.submit(trigger(snapshot=SITI_BY_CALL))
    said = await env.siti.is_called("Tekan satu", keys="1")
    assert "telah disahkan" not in said
    assert (await env.incident()).state is IncidentState.TRIGGERED
    assert [error.rsplit(" ", 1)[1] for error in env.carrier.errors] == ["503"]
    env.carrier.errors.clear()

    env.siti.presses("1")
    await env.advance(MINUTE)
    await env.siti.is_called("telah disahkan", keys="1")


async def test_key_press_after_failed_store_is_confirmed_in_same_call(env: SimulatedEnv) -> None:
    """After a failed store, the next key press in the same call is confirmed."""

    async def fail_store() -> None:
        env.store.refuse_next("attempt")

    env.siti.presses("1", "1")
    env.facade.before_callback["key"] = fail_store
    await env.submit(trigger(snapshot=SITI_BY_CALL))
    await env.siti.is_called("telah disahkan", keys="11")
    env.carrier.errors.clear()
    await env.advance(2 * HOUR)


async def call_during(env: SimulatedEnv, event: Callable[[], Awaitable[object]]) -> str:
    """Call Siti, and run *event* before she presses her key; return the spoken text."""
    env.siti.presses("1")
    env.facade.before_callback["key"] = event
    await env.submit(trigger(snapshot=SITI_BY_CALL))
    return await env.siti.is_called(keys="1")


async def test_key_press_after_acknowledgement_reports_other_assignee(env: SimulatedEnv) -> None:
    """A key press after another person's is told who was first."""
    at = env.clock.now()
    said = await call_during(
        env, lambda: env.dispatcher.submit(Acknowledge(incident_id=1, at=at, by="Puan NOC Contoh"))
    )

    assert "telah disahkan oleh pegawai lain sebelum ini" in said
    assert (await env.incident()).acknowledged_by == "Puan NOC Contoh"
    await env.siti.gets("JCM-01 telah disahkan oleh Puan NOC Contoh")
    await env.advance(2 * HOUR)


async def test_key_press_after_recovery_reports_resolved(env: SimulatedEnv) -> None:
    """A key press after the recovery is told that the incident is over."""
    at = env.clock.now()
    said = await call_during(env, lambda: env.dispatcher.submit(Resolve(dedup_key="JCM", at=at, ended_at=at)))

    assert "Perkara ini telah selesai" in said
    assert "Penerimaan tuan atau puan telah disahkan" not in said
    await env.settle()
    await env.siti.gets("PULIH")
    assert (await env.incident()).acknowledged_by is None


async def test_key_press_for_slow_mail_does_not_acknowledge_later_outage(env: SimulatedEnv) -> None:
    """A key press about slow mail does not acknowledge the outage it became."""

    async def worse() -> None:
        await env.dispatcher.submit(trigger(IncidentType.BOTH, env.clock.now(), SITI_BY_CALL))

    env.siti.presses("1", "1")
    env.facade.before_callback["key"] = worse
    await env.submit(trigger(IncidentType.DEGRADED, snapshot=SITI_BY_CALL))
    said = await env.siti.is_called("lambat", keys="1")
    assert "Keadaan kini lebih teruk" in said
    await env.siti.is_called("gagal", "Penerimaan tuan atau puan telah disahkan", keys="1")


async def test_portal_and_cli_acknowledge_by_name_without_call(either_env: SimulatedEnv) -> None:
    """The portal's API and the command line acknowledge in a person's name."""
    env = either_env
    await env.submit(trigger(snapshot=BOTH_BY_SMS))
    await env.siti.gets("Balas 1A")
    await env.ravi.gets("Balas 1A")

    with pytest.raises(NotFoundError, match="there is no incident JCM-99"):
        await env.facade.acknowledge("JCM-99", "Puan NOC Contoh")
    taken = await env.facade.acknowledge("JCM-01", "Puan NOC Contoh")
    assert taken is not None
    assert taken.acknowledged_by == "Puan NOC Contoh"
    await env.advance(2 * HOUR)
    await env.siti.gets("JCM-01 telah disahkan oleh Puan NOC Contoh")
    await env.ravi.gets("JCM-01 telah disahkan oleh Puan NOC Contoh")
    assert "disahkan lebih awal oleh Puan NOC Contoh" in await env.siti.replies("1A")


async def test_sms_code_acknowledges_whole_sms_and_differs_per_phone(env: SimulatedEnv) -> None:
    """One code acknowledges all incidents of its SMS, and each phone has its own code."""
    for agency in ("JCM", "MDC", "UCM"):
        snapshot = replace(BOTH_BY_SMS, agency=agency, office=replace(OFFICE, short=agency, name=f"Agensi {agency}"))
        await env.submit(trigger(snapshot=snapshot))
    await env.siti.gets("RM0 JCM ICT", "Balas 1A untuk sahkan")
    await env.ravi.gets("RM0 JCM ICT", "Balas 1A untuk sahkan")
    await env.advance(2 * MINUTE)
    await env.siti.gets("2 agensi", "MDC, UCM", "Balas 2A untuk sahkan semua")
    await env.ravi.gets("2 agensi", "Balas 2A untuk sahkan semua")

    assert "telah disahkan oleh Siti Contoh" in await env.siti.replies("2A")
    states = [(await env.incident(n)).state for n in (1, 2, 3)]
    assert states == [IncidentState.TRIGGERED, IncidentState.ACKNOWLEDGED, IncidentState.ACKNOWLEDGED]
    await env.ravi.gets("MDC-01 telah disahkan oleh Siti Contoh")
    assert "telah disahkan oleh Ravi Contoh" in await env.ravi.replies("1A")
    await env.siti.gets("JCM-01 telah disahkan oleh Ravi Contoh")
    await env.advance(2 * HOUR)
    await env.ravi.gets("UCM-01 telah disahkan oleh Siti Contoh")


async def test_reply_to_one_outage_does_not_acknowledge_another(env: SimulatedEnv) -> None:
    """An answer to one outage acknowledges no other."""
    await env.submit(trigger(snapshot=BOTH_BY_SMS))
    await env.siti.gets("RM0 JCM ICT", "Balas 1A untuk sahkan")
    await env.ravi.gets("RM0 JCM ICT")
    assert "telah disahkan oleh Siti Contoh" in await env.siti.replies("BALAS 1A")
    await env.ravi.gets("JCM-01 telah disahkan")
    await env.advance(10 * MINUTE)
    await env.submit(
        trigger(snapshot=replace(BOTH_BY_SMS, agency="MDC", office=replace(OFFICE, short="MDC")), at=env.clock.now())
    )
    await env.siti.gets("RM0 MDC ICT", "Balas 2A untuk sahkan")
    await env.ravi.gets("RM0 MDC ICT")

    for thanks in ("Terima kasih", "Baik, terima kasih"):
        assert "Jawapan tidak difahami. Balas 2A untuk sahkan MDC-01" in await env.siti.replies(thanks)
    assert (await env.incident(2)).state is IncidentState.TRIGGERED
    assert "MDC-01 telah disahkan oleh Siti Contoh" in await env.siti.replies("saya terima")
    await env.ravi.gets("MDC-01 telah disahkan")
    await env.advance(HOUR)


async def test_key_press_acknowledges_all_incidents_of_call(env: SimulatedEnv) -> None:
    """One key press acknowledges all incidents of its call."""
    env.siti.presses("1", "1")
    for agency in ("JCM", "MDC", "UCM"):
        snapshot = replace(SITI_BY_CALL, agency=agency, office=replace(OFFICE, short=agency, name=f"Agensi {agency}"))
        await env.submit(trigger(snapshot=snapshot))
    await env.siti.is_called("Agensi JCM", keys="1")
    await env.advance(2 * MINUTE - SECOND)
    env.expect_nothing_more()
    await env.advance(SECOND)
    await env.siti.is_called("Agensi MDC", "Agensi UCM", "telah disahkan", keys="1")

    assert {(await env.incident(n)).state for n in (2, 3)} == {IncidentState.ACKNOWLEDGED}
    await env.advance(2 * HOUR)


# -- where no provider can reach us ----------------------------------------------------------------------------------


@pytest.fixture
async def unreachable_env(tmp_path: Path) -> AsyncIterator[SimulatedEnv]:
    """Open an environment without a public port: providers are polled every 20 seconds."""
    async with open_simulated_env(tmp_path, reachable=False, replies=Replies.POLL) as env:
        env.carrier.callback_fault = CallbackFault.NEVER
        env.run_every(env.poller.ACTIVE_INTERVAL, env.poller.poll)
        yield env


async def test_replies_without_public_port_are_polled_and_end_escalation(
    unreachable_env: SimulatedEnv,
) -> None:
    """Without a public port the provider is polled for answers."""
    env = unreachable_env
    await env.submit(trigger(snapshot=BOTH_BY_SMS))
    await env.siti.gets("Balas 1A")
    await env.ravi.gets("Balas 1A")
    assert await env.siti.replies("1A") == "", "nobody has looked yet"
    await env.advance(20 * SECOND)

    await env.siti.gets("telah disahkan oleh Siti Contoh")
    await env.ravi.gets("telah disahkan oleh Siti Contoh")
    await env.advance(10 * MINUTE)
    assert (await env.incident()).acknowledged_by == "Siti Contoh"
    assert {n.state for n in await env.notifications()} == {"delivered"}


async def test_replies_are_polled_for_one_hour_after_recovery(unreachable_env: SimulatedEnv) -> None:
    """Answers are polled for an hour after the recovery."""
    env = unreachable_env
    await env.submit(trigger(snapshot=BOTH_BY_SMS))
    await env.siti.gets("Balas 1A")
    await env.ravi.gets("Balas 1A")
    await env.resolve()
    await env.siti.gets("PULIH")
    await env.ravi.gets("PULIH")
    await env.advance(30 * MINUTE)
    await env.siti.replies("1A")
    await env.advance(20 * SECOND)

    await env.siti.gets("telah selesai")
