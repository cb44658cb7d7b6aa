"""An incident is open, and somebody edits whom it tells: people and numbers follow, what is done when does not."""

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
from tests.integration.alerts.station import Station, station_at
from tests.unit.alerts.people import (
    BRIEF,
    FAX,
    MINISTRY,
    MINUTE,
    POLICY,
    RAVI,
    SECOND,
    SITI,
    SMS_RAVI,
    SMS_SITI,
    VOICE_RAVI,
    VOICE_SITI,
    trigger,
)

pytestmark = pytest.mark.blind

RIGHT = "+60100000177"
RIGHT_FAX = "+60300000299"
#: Another recipient, so that there is one where the first is removed.
OTHER = replace(MINISTRY, key="lain", addresses=(replace(FAX, number="+60300000277"),))
SITI_NOW = replace(
    SITI,
    addresses=(Address(channel=Channel.SMS, number=RIGHT), Address(channel=Channel.VOICE, number=RIGHT)),
)


def plan(*contacts: Contact) -> PolicySnapshot:
    """Return the brief whose first step tells *contacts* by SMS, and whose second calls them again and again."""
    again = RedialPolicy(interval=5 * MINUTE, times=3)
    steps = (
        replace(POLICY.steps[0], contacts=contacts),
        replace(POLICY.steps[1], contacts=contacts, redial=again),
    )
    return replace(BRIEF, escalation=replace(POLICY, steps=steps), announcement=AnnouncementPlan())


@pytest.fixture
async def station(tmp_path: Path) -> AsyncIterator[Station]:
    async with station_at(tmp_path) as opened:
        opened.brief = lambda _: opened.present  # type: ignore[attr-defined]
        for gateway in (opened.sms, opened.fax, opened.tray):
            gateway.happens.extend([SubmissionState.DELIVERED] * 20)
        opened.voice.happens.extend([SubmissionState.FAILED] * 20)
        yield opened


async def begin(station: Station, brief: PolicySnapshot) -> None:
    edit(station, brief)
    await station.submit(trigger(brief=brief))


def edit(station: Station, brief: PolicySnapshot) -> None:
    station.present = brief  # type: ignore[attr-defined]
    station.dispatcher.wake()


async def test_incident_contact_removed_is_not_called_any_more(station: Station) -> None:
    """Defect: A removed contact is called 80 s later, because the plan is frozen.

    Pantau: A removed contact is not notified again, of the end either.
    """
    await begin(station, plan(SITI, RAVI))
    await station.advance(6 * MINUTE)
    assert station.voice.sent == [f"outage to {a.number}" for a in (VOICE_SITI, VOICE_RAVI)]
    edit(station, plan(RAVI))
    await station.advance(30 * MINUTE)
    assert set(station.voice.sent[2:]) == {f"outage to {VOICE_RAVI.number}"}
    await station.resolve()
    assert station.sms.sent[-1:] == [f"recovery to {SMS_RAVI.number}"]
    assert f"recovery to {SMS_SITI.number}" not in station.sms.sent


async def test_incident_contact_with_another_number_is_told_there_at_once_and_called_there(station: Station) -> None:
    """Defect: A wrong number cannot be corrected while an incident is open.

    Pantau: The person is notified at the new number at once.
    """
    await begin(station, plan(SITI))
    assert station.sms.sent == [f"outage to {SMS_SITI.number}"]
    await station.advance(MINUTE)
    edit(station, plan(SITI_NOW))
    await station.settle()
    assert station.sms.sent[1:] == [f"outage to {RIGHT}"], "told at the wrong number before"
    await station.advance(20 * MINUTE)
    assert set(station.voice.sent) == {f"outage to {RIGHT}"}
    await station.resolve()
    assert f"outage to {SMS_SITI.number}" not in station.sms.sent[1:]
    assert station.sms.sent[-1:] == [f"recovery to {RIGHT}"]


async def test_incident_contact_edited_while_they_are_called_again_is_called_at_new_number(station: Station) -> None:
    """Defect: A redial within a step uses the old number.

    Pantau: It uses the edited number.
    """
    await begin(station, plan(SITI))
    await station.advance(6 * MINUTE)
    assert station.voice.sent == [f"outage to {VOICE_SITI.number}"]
    edit(station, plan(SITI_NOW))
    await station.advance(20 * MINUTE)
    assert set(station.voice.sent[1:]) == {f"outage to {RIGHT}"}


async def test_incident_notice_that_waits_goes_to_new_number(station: Station) -> None:
    """Defect: A notification that waits at a gateway uses the old number.

    Pantau: It uses the edited number.
    """
    station.sms.happens.clear()
    station.sms.happens.append(ErrorClass.TRANSIENT)
    await begin(station, plan(SITI))
    assert [order.address for order in station.sms.orders] == [SMS_SITI.number]
    edit(station, plan(SITI_NOW))
    await station.advance(2 * MINUTE)
    assert (station.sms.sent, station.modem.sent) == ([f"outage to {SMS_SITI.number}"], [f"outage to {RIGHT}"])


