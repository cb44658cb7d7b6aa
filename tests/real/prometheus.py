"""Debian's Prometheus and Alertmanager in a directory of their own, on free loopback ports."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

#: A test that waits for five scrapes takes five seconds.
INTERVAL = "1s"

EXEMPLARS_OPTION = "--enable-feature=exemplar-storage"

#: The start takes about a second, and many on a busy machine.
START = timedelta(seconds=90)
#: Timeout for the result of a scrape or an evaluation.
TIMEOUT = timedelta(seconds=90)


class Prometheus:
    """A running server, asked over its HTTP API."""

    def __init__(self, client: httpx.AsyncClient, job: str) -> None:
        self._client = client
        self._job = job

    async def query(self, expr: str) -> list[dict[str, Any]]:
        """Return the instant vector of an expression; a scalar counts as one sample."""
        data = await self._get("query", query=expr)
        return [{"metric": {}, "value": data["result"]}] if data["resultType"] == "scalar" else list(data["result"])

    async def query_range(self, expr: str, *, start: float, end: float, step: float) -> list[dict[str, Any]]:
        """Return each series of an expression over time: `values` are pairs of Unix time and a number as text."""
        return list(
            (await self._get("query_range", query=expr, start=f"{start}", end=f"{end}", step=f"{step}"))["result"]
        )

    async def label_values(self, label: str, selector: str) -> list[str]:
        """Return the values of a label among the series that match."""
        return list(await self._get(f"label/{label}/values", **{"match[]": selector}))

    async def rules(self) -> list[dict[str, Any]]:
        """Return every loaded rule with its health and, for alerts, its state."""
        return [rule for group in (await self._get("rules"))["groups"] for rule in group["rules"]]

    async def alerts(self) -> list[dict[str, Any]]:
        """Return the alerts that are pending or firing, with their annotations filled in."""
        return list((await self._get("alerts"))["alerts"])

    async def exemplars(self, query: str) -> list[dict[str, Any]]:
        """Return the exemplars of the last hour of each series of a query."""
        now = time.time()
        found = await self._get("query_exemplars", query=query, start=f"{now - 3600:.0f}", end=f"{now + 60:.0f}")
        return [exemplar for series in found for exemplar in series["exemplars"]]

    async def wait_for_scrapes(self, times: int) -> None:
        """Wait until the target has answered *times* scrapes and each rule has been evaluated after that."""
        answered = f'sum(sum_over_time(up{{job="{self._job}"}}[1h])) >= {times}'
        await _until(lambda: self.query(answered))
        before = {rule["name"]: rule["lastEvaluation"] for rule in await self.rules()}

        async def evaluated() -> bool:
            return all(before[rule["name"]] != rule["lastEvaluation"] for rule in await self.rules())

        await _until(evaluated)

    async def _get(self, what: str, **parameters: str) -> Any:
        answer = await self._client.get(f"/api/v1/{what}", params=parameters)
        body = answer.json()
        if body["status"] != "success":
            raise AssertionError(f"{what} {parameters}: {body['errorType']}: {body['error']}")
        return body["data"]


async def _until(holds: Callable[[], Awaitable[object]]) -> None:
    async with asyncio.timeout(TIMEOUT.total_seconds()):
        while True:
            if await holds():
                return
            await asyncio.sleep(0.2)


@asynccontextmanager
async def prometheus(
    directory: Path,
    *,
    target: str,
    rules: Sequence[Path] = (),
    job: str = "pantau",
    alertmanager_url: str | None = None,
    protocols: Sequence[str] = ("OpenMetricsText1.0.0", "PrometheusText0.0.4"),
) -> AsyncIterator[Prometheus]:
    """Run a Prometheus in *directory* that scrapes `/metrics` of *target* and notifies an Alertmanager.

    *target* and *alertmanager_url* are base URLs. *protocols*: `scrape_protocols`, in order. Exemplars are kept.
    """
    scheme, _, address = target.rstrip("/").partition("://")
    scrape = {
        "job_name": job,
        "scheme": scheme,
        "static_configs": [{"targets": [address]}],
        "scrape_protocols": list(protocols),
    }
    configuration: dict[str, Any] = {
        "global": {"scrape_interval": INTERVAL, "scrape_timeout": INTERVAL, "evaluation_interval": INTERVAL},
        "rule_files": [str(path) for path in rules],
        "scrape_configs": [scrape],
    }
    if alertmanager_url is not None:
        address = alertmanager_url.rstrip("/").partition("://")[2]
        configuration["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": [address]}]}]}
    file = directory / "prometheus.yml"
    file.write_text(json.dumps(configuration))  # JSON is YAML
    command = ("prometheus", f"--config.file={file}", f"--storage.tsdb.path={directory / 'data'}", EXEMPLARS_OPTION)
    # The rules are loaded at this message.
    async with run_program(
        directory / "prometheus.log", *command, ready_message="Server is ready to receive"
    ) as client:
        yield Prometheus(client, job)


class Alertmanager:
    """A running server, asked over its HTTP API."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self.url = str(client.base_url)

    async def alerts(self) -> list[dict[str, Any]]:
        """Return the firing alerts with their labels, annotations and what mutes them."""
        return list((await self._client.get("/api/v2/alerts")).raise_for_status().json())

    async def post_alerts(
        self, *labels: Mapping[str, str], starts_at: datetime | None = None, ended_at: datetime | None = None
    ) -> None:
        """Post alerts by their labels, from *starts_at* or now, or resolved at *ended_at*."""
        times = {"startsAt": starts_at, "endsAt": ended_at}
        timestamps = {name: at.isoformat() for name, at in times.items() if at is not None}
        answer = await self._client.post("/api/v2/alerts", json=[{"labels": each, **timestamps} for each in labels])
        answer.raise_for_status()


@asynccontextmanager
async def alertmanager(directory: Path, configuration: Path) -> AsyncIterator[Alertmanager]:
    """Run an Alertmanager in *directory* with a configuration."""
    command = (
        "prometheus-alertmanager",
        f"--config.file={configuration}",
        f"--storage.path={directory / 'alertmanager'}",
    )
    async with run_program(directory / "alertmanager.log", *command, "--cluster.listen-address=") as client:
        yield Alertmanager(client)


@asynccontextmanager
async def run_program(log: Path, *command: str, ready_message: str = "") -> AsyncIterator[httpx.AsyncClient]:
    """Run a program on a free loopback port, and yield a client once *ready_message* is in its log."""
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            # The program ends with this process, even if that is killed.
            *("setpriv", "--pdeathsig", "KILL", *command),
            "--web.listen-address=127.0.0.1:0",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        base_url = await _wait_for_url(process, log, ready_message)
        async with httpx.AsyncClient(base_url=base_url, trust_env=False, timeout=TIMEOUT.total_seconds()) as client:
            yield client
    finally:
        await _stop(process)


async def _wait_for_url(process: asyncio.subprocess.Process, log: Path, ready_message: str) -> str:
    """Return the base URL. The system chose the port, so no other test can have taken it."""
    try:
        async with asyncio.timeout(START.total_seconds()):
            while process.returncode is None:
                if base_url := _url_in_log(log, ready_message):
                    return base_url
                await asyncio.sleep(0.05)
    except TimeoutError:
        pass
    raise AssertionError(f"it did not start; see {log}")


def _url_in_log(log: Path, ready: str) -> str | None:
    text = log.read_text()
    found = re.search(r'msg="Listening on" address=(\S+)', text)
    return f"http://{found[1]}" if ready in text and found else None


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(10):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
