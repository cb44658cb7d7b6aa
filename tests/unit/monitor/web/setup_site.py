"""Settings of the guided mailbox setup in tests: servers on this machine, and a name server or none."""

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
from probes.model.egress import AllowedNetwork, EgressPolicy
from probes.model.mail_platform import PLATFORM_SERVERS, MailPlatform
from probes.model.mailbox import Server

#: Nothing listens on this port, and the refusal is immediate.
NO_NAME_SERVER = NameServers(addresses=("127.0.0.1",), port=1, within=timedelta(milliseconds=50))


@dataclass
class StaticSetupSite:
    """Implements `SetupSettings` of `monitor.service.portal.mailbox_setup`. Every name resolves to this machine."""

    names: NameServers = NO_NAME_SERVER
    tls: ssl.SSLContext = field(default_factory=cache(ssl.create_default_context))
    #: Allowed ports of this machine.
    ports: Collection[int] = ()
    #: Real port by requested port.
    port_map: dict[int, int] = field(default_factory=dict)
    consents: dict[MailPlatform, ConsentProcedure] = field(default_factory=dict)
    #: Token endpoint, and the servers that receive its tokens.
    token_url: str = ""
    own_servers: tuple[str, ...] = ()

    def domains(self, agency: str) -> Collection[str]:
        return [f"{agency.lower()}.gov.my", "jabatan-contoh.gov.my"]

    def name_servers(self) -> NameServers | None:
        return self.names

    def server(self, choice: ServerChoice) -> Server:
        return Server(
            host="127.0.0.1",
            port=self.port_map.get(choice.port, choice.port),
            security=choice.security,
            tls=self.tls,
            tls_name=choice.host,
            egress=EgressPolicy(exceptions=tuple(AllowedNetwork.read(f"127.0.0.1:{port}") for port in self.ports)),
        )

    def consent(self, platform: MailPlatform, domain: str) -> ConsentProcedure | None:
        return self.consents.get(platform)

    def delegation_provider(self, application: Application) -> DelegationProvider:
        return DelegationProvider(
            token_url=self.token_url, servers=self.own_servers or PLATFORM_SERVERS[application.platform], tls=self.tls
        )