async def test_incident_acknowledged_nobody_is_told_again_by_an_edit(station: Station) -> None:
    """Defect: An edited number notifies again about an acknowledged incident.

    Pantau: An acknowledged incident notifies nobody again.
    """
    await begin(station, plan(SITI))
    await station.acknowledge()
    edit(station, plan(SITI_NOW))
    await station.advance(10 * MINUTE)
    assert station.sms.sent == [f"outage to {SMS_SITI.number}"]
    await station.resolve()
    assert station.sms.sent[1:] == [f"recovery to {RIGHT}"]


async def test_incident_steps_that_were_edited_are_for_the_next_one(station: Station) -> None:
    """Defect: An edit of steps and times skips or repeats steps of an open incident.

    Pantau: Its steps and times stay.
    """
    await begin(station, plan(SITI))
    later = plan(SITI_NOW)
    slower = tuple(replace(step, after=step.after * 12) for step in later.escalation.steps)
    edit(station, replace(later, escalation=replace(later.escalation, steps=slower)))
    await station.advance(5 * MINUTE)
    assert station.voice.sent == [f"outage to {RIGHT}"], "when it was planned, to whom it is now"


async def test_incident_all_of_whose_people_were_exchanged_begins_anew(station: Station) -> None:
    """Defect: An edit that exchanges everybody leaves nobody to notify.

    Pantau: The edited plan begins from its first step.
    """
    await begin(station, plan(SITI))
    await station.advance(6 * MINUTE)
    exchanged = replace(BRIEF, escalation=replace(POLICY, steps=(replace(POLICY.steps[0], contacts=(RAVI,)),)))
    edit(station, replace(exchanged, announcement=AnnouncementPlan()))
    await station.settle()
    assert station.sms.sent[1:] == [f"outage to {SMS_RAVI.number}"]


async def test_incident_edit_that_says_the_same_is_none(station: Station) -> None:
    """Defect: An edit that changes only the spelling of a plan counts as a change.

    Pantau: The same content is no edit.
    """
    await begin(station, plan(SITI, RAVI))
    for _ in range(3):
        edit(station, plan(replace(SITI, addresses=SITI.addresses), RAVI))
        await station.advance(SECOND)
    assert "contacts updated" not in await station.journal()
    edit(station, plan(SITI_NOW, RAVI))
    for _ in range(3):
        await station.advance(SECOND)
        station.dispatcher.wake()
    assert (await station.journal()).count("contacts updated") == 1


async def test_announcement_fax_that_failed_at_wrong_number_goes_to_the_right_one(station: Station) -> None:
    """Defect: A failed fax is not sent to the edited number.

    Pantau: It is.
    """
    outside = replace(MINISTRY, addresses=(FAX,))
    told = replace(plan(SITI), announcement=AnnouncementPlan(recipients=(outside,)))
    await begin(station, told)
    station.fax.happens.clear()
    station.fax.happens.extend([ErrorClass.PERMANENT, SubmissionState.DELIVERED])
    await station.release()
    assert station.fax.sent == [f"outage to {FAX.number}"]
    right = replace(outside, addresses=(replace(FAX, number="+60300000299"),))
    edit(station, replace(told, announcement=AnnouncementPlan(recipients=(right,))))
    await station.advance(MINUTE)
    assert station.fax.sent[1:] == ["outage to +60300000299"]


async def test_announcement_released_is_sent_to_nobody_who_was_added_since(station: Station) -> None:
    """Defect: An edit adds recipients to a released announcement.

    Pantau: It adds none.
    """
    outside = replace(MINISTRY, addresses=(FAX,))
    told = replace(plan(SITI), announcement=AnnouncementPlan(recipients=(outside,)))
    await begin(station, told)
    await station.release()
    another = replace(outside, key="lain", addresses=(replace(FAX, number="+60300000299"),))
    edit(station, replace(told, announcement=AnnouncementPlan(recipients=(outside, another))))
    await station.advance(MINUTE)
    assert station.fax.sent == [f"outage to {FAX.number}"]


async def test_incident_edited_while_the_service_was_stopped_follows_at_the_start(station: Station) -> None:
    """Defect: An edit while the service is stopped is lost for open incidents.

    Pantau: The next start applies it.
    """
    await begin(station, plan(SITI, RAVI))
    await station.advance(6 * MINUTE)
    before = len(station.voice.sent)
    station.present = plan(SITI_NOW)  # type: ignore[attr-defined]
    station.restart()
    await station.advance(20 * MINUTE)
    assert station.voice.sent[before:]
    assert set(station.voice.sent[before:]) == {f"outage to {RIGHT}"}
    assert f"outage to {RIGHT}" in station.sms.sent


