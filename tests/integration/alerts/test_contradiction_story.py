"""Stories of orders that contradict what is measured: nothing is told until a person insists, and then the journal says so."""

from __future__ import annotations

import re

import pytest

from alerts.model.contradiction import Contradiction
from alerts.model.incident import Incident
from alerts.model.notification import IncidentType
from monitor.service.errors import OperationRejectedError
from tests.integration.alerts.test_close_story import WHY, entries
from tests.integration.alerts.test_declare_story import TOLD_BY_SMS, declarer
from tests.integration.alerts.test_portal_story import PAGE, browser_of, press, words_of
from tests.integration.alerts.town import Town
from tests.unit.alerts.people import MINUTE, trigger

pytestmark = pytest.mark.story

WORKS, FAILS = Contradiction.WORKS_AGAIN, Contradiction.STILL_FAILS
BY = "Siti Contoh"


async def cannot_send(town: Town) -> Incident:
    incident = await town.submit(trigger(IncidentType.SENDING, brief=TOLD_BY_SMS))
    assert incident is not None
    await town.advance(2 * MINUTE)
    await town.siti.gets("E-mel keluar gagal", "JCM-01")
    await town.acknowledge()
    return incident


async def test_release_when_mail_works_again_tells_nobody_until_it_is_ordered_in_spite_of_that(
    either_town: Town,
) -> None:
    """A letter said that nothing could be sent, seven minutes after messages arrived again.

    The release is refused until a person confirms it by name.
    """
    town = either_town
    await cannot_send(town)
    town.arrives(IncidentType.SENDING)
    with pytest.raises(
        OperationRejectedError, match=r"mail from the agency arrives.*Ketua Setiausaha.*\(fax\).*works-again"
    ) as refused:
        await town.facade.release("JCM-01", BY)
    assert refused.value.despite == WORKS
    assert "e-mel daripada agensi sampai" in refused.value.malay
    assert town.measured.begun == ["JCM"], "it was measured anew"
    await town.advance(MINUTE)
    town.expect_nothing_more()
    assert (await town.incident()).released_at is None

    await town.facade.release("JCM-01", BY, despite=WORKS)
    await town.settle()
    town.gets_fax("JCM-01", "tidak dapat menghantar e-mel rasmi")
    town.gets_letter("JCM-01")
    [(by, detail)] = await entries(town, "announcement released")
    assert (by, detail["despite"]) == (BY, "works-again")


async def test_release_while_mail_fails_goes_out_at_once(town: Town) -> None:
    """A release while mail fails is carried out at once."""
    await cannot_send(town)
    town.arrives(IncidentType.RECEIVING)
    await town.facade.release("JCM-01", BY)
    await town.settle()
    town.gets_fax("JCM-01")
    town.gets_letter("JCM-01")


async def test_close_as_recovered_while_probes_fail_tells_nobody_until_it_is_ordered_in_spite_of_that(
    either_town: Town,
) -> None:
    """A fax and a letter said that mail had recovered while every probe failed.

    The closing is refused until a person confirms it by name.
    """
    town, closes = either_town, declarer(either_town)
    await cannot_send(town)
    with pytest.raises(
        OperationRejectedError, match=r"still detect.*Siti Contoh \(sms\).*24 hours.*still-fails"
    ) as refused:
        await closes.close("JCM-01", reason=WHY, by=BY, recovered=True)
    assert refused.value.despite == FAILS
    assert "E-mel rasmi tidak dapat dihantar" in refused.value.malay
    assert (await town.incident()).is_open
    # That nobody says that it works needs no measurement.
    await closes.close("JCM-01", reason=WHY, by=BY, recovered=False)
    await town.settle()
    await town.siti.gets("ditutup", "JCM-01")


@pytest.mark.parametrize("how", ["insists", "works again"])
async def test_close_as_recovered_is_told_when_it_works_again_or_somebody_insists(town: Town, how: str) -> None:
    """A closing as recovered is carried out when mail works again, or on confirmation."""
    await cannot_send(town)
    if how == "works again":
        town.arrives(IncidentType.SENDING)
    await declarer(town).close("JCM-01", reason=WHY, by=BY, recovered=True, despite=FAILS if how == "insists" else None)
    await town.settle()
    await town.siti.gets("PULIH", "JCM-01")
    [(_, detail)] = await entries(town, "incident closed")
    assert detail.get("despite") == ("still-fails" if how == "insists" else None)


async def test_correction_while_probes_fail_tells_nobody_until_it_is_ordered_in_spite_of_that(town: Town) -> None:
    """A false alarm while probes fail needs a confirmation by name."""
    await cannot_send(town)
    with pytest.raises(OperationRejectedError, match=r"A correction.*Siti Contoh \(sms\).*24 hours.*still-fails"):
        await town.facade.mark_false_alarm("JCM-01", BY, "rujukan rosak")
    assert (await town.incident()).is_open
    after = await town.facade.mark_false_alarm("JCM-01", BY, "rujukan rosak", despite=FAILS)
    assert after.suppressed_since is not None
    await town.settle()
    await town.siti.gets("PEMBETULAN", "JCM-01")


async def test_page_says_what_is_measured_who_reads_it_and_asks_to_insist(town: Town) -> None:
    """The page names the measurement and the readers, and asks for a confirmation."""
    await cannot_send(town)
    async with browser_of(town, "duty:JCM") as browser:
        shown = words_of(await browser.get(PAGE))
        assert "Selama 24 jam selepas ini apa yang dikesan tidak membuka insiden baharu" in shown
        assert "Jika e-mel dikatakan telah pulih, yang akan dimaklumkan: Siti Contoh (SMS)." in shown
        form = {"why": WHY, "recovered": "yes"}
        refused = await browser.post(f"{PAGE}/close", data=form)
        assert refused.status_code == 409
        assert 'name="despite" value="still-fails"' in refused.text
        assert f'value="{WHY}"' in refused.text, "what was written is there still"

        town.arrives(IncidentType.SENDING)
        look = await browser.get(f"{PAGE}/release")
        assert town.measured.begun[-1] == "JCM", "measured while it is looked at"
        assert 'name="despite"' not in look.text
        mark = re.search(r'name="looked_at" value="(\w+)"', look.text)
        assert mark is not None
        refused = await browser.post(f"{PAGE}/release", data={"looked_at": mark[1]})
        assert refused.status_code == 409
        assert 'name="despite" value="works-again"' in refused.text
        town.expect_nothing_more()
        said = await press(town, browser, f"{PAGE}/release", looked_at=mark[1], despite="works-again")
        assert f"dikeluarkan oleh {BY}" in said
        town.gets_fax("JCM-01")
        town.gets_letter("JCM-01")
        town.measured.delivered.clear()
        await press(town, browser, f"{PAGE}/false-alarm", why="rujukan rosak", despite="still-fails")
    await town.siti.gets("PEMBETULAN", "JCM-01")
    town.gets_fax("JCM-01")
