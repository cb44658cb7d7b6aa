"""The engine, told as stories with telephones and a clock: in which order, how often, and what a failure costs."""

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
from tests.integration.alerts.town import Town
from tests.integration.monitor.test_escalation_auditor import incident_policy
from tests.unit.alerts.people import BRIEF, FAX, MINUTE, POLICY, RAVI, SECOND, trigger

#: Siti, by SMS, and nobody after her.
ONE_SMS = replace(BRIEF, escalation=replace(POLICY, steps=POLICY.steps[:1], rounds=1), announcement=AnnouncementPlan())
#: And an office outside, when it is released.
AND_OUTSIDE = replace(ONE_SMS, announcement=BRIEF.announcement)

pytestmark = pytest.mark.story


async def states(town: Town) -> list[str]:
    return [f"{n.purpose} {n.channel} {n.state}" for n in await town.notifications()]


async def test_an_outage_is_lived_through_from_the_first_sms_to_the_last_word(either_town: Town) -> None:
    """SMS, call, key press, release, fax, letter and recovery come in this order, each once."""
    town = either_town
    await town.submit(trigger())
    await town.siti.gets("RM0 JCM ICT: AMARAN", "JCM-01")
    town.expect_nothing_more()

    town.ravi.presses("1")
    await town.advance(5 * MINUTE - SECOND)
    town.expect_nothing_more()
    await town.advance(SECOND)
    await town.siti.is_called("gagal")
    await town.ravi.is_called("Penerimaan tuan atau puan telah disahkan", keys="1")
    assert (await town.incident()).acknowledged_by == "Ravi Contoh"
    await town.siti.gets("JCM-01 telah disahkan oleh Ravi Contoh")

    await town.advance(10 * MINUTE)
    await town.release()
    town.gets_fax("JCM-01")
    town.gets_letter("JCM-01")

    await town.resolve()
    for person in (town.siti, town.ravi):
        await person.gets("RM0 JCM ICT: PULIH", "JCM-01")
    town.gets_fax("pulih")
    assert town.tray_letters(LetterPlace.WITHDRAWN) == 1
    await town.advance(timedelta(hours=3))
    assert await town.active() == []


async def test_whatever_is_said_again_and_however_often_the_service_starts_each_hears_it_once(town: Town) -> None:
    """Repeated events and restarts send nothing twice."""
    for _ in range(3):
        await town.submit(trigger())
        town.restart()
    await town.siti.gets("AMARAN")
    for _ in range(10):
        await town.advance(30 * SECOND)
        town.restart()
    await town.submit(replace(trigger(), at=town.clock.now()))
    await town.siti.is_called()
    await town.ravi.is_called()


@pytest.mark.parametrize("fault", [CallbackFault.TWICE, CallbackFault.REVERSED, CallbackFault.BEFORE_ANSWER])
async def test_callbacks_that_come_twice_in_disorder_or_too_early_change_nothing(
    town: Town, fault: CallbackFault
) -> None:
    """Callbacks that come twice, out of order or too early never return a state to an earlier one."""
    town.carrier.callback_fault = fault
    await town.submit(trigger())
    await town.siti.gets("AMARAN")
    town.siti.presses("1")
    await town.advance(5 * MINUTE)
    await town.siti.is_called("telah disahkan", keys="1")
    await town.ravi.is_called()
    await town.advance(10 * MINUTE)
    await town.ravi.gets("JCM-01 telah disahkan oleh Siti Contoh")

    assert (await states(town))[:2] == ["outage sms delivered", "outage voice delivered"]


@pytest.mark.parametrize("fault", [SubmissionFault.DROP_AFTER, SubmissionFault.ERROR_AFTER])
async def test_a_message_whose_answer_was_lost_is_asked_about_and_not_sent_again(
    town: Town, fault: SubmissionFault
) -> None:
    """A message without an answer is looked up at the gateway before it is sent again."""
    town.carrier.callback_fault = CallbackFault.NEVER  # or it would be known all the same
    town.carrier.faults.append(fault)
    await town.submit(trigger(brief=ONE_SMS))
    await town.advance(timedelta(hours=1))

    await town.siti.gets("AMARAN")
    assert await states(town) == ["outage sms delivered"]


async def test_a_message_that_never_got_there_is_asked_about_and_sent_once_more(town: Town) -> None:
    """A message that the gateway never had is sent once more."""
    town.carrier.faults.append(SubmissionFault.DROP_BEFORE)
    await town.submit(trigger(brief=ONE_SMS))
    town.expect_nothing_more()
    await town.advance(MINUTE)

    await town.siti.gets("AMARAN")


