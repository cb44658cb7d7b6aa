"""Orders that contradict the measurement: refused until a person confirms them, and then audited."""

from __future__ import annotations

import re

import pytest

from alerts.model.contradiction import Contradiction
from alerts.model.incident import Incident
from alerts.model.notification import IncidentType
from monitor.service.errors import OperationRejectedError
from tests.integration.alerts.simulated_env import SimulatedEnv
from tests.integration.alerts.test_close_story import WHY, entries
from tests.integration.alerts.test_declare_story import TOLD_BY_SMS, declarer
from tests.integration.alerts.test_portal_story import PAGE, browser_of, press, words_of
from tests.unit.alerts.people import MINUTE, trigger

pytestmark = pytest.mark.story

WORKS, FAILS = Contradiction.WORKS_AGAIN, Contradiction.STILL_FAILS
BY = "Siti Contoh"


async def cannot_send(env: SimulatedEnv) -> Incident:
    incident = await env.submit(trigger(IncidentType.SENDING, snapshot=TOLD_BY_SMS))
    assert incident is not None
    await env.advance(2 * MINUTE)
    await env.siti.gets("E-mel keluar gagal", "JCM-01")
    await env.acknowledge()
    return incident


async def test_release_after_recovery_is_refused_until_confirmed(
    either_env: SimulatedEnv,
) -> None:
    """A letter said that nothing could be sent, seven minutes after messages arrived again.

    The release is refused until a person confirms it by name.
    """
    env = either_env
    await cannot_send(env)
    env.set_delivered(IncidentType.SENDING)
    with pytest.raises(
        OperationRejectedError, match=r"mail from the agency arrives.*Ketua Setiausaha.*\(fax\).*works-again"
    ) as refused:
        await env.facade.release("JCM-01", BY)
    assert refused.value.despite == WORKS
    assert "e-mel daripada agensi sampai" in refused.value.malay
    assert env.measured.begun == ["JCM"], "it was measured anew"
    await env.advance(MINUTE)
    env.expect_nothing_more()
    assert (await env.incident()).released_at is None

    await env.facade.release("JCM-01", BY, despite=WORKS)
    await env.settle()
    env.gets_fax("JCM-01", "tidak dapat menghantar e-mel rasmi")
    env.gets_letter("JCM-01")
    [(by, detail)] = await entries(env, "announcement released")
    assert (by, detail["despite"]) == (BY, "works-again")


async def test_release_while_mail_fails_is_sent_at_once(env: SimulatedEnv) -> None:
    """A release while mail fails is carried out at once."""
    await cannot_send(env)
    env.set_delivered(IncidentType.RECEIVING)
    await env.facade.release("JCM-01", BY)
    await env.settle()
    env.gets_fax("JCM-01")
    env.gets_letter("JCM-01")


async def test_closing_as_recovered_while_probes_fail_is_refused_until_confirmed(
    either_env: SimulatedEnv,
) -> None:
    """A fax and a letter said that mail had recovered while every probe failed.

    The closing is refused until a person confirms it by name.
    """
    env, closes = either_env, declarer(either_env)
    await cannot_send(env)
    with pytest.raises(
        OperationRejectedError, match=r"still detect.*Siti Contoh \(sms\).*24 hours.*still-fails"
    ) as refused:
        await closes.close("JCM-01", reason=WHY, by=BY, recovered=True)
    assert refused.value.despite == FAILS
    assert "E-mel rasmi tidak dapat dihantar" in refused.value.malay
    assert (await env.incident()).is_open
    # A closing without recovery needs no measurement.
    await closes.close("JCM-01", reason=WHY, by=BY, recovered=False)
    await env.settle()
    await env.siti.gets("ditutup", "JCM-01")


@pytest.mark.parametrize("how", ["insists", "works again"])
async def test_closing_as_recovered_succeeds_when_up_or_confirmed(env: SimulatedEnv, how: str) -> None:
    """A closing as recovered is carried out when mail works again, or on confirmation."""
    await cannot_send(env)
    if how == "works again":
        env.set_delivered(IncidentType.SENDING)
    await declarer(env).close("JCM-01", reason=WHY, by=BY, recovered=True, despite=FAILS if how == "insists" else None)
    await env.settle()
    await env.siti.gets("PULIH", "JCM-01")
    [(_, detail)] = await entries(env, "incident closed")
    assert detail.get("despite") == ("still-fails" if how == "insists" else None)


async def test_false_alarm_while_probes_fail_is_refused_until_confirmed(env: SimulatedEnv) -> None:
    """A false alarm while probes fail needs a confirmation by name."""
    await cannot_send(env)
    with pytest.raises(OperationRejectedError, match=r"A correction.*Siti Contoh \(sms\).*24 hours.*still-fails"):
        await env.facade.mark_false_alarm("JCM-01", BY, "rujukan rosak")
    assert (await env.incident()).is_open
    after = await env.facade.mark_false_alarm("JCM-01", BY, "rujukan rosak", despite=FAILS)
    assert after.suppressed_since is not None
    await env.settle()
    await env.siti.gets("PEMBETULAN", "JCM-01")


async def test_page_shows_measurement_and_readers_and_asks_confirmation(env: SimulatedEnv) -> None:
    """The page names the measurement and the readers, and asks for a confirmation."""
    await cannot_send(env)
    async with browser_of(env, "duty:JCM") as browser:
        shown = words_of(await browser.get(PAGE))
        assert "Selama 24 jam selepas ini apa yang dikesan tidak membuka insiden baharu" in shown
        assert "Jika e-mel dikatakan telah pulih, yang akan dimaklumkan: Siti Contoh (SMS)." in shown
        form = {"why": WHY, "recovered": "yes"}
        refused = await browser.post(f"{PAGE}/close", data=form)
        assert refused.status_code == 409
        assert 'name="despite" value="still-fails"' in refused.text
        assert f'value="{WHY}"' in refused.text, "what was written is there still"

        env.set_delivered(IncidentType.SENDING)
        look = await browser.get(f"{PAGE}/release")
        assert env.measured.begun[-1] == "JCM", "measured while it is looked at"
        assert 'name="despite"' not in look.text
        mark = re.search(r'name="looked_at" value="(\w+)"', look.text)
        assert mark is not None
        refused = await browser.post(f"{PAGE}/release", data={"looked_at": mark[1]})
        assert refused.status_code == 409
        assert 'name="despite" value="works-again"' in refused.text
        env.expect_nothing_more()
        said = await press(env, browser, f"{PAGE}/release", looked_at=mark[1], despite="works-again")
        assert f"dikeluarkan oleh {BY}" in said
        env.gets_fax("JCM-01")
        env.gets_letter("JCM-01")
        env.measured.delivered.clear()
        await press(env, browser, f"{PAGE}/false-alarm", why="rujukan rosak", despite="still-fails")
    await env.siti.gets("PEMBETULAN", "JCM-01")
    env.gets_fax("JCM-01")
