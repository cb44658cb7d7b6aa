"""A service in this process that only monitors: agencies whose servers refuse connections, so that no mail is sent."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import structlog

from monitor.app import App
from monitor.runtime.control_socket import CONTROL_SOCKET

SETTINGS = """\
mode: monitor_only
agencies: database
state_dir: state
listen: 127.0.0.1:0
callbacks: {listen: 127.0.0.1:0}
references:
"""
REFERENCE = """\
  rujukan-{which}:
    address: pantau@rujukan-{which}.{ending}
    smtp: {{host: 127.0.0.1, port: {port}}}
    imap: {{host: 127.0.0.1, port: {port}}}
    login: {{username: pantau, password_file: secrets/mail}}
"""
AGENCY = """\
# Comments are kept.
agency: {code}
name: Jabatan {code}
domains: [{domain}]
mailboxes:
  utama:
    address: pantau@{domain}
    smtp: {{host: 127.0.0.1, port: 3}}
    imap: {{host: 127.0.0.1, port: 3}}
    login: {{username: {code}, password_file: secrets/mail}}
"""


def agency(code: str, domain: str = "") -> str:
    return AGENCY.format(code=code, domain=domain or f"{code.lower()}.gov.my")


def write_files(place: Path) -> Path:
    """Write the settings of a service with agencies in the database, and two agency files that are not applied yet."""
    place.mkdir(exist_ok=True)
    written = SETTINGS + REFERENCE.format(which="a", ending="gov.my", port=1)
    (place / "pantau.yaml").write_text(written + REFERENCE.format(which="b", ending="edu.my", port=2))
    (place / "secrets").mkdir()
    (place / "secrets" / "mail").write_text("kata-laluan-contoh")
    (place / "secrets" / "mail").chmod(0o600)
    files = place / "agencies"
    files.mkdir()
    for code in ("JCM", "MDC"):
        (files / f"{code.lower()}.yaml").write_text(agency(code))
    return place


@asynccontextmanager
async def service(place: Path) -> AsyncIterator[None]:
    """Run the service until the end of the block."""
    # Log to the current stdout: a command that runs in this process at the same time has its own output.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stdout))
    app = App(place / "pantau.yaml", {})
    running = asyncio.create_task(app.run())
    try:
        async with asyncio.timeout(60):
            while not (place / "state" / CONTROL_SOCKET).exists():
                assert not running.done(), running
                await asyncio.sleep(0.05)
        yield
    finally:
        app.stop()
        await running
