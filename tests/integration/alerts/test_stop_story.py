"""An officer who wants no SMS any more is called instead, told as a story. docs/how-to/duty-officer/incidents.md promises it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from alerts.model.channel import Channel
from alerts.model.incident import IncidentState
from alerts.model.policy_snapshot import AnnouncementPlan, EscalationPolicy, Step
from tests.integration.alerts.town import Town
from tests.unit.alerts.people import BRIEF, SITI, trigger

pytestmark = pytest.mark.story

HOUR, AT_ONCE = timedelta(hours=1), timedelta(0)
ONE_SMS = EscalationPolicy(steps=(Step(after=AT_ONCE, contacts=(SITI,), channels=(Channel.SMS,)),))
BY_SMS = replace(BRIEF, escalation=ONE_SMS, announcement=AnnouncementPlan())


async def test_stop_with_a_step_by_sms_alone_calls_instead_also_when_mail_works_again(either_town: Town) -> None:
    """Whoever sent STOP is called in an SMS-only plan, for the recovery too, and told so once."""
    town = either_town
    await town.submit(trigger(brief=BY_SMS))
    await town.siti.gets("AMARAN")
    assert (
        await town.siti.replies("STOP")
        == "RM0 JCM: SMS ke nombor ini dihentikan. Tuan/puan akan dihubungi melalui panggilan. Balas MULA untuk menerima "
        "SMS semula."
    )
    assert await town.siti.replies("STOP") == "", "two machines would answer each other"

    town.siti.presses("1")
    await town.advance(HOUR)
    await town.siti.is_called("gagal sejak", keys="1")
    assert (await town.incident()).state is IncidentState.ACKNOWLEDGED
    await town.resolve()
    await town.advance(HOUR)
    await town.siti.is_called("E-mel rasmi berfungsi semula")
    town.expect_nothing_more()

    assert await town.siti.replies("MULA") == "RM0 JCM: Tuan/puan akan menerima SMS semula. Terima kasih."
    await town.advance(HOUR)
    await town.submit(trigger(brief=BY_SMS, at=town.clock.now()))
    await town.siti.gets("AMARAN")


async def test_stop_of_somebody_without_a_number_to_call_is_answered_as_it_is(town: Town) -> None:
    """Whoever sent STOP and has no number to call gets an answer that says so."""
    unreached = replace(SITI, addresses=SITI.addresses_on([Channel.SMS]))
    step = replace(ONE_SMS.steps[0], contacts=(unreached,))
    await town.submit(trigger(brief=replace(BY_SMS, escalation=replace(ONE_SMS, steps=(step,)))))
    await town.siti.gets("AMARAN")

    assert "Tiada nombor panggilan, maka tuan/puan tidak akan dihubungi" in await town.siti.replies("BERHENTI")
    await town.advance(HOUR)
    town.expect_nothing_more()
