"""`pantau site`: add, check, rejoin and remove sites of this hub.

A hub evaluates the results of several sites, to whose databases it subscribes by PostgreSQL's logical replication.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from monitor.cli.configured import read_section, read_store_server
from monitor.cli.option import DEFAULT_CONFIG, By, Config
from monitor.cli.service import fail
from monitor.config.files.document import read_document
from monitor.config.model.settings import Settings
from monitor.config.service.hub import HubSettings
from monitor.store.sites import joining, journal
from monitor.store.sites.joining import SiteLinkStatus
from monitor.store.sites.link import SiteConnection, SiteRefusedError, SiteSilentError

app = typer.Typer(help="Sites that probe for this hub: add, check, rejoin and remove them.")

_Name = Annotated[str, typer.Argument(help="The site, as below `hub: sites:`.", metavar="SITE")]


@app.command()
def add(
    name: _Name,
    *,
    allow_second_hub: Annotated[
        bool,
        typer.Option(
            "--allow-second-hub", help="Allow a site that another hub reads. Only one of the hubs may notify people."
        ),
    ] = False,
    by: By = "",
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Add a site: subscribe to its results. Run it again after an upgrade, to set up what a new version needs."""
    (connection,) = _site_connections(config, name)
    try:
        # A hub that notifies nobody may read any site, because nobody can be notified twice.
        is_new = joining.add(connection, allow_second_hub=allow_second_hub or not _notifies(config))
    except SiteSilentError as error:
        # The site has joined, and the hub has not received its results yet.
        _add_audit_entry(connection, "site joined", by)
        fail(str(error))
    except SiteRefusedError as error:
        fail(f"{name} was not added:\n{error}")
    if is_new:
        _add_audit_entry(connection, "site joined", by)
    typer.echo(f"{name} was added; its results are here." if is_new else f"{name} was added before.")


@app.command()
def check(
    name: Annotated[str | None, typer.Argument(help="The site; default: each.", metavar="SITE")] = None,
    *,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Show the state and the problems of each site. Exit code 1 when there is a problem."""
    hub, connections = _read_hub(config), _site_connections(config, name)
    is_healthy = True
    for connection in connections:
        try:
            status = joining.check(connection, hub.stale_after)
        except SiteRefusedError as error:
            fail(str(error))
        is_healthy &= not status.problems and status.is_fresh
        _print_status(status)
    if not is_healthy:
        raise typer.Exit(1)


@app.command()
def rejoin(name: _Name, *, by: By = "", config: Config = DEFAULT_CONFIG) -> None:
    """Subscribe to a site again, after its replication slot was lost or its subscription stopped.

    The site sends all its current results. Probe results of the interruption stay at the site.
    """
    (connection,) = _site_connections(config, name)
    try:
        joining.rejoin(connection)
    except SiteSilentError as error:
        _add_audit_entry(connection, "site joined anew", by)
        fail(str(error))
    except SiteRefusedError as error:
        fail(f"{name} has not rejoined:\n{error}")
    _add_audit_entry(connection, "site joined anew", by)
    typer.echo(f"{name} has rejoined; its results are here.")


@app.command()
def remove(
    name: _Name,
    *,
    offline: Annotated[
        bool, typer.Option("--offline", help="The site is permanently offline: remove it here only.")
    ] = False,
    by: By = "",
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Remove a site: delete its data here, and its replication slot for this hub there."""
    (connection,) = _site_connections(config, name)
    try:
        joining.remove(connection, is_offline=offline)
    except SiteRefusedError as error:
        fail(f"{name} was not removed:\n{error}\nIf it is permanently offline: pantau site remove {name} --offline")
    _add_audit_entry(connection, "site left", by, **({"gone": "for good"} if offline else {}))
    typer.echo(f"{name} was removed. Remove it from `hub: sites:`, too.")
    if offline:
        typer.echo(
            f"If it comes back, its PostgreSQL keeps WAL for this hub until its disk is full: drop the slot there, "
            f"SELECT pg_drop_replication_slot('{joining.slot_of(connection.hub)}')"
        )


def _add_audit_entry(connection: SiteConnection, event: str, by: str, **details: str) -> None:
    """Add an entry to the hub's audit log; end the command if that fails."""
    detail = {"site": connection.site, "at": connection.server.host, **details}
    try:
        asyncio.run(journal.write(connection.store, event, by=by, detail=detail))
    except SiteRefusedError as error:
        fail(f"{connection.site}: {event}, but the audit log has no entry of it: {error}")


def _print_status(status: SiteLinkStatus) -> None:
    heartbeat = (
        "no heartbeat yet"
        if status.heartbeat_age is None
        else f"heartbeat {status.heartbeat_age.total_seconds():.1f} s ago"
    )
    lag = "lag unknown" if status.lag_bytes is None else f"{status.lag_bytes:,} bytes lag"
    freshness = "fresh" if status.is_fresh else "STALE"
    typer.echo(f"{status.site}: {freshness}, {heartbeat}, {lag}, {status.errors} errors")
    for problem in status.problems:
        typer.echo(f"  {problem}")
    for advice in status.advice:
        typer.echo(f"  advice: {advice}")


def _site_connections(config: Path, name: str | None) -> Sequence[SiteConnection]:
    """Return the connections to all configured sites, or to the site *name*; end the command if there is none."""
    document = read_document(config)
    if not document.readable:
        fail("\n".join(str(problem) for problem in document.problems), 2)
    hub, own_name = _read_hub(config), document.data.get("site", Settings.model_fields["site"].default)
    if not hub.sites:
        is_site = document.data.get("mode") == "monitor_only"
        description = (
            f"is the configuration of site {own_name}, not of a hub" if is_site else "has no site below `hub: sites:`"
        )
        fail(f"{config} {description}: run this at the hub, with the hub's settings (docs/how-to/operator/sites.md)", 2)
    selected = hub.sites if name is None else {key: each for key, each in hub.sites.items() if key == name}
    if not selected:
        fail(f"{config} has no site '{name}' below `hub: sites:`; there is {', '.join(sorted(hub.sites))}", 2)
    store = read_store_server(config)
    if store is None:
        fail(
            f"{config}: the store is a file, and a hub needs a PostgreSQL: write `store:` (docs/how-to/operator/sites.md)",
            2,
        )
    return [
        SiteConnection(site=key, server=each.build(), hub=str(own_name), store=store)
        for key, each in sorted(selected.items())
    ]


def _notifies(config: Path) -> bool:
    return read_document(config).data.get("mode") != "monitor_only"


def _read_hub(config: Path) -> HubSettings:
    """Return the section `hub`, also if other sections are invalid; end the command if the section itself is invalid."""
    return read_section(config, "hub", HubSettings) or HubSettings()
