"""Debian's Alertmanager, configured to send every alert to a webhook within a second."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.real import prometheus
from tests.real.prometheus import Alertmanager


@asynccontextmanager
async def alertmanager(directory: Path, *, webhook: str = "", token: str = "") -> AsyncIterator[Alertmanager]:
    """Run an Alertmanager in *directory* that repeatedly sends all alerts to *webhook*, if one is given."""
    async with prometheus.alertmanager(directory, _write_configuration(directory, webhook, token)) as server:
        yield server


def _write_configuration(directory: Path, webhook: str, token: str) -> Path:
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
