"""Debian's own Alertmanager, started in a directory of its own, on a free loopback port, and stopped again."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

#: It takes a second; a loaded machine may need many.
START = timedelta(seconds=60)


class Alertmanager:
    """A running server, told of alerts and asked about them over its HTTP API."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    @property
    def url(self) -> str:
        """Where it listens."""
        return str(self._client.base_url).rstrip("/")

    async def tell(self, *labels: Mapping[str, str], starts_at: datetime, ended_at: datetime | None = None) -> None:
        """Say that alerts with these labels fire, as Prometheus does; or that they are over."""
        ends_at = ended_at or datetime.now(UTC) + timedelta(minutes=4)
        told = [
            {
                "labels": each,
                "annotations": {"summary": f"{each['alertname']} pada {each.get('instance', 'mesin')}"},
                "startsAt": starts_at.isoformat(),
                "endsAt": ends_at.isoformat(),
            }
            for each in labels
        ]
        (await self._client.post("/api/v2/alerts", json=told)).raise_for_status()

    async def alerts(self) -> Sequence[Mapping[str, Any]]:
        """Return those that it knows to fire."""
        answer: list[Mapping[str, Any]] = (await self._client.get("/api/v2/alerts")).raise_for_status().json()
        return answer


@asynccontextmanager
async def alertmanager(
    directory: Path, *, webhook: str = "", token: str = "", port: int = 0
) -> AsyncIterator[Alertmanager]:
    """Run an Alertmanager in *directory* that brings all alerts to *webhook*, if there is one, within a second."""
    file = _configured(directory, webhook, token)
    port = port or _free_port()
    with (directory / "alertmanager.log").open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            # Ends with us, even if we are killed.
            *("setpriv", "--pdeathsig", "KILL", "prometheus-alertmanager"),
            f"--config.file={file}",
            f"--storage.path={directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--cluster.listen-address=",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=10) as client:
            await _ready(client, process, directory)
            yield Alertmanager(client)
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(10):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()


def _configured(directory: Path, webhook: str, token: str) -> Path:
    directory.mkdir(exist_ok=True)
    receiver: dict[str, Any] = {"name": "pantau"}
    if webhook:
        (directory / "token").write_text(token)
        http = {"authorization": {"credentials_file": str(directory / "token")}}
        receiver["webhook_configs"] = [{"url": webhook, "http_config": http}]
    route = {
        "receiver": "pantau",
        "group_by": ["alertname"],
        "group_wait": "100ms",
        "group_interval": "1s",
        "repeat_interval": "1s",
    }
    file = directory / "alertmanager.yml"
    file.write_text(json.dumps({"route": route, "receivers": [receiver]}))  # JSON is YAML
    return file


def _free_port() -> int:
    """Return a port that nobody listens on: it does not say which one the system chose."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


async def _ready(client: httpx.AsyncClient, process: asyncio.subprocess.Process, directory: Path) -> None:
    try:
        async with asyncio.timeout(START.total_seconds()):
            while process.returncode is None:
                try:
                    if (await client.get("/-/ready")).is_success:
                        return
                except httpx.TransportError:
                    pass
                await asyncio.sleep(0.05)
    except TimeoutError:
        pass
    raise AssertionError(f"Alertmanager did not start; see {directory / 'alertmanager.log'}")
