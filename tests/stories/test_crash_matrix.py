"""Killed at each step of an attempt's life, on each channel, on both stores: nothing is lost, and no paper is doubled.

The process is a real one and so is the signal; what it calls are the stand-ins, over real sockets.
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
from tests.stories.mined import OF_ALL, Moment
from tests.stories.theatre import BRISK, Theatre, settled, stands, theatre

pytestmark = pytest.mark.crash

#: What a person may get of one notice on the telephone, when the gateway cannot say whether it had it.
AT_MOST = 2
#: Nobody is told again by a later step, however long the machine takes.
QUICK = replace(BRISK, call_after="1s", call_again_after="10m", release_after="1s")


@pytest.mark.parametrize("moment", OF_ALL)
@pytest.mark.parametrize("channel", Channel)
@pytest.mark.parametrize("store", ["sqlite", "postgresql"])
async def test_a_kill_loses_nothing_and_doubles_no_paper(
    tmp_path: Path, postgres: Postgres, store: str, channel: Channel, moment: Moment
) -> None:
    mark = tmp_path / "it-has-died"
    mined = ("tests.stories.mined", moment, channel, str(mark))
    database = postgres.store() if store == "postgresql" else None
    async with theatre(tmp_path, QUICK, program=mined, store=database, prepare=probe_nothing, ready=False) as play:
        play.duty.keys = ["1"] * 9
        await dies(play)
        await play.start()

        await play.until(lambda: settled(play), "everybody was told, or a person looks")

        outage = [sms for sms in play.duty.inbox if "gagal" in sms.text]
        assert 1 <= len(outage) <= AT_MOST
        # The key comes before the end of the call, when the telephone notes it.
        await play.duty.expect_call()
        assert len(play.duty.calls) <= AT_MOST
        assert len(play.faxes()) == (await stands(play, "fax") == "delivered")
        assert len(play.letters()) + len(play.letters("dispatched")) == 1
        assert [incident["number"] for incident in await play.get("/incidents")] == ["JCM-01"]
        if channel is Channel.FAX:
            # It is never sure that it has nothing: what may have left is laid before a person, and not sent again.
            assert len(play.faxes()) == (moment is not Moment.AFTER_CLAIM)


@pytest.mark.parametrize(
    ("moment", "channel"),
    [
        (Moment.HALF_WRITTEN, Channel.LETTER),
        (Moment.POSTED, Channel.LETTER),
        (Moment.RECEIPT, Channel.FAX),
    ],
)
@pytest.mark.parametrize("store", ["sqlite", "postgresql"])
async def test_a_kill_with_paper_on_its_way_leaves_one_of_each_and_nothing_half_written(
    tmp_path: Path, postgres: Postgres, store: str, moment: Moment, channel: Channel
) -> None:
    mined = ("tests.stories.mined", moment, channel, str(tmp_path / "it-has-died"))
    database = postgres.store() if store == "postgresql" else None
    async with theatre(tmp_path, QUICK, program=mined, store=database, prepare=probe_nothing, ready=False) as play:
        play.duty.keys = ["1"] * 9
        if moment is Moment.POSTED:
            await play.until(lambda: lies(play), "a letter lies in the tray")
            with pytest.raises(httpx.HTTPError):
                await post(play, "Kerani Contoh")
        await dies(play)
        await play.start()
        await play.until(lambda: settled(play), "everybody was told")

        # One that was being handed over beside it is laid before a person, as in the matrix above.
        assert len(play.faxes()) == (await stands(play, "fax") == "delivered")
        assert moment is not Moment.RECEIPT or len(play.faxes()) == 1
        # Who was cut short says it again, and is the first who did; the second hears it.
        assert [await post(play, by) for by in ("Kerani Contoh", "Devi Contoh")] == ["Kerani Contoh"] * 2
        (letter,) = await play.get("/letters")
        assert (letter["step"], letter["posted_by"]) == ("posted", "Kerani Contoh")
        assert (len(play.letters()), len(play.letters("dispatched"))) == (0, 1)
        await play.until(lambda: tidy(play), "nothing half-written is left")


async def lies(play: Theatre) -> bool:
    """Whether a letter lies in the tray, as the service knows, while it lives."""
    with suppress(httpx.HTTPError):
        return await stands(play, "letter") == "sent"
    return False


async def post(play: Theatre, by: str) -> str:
    """Let a clerk post the letter and say so; return who is written down."""
    letter = next(n for n in await play.get("/notices") if n["channel"] == "letter")
    answer = await play.control(f"/notices/{letter['id']}/posted", by=by)
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
    settings.write_text(yaml.safe_dump(document | {"maintenance": [window | {"why": "ujian"}]}))
