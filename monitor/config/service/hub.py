"""Section `hub`: the sites whose results this process combines.

A *site* is a place from which mail is probed. The *hub* notifies people, and decides by votes of the sites whether mail
of an agency is down. Each site has one vote; sites with the same *uplink* (Internet provider or line) share one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

from pydantic import Field, SecretStr

from monitor.config.fields.trust import Trust, check_authorities
from monitor.config.files.findings import Findings
from monitor.config.files.regular import error_reason
from monitor.config.files.section import Count, Percent, PositiveDuration, ResolvedPath, Section, Slug
from monitor.config.service.store import DatabaseUrl, StoreSettings
from monitor.evaluation.joint.quorum import Quorum
from monitor.store.backend.postgres import PostgresServer

_EXAMPLE = "postgresql://pantau_hub@johor.kementerian-contoh.gov.my/pantau"
#: Heartbeats arrive each second, but a connection may stall for several seconds without a failure.
_MIN_STALE_AFTER = timedelta(seconds=5)
#: Longest time for which the last status of a failed site may count.
_MAX_STALE_AFTER = timedelta(minutes=10)


class SiteSettings(Section):
    """Connection of the hub to a site's database.

    The hub's PostgreSQL server connects to the site as well, and reads the files at the same paths on its own machine.
    """

    url: DatabaseUrl = Field(examples=[_EXAMPLE])
    """postgresql://USER@HOST:PORT/DATABASE, as the site's certificate names the host."""
    password: SecretStr | None = None
    """Password of the role (USER), by `password_file:` or `password_env:`; required besides the certificate."""
    cert_file: ResolvedPath = Field(examples=["/etc/postgresql/pantau/johor.crt"])
    """Client certificate for this site, as PEM; its common name is the role."""
    key_file: ResolvedPath = Field(examples=["/etc/postgresql/pantau/johor.key"])
    """Key of `cert_file`. Only its owner may read it."""
    ca_file: ResolvedPath = Field(examples=["/etc/postgresql/pantau/johor-ca.crt"])
    """Certificate authorities of the site's server, as PEM."""
    uplink: Slug | None = None
    """Name of the site's Internet provider or line. Sites with the same uplink share one vote: they fail together."""

    def build(self) -> PostgresServer:
        """Return the connection parameters of the site's database."""
        server = self.url.server(self.password, tls=True, ca_file=self.ca_file)
        return replace(server, cert_file=self.cert_file, key_file=self.key_file)


class HubSettings(Section):
    """Combination of the statuses of several sites."""

    quorum: Count = 1
    """Minimum number of votes that mail is down, or that it works again. For an agency that fewer sites probe, all of
    them suffice.
    """
    quorum_share: Percent = 50
    """The same as a share of the sites that probe the agency and have a vote now; the greater number counts."""
    uplink: Slug | None = None
    """Uplink of this site itself, as in `sites`."""
    stale_after: PositiveDuration = timedelta(seconds=30)
    """A site without a report for this long has no vote."""
    sites: Mapping[Slug, SiteSettings] = {}
    """Sites by the name in their own settings (`site:`); `pantau site add` joins one."""

    @property
    def probing_sites(self) -> int:
        """Number of sites that probe the same agencies, including this one."""
        return 1 + len(self.sites)

    def build(self, site: str) -> Quorum:
        """Return the quorum. *site*: the name of the hub's own site, which also probes."""
        uplinks_by_site = {site: self.uplink} | {name: each.uplink for name, each in self.sites.items()}
        uplinks = {name: uplink for name, uplink in uplinks_by_site.items() if uplink is not None}
        return Quorum(minimum=self.quorum, share=self.quorum_share, uplinks=uplinks)


def check_hub(hub: HubSettings, store: StoreSettings | None, site: str, findings: Findings, trust: Trust) -> None:
    """Record a quorum that cannot be reached, sites with the hub's own name, and unusable connections to sites."""
    if hub.stale_after < _MIN_STALE_AFTER:
        findings["stale_after"].error("is shorter than a connection may stall", "30s")
    if hub.stale_after > _MAX_STALE_AFTER:
        findings["stale_after"].error("lets the last status of a failed site count for longer than 10m", "30s")
    if hub.sites and store is None:
        findings["sites"].error("need PostgreSQL as the store, and this store is a file", "store: {url: ...}")
    votes = len(hub.build(site).voters([site, *hub.sites]))  # Sites with a common uplink are one voter.
    if hub.quorum > votes:
        findings["quorum"].warning(f"is more than the {votes} possible votes, so all of them are needed", str(votes))
    if len(hub.sites) > 1 and not findings["quorum"].is_in_file:
        findings["quorum"].warning(
            "is not set: while no other site reports, this site alone decides that there is an outage",
            "2; or 1, if this site alone may decide",
        )
    for name, site_settings in hub.sites.items():
        site_findings = findings["sites", name]
        if name == site:
            site_findings.error(
                f"is the name of this site itself (site: {site})", "another name, here and in the settings of that site"
            )
        if not site_findings["url"].is_broken and any(host.startswith("/") for host in site_settings.url.hosts):
            site_findings["url"].error("is a socket of this machine, and has no TLS", _EXAMPLE)
        if not site_findings["ca_file"].is_broken:
            check_authorities(site_settings.ca_file, trust, site_findings["ca_file"])
        for key, file in (("cert_file", site_settings.cert_file), ("key_file", site_settings.key_file)):
            if site_findings[key].is_broken:
                continue
            try:
                file.stat()
            except OSError as error:
                site_findings[key].error(f"cannot be read: {error_reason(error)}", "the path of a PEM file")
