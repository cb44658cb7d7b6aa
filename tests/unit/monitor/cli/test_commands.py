"""The commands as a whole: each is there, says what it does, and costs no more than it needs."""

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

#: They ask the running service, and are typed at night.
ASKING = (
    "incidents", "notifications", "on-call", "ack", "escalate", "note", "release", "false-alarm", "letters", "set-status",
    "incident-record", "drill", "override", "silence", "reload", "purge",
)  # fmt: skip
#: What those have no use for. Each costs a tenth of a second and more.
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
#: Modules of ours that such a command may import, the faces of their folders among them. To find the socket it reads the
#: configuration's YAML, by the reader that the texts of notices have, too, and says in words what is wrong with it, which
#: remember how they were put together (`monitor.model.lazy_text`).
BUDGET = 22


def imported(*names: str) -> list[str]:
    """Return the modules there are once these commands have been asked for their help."""
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
def test_what_the_list_says_of_a_command_is_what_its_help_says(name: str) -> None:
    told = " ".join((load_command(name).help or "").split("\n\n")[0].split())

    assert COMMANDS[name] == told


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str) -> None:
    found = CliRunner().invoke(app, [name, "--help"])

    assert found.exit_code == 0
    assert f"pantau {name}" in found.output


@pytest.mark.parametrize("name", ["check", "init", "letters"])
def test_a_paragraph_of_help_is_as_wide_as_the_terminal_whoever_wrote_it(name: str) -> None:
    found = load_command(name)

    told = [each.help or "" for each in (found, *getattr(found, "commands", {}).values())]
    assert all(told)
    assert not [each for text in told for each in text.split("\n\n") if "\n" in each]


def test_a_command_that_was_imported_leaves_the_collector_on() -> None:
    load_command("ack")

    assert gc.isenabled()


def test_what_asks_the_service_imports_nothing_of_it() -> None:
    there = imported(*ASKING)

    assert [m for m in there if m in HEAVY or m.startswith(tuple(f"{heavy}." for heavy in HEAVY))] == []


def test_whatever_has_events_has_them_written_as_ours_before_it_does_anything() -> None:
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
def test_a_command_keeps_its_budget_of_modules(name: str) -> None:
    ours = [m for m in imported(name) if m.split(".")[0] in {"monitor", "alerts", "probes"}]

    assert len(ours) <= BUDGET, ours


def test_the_list_itself_imports_no_command() -> None:
    assert not [m for m in imported() if re.fullmatch(r"monitor\.cli\.\w+\.\w+|pantau_lab\b.*", m)]


def test_each_ruling_can_be_given() -> None:
    assert list(STATUS_TEXTS) == [ruling.value for ruling in ManualStatus]


def test_each_contradiction_can_be_named() -> None:
    assert list(get_args(ContradictionValue)) == [each.value for each in Contradiction]


def test_the_version_is_said() -> None:
    found = CliRunner().invoke(app, ["--version"])

    assert (found.exit_code, found.output.split()[0]) == (0, "pantau")


def test_a_command_that_is_misspelt_is_guessed() -> None:
    found = CliRunner().invoke(app, ["akc"])

    assert found.exit_code == 2
    assert "Did you mean 'ack'?" in found.output


def test_the_demo_without_its_distribution_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitor.cli.entry_points", lambda **_: ())

    found = CliRunner().invoke(app, ["demo"])

    assert found.exit_code == 1
    assert "`pantau demo` needs pantau-lab" in found.output


def test_what_is_broken_in_a_command_is_not_taken_for_a_distribution_that_lacks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(name: str) -> object:
        raise ModuleNotFoundError("No module named 'aiosmtpd'", name="aiosmtpd")

    monkeypatch.setattr("monitor.cli.import_module", broken)

    with pytest.raises(ModuleNotFoundError, match="aiosmtpd"):
        load_command("ack")


@pytest.mark.parametrize("words", [["ack", "JCM-\udce9"], ["note", "JCM-01", "x", "--by", "Jos\udce9"], ["jos\udce9"]])
def test_what_a_terminal_sends_in_another_encoding_is_refused_in_words(words: list[str]) -> None:
    refused = CliRunner().invoke(app, words)
    assert (refused.exit_code, "\\udce9' is not UTF-8: set the terminal to UTF-8" in refused.output) == (2, True)
