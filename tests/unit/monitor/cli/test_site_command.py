"""`pantau site` with wrong settings or an unknown site: the message, without any connection."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from monitor.cli.store.site import app

STORE = "store: {url: 'postgresql://pantau@/pantau?host=/nowhere'}\n"
HUB = "hub: {sites: {johor: {url: 'postgresql://pantau_hub@johor/pantau', cert_file: a, key_file: b, ca_file: c}}}\n"


_READABLE_FILE = "a file of text, or another path where it is named"


@pytest.mark.parametrize(
    ("settings", "words", "expected"),
    [
        (None, ["check"], f"{{config}}: cannot be read: No such file or directory; write instead: {_READABLE_FILE}"),
        ("site: [noc", ["add", "johor"], "{config}:1: a [ is opened here and not closed; write instead: the closing ]"),
        (
            f"mode: monitor_only\nsite: johor\n{STORE}",
            ["check", "johor"],
            "{config} is the configuration of site johor, not of a hub: run this at the hub, with the hub's settings (docs/how-to/operator/sites.md)",
        ),
        (
            STORE,
            ["check"],
            "{config} has no site below `hub: sites:`: run this at the hub, with the hub's settings (docs/how-to/operator/sites.md)",
        ),
        (STORE + HUB, ["rejoin", "johr"], "{config} has no site 'johr' below `hub: sites:`; there is johor"),
        (HUB, ["add", "johor"], "{config}: the store is a file, and a hub needs a PostgreSQL: write `store:` (docs/how-to/operator/sites.md)"),
        (
            STORE + HUB.replace("key_file", "key_fil"),
            ["remove", "johor"],
            "{config}:2: hub.sites.johor.key_fil: is no known key; write instead: key_file",
        ),
        ("hub: {sites: [johor]}", ["check"], "{config}:1: hub.sites: must be keys below it; write instead: (keys below it, indented)"),
    ],
)  # fmt: skip
def test_site_command_invalid_settings_or_arguments_are_refused(
    settings: str | None, words: list[str], expected: str, tmp_path: Path
) -> None:
    config = tmp_path / "pantau.yaml"
    if settings is not None:
        config.write_text(settings)
    done = CliRunner().invoke(app, [*words, "--config", str(config)])
    assert done.exit_code == 2
    assert expected.format(config=config) in done.output.splitlines()


def test_site_check_unreachable_hub_store_is_reported(tmp_path: Path) -> None:
    config = tmp_path / "pantau.yaml"
    config.write_text(STORE + HUB)
    done = CliRunner().invoke(app, ["check", "--config", str(config)])
    assert done.exit_code == 1
    assert "the hub's store (database pantau of the PostgreSQL at /nowhere, port 5432) cannot be reached: no PostgreSQL runs there" in done.output  # fmt: skip
