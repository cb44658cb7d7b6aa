"""What a guided setup of a mailbox goes by in tests: servers on this machine, and a name server that may be none."""

from __future__ import annotations

import ssl
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache

from monitor.config.service.consent import ConsentProcedure
from monitor.service.portal.delegation import Application, DelegationProvider
from monitor.service.portal.mailbox_setup import ServerChoice
from probes.model.check import NameServers
from probes.model.egress import EgressException, EgressPolicy
from probes.model.mail_platform import PLATFORM_SERVERS, MailPlatform
from probes.model.mailbox import Server

#: Nobody listens there, and that is told at once.
NO_NAMES = NameServers(addresses=("127.0.0.1",), port=1, within=timedelta(milliseconds=50))


@dataclass
class StaticSetupSite:
    """Implements `monitor.service.portal.mailbox_setup.SetupSite`. Every name leads to this machine."""

    names: NameServers = NO_NAMES
    tls: ssl.SSLContext = field(default_factory=cache(ssl.create_default_context))
    #: Ports of this machine that are let in.
    ports: Collection[int] = ()
    #: Where somebody who names a port is led to.
    doors: dict[int, int] = field(default_factory=dict)
    ways: dict[MailPlatform, ConsentProcedure] = field(default_factory=dict)
    #: Where applications ask for tokens, and what is shown those.
    token_url: str = ""
    own_servers: tuple[str, ...] = ()

    def domains(self, agency: str) -> Collection[str]:
        return [f"{agency.lower()}.gov.my", "jabatan-contoh.gov.my"]

    def name_servers(self) -> NameServers | None:
        return self.names

    def server(self, choice: ServerChoice) -> Server:
        return Server(
            host="127.0.0.1",
            port=self.doors.get(choice.port, choice.port),
            security=choice.security,
            tls=self.tls,
            tls_name=choice.host,
            egress=EgressPolicy(exceptions=tuple(EgressException.read(f"127.0.0.1:{port}") for port in self.ports)),
        )

    def consent(self, platform: MailPlatform, domain: str) -> ConsentProcedure | None:
        return self.ways.get(platform)

    def delegation_provider(self, application: Application) -> DelegationProvider:
        return DelegationProvider(
            token_url=self.token_url, servers=self.own_servers or PLATFORM_SERVERS[application.platform], tls=self.tls
        )
