"""Killed at each step of an attempt's life, on each channel, on both stores: nothing is lost, and no paper is doubled.

The process is a real one and so is the signal; what it calls are the stand-ins, over real sockets. One life follows the
other on one store: each ends what the one before left, and dies of an outage of its own.
"""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
import yaml

from alerts.model.channel import Channel
from pantau_lab.carrier.phone import PATIENCE
from tests.real.postgres import Postgres
from tests.stories.mined import MAX_ACCOUNT_FAILURES, Moment
from tests.stories.theatre import BRISK, JCM, Theatre, settled, stands, theatre

pytestmark = pytest.mark.crash

#: What a person may get of one notice on the telephone, when the gateway cannot say whether it had it.
AT_MOST = 2
#: Nobody is told again by a later step, however long the machine takes.
QUICK = replace(BRISK, call_after="1s", call_again_after="10m", release_after="1s")
#: While paper is on its way, beside those of all. A receipt of an earlier fax may come a second time: it goes before them.
OF_PAPER = {Channel.FAX: (Moment.RECEIPT,), Channel.LETTER: (Moment.HALF_WRITTEN, Moment.POSTED)}
#: Who posts a letter, and who says so, too, when it has long been posted.
CLERKS = ("Kerani Contoh", "Devi Contoh")


@pytest.mark.parametrize("channel", Channel)
@pytest.mark.parametrize("store", ["sqlite", "postgresql"])
async def test_a_kill_loses_nothing_and_doubles_no_paper(
    tmp_path: Path, postgres: Postgres, subtests: pytest.Subtests, store: str, channel: Channel
) -> None:
    mine = tmp_path / "mine"
    program = ("tests.stories.mined", str(mine))
    database = postgres.store() if store == "postgresql" else None
    async with theatre(tmp_path, QUICK, program=program, store=database, prepare=probe_nothing) as play:
        play.duty.keys = ["1"] * 99
        for n, moment in enumerate((*OF_PAPER.get(channel, ()), *MAX_ACCOUNT_FAILURES), 1):
            mine.write_text(f"JCM/{n} {moment} {channel}")
            with subtests.test(moment.value):
                await one_outage(play, moment, channel, f"JCM-{n:02}")
            if play.service is not None and play.service.returncode is not None:
                await play.start()


async def one_outage(play: Theatre, moment: Moment, channel: Channel, number: str) -> None:
    """Tell the service of it, let it die of that and live again; then look who was told, and how often."""
    faxes = play.world.fax_service.machines[JCM.recipient.fax].received
    for what in (play.duty.inbox, play.duty.calls, faxes):
        what.clear()
    laid, posted = len(play.letters()), len(play.letters("posted"))
    assert play.service is not None
    play.service.send_signal(signal.SIGUSR1)
    if moment is Moment.POSTED:
        await play.until(lambda: lies(play, number), "a letter lies in the tray")
        with pytest.raises(httpx.HTTPError):
            await post(play, number, CLERKS[0])
    await dies(play)
    await play.start()
    await play.until(lambda: settled(play, number), "everybody was told, or a person looks")

    outage = [sms for sms in play.duty.inbox if "gagal" in sms.text]
    # Whoever has pressed a key meanwhile is not sent the SMS again that the killed process had claimed.
    assert len(outage) in range(await stands(play, "sms", number) != "unknown", AT_MOST + 1)
    # The key comes before the end of the call, when the telephone notes it.
    await play.duty.expect_call()
    assert len(play.duty.calls) <= AT_MOST
    # One that was being handed over beside a letter is laid before a person, too.
    assert len(faxes) == (await stands(play, "fax", number) == "delivered")
    if channel is Channel.FAX:
        # It is never sure that it has nothing: what may have left is laid before a person, and not sent again.
        assert len(faxes) == (moment is not Moment.AFTER_CLAIM)
    incidents = [incident["number"] for incident in await play.get("/incidents")]
    assert incidents == [f"JCM-{n:02}" for n in range(len(incidents), 0, -1)]
    assert incidents[0] == number

    # One letter, and nothing half-written. Who was cut short says it again, and is the first who did; the second hears it.
    assert [await post(play, number, by) for by in CLERKS] == [CLERKS[0]] * 2
    (letter,) = [each for each in await play.get("/letters") if each["incident"] == number]
    assert (letter["step"], letter["posted_by"]) == ("posted", CLERKS[0])
    assert (len(play.letters()), len(play.letters("posted"))) == (laid, posted + 1)
    await play.until(lambda: tidy(play), "nothing half-written is left")


async def lies(play: Theatre, number: str) -> bool:
    """Whether a letter lies in the tray, as the service knows, while it lives."""
    with suppress(httpx.HTTPError):
        return await stands(play, "letter", number) == "sent"
    return False


async def post(play: Theatre, number: str, by: str) -> str:
    """Let a clerk post the letter and say so; return who is written down."""
    notices = await play.get("/notifications")
    letter = next(n for n in notices if (n["channel"], n["incident"]) == ("letter", number))
    answer = await play.control(f"/notifications/{letter['id']}/posted-unprinted", by=by)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["by"])


async def tidy(play: Theatre) -> bool:
    return not list((play.directory / "outbox" / "letter").rglob("*.part"))


async def dies(play: Theatre) -> None:
    """Wait until the service has killed itself."""
    assert play.service is not None
    async with asyncio.timeout(PATIENCE):
        assert await play.service.wait() == -signal.SIGKILL, play.log()


def probe_nothing(settings: Path) -> None:
    """Let all mail be under maintenance: the service is told of the outage without it."""
    document = yaml.safe_load(settings.read_text())
    now = datetime.now(UTC)
    window = {
        "from": f"{now - timedelta(hours=1):%Y-%m-%d %H:%M}Z",
        "until": f"{now + timedelta(hours=1):%Y-%m-%d %H:%M}Z",
    }
    settings.write_text(yaml.safe_dump(document | {"maintenance": [window | {"reason": "ujian"}]}))
