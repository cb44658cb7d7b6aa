"""A demo with sites, as people use it: a wire is pulled, one site's trouble is told to nobody, and nothing is left at the end."""

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
from pantau_lab.environment import lever
from pantau_lab.serving import claimed
from pantau_lab.sites.cluster import LEAST, NoPostgresError, hub_programs
from tests.real.postgres import programs

pytestmark = [pytest.mark.real, pytest.mark.site]

#: In seconds. It takes half a minute to begin, and as long to hear of a failure; on a busy machine several times that.
PATIENCE = 300.0
COMMAND = (sys.executable, "-m", "monitor.cli", "demo", "--directory")


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """The demo, and its hub's API."""

    directory: Path
    process: subprocess.Popen[bytes]
    api: httpx.Client
    said: Path

    def order(self, what: str, **names: str) -> tuple[int, str]:
        """Do what the command does, without a process of its own, which would cost a second."""
        answer = request(lever(self.directory), "POST", f"/{what}?{urlencode(names)}")
        return answer.status_code, str(answer.json())

    def sites(self) -> Mapping[str, str]:
        """Return what each site says of JCM; nothing while nobody answers."""
        token = self.directory / "token"
        try:
            shown = {"Authorization": f"Bearer {token.read_text().strip()}"}
            agency = self.api.get("/agencies/JCM", headers=shown).raise_for_status().json()
            incidents = self.api.get("/incidents?agency=JCM", headers=shown).raise_for_status().json()
        except (OSError, httpx.HTTPError):
            return {}
        # Those of the ninety days before are over.
        assert {each["state"] for each in incidents} == {"resolved"}
        return {each["site"]: each["says"] for each in agency["sites"]}

    def shows(self, *lines: str) -> bool:
        """Whether it has written these lines, which it does every three seconds."""
        return {*lines} <= {*self.said.read_text().splitlines()}

    def until(self, true: Callable[[Mapping[str, Any]], bool]) -> None:
        until = time.monotonic() + PATIENCE
        while not true(said := self.sites()):
            assert self.process.poll() is None, self.said.read_text()
            assert time.monotonic() < until, (said, self.said.read_text()[-4000:])
            time.sleep(1)


@contextmanager
def demo(directory: Path) -> Iterator[Running]:
    path = f"{programs(LEAST)}{os.pathsep}{os.environ['PATH']}"
    said = directory.with_suffix(".said")
    with claimed(1) as (port,), said.open("wb") as output:
        base = f"http://127.0.0.1:{port}/api/v1"
        with (
            httpx.Client(base_url=base, trust_env=False, timeout=PATIENCE) as api,
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


def test_a_cut_wire_and_what_one_site_alone_sees_are_told_to_nobody(tmp_path: Path) -> None:
    place = tmp_path / "demo"
    with demo(place) as running:
        running.until(lambda said: len(said) == 3 and said["johor"] == said["kuching"] == "up")
        home = (place / "postgresql").resolve()

        assert running.order("disconnect", site="johor") == (200, "johor is disconnected from the hub now")
        assert running.order("disconnect", site="JOHOR") == (200, "johor is disconnected from the hub already")
        words = (*COMMAND, str(place), "disconnect", "kuching", "jcm")
        assert subprocess.check_output(words, text=True) == "kuching is disconnected from JCM now\n"
        running.until(lambda said: said.get("johor") == "stale" and said.get("kuching") == "wrong")
        # What lasts for less than it takes until it looks again it need not have seen.
        running.until(lambda _: running.shows("johor says of JCM: stale", "kuching says of JCM: wrong"))
        # A site knows nobody's telephone number.
        written = "".join(file.read_text() for file in (place / "kuching").rglob("*.yaml"))
        assert ("jabatan-contoh.gov.my" in written, "+60" in written, "contacts" in written) == (True, False, False)
        # Its own page goes on, and anybody may look.
        assert "JCM" in httpx.get(page_of(running, "kuching"), trust_env=False, timeout=PATIENCE).text

        assert running.order("reconnect", site="johor") == (200, "johor is reconnected to the hub")
        running.until(lambda said: said.get("johor") == "up" and said.get("kuching") == "wrong")

        # Somebody mistypes.
        assert running.order("reconnect", site="johor") == (200, "johor is not disconnected from anything")
        status, said = running.order("disconnect", site="johor/JCM")
        assert (status, "there is no site johor/JCM; there are johor, kuching" in said) == (404, True)
        assert running.order("disconnect", site="johor", system="JCN")[0] == 404
    assert running.process.returncode == 0, running.said.read_text()
    assert not home.exists()
    assert running_in(place, home) == []


def page_of(running: Running, site: str) -> str:
    lines = running.said.read_text().splitlines()
    return next(line.removeprefix(f"{site}: ") for line in lines if line.startswith(f"{site}: http"))


@pytest.mark.parametrize("number", ["9", "abc", "-1"])
def test_a_number_of_sites_that_there_is_not_is_refused_before_anything_is_begun(number: str, tmp_path: Path) -> None:
    words = ["--directory", str(tmp_path / "demo"), "--sites", number]
    refused = CliRunner().invoke(app, words)
    assert refused.exit_code == 2
    assert "--sites" in refused.output
    assert not (tmp_path / "demo").exists()


def test_a_postgresql_that_is_missing_or_too_old_is_named_with_how_to_get_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "postgresql" / "15" / "bin"
    old.mkdir(parents=True)
    (old / "initdb").write_text("#!/bin/sh\necho 'initdb (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)'\n")
    (old / "initdb").chmod(0o755)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    with pytest.raises(NoPostgresError, match=r"(?s)16 or newer; there is 15\. .*apt-get install"):
        hub_programs(old.parents[1])
    with pytest.raises(NoPostgresError, match=r"(?s)16 or newer\. .*apt-get install"):
        hub_programs(tmp_path / "none")
    # One that is in PATH is taken for what it says.
    (old / "initdb").write_text("#!/bin/sh\necho 'initdb (PostgreSQL) 18beta1'\n")
    monkeypatch.setenv("PATH", f"{old}:/usr/bin:/bin")
    assert hub_programs(tmp_path / "none") == old