async def test_a_fax_of_unknown_fate_is_not_sent_again_and_laid_before_a_person(town: Town) -> None:
    """A fax of unknown fate is not sent again; a person decides."""
    town.fax_service.faults.append(SubmissionFault.DROP_BEFORE)
    await town.submit(trigger(brief=AND_OUTSIDE))
    await town.siti.gets("AMARAN")
    await town.release()
    town.gets_letter("JCM-01")  # A fax service in trouble holds no letter back.
    await town.advance(timedelta(hours=1))

    fax = next(n for n in await town.notifications() if n.addresses == (FAX,))
    assert fax.state is NotificationState.UNKNOWN
    assert town.fax_service.faxes == []


async def a_fax_of_unknown_fate(town: Town) -> int:
    """Lose the trace of a fax; return its notice."""
    town.fax_service.faults.append(SubmissionFault.DROP_BEFORE)
    await town.submit(trigger(brief=AND_OUTSIDE))
    await town.siti.gets("AMARAN")
    await town.acknowledge()
    await town.release()
    town.gets_letter("JCM-01")
    await town.advance(timedelta(hours=1))
    fax = next(n for n in await town.notifications() if n.addresses == (FAX,))
    assert fax.state is NotificationState.UNKNOWN
    return fax.id


def auditor_of(town: Town) -> EscalationAuditor:
    return EscalationAuditor(
        store=town.store_itself,
        pool=town.pool,
        alerting=town.dispatcher,
        noc_policy=incident_policy,
        metrics=town.metrics.watchdog,
        clock=town.clock,
    )


async def ruled(town: Town, notification_id: int, ruling: ManualStatus) -> None:
    await town.facade.set_notification_status(notification_id, ruling, "Siti Contoh", "saya menelefon pejabat itu")
    await town.settle()


async def over(town: Town) -> None:
    await town.resolve()
    await town.siti.gets("PULIH")
    await town.settle()


async def test_a_person_who_has_asked_says_that_a_fax_arrived(either_town: Town) -> None:
    """A person sets the status of a fax of unknown fate to delivered."""
    town = either_town
    notification_id = await a_fax_of_unknown_fate(town)
    await ruled(town, notification_id, ManualStatus.DELIVERED)
    with pytest.raises(OperationRejectedError, match="is delivered"):
        await ruled(town, notification_id, ManualStatus.LOST)
    await over(town)

    town.gets_fax("PEMULIHAN", "notis JCM-01 bertarikh")
    assert "notice settled by hand: arrived" in await town.journal()


async def test_the_noc_is_asked_to_find_out_about_a_fax_of_unknown_fate_and_told_when_it_is_known(town: Town) -> None:
    """The NOC is asked by SMS about a fax of unknown fate."""
    auditor = auditor_of(town)
    notification_id = await a_fax_of_unknown_fate(town)
    for _ in range(3):
        await auditor.audit()
        await town.settle()
    await town.noc.gets("AMARAN. Tidak pasti notis", f" {notification_id} (JCM-01) sampai", "pantau set-status")

    await ruled(town, notification_id, ManualStatus.DELIVERED)
    await auditor.audit()
    await town.settle()
    await town.noc.gets("SELESAI", f" {notification_id} (JCM-01)")
    await over(town)
    town.gets_fax("PEMULIHAN")


async def test_a_person_who_has_asked_says_that_a_fax_was_lost_and_no_recovery_follows_it(town: Town) -> None:
    """A person sets the status of a fax to lost, and no recovery follows it."""
    await ruled(town, await a_fax_of_unknown_fate(town), ManualStatus.LOST)
    await over(town)
    await town.later(timedelta(hours=1))
    await town.siti.gets("HASIL", "0 sampai, 1 TIDAK SAMPAI")
    assert town.fax_service.faxes == []


async def test_a_person_who_has_asked_lets_a_fax_go_out_once_more(either_town: Town) -> None:
    """A person lets a fax of unknown fate be sent once more."""
    town = either_town
    # Its time is over by now, and it gets it once more.
    notification_id = await a_fax_of_unknown_fate(town)
    await town.later(timedelta(hours=20))
    await ruled(town, notification_id, ManualStatus.RESEND)
    town.gets_fax("GANGGUAN", "JCM-01")
    assert len(town.fax_service.faxes) == 1


async def test_a_recovery_does_not_cite_a_fax_that_may_not_have_arrived(town: Town) -> None:
    """A recovery cites no fax that may not have arrived."""
    notification_id = await a_fax_of_unknown_fate(town)
    await over(town)
    text = town.gets_fax("PEMULIHAN", "perkara di atas dirujuk")
    assert "notis JCM-01 bertarikh" not in text
    with pytest.raises(OperationRejectedError, match="nobody needs"):
        await ruled(town, notification_id, ManualStatus.RESEND)


