"""STOP by SMS: calls replace SMS, as docs/how-to/duty-officer/incidents.md promises."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from alerts.model.channel import Channel
from alerts.model.incident import IncidentState
from alerts.model.policy_snapshot import AnnouncementPlan, EscalationPolicy, Step
from tests.integration.alerts.simulated_env import SimulatedEnv
from tests.unit.alerts.people import SITI, SNAPSHOT, trigger

pytestmark = pytest.mark.story

HOUR, AT_ONCE = timedelta(hours=1), timedelta(0)
ONE_SMS = EscalationPolicy(steps=(Step(after=AT_ONCE, contacts=(SITI,), channels=(Channel.SMS,)),))
BY_SMS = replace(SNAPSHOT, escalation=ONE_SMS, announcement=AnnouncementPlan())


async def test_stop_in_sms_only_plan_leads_to_calls_for_recovery_too(either_env: SimulatedEnv) -> None:
    """Whoever sent STOP is called in an SMS-only plan, for the recovery too, and told so once."""
    env = either_env
    await env.submit(trigger(snapshot=BY_SMS))
    await env.siti.gets("AMARAN")
    assert (
        await env.siti.replies("STOP")
        == "RM0 JCM: SMS ke nombor ini dihentikan. Tuan/puan akan dihubungi melalui panggilan. Balas MULA untuk menerima "
        "SMS semula."
    )
    assert await env.siti.replies("STOP") == "", "two machines would answer each other"

    env.siti.presses("1")
    await env.advance(HOUR)
    await env.siti.is_called("gagal sejak", keys="1")
    assert (await env.incident()).state is IncidentState.ACKNOWLEDGED
    await env.resolve()
    await env.advance(HOUR)
    await env.siti.is_called("E-mel rasmi berfungsi semula")
    env.expect_nothing_more()

    assert await env.siti.replies("MULA") == "RM0 JCM: Tuan/puan akan menerima SMS semula. Terima kasih."
    await env.advance(HOUR)
    await env.submit(trigger(snapshot=BY_SMS, at=env.clock.now()))
    await env.siti.gets("AMARAN")


async def test_stop_without_number_to_call_is_answered_accordingly(env: SimulatedEnv) -> None:
    """Whoever sent STOP and has no number to call gets an answer that says so."""
    unreached = replace(SITI, addresses=SITI.addresses_on([Channel.SMS]))
    step = replace(ONE_SMS.steps[0], contacts=(unreached,))
    await env.submit(trigger(snapshot=replace(BY_SMS, escalation=replace(ONE_SMS, steps=(step,)))))
    await env.siti.gets("AMARAN")

    assert "Tiada nombor panggilan, maka tuan/puan tidak akan dihubungi" in await env.siti.replies("BERHENTI")
    await env.advance(HOUR)
    env.expect_nothing_more()
