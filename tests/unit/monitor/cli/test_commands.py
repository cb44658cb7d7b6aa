"""All commands: presence, help texts and imported modules."""

from __future__ import annotations

import gc
import json
import re
import subprocess
import sys
from typing import get_args

import pytest
from typer.testing import CliRunner

from alerts.engine.manual_status import ManualStatus
from alerts.model.contradiction import Contradiction
from monitor.cli import COMMANDS, app, load_command
from monitor.cli.duty.incident import ContradictionValue
from monitor.cli.duty.notification import STATUS_TEXTS

#: Commands that call the running service; an operator types them in an incident.
SERVICE_COMMANDS = (
    "incidents", "notifications", "on-call", "ack", "escalate", "note", "release", "false-alarm", "letters", "set-status",
    "incident-record", "drill", "override", "silence", "reload", "purge",
)  # fmt: skip
#: Modules that those commands do not need. Each takes a tenth of a second or more to import.
HEAVY = (
    "sqlalchemy",
    "fastapi",
    "pydantic",
    "uvicorn",
    "jinja2",
    "reportlab",
    "structlog",
    "monitor.app",
    "monitor.web",
    "monitor.store",
)
#: Number of our modules, packages included, that such a command may import. To find the socket the command reads the
#: YAML of the configuration with the reader of the wording files, and it reports problems as `TranslatableText`
#: (`monitor.model.translatable`).
BUDGET = 22


def imported(*names: str) -> list[str]:
    """Return the modules that are imported after these commands are loaded."""
    program = f"""
import json, sys
from monitor.cli import load_command
for name in {names}:
    load_command(name)
print(json.dumps(sorted(sys.modules)))
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True, timeout=60)
    return list(json.loads(found.stdout))


@pytest.mark.parametrize("name", COMMANDS)
def test_command_list_text_equals_help(name: str) -> None:
    help_text = " ".join((load_command(name).help or "").split("\n\n")[0].split())

    assert COMMANDS[name] == help_text


@pytest.mark.parametrize("name", COMMANDS)
def test_command_has_help(name: str) -> None:
    found = CliRunner().invoke(app, [name, "--help"])

    assert found.exit_code == 0
    assert f"pantau {name}" in found.output


@pytest.mark.parametrize("name", ["check", "init", "letters"])
def test_command_help_paragraph_has_no_line_breaks(name: str) -> None:
    found = load_command(name)

    help_text = [each.help or "" for each in (found, *getattr(found, "commands", {}).values())]
    assert all(help_text)
    assert not [each for text in help_text for each in text.split("\n\n") if "\n" in each]


def test_load_command_leaves_garbage_collector_enabled() -> None:
    load_command("ack")

    assert gc.isenabled()


def test_service_commands_import_no_heavy_modules() -> None:
    there = imported(*SERVICE_COMMANDS)

    assert [m for m in there if m in HEAVY or m.startswith(tuple(f"{heavy}." for heavy in HEAVY))] == []


def test_command_configures_structlog_before_it_runs() -> None:
    program = """
import sys
from monitor.cli import main
for name in ("ack", "probe", "demo"):
    sys.argv = ["pantau", name, "--help"]
    try:
        main()
    except SystemExit:
        structlog = sys.modules.get("structlog")
        print(name, None if structlog is None else structlog.is_configured(), file=sys.stderr)
    if structlog is not None:
        structlog.reset_defaults()
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True, timeout=60)
    assert found.stderr.splitlines() == ["ack None", "probe True", "demo True"]


@pytest.mark.parametrize("name", ["ack", "incidents"])
def test_command_imports_stay_within_budget(name: str) -> None:
    ours = [m for m in imported(name) if m.split(".")[0] in {"monitor", "alerts", "probes"}]

    assert len(ours) <= BUDGET, ours


def test_command_list_imports_no_command() -> None:
    assert not [m for m in imported() if re.fullmatch(r"monitor\.cli\.\w+\.\w+|pantau_lab\b.*", m)]


def test_set_status_has_text_for_each_manual_status() -> None:
    assert list(STATUS_TEXTS) == [ruling.value for ruling in ManualStatus]


def test_despite_option_has_value_for_each_contradiction() -> None:
    assert list(get_args(ContradictionValue)) == [each.value for each in Contradiction]


def test_version_option_prints_version() -> None:
    found = CliRunner().invoke(app, ["--version"])

    assert (found.exit_code, found.output.split()[0]) == (0, "pantau")


def test_command_misspelt_gets_suggestion() -> None:
    found = CliRunner().invoke(app, ["akc"])

    assert found.exit_code == 2
    assert "Did you mean 'ack'?" in found.output


def test_demo_without_pantau_lab_names_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitor.cli.entry_points", lambda **_: ())

    found = CliRunner().invoke(app, ["demo"])

    assert found.exit_code == 1
    assert "`pantau demo` needs pantau-lab" in found.output


def test_load_command_import_error_inside_command_is_raised(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(name: str) -> object:
        raise ModuleNotFoundError("No module named 'aiosmtpd'", name="aiosmtpd")

    monkeypatch.setattr("monitor.cli.import_module", broken)

    with pytest.raises(ModuleNotFoundError, match="aiosmtpd"):
        load_command("ack")


@pytest.mark.parametrize("words", [["ack", "JCM-\udce9"], ["note", "JCM-01", "x", "--by", "Jos\udce9"], ["jos\udce9"]])
def test_command_argument_not_utf8_is_refused(words: list[str]) -> None:
    refused = CliRunner().invoke(app, words)
    assert (refused.exit_code, "\\udce9' is not UTF-8: set the terminal to UTF-8" in refused.output) == (2, True)
