"""Pantau's own health on the status page and in `/-/ready`."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from pantau_lab.mail import Fault
from tests.stories.running_service import RunningService, running_service


async def problems(env: RunningService) -> Mapping[str, set[str]]:
    """Return the problems of each component."""
    found: list[Mapping[str, Any]] = list(await env.get("/self-health"))
    return {part["component"]: {each["code"] for each in part["problems"]} for part in found if part["problems"]}


async def page(env: RunningService) -> str:
    async with env.web() as web:
        return (await web.get("/fragment")).raise_for_status().text


async def readiness(env: RunningService) -> tuple[int, str]:
    async with env.web() as web:
        answer = await web.get("/-/ready")
    return answer.status_code, answer.text


@pytest.mark.blind
async def test_locked_database_shows_banner_and_service_is_not_ready(tmp_path: Path) -> None:
    """Defect: With a locked store the page has no banner, with a full disk no page, and `/-/ready` is 200.

    Pantau: The page is shown from memory with the banner; `/-/ready` is 503 with the cause.
    """
    async with running_service(tmp_path) as env:
        await env.wait_until_up()
        store = env.directory / "state" / "pantau.sqlite"
        with closing(sqlite3.connect(store, isolation_level=None, timeout=30)) as somebody:
            somebody.execute("BEGIN EXCLUSIVE")

            async def away() -> bool:
                return (await readiness(env))[0] == 503

            await env.until(away, "it is not ready")
            assert "the database is unavailable since" in (await readiness(env))[1]
            assert (await problems(env))["store"] == {"store_unavailable"}
            shown = await page(env)
            somebody.execute("ROLLBACK")

        async def back() -> bool:
            return await readiness(env) == (200, "ready\n") and "store" not in await problems(env)

        await env.until(back, "it is ready again")
    assert "Data tidak dapat disimpan" in shown
    assert "BAIK" in shown, "what is known from memory is still shown"


@pytest.mark.blind
async def test_refusing_reference_is_shown_at_first_refusal(tmp_path: Path) -> None:
    """Defect: With a reference that refuses mail, "our own mailboxes" is green.

    Pantau: The control run is at the top of the page from its first failure.
    """
    async with running_service(tmp_path) as env:
        await env.wait_until_up()
        reference = next(name for name in env.world.network.systems if name not in {"JCM", "MDC", "UCM"})
        await env.world.network.systems[reference].break_(Fault.REFUSE)

        async def seen() -> bool:
            return "control" in (await problems(env)).get("reference", set())

        await env.until(seen, "the control run is seen to fail")

        async def shown() -> bool:
            return "Ujian antara peti mel rujukan gagal" in await page(env)

        await env.until(shown, "the page says so")

        async def evaluated() -> bool:
            return "reference" in (await problems(env)).get("reference", set())

        await env.until(evaluated, "the reference is judged to be broken")
        await env.world.network.systems[reference].repair()

        async def recovered() -> bool:
            return "reference" not in await problems(env)

        await env.until(recovered, "nothing is held against the references any more")


@pytest.mark.blind
async def test_configuration_rejected_or_awaiting_restart_is_shown(tmp_path: Path) -> None:
    """Defect: A refused configuration and settings that wait for a restart are not shown.

    Pantau: Both are at the top of the page.
    """
    async with running_service(tmp_path) as env:

        async def tested() -> bool:
            return "gateway" not in await problems(env)

        await env.until(tested, "each gateway is tested without a message")
        assert not any(phone.inbox or phone.calls for phone in env.world.carrier.phones.values())
        settings = env.world.settings
        before = settings.read_text()
        settings.write_text(yaml.safe_dump(yaml.safe_load(before) | {"process_name": "lain"}))
        assert (await env.control("/reload", by="Siti Contoh")).status_code == 200
        assert (await problems(env))["configuration"] == {"awaits_restart"}
        settings.write_text(f"{before}tiada-kunci-ini: 1\n")
        assert (await env.control("/reload", by="Siti Contoh")).status_code == 400
        assert (await problems(env))["configuration"] == {"awaits_restart", "configuration_rejected"}
        settings.write_text(before)
        assert (await env.control("/reload", by="Siti Contoh")).status_code == 200
        assert "configuration" not in await problems(env)
