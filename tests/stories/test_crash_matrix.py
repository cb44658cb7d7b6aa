"""Kills at each step of an attempt, on each channel and both stores: nothing is lost, and no paper is duplicated.

Process and signal are real; the providers are simulated, over real sockets. The processes follow each other on one
store: each completes the work of the one before, and is killed in an outage of its own.
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
from tests.stories.kill_points import COMMON_MOMENTS, Moment
from tests.stories.running_service import FAST_TIMING, JCM, RunningService, notification_state, running_service, settled

pytestmark = pytest.mark.crash

#: Maximum of one notification on a phone, when the gateway cannot say whether it had it.
MAX_RECEIVED = 2
#: No later step notifies again, however long the machine takes.
QUICK = replace(FAST_TIMING, call_after="1s", call_again_after="10m", release_after="1s")
#: While paper is sent, beside the common ones. First, because a receipt of an earlier fax may come twice.
PAPER_MOMENTS = {Channel.FAX: (Moment.RECEIPT,), Channel.LETTER: (Moment.HALF_WRITTEN, Moment.POSTED)}
#: The clerk who posts a letter, and one who records it later.
CLERKS = ("Kerani Contoh", "Devi Contoh")


@pytest.mark.parametrize("channel", Channel)
@pytest.mark.parametrize("store", ["sqlite", "postgresql"])
async def test_kill_loses_nothing_and_duplicates_no_paper(
    tmp_path: Path, postgres: Postgres, subtests: pytest.Subtests, store: str, channel: Channel
) -> None:
    kill_point = tmp_path / "mine"
    program = ("tests.stories.kill_points", str(kill_point))
    database = postgres.store() if store == "postgresql" else None
    async with running_service(tmp_path, QUICK, program=program, store=database, prepare=probe_nothing) as env:
        env.duty.keys = ["1"] * 99
        for n, moment in enumerate((*PAPER_MOMENTS.get(channel, ()), *COMMON_MOMENTS), 1):
            kill_point.write_text(f"JCM/{n} {moment} {channel}")
            with subtests.test(moment.value):
                await one_outage(env, moment, channel, f"JCM-{n:02}")
            if env.service is not None and env.service.returncode is not None:
                await env.start()


async def one_outage(env: RunningService, moment: Moment, channel: Channel, number: str) -> None:
    """Open an outage that kills the service, restart it, and check who was notified how often."""
    faxes = env.world.fax_service.machines[JCM.recipient.fax].received
    for what in (env.duty.inbox, env.duty.calls, faxes):
        what.clear()
    laid, posted = len(env.letters()), len(env.letters("posted"))
    assert env.service is not None
    env.service.send_signal(signal.SIGUSR1)
    if moment is Moment.POSTED:
        await env.until(lambda: is_in_tray(env, number), "a letter lies in the tray")
        with pytest.raises(httpx.HTTPError):
            await post(env, number, CLERKS[0])
    await wait_until_killed(env)
    await env.start()
    await env.until(lambda: settled(env, number), "everybody was told, or a person looks")

    outage = [sms for sms in env.duty.inbox if "gagal" in sms.text]
    # After a key press the SMS that the killed process had claimed is not resent.
    assert len(outage) in range(await notification_state(env, "sms", number) != "unknown", MAX_RECEIVED + 1)
    # The phone records the key before the end of the call.
    await env.duty.expect_call()
    assert len(env.duty.calls) <= MAX_RECEIVED
    # A fax in transfer beside a letter also waits for a person.
    assert len(faxes) == (await notification_state(env, "fax", number) == "delivered")
    if channel is Channel.FAX:
        # A fax gateway is never sure that it has nothing: what may have been sent waits for a person.
        assert len(faxes) == (moment is not Moment.AFTER_CLAIM)
    incidents = [incident["number"] for incident in await env.get("/incidents")]
    assert incidents == [f"JCM-{n:02}" for n in range(len(incidents), 0, -1)]
    assert incidents[0] == number

    # One letter and no partial file. The interrupted clerk repeats the record and is first; the second is told.
    assert [await post(env, number, by) for by in CLERKS] == [CLERKS[0]] * 2
    (letter,) = [each for each in await env.get("/letters") if each["incident"] == number]
    assert (letter["step"], letter["posted_by"]) == ("posted", CLERKS[0])
    assert (len(env.letters()), len(env.letters("posted"))) == (laid, posted + 1)
    await env.until(lambda: no_partial_files(env), "nothing half-written is left")


async def is_in_tray(env: RunningService, number: str) -> bool:
    """Whether a letter is in the tray, as the running service knows."""
    with suppress(httpx.HTTPError):
        return await notification_state(env, "letter", number) == "sent"
    return False


async def post(env: RunningService, number: str, by: str) -> str:
    """Record that a clerk posted the letter; return who is recorded."""
    notices = await env.get("/notifications")
    letter = next(n for n in notices if (n["channel"], n["incident"]) == ("letter", number))
    answer = await env.control(f"/notifications/{letter['id']}/posted-unprinted", by=by)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["by"])


async def no_partial_files(env: RunningService) -> bool:
    return not list((env.directory / "outbox" / "letter").rglob("*.part"))


async def wait_until_killed(env: RunningService) -> None:
    """Wait until the service has killed itself."""
    assert env.service is not None
    async with asyncio.timeout(PATIENCE):
        assert await env.service.wait() == -signal.SIGKILL, env.log()


def probe_nothing(settings: Path) -> None:
    """Put all mail under maintenance: the outage is opened without it."""
    document = yaml.safe_load(settings.read_text())
    now = datetime.now(UTC)
    window = {
        "from": f"{now - timedelta(hours=1):%Y-%m-%d %H:%M}Z",
        "until": f"{now + timedelta(hours=1):%Y-%m-%d %H:%M}Z",
    }
    settings.write_text(yaml.safe_dump(document | {"maintenance": [window | {"reason": "ujian"}]}))
