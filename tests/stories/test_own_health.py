"""What the status page and `/-/ready` say of Pantau itself, while it runs."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from pantau_lab.mail import Fault
from tests.stories.theatre import Theatre, theatre


async def ills(play: Theatre) -> Mapping[str, set[str]]:
    """Return what is wrong with each part of Pantau."""
    found: list[Mapping[str, Any]] = list(await play.get("/self-health"))
    return {part["component"]: {each["code"] for each in part["problems"]} for part in found if part["problems"]}


async def page(play: Theatre) -> str:
    async with play.web() as web:
        return (await web.get("/fragment")).raise_for_status().text


async def readiness(play: Theatre) -> tuple[int, str]:
    async with play.web() as web:
        answer = await web.get("/-/ready")
    return answer.status_code, answer.text


@pytest.mark.blind
async def test_while_the_store_is_locked_the_page_says_so_and_the_service_is_not_ready(tmp_path: Path) -> None:
    """Defect: With a locked store the page has no banner, with a full disk no page, and `/-/ready` is 200.

    Pantau: The page is shown from memory with the banner; `/-/ready` is 503 with the cause.
    """
    async with theatre(tmp_path) as play:
        await play.everybody_is_up()
        store = play.directory / "state" / "pantau.sqlite"
        with closing(sqlite3.connect(store, isolation_level=None, timeout=30)) as somebody:
            somebody.execute("BEGIN EXCLUSIVE")

            async def away() -> bool:
                return (await readiness(play))[0] == 503

            await play.until(away, "it is not ready")
            assert "the store is away since" in (await readiness(play))[1]
            assert (await ills(play))["store"] == {"store_unavailable"}
            shown = await page(play)
            somebody.execute("ROLLBACK")

        async def back() -> bool:
            return await readiness(play) == (200, "ready\n") and "store" not in await ills(play)

        await play.until(back, "it is ready again")
    assert "Data tidak dapat disimpan" in shown
    assert "BAIK" in shown, "what is known from memory is still shown"


@pytest.mark.blind
async def test_a_reference_that_refuses_is_seen_on_the_page_at_its_first_refusal(tmp_path: Path) -> None:
    """Defect: With a reference that refuses mail, "our own mailboxes" is green.

    Pantau: The control run is at the top of the page from its first failure.
    """
    async with theatre(tmp_path) as play:
        await play.everybody_is_up()
        reference = next(name for name in play.world.network.systems if name not in {"JCM", "MDC", "UCM"})
        await play.world.network.systems[reference].break_(Fault.REFUSE)

        async def seen() -> bool:
            return "control" in (await ills(play)).get("reference", set())

        await play.until(seen, "the control run is seen to fail")

        async def shown() -> bool:
            return "Ujian antara peti mel rujukan gagal" in await page(play)

        await play.until(shown, "the page says so")

        async def judged() -> bool:
            return "reference" in (await ills(play)).get("reference", set())

        await play.until(judged, "the reference is judged to be broken")
        await play.world.network.systems[reference].repair()

        async def well() -> bool:
            return "reference" not in await ills(play)

        await play.until(well, "nothing is held against the references any more")


@pytest.mark.blind
async def test_a_configuration_that_was_refused_or_waits_for_a_restart_is_on_the_page(tmp_path: Path) -> None:
    """Defect: A refused configuration and settings that wait for a restart are not shown.

    Pantau: Both are at the top of the page.
    """
    async with theatre(tmp_path) as play:

        async def tested() -> bool:
            return "gateway" not in await ills(play)

        await play.until(tested, "each gateway is tested without a message")
        assert not any(phone.inbox or phone.calls for phone in play.world.carrier.phones.values())
        settings = play.world.settings
        before = settings.read_text()
        settings.write_text(yaml.safe_dump(yaml.safe_load(before) | {"process_name": "lain"}))
        assert (await play.control("/reload", by="Siti Contoh")).status_code == 200
        assert (await ills(play))["configuration"] == {"awaits_restart"}
        settings.write_text(f"{before}tiada-kunci-ini: 1\n")
        assert (await play.control("/reload", by="Siti Contoh")).status_code == 400
        assert (await ills(play))["configuration"] == {"awaits_restart", "configuration_rejected"}
        settings.write_text(before)
        assert (await play.control("/reload", by="Siti Contoh")).status_code == 200
        assert "configuration" not in await ills(play)
