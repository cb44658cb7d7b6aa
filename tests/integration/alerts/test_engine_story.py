"""The engine with simulated phones and a clock: order, number and failures of notifications."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from alerts.engine.manual_status import ManualStatus
from alerts.gateways.tray import LetterPlace
from alerts.model.delivery import NotificationState
from alerts.model.policy_snapshot import AnnouncementPlan
from monitor.service.errors import OperationRejectedError
from monitor.watchdog.auditor import EscalationAuditor
from pantau_lab.faxservice.machine import FaxBehaviour
from pantau_lab.provider_fault import CallbackFault, SubmissionFault
from tests.integration.alerts.simulated_env import SimulatedEnv
from tests.integration.monitor.test_escalation_auditor import incident_policy
from tests.unit.alerts.people import FAX, MINUTE, POLICY, RAVI, SECOND, SNAPSHOT, trigger

#: Siti only, by SMS.
ONE_SMS = replace(
    SNAPSHOT, escalation=replace(POLICY, steps=POLICY.steps[:1], rounds=1), announcement=AnnouncementPlan()
)
#: With an office outside, after a release.
AND_OUTSIDE = replace(ONE_SMS, announcement=SNAPSHOT.announcement)

pytestmark = pytest.mark.story


async def states(env: SimulatedEnv) -> list[str]:
    return [f"{n.purpose} {n.channel} {n.state}" for n in await env.notifications()]


async def test_outage_sends_sms_call_fax_letter_and_recovery_in_order(either_env: SimulatedEnv) -> None:
    """SMS, call, key press, release, fax, letter and recovery come in this order, each once."""
    env = either_env
    await env.submit(trigger())
    await env.siti.gets("RM0 JCM ICT: AMARAN", "JCM-01")
    env.expect_nothing_more()

    env.ravi.presses("1")
    await env.advance(5 * MINUTE - SECOND)
    env.expect_nothing_more()
    await env.advance(SECOND)
    await env.siti.is_called("gagal")
    await env.ravi.is_called("Penerimaan tuan atau puan telah disahkan", keys="1")
    assert (await env.incident()).acknowledged_by == "Ravi Contoh"
    await env.siti.gets("JCM-01 telah disahkan oleh Ravi Contoh")

    await env.advance(10 * MINUTE)
    await env.release()
    env.gets_fax("JCM-01")
    env.gets_letter("JCM-01")

    await env.resolve()
    for person in (env.siti, env.ravi):
        await person.gets("RM0 JCM ICT: PULIH", "JCM-01")
    env.gets_fax("pulih")
    assert env.tray_letters(LetterPlace.WITHDRAWN) == 1
    await env.advance(timedelta(hours=3))
    assert await env.active() == []


async def test_repeated_events_and_restarts_notify_once(env: SimulatedEnv) -> None:
    """Repeated events and restarts send nothing twice."""
    for _ in range(3):
        await env.submit(trigger())
        env.restart()
    await env.siti.gets("AMARAN")
    for _ in range(10):
        await env.advance(30 * SECOND)
        env.restart()
    await env.submit(replace(trigger(), at=env.clock.now()))
    await env.siti.is_called()
    await env.ravi.is_called()


@pytest.mark.parametrize("fault", [CallbackFault.TWICE, CallbackFault.REVERSED, CallbackFault.BEFORE_ANSWER])
async def test_duplicate_disordered_or_early_callbacks_change_nothing(env: SimulatedEnv, fault: CallbackFault) -> None:
    """Callbacks that come twice, out of order or too early never return a state to an earlier one."""
    env.carrier.callback_fault = fault
    await env.submit(trigger())
    await env.siti.gets("AMARAN")
    env.siti.presses("1")
    await env.advance(5 * MINUTE)
    await env.siti.is_called("telah disahkan", keys="1")
    await env.ravi.is_called()
    await env.advance(10 * MINUTE)
    await env.ravi.gets("JCM-01 telah disahkan oleh Siti Contoh")

    assert (await states(env))[:2] == ["outage sms delivered", "outage voice delivered"]


@pytest.mark.parametrize("fault", [SubmissionFault.DROP_AFTER, SubmissionFault.ERROR_AFTER])
async def test_message_with_lost_answer_is_looked_up_and_not_resent(env: SimulatedEnv, fault: SubmissionFault) -> None:
    """A message without an answer is looked up at the gateway before it is sent again."""
    env.carrier.callback_fault = CallbackFault.NEVER  # otherwise a callback reports the status
    env.carrier.faults.append(fault)
    await env.submit(trigger(snapshot=ONE_SMS))
    await env.advance(timedelta(hours=1))

    await env.siti.gets("AMARAN")
    assert await states(env) == ["outage sms delivered"]


async def test_message_never_received_is_looked_up_and_resent_once(env: SimulatedEnv) -> None:
    """A message that the gateway never had is sent once more."""
    env.carrier.faults.append(SubmissionFault.DROP_BEFORE)
    await env.submit(trigger(snapshot=ONE_SMS))
    env.expect_nothing_more()
    await env.advance(MINUTE)

    await env.siti.gets("AMARAN")


async def test_fax_of_unknown_status_is_not_resent_and_needs_person(env: SimulatedEnv) -> None:
    """A fax of unknown fate is not sent again; a person decides."""
    env.fax_service.faults.append(SubmissionFault.DROP_BEFORE)
    await env.submit(trigger(snapshot=AND_OUTSIDE))
    await env.siti.gets("AMARAN")
    await env.release()
    env.gets_letter("JCM-01")  # A failing fax service does not delay letters.
    await env.advance(timedelta(hours=1))

    fax = next(n for n in await env.notifications() if n.addresses == (FAX,))
    assert fax.state is NotificationState.UNKNOWN
    assert env.fax_service.faxes == []


async def fax_of_unknown_status(env: SimulatedEnv) -> int:
    """Send a fax that the service loses; return its notification."""
    env.fax_service.faults.append(SubmissionFault.DROP_BEFORE)
    await env.submit(trigger(snapshot=AND_OUTSIDE))
    await env.siti.gets("AMARAN")
    await env.acknowledge()
    await env.release()
    env.gets_letter("JCM-01")
    await env.advance(timedelta(hours=1))
    fax = next(n for n in await env.notifications() if n.addresses == (FAX,))
    assert fax.state is NotificationState.UNKNOWN
    return fax.id


def auditor_of(env: SimulatedEnv) -> EscalationAuditor:
    return EscalationAuditor(
        store=env.real_store,
        pool=env.pool,
        alerting=env.dispatcher,
        noc_policy=incident_policy,
        metrics=env.metrics.watchdog,
        clock=env.clock,
    )


async def set_manual_status(env: SimulatedEnv, notification_id: int, ruling: ManualStatus) -> None:
    await env.facade.set_notification_status(notification_id, ruling, "Siti Contoh", "saya menelefon pejabat itu")
    await env.settle()


async def resolve_outage(env: SimulatedEnv) -> None:
    await env.resolve()
    await env.siti.gets("PULIH")
    await env.settle()


async def test_manual_status_delivered_settles_fax_of_unknown_status(either_env: SimulatedEnv) -> None:
    """A person sets the status of a fax of unknown fate to delivered."""
    env = either_env
    notification_id = await fax_of_unknown_status(env)
    await set_manual_status(env, notification_id, ManualStatus.DELIVERED)
    with pytest.raises(OperationRejectedError, match="is delivered"):
        await set_manual_status(env, notification_id, ManualStatus.LOST)
    await resolve_outage(env)

    env.gets_fax("PEMULIHAN", "notis JCM-01 bertarikh")
    assert "notice settled by hand: arrived" in await env.journal()


async def test_noc_is_asked_about_fax_of_unknown_status_and_told_result(env: SimulatedEnv) -> None:
    """The NOC is asked by SMS about a fax of unknown fate."""
    auditor = auditor_of(env)
    notification_id = await fax_of_unknown_status(env)
    for _ in range(3):
        await auditor.audit()
        await env.settle()
    await env.noc.gets("AMARAN. Tidak pasti notis", f" {notification_id} (JCM-01) sampai", "pantau set-status")

    await set_manual_status(env, notification_id, ManualStatus.DELIVERED)
    await auditor.audit()
    await env.settle()
    await env.noc.gets("SELESAI", f" {notification_id} (JCM-01)")
    await resolve_outage(env)
    env.gets_fax("PEMULIHAN")


async def test_manual_status_lost_sends_no_recovery(env: SimulatedEnv) -> None:
    """A person sets the status of a fax to lost, and no recovery follows it."""
    await set_manual_status(env, await fax_of_unknown_status(env), ManualStatus.LOST)
    await resolve_outage(env)
    await env.later(timedelta(hours=1))
    await env.siti.gets("HASIL", "0 sampai, 1 TIDAK SAMPAI")
    assert env.fax_service.faxes == []


async def test_manual_status_resend_sends_fax_once_more(either_env: SimulatedEnv) -> None:
    """A person lets a fax of unknown fate be sent once more."""
    env = either_env
    # Its deadline has passed, and it gets a new one.
    notification_id = await fax_of_unknown_status(env)
    await env.later(timedelta(hours=20))
    await set_manual_status(env, notification_id, ManualStatus.RESEND)
    env.gets_fax("GANGGUAN", "JCM-01")
    assert len(env.fax_service.faxes) == 1


async def test_recovery_cites_no_fax_of_unknown_status(env: SimulatedEnv) -> None:
    """A recovery cites no fax that may not have arrived."""
    notification_id = await fax_of_unknown_status(env)
    await resolve_outage(env)
    text = env.gets_fax("PEMULIHAN", "perkara di atas dirujuk")
    assert "notis JCM-01 bertarikh" not in text
    with pytest.raises(OperationRejectedError, match="is no longer needed"):
        await set_manual_status(env, notification_id, ManualStatus.RESEND)


async def test_temporary_sms_failure_is_retried_after_15_and_60_seconds(env: SimulatedEnv) -> None:
    """A temporary failure of an SMS is retried after 15 s and 60 s."""
    env.carrier.faults.extend([SubmissionFault.TOO_MANY] * 2)
    await env.submit(trigger(snapshot=ONE_SMS))
    for wait in (15 * SECOND, 60 * SECOND):
        await env.advance(wait - SECOND)
        env.expect_nothing_more()
        await env.advance(SECOND)

    await env.siti.gets("AMARAN")
    assert list(env.carrier.faults) == []


async def test_busy_fax_is_redialled_after_three_minutes(env: SimulatedEnv) -> None:
    """A busy fax machine is redialled after three minutes."""
    machine = env.fax_service.machines[FAX.number]
    machine.behaviour = FaxBehaviour.BUSY
    await env.submit(trigger(snapshot=AND_OUTSIDE))
    await env.siti.gets("AMARAN")
    await env.release()
    env.gets_letter("JCM-01")
    machine.behaviour = FaxBehaviour.ANSWERS
    await env.advance(3 * MINUTE - SECOND)
    env.expect_nothing_more()

    await env.advance(SECOND)
    env.gets_fax("JCM-01")


async def test_fax_machine_busy_for_hours_gets_page_when_free(env: SimulatedEnv) -> None:
    """A fax machine that is busy for hours is redialled until it is free."""
    machine = env.fax_service.machines[FAX.number]
    machine.behaviour = FaxBehaviour.BUSY
    await env.submit(trigger(snapshot=AND_OUTSIDE))
    await env.siti.gets("AMARAN")
    await env.release()
    env.gets_letter("JCM-01")
    await env.advance(timedelta(hours=2))
    assert len(env.fax_service.faxes) == 7
    machine.behaviour = FaxBehaviour.ANSWERS
    await env.advance(timedelta(hours=1))
    env.gets_fax("JCM-01")
    await env.siti.gets("HASIL", "1 sampai")


async def test_process_killed_while_sending_sends_once(either_env: SimulatedEnv) -> None:
    """An attempt is stored before the call, so a crash during the call sends nothing twice."""
    env = either_env
    taken = asyncio.Event()
    env.carrier.on_taken = lambda _: taken.set()
    await env.dispatcher.submit(trigger(snapshot=ONE_SMS))
    life = asyncio.create_task(env.settle())
    await taken.wait()
    life.cancel()
    await asyncio.gather(life, return_exceptions=True)
    env.restart()
    async with env.store.transaction() as uow:
        await uow.requery_orphaned_attempts(env.clock.now())
    await env.advance(10 * MINUTE)

    await env.siti.gets("AMARAN")


async def test_database_unavailable_delays_calls_without_repeating_them(env: SimulatedEnv) -> None:
    """While the store is unavailable nobody is called; afterwards everybody is, once."""
    await env.submit(trigger())
    await env.siti.gets("AMARAN")
    await env.advance(4 * MINUTE)
    env.store.away = True
    await env.advance(2 * MINUTE)
    env.expect_nothing_more()

    env.store.away = False
    await env.advance(10 * SECOND)
    await env.siti.is_called()
    await env.ravi.is_called()


async def test_unstored_receipt_is_refused_and_provider_is_polled(env: SimulatedEnv) -> None:
    """A receipt counts only once it is stored; otherwise the provider is asked."""

    async def fail_store() -> None:
        env.store.refuse_next("attempt")

    env.facade.before_callback |= {"status": fail_store}
    await env.submit(trigger(snapshot=ONE_SMS))
    await env.siti.gets("AMARAN")
    assert [error.rsplit(" ", 1)[1] for error in env.carrier.errors] == ["503"]
    env.carrier.errors.clear()
    await env.advance(5 * MINUTE)

    assert await states(env) == ["outage sms delivered"]


async def test_hanging_voice_provider_delays_no_sms(env: SimulatedEnv) -> None:
    """A telephone provider that hangs delays no SMS."""
    by_call = replace(POLICY.steps[1], after=timedelta(0), contacts=(RAVI,))
    env.ravi.presses("1")
    env.carrier.faults.append(SubmissionFault.HANG_AFTER)
    taken = asyncio.Event()
    env.carrier.on_taken = lambda _: taken.set()
    hanging = replace(SNAPSHOT, agency="MDC", escalation=replace(POLICY, steps=(by_call,), rounds=1))
    await env.dispatcher.submit(trigger(snapshot=hanging))
    waits = asyncio.create_task(env.settle())
    await taken.wait()
    await env.dispatcher.submit(trigger(snapshot=ONE_SMS))
    async with asyncio.TaskGroup() as calls:
        await env.dispatcher.run_cycle(calls)
    await env.carrier.settled()

    await env.siti.gets("AMARAN", "JCM-01")
    assert not waits.done(), "it hangs all the while"
    waits.cancel()
    await asyncio.gather(waits, return_exceptions=True)
    await env.ravi.is_called(keys="1")
