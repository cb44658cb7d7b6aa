"""Commands with broken or missing settings: they still find the service."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from monitor.cli import app
from monitor.runtime.control_socket import DEFAULT_STATE_DIR, link_socket
from tests.unit.monitor.cli.office import IssuingOffice
from tests.unit.monitor.cli.test_service_commands import COMMANDS
from tests.unit.monitor.web.fake_service import Service

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
    config.symlink_to(config)  # Root can read a file without permissions, but not a symbolic link to itself.


def binary(config: Path) -> None:
    config.write_bytes(b"\xff\xfe\x00")


def wrong_type(config: Path) -> None:
    config.write_text("state_dir: [state, state]\n")


def emptied(config: Path) -> None:
    config.write_text("")


def half_written(config: Path) -> None:
    config.write_text("site: putrajaya\n")


def with_broken_settings(office: IssuingOffice) -> IssuingOffice:
    """Create the socket link of a service, then break the settings."""
    link_socket(office.socket, office.session)
    broken(office.config)
    return office


#: Such settings mean the default state directory, which an installed service uses.
HALF_WRITTEN = pytest.param(
    half_written, marks=pytest.mark.skipif(DEFAULT_STATE_DIR.exists(), reason="a service is installed here")
)


@pytest.mark.parametrize("damage", [broken, absent, unreadable, binary, wrong_type, emptied, HALF_WRITTEN])
async def test_command_unusable_settings_still_calls_service_with_one_warning(
    office: IssuingOffice, damage: Callable[[Path], None]
) -> None:
    link_socket(office.socket, office.session)
    damage(office.config)
    service = Service()
    async with office.open(service):
        code, output = await office.ask(*ACK)

    wrong, done = output.splitlines()
    assert code == 0
    assert wrong.startswith(f"{office.config}:")
    assert wrong.endswith(f"; asking the service at {office.socket.resolve()}")
    assert done.startswith("JCM-01 (both) is acknowledged by Siti Contoh until ")


async def test_command_settings_warning_goes_to_stderr(office: IssuingOffice) -> None:
    with_broken_settings(office)
    async with office.open(Service()):
        words = ["incidents", "--config", str(office.config)]
        found = await asyncio.to_thread(CliRunner().invoke, app, words, env=office.session)

    assert found.stderr.count("\n") == 1
    assert str(office.config) not in found.stdout


async def test_command_settings_warning_is_printed_once(office: IssuingOffice) -> None:
    with_broken_settings(office)
    async with office.open(Service()):
        _, output = await office.ask("release", "JCM-01", "JCM-01")

    assert output.count("asking the service at") == 1


async def test_command_valid_settings_override_found_sockets(office: IssuingOffice, tmp_path: Path) -> None:
    other = IssuingOffice(_directory(tmp_path / "other"))
    link_socket(other.socket, office.session)
    async with other.open(Service()):
        code, output = await office.ask(*ACK)

    assert (code, "the service is not running" in output) == (1, True)


async def test_command_socket_option_overrides_settings(office: IssuingOffice, tmp_path: Path) -> None:
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
def test_command_socket_option_without_listener_is_reported(office: IssuingOffice, words: tuple[str, ...]) -> None:
    elsewhere = office.directory / "elsewhere.sock"

    code, output = office.run(*words, "--socket", str(elsewhere))

    assert (code, f"nothing answers at {elsewhere}" in output) == (1, True)


async def test_command_several_services_require_socket_option(office: IssuingOffice, tmp_path: Path) -> None:
    other = IssuingOffice(_directory(tmp_path / "other"))
    link_socket(other.socket, office.session)
    with_broken_settings(office)
    async with office.open(Service()), other.open(Service()):
        code, output = await office.ask(*ACK)
        choice = [line.split() for line in output.splitlines()[2:]]
        chosen = [await office.ask(*ACK, *option) for option in choice]

    assert code == 2
    assert output.splitlines()[1] == "2 of your services run here; choose one:"
    assert choice == [["--socket", str(each)] for each in sorted([office.socket, other.socket])]
    assert [done for done, _ in chosen] == [0, 0]


async def test_command_skips_stale_socket_link(office: IssuingOffice, tmp_path: Path) -> None:
    dead = _directory(tmp_path / "dead") / "control.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(dead))
    link_socket(dead, office.session)
    with_broken_settings(office)
    async with office.open(Service()):
        code, output = await office.ask(*ACK)
    after = office.run(*ACK)

    assert (code, f"asking the service at {office.socket}" in output) == (0, True)
    assert after[0] == 2
    assert after[1].endswith(
        "\nno running service of yours was found; if there is one, give its socket with --socket\n"
    )


async def test_command_ignores_socket_link_directory_writable_by_others(office: IssuingOffice) -> None:
    with_broken_settings(office)
    directory = office.directory / "run" / "pantau"
    directory.chmod(0o777)
    service = Service()
    async with office.open(service):
        code, output = await office.ask(*ACK)

    assert (code, service.commands) == (2, [])
    assert f"{directory} belongs to another user: run this command as the service's user" in output


def _directory(path: Path) -> Path:
    path.mkdir()
    return path


def test_command_state_dir_symlink_loop_is_reported_in_one_line(office: IssuingOffice) -> None:
    office.state.rmdir()
    office.state.symlink_to(office.state)
    code, output = office.run(*ACK)
    assert code
    assert len(output.splitlines()) == 1
