"""What mail rests on is looked at beside the mail itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from pantau_lab.world import AGENCIES
from tests.stories.theatre import JCM, Theatre, theatre


async def checks(play: Theatre, agency: str = JCM.code) -> dict[str, Mapping[str, Any]]:
    """Return what the API tells of an agency's checks, by kind."""
    found = [each["checks"] for each in await play.get("/agencies") if each["agency"] == agency]
    return {check["kind"]: check for check in (found[0] if found else ())}


async def _name_servers_are_gone(play: Theatre) -> None:
    settings = yaml.safe_load(play.world.settings.read_text())
    # No program is given port 1 by chance.
    settings["checks"] = {"certificate": "off", "mx": "off", "name_servers": ["127.0.0.1:1"]}
    play.world.settings.write_text(yaml.safe_dump(settings))
    assert (await play.control("/reload")).json()["taken"] is True


async def text(play: Theatre, path: str) -> str:
    async with play.web() as client:
        return (await client.get(path)).text


async def test_what_mail_rests_on_is_looked_at_soon_and_a_reload_keeps_what_was_found(tmp_path: Path) -> None:
    async with theatre(tmp_path, agencies=AGENCIES[:2]) as play:

        async def all_seen() -> bool:
            found = [await checks(play, code) for code in (JCM.code, "MDC")]
            own = {check["kind"]: check for check in await play.get("/self-checks")}
            return all(each["certificate"]["verdict"] == "pass" for each in (*found, own))

        await play.until(all_seen, "every certificate was looked at, ours as well")
        seen = (await checks(play))["certificate"]

        metrics, page = await text(play, "/metrics"), await text(play, "/")
        assert f'pantau_check_state{{agency="{JCM.code}",check="certificate",aspect="expiry"' in metrics
        assert 'pantau_check_state{agency="",check="certificate"' in metrics
        assert "Sijil" in page
        assert "LULUS" in page

        file = tmp_path / "agencies" / "mdc.yaml"
        file.write_text(file.read_text() + "checks: {certificate: off}\n")
        assert (await play.control("/reload")).json()["taken"] is True

        assert "certificate" not in await checks(play, "MDC")
        assert 'agency="MDC",check="certificate"' not in await text(play, "/metrics")
        assert (await checks(play))["certificate"] == seen, "without another look"

        await _name_servers_are_gone(play)

        async def nothing_known() -> bool:
            return (await checks(play)).get("domain", {}).get("verdict") == "unknown"

        await play.until(nothing_known, "nobody knows how the domain stands")
        await play.everybody_is_up()
        assert not [i for i in await play.get("/incidents") if i["agency"]], "a check never says that mail is down"

    assert "Traceback" not in play.log()