async def test_incident_edited_to_tell_nobody_keeps_whom_it_had(station: Station) -> None:
    """Defect: An edit that leaves nobody to notify empties an open incident's plan.

    Pantau: It changes nothing.
    """
    await begin(station, plan(SITI))
    edit(station, BRIEF.without_people())
    await station.advance(5 * MINUTE)
    assert station.voice.sent == [f"outage to {VOICE_SITI.number}"]


@pytest.mark.parametrize("mended", ["other number", "removed"])
@pytest.mark.parametrize("ends", [ErrorClass.TRANSIENT, ErrorClass.PERMANENT])
async def test_announcement_fax_dialling_while_its_number_is_edited_is_not_redialled_there(
    station: Station, ends: ErrorClass, mended: str
) -> None:
    """Defect: A fax in progress while its number is edited is redialled at the old number for hours, or nowhere.

    Pantau: It goes to the edited number; a removed recipient is not redialled.
    """
    outside = replace(MINISTRY, addresses=(FAX,))
    told = replace(plan(SITI), announcement=AnnouncementPlan(recipients=(outside, OTHER)))
    await begin(station, told)
    station.fax.happens.clear()
    station.fax.happens.extend([SubmissionState.ACCEPTED, SubmissionState.DELIVERED, SubmissionState.DELIVERED])
    await station.release()
    right = (replace(outside, addresses=(replace(FAX, number=RIGHT_FAX),)),) if mended == "other number" else ()
    edit(station, replace(told, announcement=AnnouncementPlan(recipients=(*right, OTHER))))
    await station.advance(MINUTE)
    station.fax.fails(ends)
    await station.advance(2 * 60 * MINUTE)
    sent = [each for each in station.fax.sent if OTHER.addresses[0].number not in each]
    assert sent == [f"outage to {FAX.number}", *([f"outage to {RIGHT_FAX}"] if right else ())]


async def test_announcement_fax_failed_beside_a_letter_goes_to_edited_number(station: Station) -> None:
    """Defect: A fax that failed beside a letter does not go to the edited number.

    Pantau: Each channel follows its own last page.
    """
    outside = replace(MINISTRY, addresses=(FAX, replace(FAX, channel=Channel.LETTER, number="KCM")))
    told = replace(plan(SITI), announcement=AnnouncementPlan(recipients=(outside,)))
    await begin(station, told)
    station.fax.happens.clear()
    station.fax.happens.extend([ErrorClass.PERMANENT, SubmissionState.DELIVERED])
    await station.release()
    assert (len(station.fax.sent), len(station.tray.sent)) == (1, 1)
    right = replace(outside, addresses=(replace(FAX, number=RIGHT_FAX), outside.addresses[1]))
    edit(station, replace(told, announcement=AnnouncementPlan(recipients=(right,))))
    await station.advance(MINUTE)
    assert (station.fax.sent[1:], len(station.tray.sent)) == ([f"outage to {RIGHT_FAX}"], 1)


async def test_incident_edited_twice_within_a_second_is_told_at_the_last_number(station: Station) -> None:
    """Defect: A second edit within a second withdraws the notification and writes none.

    Pantau: Two edits count as two.
    """
    station.sms.happens.clear()
    station.sms.happens.append(ErrorClass.TRANSIENT)
    await begin(station, plan(SITI))
    typo = tuple(replace(each, number="+60100000170") for each in SITI_NOW.addresses)
    edit(station, plan(replace(SITI_NOW, addresses=typo)))
    station.modem.happens.append(ErrorClass.TRANSIENT)
    await station.settle()
    await station.advance(timedelta(milliseconds=300))
    edit(station, plan(SITI_NOW))
    await station.advance(2 * MINUTE)
    assert f"outage to {RIGHT}" in station.sms.sent + station.modem.sent


async def test_incident_contact_removed_while_being_told_is_not_told_again(station: Station) -> None:
    """Defect: An SMS to a removed contact fails and is sent again.

    Pantau: It is withdrawn.
    """
    station.sms.happens.clear()
    await begin(station, plan(SITI, RAVI))
    edit(station, plan(RAVI))
    await station.settle()
    station.sms.fails(ErrorClass.TRANSIENT)
    await station.advance(4 * MINUTE)
    sent = [each for gateway in (station.sms, station.modem) for each in gateway.sent]
    assert (sent.count(f"outage to {SMS_SITI.number}"), sent.count(f"outage to {SMS_RAVI.number}") > 1) == (1, True)
