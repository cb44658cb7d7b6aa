"""Demo with sites, as its users run it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from typer.testing import CliRunner

from monitor.cli.service import request
from pantau_lab.cli.demo import app
from pantau_lab.environment import command_socket
from pantau_lab.serving import claimed
from pantau_lab.sites.cluster import MIN_VERSION, NoPostgresError, hub_programs
from tests.real.postgres import programs

pytestmark = [pytest.mark.real, pytest.mark.site]

#: In seconds. Start and failure detection take half a minute each, and several times that on a busy machine.
TIMEOUT = 300.0
COMMAND = (sys.executable, "-m", "monitor.cli", "demo", "--directory")


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """Running demo and the API of its hub."""

    directory: Path
    process: subprocess.Popen[bytes]
    api: httpx.Client
    said: Path

    def run_command(self, what: str, **names: str) -> tuple[int, str]:
        """Run a demo command in this process, which saves a second."""
        answer = request(command_socket(self.directory), "POST", f"/{what}?{urlencode(names)}")
        return answer.status_code, str(answer.json())

    def sites(self) -> Mapping[str, str]:
        """Return the status of JCM at each site, or nothing while the hub does not answer."""
        token = self.directory / "token"
        try:
            shown = {"Authorization": f"Bearer {token.read_text().strip()}"}
            agency = self.api.get("/agencies/JCM", headers=shown).raise_for_status().json()
            incidents = self.api.get("/incidents?agency=JCM", headers=shown).raise_for_status().json()
        except (OSError, httpx.HTTPError):
            return {}
        # The incidents of the sample history are closed.
        assert {each["state"] for each in incidents} == {"resolved"}
        return {each["site"]: each["says"] for each in agency["sites"]}

    def shows(self, *lines: str) -> bool:
        """Return whether the demo has printed these lines; it does so every three seconds."""
        return {*lines} <= {*self.said.read_text().splitlines()}

    def until(self, condition: Callable[[Mapping[str, Any]], bool]) -> None:
        until = time.monotonic() + TIMEOUT
        while not condition(said := self.sites()):
            assert self.process.poll() is None, self.said.read_text()
            assert time.monotonic() < until, (said, self.said.read_text()[-4000:])
            time.sleep(1)


@contextmanager
def demo(directory: Path) -> Iterator[Running]:
    path = f"{programs(MIN_VERSION)}{os.pathsep}{os.environ['PATH']}"
    said = directory.with_suffix(".said")
    with claimed(1) as (port,), said.open("wb") as output:
        base = f"http://127.0.0.1:{port}/api/v1"
        with (
            httpx.Client(base_url=base, trust_env=False, timeout=TIMEOUT) as api,
            subprocess.Popen(
                [*COMMAND, str(directory), "--sites", "2"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=os.environ | {"PANTAU_LISTEN": f"127.0.0.1:{port}", "PATH": path},
            ) as process,
        ):
            try:
                yield Running(directory=directory, process=process, api=api, said=said)
            finally:
                process.send_signal(signal.SIGINT)


def running_in(*places: Path) -> list[str]:
    """Return the programs whose command line names one of *places*."""
    named = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = file.read_text(errors="replace")
        except OSError:
            continue
        named += [words.replace("\0", " ") for place in places if str(place) in words]
    return named


def test_demo_disconnected_site_and_single_site_fault_open_no_incident(tmp_path: Path) -> None:
    place = tmp_path / "demo"
    with demo(place) as running:
        running.until(lambda said: len(said) == 3 and said["johor"] == said["kuching"] == "up")
        home = (place / "postgresql").resolve()

        assert running.run_command("disconnect", site="johor") == (200, "johor is disconnected from the hub now")
        assert running.run_command("disconnect", site="JOHOR") == (200, "johor is disconnected from the hub already")
        words = (*COMMAND, str(place), "disconnect", "kuching", "jcm")
        assert subprocess.check_output(words, text=True) == "kuching is disconnected from JCM now\n"
        running.until(lambda said: said.get("johor") == "stale" and said.get("kuching") == "wrong")
        # A state that is shorter than the polling interval may not be seen.
        running.until(lambda _: running.shows("johor says of JCM: stale", "kuching says of JCM: wrong"))
        # A site has no telephone numbers.
        written = "".join(file.read_text() for file in (place / "kuching").rglob("*.yaml"))
        assert ("jabatan-contoh.gov.my" in written, "+60" in written, "contacts" in written) == (True, False, False)
        # Its public page still works.
        assert "JCM" in httpx.get(page_of(running, "kuching"), trust_env=False, timeout=TIMEOUT).text

        assert running.run_command("reconnect", site="johor") == (200, "johor is reconnected to the hub")
        running.until(lambda said: said.get("johor") == "up" and said.get("kuching") == "wrong")

        # Mistyped commands.
        assert running.run_command("reconnect", site="johor") == (200, "johor is not disconnected from anything")
        status, said = running.run_command("disconnect", site="johor/JCM")
        assert (status, "there is no site johor/JCM; there are johor, kuching" in said) == (404, True)
        assert running.run_command("disconnect", site="johor", system="JCN")[0] == 404
    assert running.process.returncode == 0, running.said.read_text()
    assert not home.exists()
    assert running_in(place, home) == []


def page_of(running: Running, site: str) -> str:
    lines = running.said.read_text().splitlines()
    return next(line.removeprefix(f"{site}: ") for line in lines if line.startswith(f"{site}: http"))


@pytest.mark.parametrize("number", ["9", "abc", "-1"])
def test_demo_invalid_site_count_is_refused_before_start(number: str, tmp_path: Path) -> None:
    words = ["--directory", str(tmp_path / "demo"), "--sites", number]
    refused = CliRunner().invoke(app, words)
    assert refused.exit_code == 2
    assert "--sites" in refused.output
    assert not (tmp_path / "demo").exists()


def test_hub_programs_missing_or_old_postgresql_names_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "postgresql" / "15" / "bin"
    old.mkdir(parents=True)
    (old / "initdb").write_text("#!/bin/sh\necho 'initdb (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)'\n")
    (old / "initdb").chmod(0o755)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    with pytest.raises(NoPostgresError, match=r"(?s)16 or newer; there is 15\. .*apt-get install"):
        hub_programs(old.parents[1])
    with pytest.raises(NoPostgresError, match=r"(?s)16 or newer\. .*apt-get install"):
        hub_programs(tmp_path / "none")
    # For a program in PATH, its own version output counts.
    (old / "initdb").write_text("#!/bin/sh\necho 'initdb (PostgreSQL) 18beta1'\n")
    monkeypatch.setenv("PATH", f"{old}:/usr/bin:/bin")
    assert hub_programs(tmp_path / "none") == old
