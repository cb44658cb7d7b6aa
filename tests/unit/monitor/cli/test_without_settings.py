"""Commands at night, when somebody has broken the settings, or they are away: the service is found all the same."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from monitor.cli import app
from monitor.runtime.place import DEFAULT_STATE_DIR, link_socket
from tests.unit.monitor.cli.office import IssuingOffice
from tests.unit.monitor.cli.test_orders import COMMANDS
from tests.unit.monitor.web.source import Service

ACK = ("ack", "JCM-01", "--by", "Siti Contoh")


def broken(config: Path) -> None:
    config.write_text("state_dir: [\n")


def absent(config: Path) -> None:
    config.unlink()


def unreadable(config: Path) -> None:
    if os.geteuid() != 0:
        config.chmod(0)
        return
    config.unlink()
    config.symlink_to(config)  # Root reads what has no mode; not this.


def no_text(config: Path) -> None:
    config.write_bytes(b"\xff\xfe\x00")


def another_thing(config: Path) -> None:
    config.write_text("state_dir: [state, state]\n")


def emptied(config: Path) -> None:
    config.write_text("")


def half_written(config: Path) -> None:
    config.write_text("site: putrajaya\n")


def ruined(office: IssuingOffice) -> IssuingOffice:
    """Let a service leave its link, and ruin the settings."""
    link_socket(office.socket, office.session)
    broken(office.config)
    return office


#: Where a service is installed its state is looked for there, as the settings then mean.
HALF_WRITTEN = pytest.param(
    half_written, marks=pytest.mark.skipif(DEFAULT_STATE_DIR.exists(), reason="a service is installed here")
)


@pytest.mark.parametrize("ruin", [broken, absent, unreadable, no_text, another_thing, emptied, HALF_WRITTEN])
async def test_the_service_is_asked_and_what_is_wrong_is_said_in_a_line(
    office: IssuingOffice, ruin: Callable[[Path], None]
) -> None:
    link_socket(office.socket, office.session)
    ruin(office.config)
    service = Service()
    async with office.open(service):
        code, said = await office.ask(*ACK)

    wrong, done = said.splitlines()
    assert code == 0
    assert wrong.startswith(f"{office.config}:")
    assert wrong.endswith(f"; asking the service at {office.socket.resolve()}")
    assert done.startswith("JCM-01 (both) is acknowledged by Siti Contoh until ")


async def test_what_is_wrong_does_not_mix_with_what_was_asked_for(office: IssuingOffice) -> None:
    ruined(office)
    async with office.open(Service()):
        words = ["incidents", "--config", str(office.config)]
        found = await asyncio.to_thread(CliRunner().invoke, app, words, env=office.session)

    assert found.stderr.count("\n") == 1
    assert str(office.config) not in found.stdout


async def test_it_is_said_once_however_many_orders_a_command_gives(office: IssuingOffice) -> None:
    ruined(office)
    async with office.open(Service()):
        _, said = await office.ask("release", "JCM-01", "JCM-01")

    assert said.count("asking the service at") == 1


async def test_settings_that_say_where_it_is_are_believed(office: IssuingOffice, tmp_path: Path) -> None:
    other = IssuingOffice(_directory(tmp_path / "other"))
    link_socket(other.socket, office.session)
    async with other.open(Service()):
        code, said = await office.ask(*ACK)

    assert (code, "the service is not running" in said) == (1, True)


async def test_a_socket_that_is_named_goes_before_the_settings(office: IssuingOffice, tmp_path: Path) -> None:
    other = IssuingOffice(_directory(tmp_path / "other"))
    async with other.open(Service()):
        by_settings = await office.ask(*ACK)
        named = await office.ask(*ACK, "--socket", str(other.socket))
        broken(office.config)
        unread = await office.ask(*ACK, "--socket", str(other.socket))

    assert by_settings[0] == 1
    assert named == unread
    assert named[1].startswith("JCM-01 (both) is acknowledged")


@pytest.mark.parametrize("words", [*COMMANDS, ("audit", "head")], ids=" ".join)
def test_every_command_takes_a_socket_and_says_when_nobody_answers_there(
    office: IssuingOffice, words: tuple[str, ...]
) -> None:
    elsewhere = office.directory / "elsewhere.sock"

    code, said = office.run(*words, "--socket", str(elsewhere))

    assert (code, f"nothing answers at {elsewhere}" in said) == (1, True)


async def test_of_several_services_the_one_to_ask_must_be_named(office: IssuingOffice, tmp_path: Path) -> None:
    other = IssuingOffice(_directory(tmp_path / "other"))
    link_socket(other.socket, office.session)
    ruined(office)
    async with office.open(Service()), other.open(Service()):
        code, said = await office.ask(*ACK)
        choice = [line.split() for line in said.splitlines()[2:]]
        chosen = [await office.ask(*ACK, *option) for option in choice]

    assert code == 2
    assert said.splitlines()[1] == "2 of your services run here; choose one:"
    assert choice == [["--socket", str(each)] for each in sorted([office.socket, other.socket])]
    assert [done for done, _ in chosen] == [0, 0]


async def test_one_that_has_died_is_passed_over(office: IssuingOffice, tmp_path: Path) -> None:
    dead = _directory(tmp_path / "dead") / "control.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(dead))
    link_socket(dead, office.session)
    ruined(office)
    async with office.open(Service()):
        code, said = await office.ask(*ACK)
    after = office.run(*ACK)

    assert (code, f"asking the service at {office.socket}" in said) == (0, True)
    assert after[0] == 2
    assert after[1].endswith(
        "\nno running service of yours was found; if there is one, give its socket with --socket\n"
    )


async def test_what_another_user_may_have_planted_is_not_asked(office: IssuingOffice) -> None:
    ruined(office)
    directory = office.directory / "run" / "pantau"
    directory.chmod(0o777)
    service = Service()
    async with office.open(service):
        code, said = await office.ask(*ACK)

    assert (code, service.orders) == (2, [])
    assert f"{directory} belongs to another user: run this command as the service's user" in said


def _directory(path: Path) -> Path:
    path.mkdir()
    return path


def test_a_state_directory_that_is_a_circle_of_links_ends_a_command_in_a_line(office: IssuingOffice) -> None:
    office.state.rmdir()
    office.state.symlink_to(office.state)
    code, said = office.run(*ACK)
    assert code
    assert len(said.splitlines()) == 1
