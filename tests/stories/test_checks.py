"""Checks of certificates, domains and other prerequisites of mail."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from pantau_lab.world import AGENCIES
from tests.stories.running_service import JCM, RunningService, running_service


async def checks(env: RunningService, agency: str = JCM.code) -> dict[str, Mapping[str, Any]]:
    """Return an agency's checks from the API, by kind."""
    found = [each["checks"] for each in await env.get("/agencies") if each["agency"] == agency]
    return {check["kind"]: check for check in (found[0] if found else ())}


async def _name_servers_are_gone(env: RunningService) -> None:
    settings = yaml.safe_load(env.world.settings.read_text())
    # No program gets port 1 by chance.
    settings["checks"] = {"certificate": "off", "mx": "off", "name_servers": ["127.0.0.1:1"]}
    env.world.settings.write_text(yaml.safe_dump(settings))
    assert (await env.control("/reload")).json()["taken"] is True


async def text(env: RunningService, path: str) -> str:
    async with env.web() as client:
        return (await client.get(path)).text


async def test_checks_run_soon_after_start_and_results_survive_reload(tmp_path: Path) -> None:
    async with running_service(tmp_path, agencies=AGENCIES[:2]) as env:

        async def all_seen() -> bool:
            found = [await checks(env, code) for code in (JCM.code, "MDC")]
            own = {check["kind"]: check for check in await env.get("/self-checks")}
            return all(each["certificate"]["verdict"] == "pass" for each in (*found, own))

        await env.until(all_seen, "every certificate was looked at, ours as well")
        seen = (await checks(env))["certificate"]

        metrics, page = await text(env, "/metrics"), await text(env, "/")
        assert f'pantau_check_state{{agency="{JCM.code}",check="certificate",aspect="expiry"' in metrics
        assert 'pantau_check_state{agency="",check="certificate"' in metrics
        assert "Sijil" in page
        assert "LULUS" in page

        file = tmp_path / "agencies" / "mdc.yaml"
        file.write_text(file.read_text() + "checks: {certificate: off}\n")
        assert (await env.control("/reload")).json()["taken"] is True

        assert "certificate" not in await checks(env, "MDC")
        assert 'agency="MDC",check="certificate"' not in await text(env, "/metrics")
        assert (await checks(env))["certificate"] == seen, "without another look"

        await _name_servers_are_gone(env)

        async def nothing_known() -> bool:
            return (await checks(env)).get("domain", {}).get("verdict") == "unknown"

        await env.until(nothing_known, "nobody knows how the domain stands")
        await env.wait_until_up()
        assert not [i for i in await env.get("/incidents") if i["agency"]], "a check never says that mail is down"

    assert "Traceback" not in env.log()