async def test_a_provider_that_is_busy_is_tried_after_a_quarter_of_a_minute_and_a_minute(town: Town) -> None:
    """A temporary failure of an SMS is retried after 15 s and 60 s."""
    town.carrier.faults.extend([SubmissionFault.TOO_MANY] * 2)
    await town.submit(trigger(brief=ONE_SMS))
    for wait in (15 * SECOND, 60 * SECOND):
        await town.advance(wait - SECOND)
        town.expect_nothing_more()
        await town.advance(SECOND)

    await town.siti.gets("AMARAN")
    assert list(town.carrier.faults) == []


async def test_a_fax_machine_that_is_busy_is_dialled_again_after_three_minutes(town: Town) -> None:
    """A busy fax machine is redialled after three minutes."""
    machine = town.fax_service.machines[FAX.number]
    machine.behaviour = FaxBehaviour.BUSY
    await town.submit(trigger(brief=AND_OUTSIDE))
    await town.siti.gets("AMARAN")
    await town.release()
    town.gets_letter("JCM-01")
    machine.behaviour = FaxBehaviour.ANSWERS
    await town.advance(3 * MINUTE - SECOND)
    town.expect_nothing_more()

    await town.advance(SECOND)
    town.gets_fax("JCM-01")


async def test_fax_machine_busy_for_hours_gets_its_page_when_it_is_free(town: Town) -> None:
    """A fax machine that is busy for hours is redialled until it is free."""
    machine = town.fax_service.machines[FAX.number]
    machine.behaviour = FaxBehaviour.BUSY
    await town.submit(trigger(brief=AND_OUTSIDE))
    await town.siti.gets("AMARAN")
    await town.release()
    town.gets_letter("JCM-01")
    await town.advance(timedelta(hours=2))
    assert len(town.fax_service.faxes) == 7
    machine.behaviour = FaxBehaviour.ANSWERS
    await town.advance(timedelta(hours=1))
    town.gets_fax("JCM-01")
    await town.siti.gets("HASIL", "1 sampai")


async def test_a_process_that_dies_while_it_sends_sends_once(either_town: Town) -> None:
    """An attempt is stored before the call, so a crash during the call sends nothing twice."""
    town = either_town
    taken = asyncio.Event()
    town.carrier.on_taken = lambda _: taken.set()
    await town.dispatcher.submit(trigger(brief=ONE_SMS))
    life = asyncio.create_task(town.settle())
    await taken.wait()
    life.cancel()
    await asyncio.gather(life, return_exceptions=True)
    town.restart()
    async with town.store.transaction() as uow:
        await uow.requery_orphaned_calls(town.clock.now())
    await town.advance(10 * MINUTE)

    await town.siti.gets("AMARAN")


async def test_while_the_store_is_away_nobody_is_rung_and_afterwards_everybody_once(town: Town) -> None:
    """While the store is unavailable nobody is called; afterwards everybody is, once."""
    await town.submit(trigger())
    await town.siti.gets("AMARAN")
    await town.advance(4 * MINUTE)
    town.store.away = True
    await town.advance(2 * MINUTE)
    town.expect_nothing_more()

    town.store.away = False
    await town.advance(10 * SECOND)
    await town.siti.is_called()
    await town.ravi.is_called()


async def test_a_receipt_that_cannot_be_stored_is_not_taken_and_the_provider_is_asked(town: Town) -> None:
    """A receipt counts only once it is stored; otherwise the provider is asked."""

    async def be_full() -> None:
        town.store.refuse_next("attempt")

    town.facade.just_before |= {"status": be_full}
    await town.submit(trigger(brief=ONE_SMS))
    await town.siti.gets("AMARAN")
    assert [error.rsplit(" ", 1)[1] for error in town.carrier.errors] == ["503"]
    town.carrier.errors.clear()
    await town.advance(5 * MINUTE)

    assert await states(town) == ["outage sms delivered"]


async def test_a_telephone_provider_that_hangs_holds_up_no_sms(town: Town) -> None:
    """A telephone provider that hangs delays no SMS."""
    by_call = replace(POLICY.steps[1], after=timedelta(0), contacts=(RAVI,))
    town.ravi.presses("1")
    town.carrier.faults.append(SubmissionFault.HANG_AFTER)
    taken = asyncio.Event()
    town.carrier.on_taken = lambda _: taken.set()
    hanging = replace(BRIEF, agency="MDC", escalation=replace(POLICY, steps=(by_call,), rounds=1))
    await town.dispatcher.submit(trigger(brief=hanging))
    waits = asyncio.create_task(town.settle())
    await taken.wait()
    await town.dispatcher.submit(trigger(brief=ONE_SMS))
    async with asyncio.TaskGroup() as calls:
        await town.dispatcher.run_cycle(calls)
    await town.carrier.settled()

    await town.siti.gets("AMARAN", "JCM-01")
    assert not waits.done(), "it hangs all the while"
    waits.cancel()
    await asyncio.gather(waits, return_exceptions=True)
    await town.ravi.is_called(keys="1")
