"""A configured agency on real mail systems, with a watcher for each mailbox and reference."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from monitor.config.loading import load
from monitor.config.model.registry import Registry
from monitor.model.route import MonitoredRoute
from probes.arrival.watcher import MailboxWatcher
from probes.kinds.roundtrip import KIND
from probes.model.mailbox import Mailbox, Server
from probes.model.result import Arrival, ProbeResult
from probes.run.runner import run_probe
from tests.document_examples import Tree, write_secrets, written
from tests.integration.probes.round_trips import POLLING, SIGNER
from tests.mailbox_parts import imap_of, password_of, smtp_of
from tests.real.mail_systems import MailSystems
from tests.timeouts import HANG_TIMEOUT

CODE = "JCONTOH"
_SECRET_FILE = "secrets/mel"


@dataclass(slots=True)
class WatchedAgency:
    """Routes of the agency, and arrivals outside of runs."""

    registry: Registry
    watchers: dict[str, MailboxWatcher]
    #: Mailbox and arrival that no run expected.
    arrivals: list[tuple[str, Arrival]] = field(default_factory=list)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def route(self, ending: str) -> MonitoredRoute:
        (route,) = (each for each in self.registry.routes_for(CODE) if each.name.endswith(f"/{ending}"))
        return route

    async def run(self, ending: str) -> ProbeResult:
        """Run the route with this ending, and wait until its mail is deleted."""
        route = self.route(ending)
        token, timeouts = SIGNER.issue(route.name, datetime.now(UTC)), route.probing.timeouts
        sender, recipient = self.watchers.get(route.route.sender.name), self.watchers[route.route.recipient.name]
        probe = KIND.build(route=route.route, token=token, timeouts=timeouts, sender=sender, recipient=recipient)
        result = await run_probe(probe, route=route.name, token_id=token.id, timeouts=timeouts)
        async with asyncio.timeout(HANG_TIMEOUT):
            await recipient.wait_until_deleted()
            if sender is not None:
                await sender.wait_until_deleted()
        return result

    def note(self, mailbox: str, arrival: Arrival, *_: object) -> None:
        self.arrivals.append((mailbox, arrival))
        self._changed.set()

    async def arrived(self, mailbox: str, arrival: Arrival) -> None:
        """Wait until this was counted in that mailbox."""
        async with asyncio.timeout(HANG_TIMEOUT):
            while (mailbox, arrival) not in self.arrivals:
                self._changed.clear()
                await self._changed.wait()
            await self.watchers[mailbox].wait_until_deleted()


@asynccontextmanager
async def watch_agency(
    directory: Path, systems: MailSystems, agency: Sequence[Tree], arrival: str = "30s"
) -> AsyncIterator[WatchedAgency]:
    """Write the configuration, load it, and watch all mailboxes until the end of the block."""
    loaded = load(write_configuration(directory, systems, agency, arrival), {}).require_configuration()
    routes = loaded.registry.routes
    ends = (end for each in routes for end in (each.route.sender, each.route.recipient))
    mailboxes = {end.name: end for end in ends if end.is_readable}
    watched = WatchedAgency(loaded.registry, {})
    for name, mailbox in mailboxes.items():
        watched.watchers[name] = MailboxWatcher(
            mailbox,
            SIGNER,
            on_arrival=partial(watched.note, name),
            timeouts=loaded.settings.probing.build(loaded.settings.time_zone, ()).timeouts,
            polling=POLLING,
        )
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(watcher.run()) for watcher in watched.watchers.values()]
        yield watched
        for task in tasks:
            task.cancel()


def write_configuration(directory: Path, systems: MailSystems, agency: Sequence[Tree], arrival: str = "30s") -> Path:
    """Write the configuration of these systems with these parts of the agency's file; return the settings file."""
    own, reference_a, reference_b = systems.mailboxes()
    here = _settings_of(directory, own)
    mailboxes: Tree = {"utama": here}
    if any("awam" in part.get("mailboxes", {}) for part in agency):
        mailboxes["awam"] = {key: value for key, value in here.items() if key not in {"smtp", "address"}}
    settings = {
        "references": {
            "rujukan-a": _settings_of(directory, reference_a),
            "rujukan-b": _settings_of(directory, reference_b),
        },
        "probing": {"session_timeout": "20s", "arrival_timeout": arrival, "slow_threshold": "1s"},
    }
    path = written(directory, [*agency, {"mailboxes": mailboxes}], settings)
    write_secrets(directory, {_SECRET_FILE: password_of(own).secret})
    return path


def _settings_of(directory: Path, mailbox: Mailbox) -> dict[str, Any]:
    _, _, domain = mailbox.address.partition("@")
    authority = directory / f"{domain}.pem"
    known = smtp_of(mailbox).tls.get_ca_certs(binary_form=True)
    authority.write_text("".join(map(ssl.DER_cert_to_PEM_cert, known)), encoding="ascii")
    return {
        "address": mailbox.address,
        "smtp": _server(smtp_of(mailbox)),
        "imap": _server(imap_of(mailbox)),
        "login": {"username": password_of(mailbox).username, "password_file": _SECRET_FILE},
        "ca_file": str(authority),
    }


def _server(server: Server) -> dict[str, Any]:
    return {
        "host": server.host,
        "port": server.port,
        "security": str(server.security),
        "tls_name": server.tls_name,
    }
