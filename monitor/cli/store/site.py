"""`pantau site`: add, check, rejoin and remove the sites of this hub."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from monitor.cli.configured import section, store_server
from monitor.cli.option import DEFAULT_CONFIG, By, Config
from monitor.cli.service import fail
from monitor.config.files.document import read_document
from monitor.config.model.settings import Settings
from monitor.config.service.hub import HubSettings
from monitor.store.sites import joining, journal
from monitor.store.sites.joining import SiteLinkStatus
from monitor.store.sites.link import SiteConnection, SiteRefusedError, SiteUnheardError

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
    (member,) = _members(config, name)
    try:
        is_new = joining.add(member, beside=allow_second_hub or not _tells(config))
    except SiteUnheardError as unheard:
        _audit(member, "site joined", by)
        fail(str(unheard))
    except SiteRefusedError as refused:
        fail(f"{name} was not added:\n{refused}")
    if is_new:
        _audit(member, "site joined", by)
    typer.echo(f"{name} was added; its results are here." if is_new else f"{name} was added before.")


@app.command()
def check(
    name: Annotated[str | None, typer.Argument(help="The site; default: each.", metavar="SITE")] = None,
    *,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Show the state and the problems of each site. Exit code 1 when there is a problem."""
    hub, members = _hub(config), _members(config, name)
    is_well = True
    for member in members:
        try:
            state = joining.check(member, hub.stale_after)
        except SiteRefusedError as refused:
            fail(str(refused))
        is_well &= not state.troubles and state.is_fresh
        _show(state)
    if not is_well:
        raise typer.Exit(1)


@app.command()
def rejoin(name: _Name, *, by: By = "", config: Config = DEFAULT_CONFIG) -> None:
    """Subscribe to a site again, after its slot was lost or its subscription stopped. It sends all its current results.

    Probe results of the time between stay at the site.
    """
    (member,) = _members(config, name)
    try:
        joining.rejoin(member)
    except SiteUnheardError as unheard:
        _audit(member, "site joined anew", by)
        fail(str(unheard))
    except SiteRefusedError as refused:
        fail(f"{name} has not rejoined:\n{refused}")
    _audit(member, "site joined anew", by)
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
    (member,) = _members(config, name)
    try:
        joining.remove(member, gone=offline)
    except SiteRefusedError as refused:
        fail(f"{name} was not removed:\n{refused}\nIf it is permanently offline: pantau site remove {name} --offline")
    _audit(member, "site left", by, **({"gone": "for good"} if offline else {}))
    typer.echo(f"{name} was removed. Remove it from `hub: sites:`, too.")
    if offline:
        typer.echo(
            f"If it comes back, its PostgreSQL keeps WAL for this hub until its disk is full: drop the slot there, "
            f"SELECT pg_drop_replication_slot('{joining.slot_of(member.hub)}')"
        )


def _audit(member: SiteConnection, event: str, by: str, **more: str) -> None:
    """Write an entry to the hub's audit log."""
    detail = {"site": member.site, "at": member.server.host, **more}
    try:
        asyncio.run(journal.write(member.store, event, by=by, detail=detail))
    except SiteRefusedError as refused:
        fail(f"{member.site}: {event}, but the audit log has no entry of it: {refused}")


def _show(state: SiteLinkStatus) -> None:
    beat = "no heartbeat yet" if state.beat_age is None else f"heartbeat {state.beat_age.total_seconds():.1f} s ago"
    behind = "lag unknown" if state.behind is None else f"{state.behind:,} bytes lag"
    word = "fresh" if state.is_fresh else "STALE"
    typer.echo(f"{state.site}: {word}, {beat}, {behind}, {state.errors} errors")
    for trouble in state.troubles:
        typer.echo(f"  {trouble}")
    for advice in state.advice:
        typer.echo(f"  advice: {advice}")


def _members(config: Path, name: str | None) -> Sequence[SiteConnection]:
    """Return the configured sites, or the one named *name*; end the command if there is none."""
    document = read_document(config)
    if not document.readable:
        fail("\n".join(str(problem) for problem in document.problems), 2)
    hub, own = _hub(config), document.data.get("site", Settings.model_fields["site"].default)
    if not hub.sites:
        is_site = document.data.get("mode") == "monitor_only"
        whose = f"is the configuration of site {own}, not of a hub" if is_site else "has no site below `hub: sites:`"
        fail(f"{config} {whose}: run this at the hub, with the hub's settings (docs/how-to/operator/sites.md)", 2)
    known = hub.sites if name is None else {key: each for key, each in hub.sites.items() if key == name}
    if not known:
        fail(f"{config} has no site '{name}' below `hub: sites:`; there is {', '.join(sorted(hub.sites))}", 2)
    store = store_server(config)
    if store is None:
        fail(
            f"{config}: the store is a file, and a hub needs a PostgreSQL: write `store:` (docs/how-to/operator/sites.md)",
            2,
        )
    return [
        SiteConnection(site=key, server=each.build(), hub=str(own), store=store) for key, each in sorted(known.items())
    ]


def _tells(config: Path) -> bool:
    return read_document(config).data.get("mode") != "monitor_only"


def _hub(config: Path) -> HubSettings:
    """Read the section `hub`, regardless of problems elsewhere in the configuration; end the command if it is invalid."""
    return section(config, "hub", HubSettings) or HubSettings()
