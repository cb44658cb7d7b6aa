"""Edits of contacts and numbers while an incident is open: people follow, steps and times stay."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from alerts.model.channel import Channel
from alerts.model.contact import Address, Contact
from alerts.model.gateway import ErrorClass, SubmissionState
from alerts.model.policy_snapshot import AnnouncementPlan, PolicySnapshot, RedialPolicy
from tests.integration.alerts.dispatcher_env import DispatcherEnv, open_dispatcher_env
from tests.unit.alerts.people import (
    FAX,
    MINISTRY,
    MINUTE,
    POLICY,
    RAVI,
    SECOND,
    SITI,
    SMS_RAVI,
    SMS_SITI,
    SNAPSHOT,
    VOICE_RAVI,
    VOICE_SITI,
    trigger,
)

pytestmark = pytest.mark.blind

RIGHT = "+60100000177"
RIGHT_FAX = "+60300000299"
#: Another recipient, so that one is left when the first is removed.
OTHER = replace(MINISTRY, key="lain", addresses=(replace(FAX, number="+60300000277"),))
SITI_NOW = replace(
    SITI,
    addresses=(Address(channel=Channel.SMS, number=RIGHT), Address(channel=Channel.VOICE, number=RIGHT)),
)


def plan(*contacts: Contact) -> PolicySnapshot:
    """Return the policy whose first step sends SMS to *contacts*, and whose second calls them repeatedly."""
    again = RedialPolicy(interval=5 * MINUTE, times=3)
    steps = (
        replace(POLICY.steps[0], contacts=contacts),
        replace(POLICY.steps[1], contacts=contacts, redial=again),
    )
    return replace(SNAPSHOT, escalation=replace(POLICY, steps=steps), announcement=AnnouncementPlan())


@pytest.fixture
async def env(tmp_path: Path) -> AsyncIterator[DispatcherEnv]:
    async with open_dispatcher_env(tmp_path) as opened:
        opened.snapshot = lambda _: opened.present  # type: ignore[attr-defined]
        for gateway in (opened.sms, opened.fax, opened.tray):
            gateway.happens.extend([SubmissionState.DELIVERED] * 20)
        opened.voice.happens.extend([SubmissionState.FAILED] * 20)
        yield opened


async def begin(env: DispatcherEnv, snapshot: PolicySnapshot) -> None:
    edit(env, snapshot)
    await env.submit(trigger(snapshot=snapshot))


def edit(env: DispatcherEnv, snapshot: PolicySnapshot) -> None:
    env.present = snapshot  # type: ignore[attr-defined]
    env.dispatcher.wake()


async def test_removed_contact_is_not_called_again(env: DispatcherEnv) -> None:
    """Defect: A removed contact is called 80 s later, because the plan is frozen.

    Pantau: A removed contact is not notified again, of the end either.
    """
    await begin(env, plan(SITI, RAVI))
    await env.advance(6 * MINUTE)
    assert env.voice.sent == [f"outage to {a.number}" for a in (VOICE_SITI, VOICE_RAVI)]
    edit(env, plan(RAVI))
    await env.advance(30 * MINUTE)
    assert set(env.voice.sent[2:]) == {f"outage to {VOICE_RAVI.number}"}
    await env.resolve()
    assert env.sms.sent[-1:] == [f"recovery to {SMS_RAVI.number}"]
    assert f"recovery to {SMS_SITI.number}" not in env.sms.sent


async def test_changed_number_is_notified_and_called_at_once(env: DispatcherEnv) -> None:
    """Defect: A wrong number cannot be corrected while an incident is open.

    Pantau: The person is notified at the new number at once.
    """
    await begin(env, plan(SITI))
    assert env.sms.sent == [f"outage to {SMS_SITI.number}"]
    await env.advance(MINUTE)
    edit(env, plan(SITI_NOW))
    await env.settle()
    assert env.sms.sent[1:] == [f"outage to {RIGHT}"], "told at the wrong number before"
    await env.advance(20 * MINUTE)
    assert set(env.voice.sent) == {f"outage to {RIGHT}"}
    await env.resolve()
    assert f"outage to {SMS_SITI.number}" not in env.sms.sent[1:]
    assert env.sms.sent[-1:] == [f"recovery to {RIGHT}"]


async def test_redial_uses_number_edited_meanwhile(env: DispatcherEnv) -> None:
    """Defect: A redial within a step uses the old number.

    Pantau: It uses the edited number.
    """
    await begin(env, plan(SITI))
    await env.advance(6 * MINUTE)
    assert env.voice.sent == [f"outage to {VOICE_SITI.number}"]
    edit(env, plan(SITI_NOW))
    await env.advance(20 * MINUTE)
    assert set(env.voice.sent[1:]) == {f"outage to {RIGHT}"}


async def test_waiting_notification_goes_to_edited_number(env: DispatcherEnv) -> None:
    """Defect: A notification that waits at a gateway uses the old number.

    Pantau: It uses the edited number.
    """
    env.sms.happens.clear()
    env.sms.happens.append(ErrorClass.TRANSIENT)
    await begin(env, plan(SITI))
    assert [order.address for order in env.sms.orders] == [SMS_SITI.number]
    edit(env, plan(SITI_NOW))
    await env.advance(2 * MINUTE)
    assert (env.sms.sent, env.modem.sent) == ([f"outage to {SMS_SITI.number}"], [f"outage to {RIGHT}"])


async def test_edit_of_acknowledged_incident_notifies_nobody_again(env: DispatcherEnv) -> None:
    """Defect: An edited number notifies again about an acknowledged incident.

    Pantau: An acknowledged incident notifies nobody again.
    """
    await begin(env, plan(SITI))
    await env.acknowledge()
    edit(env, plan(SITI_NOW))
    await env.advance(10 * MINUTE)
    assert env.sms.sent == [f"outage to {SMS_SITI.number}"]
    await env.resolve()
    assert env.sms.sent[1:] == [f"recovery to {RIGHT}"]


async def test_edited_steps_apply_to_next_incident_only(env: DispatcherEnv) -> None:
    """Defect: An edit of steps and times skips or repeats steps of an open incident.

    Pantau: Its steps and times stay.
    """
    await begin(env, plan(SITI))
    later = plan(SITI_NOW)
    slower = tuple(replace(step, after=step.after * 12) for step in later.escalation.steps)
    edit(env, replace(later, escalation=replace(later.escalation, steps=slower)))
    await env.advance(5 * MINUTE)
    assert env.voice.sent == [f"outage to {RIGHT}"], "when it was planned, to whom it is now"


async def test_exchange_of_all_contacts_restarts_escalation(env: DispatcherEnv) -> None:
    """Defect: An edit that exchanges everybody leaves nobody to notify.

    Pantau: The edited plan begins from its first step.
    """
    await begin(env, plan(SITI))
    await env.advance(6 * MINUTE)
    exchanged = replace(SNAPSHOT, escalation=replace(POLICY, steps=(replace(POLICY.steps[0], contacts=(RAVI,)),)))
    edit(env, replace(exchanged, announcement=AnnouncementPlan()))
    await env.settle()
    assert env.sms.sent[1:] == [f"outage to {SMS_RAVI.number}"]


async def test_edit_with_same_content_is_no_edit(env: DispatcherEnv) -> None:
    """Defect: An edit that changes only the spelling of a plan counts as a change.

    Pantau: The same content is no edit.
    """
    await begin(env, plan(SITI, RAVI))
    for _ in range(3):
        edit(env, plan(replace(SITI, addresses=SITI.addresses), RAVI))
        await env.advance(SECOND)
    assert "contacts updated" not in await env.journal()
    edit(env, plan(SITI_NOW, RAVI))
    for _ in range(3):
        await env.advance(SECOND)
        env.dispatcher.wake()
    assert (await env.journal()).count("contacts updated") == 1


async def test_failed_fax_is_resent_to_edited_number(env: DispatcherEnv) -> None:
    """Defect: A failed fax is not sent to the edited number.

    Pantau: It is.
    """
    outside = replace(MINISTRY, addresses=(FAX,))
    told = replace(plan(SITI), announcement=AnnouncementPlan(recipients=(outside,)))
    await begin(env, told)
    env.fax.happens.clear()
    env.fax.happens.extend([ErrorClass.PERMANENT, SubmissionState.DELIVERED])
    await env.release()
    assert env.fax.sent == [f"outage to {FAX.number}"]
    right = replace(outside, addresses=(replace(FAX, number="+60300000299"),))
    edit(env, replace(told, announcement=AnnouncementPlan(recipients=(right,))))
    await env.advance(MINUTE)
    assert env.fax.sent[1:] == ["outage to +60300000299"]


async def test_released_announcement_ignores_recipients_added_later(env: DispatcherEnv) -> None:
    """Defect: An edit adds recipients to a released announcement.

    Pantau: It adds none.
    """
    outside = replace(MINISTRY, addresses=(FAX,))
    told = replace(plan(SITI), announcement=AnnouncementPlan(recipients=(outside,)))
    await begin(env, told)
    await env.release()
    another = replace(outside, key="lain", addresses=(replace(FAX, number="+60300000299"),))
    edit(env, replace(told, announcement=AnnouncementPlan(recipients=(outside, another))))
    await env.advance(MINUTE)
    assert env.fax.sent == [f"outage to {FAX.number}"]


async def test_edit_while_stopped_applies_at_start(env: DispatcherEnv) -> None:
    """Defect: An edit while the service is stopped is lost for open incidents.

    Pantau: The next start applies it.
    """
    await begin(env, plan(SITI, RAVI))
    await env.advance(6 * MINUTE)
    before = len(env.voice.sent)
    env.present = plan(SITI_NOW)  # type: ignore[attr-defined]
    env.restart()
    await env.advance(20 * MINUTE)
    assert env.voice.sent[before:]
    assert set(env.voice.sent[before:]) == {f"outage to {RIGHT}"}
    assert f"outage to {RIGHT}" in env.sms.sent


async def test_edit_without_contacts_keeps_previous_ones(env: DispatcherEnv) -> None:
    """Defect: An edit that leaves nobody to notify empties an open incident's plan.

    Pantau: It changes nothing.
    """
    await begin(env, plan(SITI))
    edit(env, SNAPSHOT.without_people())
    await env.advance(5 * MINUTE)
    assert env.voice.sent == [f"outage to {VOICE_SITI.number}"]


@pytest.mark.parametrize("mended", ["other number", "removed"])
@pytest.mark.parametrize("ends", [ErrorClass.TRANSIENT, ErrorClass.PERMANENT])
async def test_fax_in_progress_is_redialled_at_edited_number_only(
    env: DispatcherEnv, ends: ErrorClass, mended: str
) -> None:
    """Defect: A fax in progress while its number is edited is redialled at the old number for hours, or nowhere.

    Pantau: It goes to the edited number; a removed recipient is not redialled.
    """
    outside = replace(MINISTRY, addresses=(FAX,))
    told = replace(plan(SITI), announcement=AnnouncementPlan(recipients=(outside, OTHER)))
    await begin(env, told)
    env.fax.happens.clear()
    env.fax.happens.extend([SubmissionState.ACCEPTED, SubmissionState.DELIVERED, SubmissionState.DELIVERED])
    await env.release()
    right = (replace(outside, addresses=(replace(FAX, number=RIGHT_FAX),)),) if mended == "other number" else ()
    edit(env, replace(told, announcement=AnnouncementPlan(recipients=(*right, OTHER))))
    await env.advance(MINUTE)
    env.fax.fails(ends)
    await env.advance(2 * 60 * MINUTE)
    sent = [each for each in env.fax.sent if OTHER.addresses[0].number not in each]
    assert sent == [f"outage to {FAX.number}", *([f"outage to {RIGHT_FAX}"] if right else ())]


async def test_failed_fax_beside_letter_goes_to_edited_number(env: DispatcherEnv) -> None:
    """Defect: A fax that failed beside a letter does not go to the edited number.

    Pantau: Each channel follows its own last page.
    """
    outside = replace(MINISTRY, addresses=(FAX, replace(FAX, channel=Channel.LETTER, number="KCM")))
    told = replace(plan(SITI), announcement=AnnouncementPlan(recipients=(outside,)))
    await begin(env, told)
    env.fax.happens.clear()
    env.fax.happens.extend([ErrorClass.PERMANENT, SubmissionState.DELIVERED])
    await env.release()
    assert (len(env.fax.sent), len(env.tray.sent)) == (1, 1)
    right = replace(outside, addresses=(replace(FAX, number=RIGHT_FAX), outside.addresses[1]))
    edit(env, replace(told, announcement=AnnouncementPlan(recipients=(right,))))
    await env.advance(MINUTE)
    assert (env.fax.sent[1:], len(env.tray.sent)) == ([f"outage to {RIGHT_FAX}"], 1)


async def test_two_edits_within_one_second_notify_last_number(env: DispatcherEnv) -> None:
    """Defect: A second edit within a second withdraws the notification and writes none.

    Pantau: Two edits count as two.
    """
    env.sms.happens.clear()
    env.sms.happens.append(ErrorClass.TRANSIENT)
    await begin(env, plan(SITI))
    typo = tuple(replace(each, number="+60100000170") for each in SITI_NOW.addresses)
    edit(env, plan(replace(SITI_NOW, addresses=typo)))
    env.modem.happens.append(ErrorClass.TRANSIENT)
    await env.settle()
    await env.advance(timedelta(milliseconds=300))
    edit(env, plan(SITI_NOW))
    await env.advance(2 * MINUTE)
    assert f"outage to {RIGHT}" in env.sms.sent + env.modem.sent


async def test_contact_removed_during_send_is_not_notified_again(env: DispatcherEnv) -> None:
    """Defect: An SMS to a removed contact fails and is sent again.

    Pantau: It is withdrawn.
    """
    env.sms.happens.clear()
    await begin(env, plan(SITI, RAVI))
    edit(env, plan(RAVI))
    await env.settle()
    env.sms.fails(ErrorClass.TRANSIENT)
    await env.advance(4 * MINUTE)
    sent = [each for gateway in (env.sms, env.modem) for each in gateway.sent]
    assert (sent.count(f"outage to {SMS_SITI.number}"), sent.count(f"outage to {SMS_RAVI.number}") > 1) == (1, True)
