"""`pantau site`: sites join this hub and leave it, and how it stands with each."""

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

app = typer.Typer(help="Other sites that probe: let one join this hub, look how it stands, let it leave.")

_Name = Annotated[str, typer.Argument(help="The site, as below `hub: sites:`.", metavar="SITE")]


@app.command()
def add(
    name: _Name,
    *,
    allow_second_hub: Annotated[
        bool,
        typer.Option("--allow-second-hub", help="Also where another hub reads it, and only one of them tells people."),
    ] = False,
    by: By = "",
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Let a site join: what it judges comes to this hub from now on. Said again, it sets up what a newer Pantau wants."""
    (member,) = _members(config, name)
    try:
        is_new = joining.add(member, beside=allow_second_hub or not _tells(config))
    except SiteUnheardError as unheard:
        _tell(member, "site joined", by)
        fail(str(unheard))
    except SiteRefusedError as refused:
        fail(f"{name} was not added:\n{refused}")
    if is_new:
        _tell(member, "site joined", by)
    typer.echo(f"{name} has joined: what it judges is here." if is_new else f"{name} is there already.")


@app.command()
def check(
    name: Annotated[str | None, typer.Argument(help="The site; default: each.", metavar="SITE")] = None,
    *,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Show how it stands with each site, and what is wrong. Ends with 1 when anything is."""
    hub, members = _hub(config), _members(config, name)
    is_well = True
    for member in members:
        try:
            state = joining.check(member, hub.fresh_for)
        except SiteRefusedError as refused:
            fail(str(refused))
        is_well &= not state.troubles and state.is_fresh
        _show(state)
    if not is_well:
        raise typer.Exit(1)


@app.command()
def rejoin(name: _Name, *, by: By = "", config: Config = DEFAULT_CONFIG) -> None:
    """Let a site join anew, after its slot was lost or its subscription stopped: it says all that it judges again.

    Results of its probes from meanwhile stay at the site.
    """
    (member,) = _members(config, name)
    try:
        joining.rejoin(member)
    except SiteUnheardError as unheard:
        _tell(member, "site joined anew", by)
        fail(str(unheard))
    except SiteRefusedError as refused:
        fail(f"{name} has not joined anew:\n{refused}")
    _tell(member, "site joined anew", by)
    typer.echo(f"{name} has joined anew: what it judges is here.")


@app.command()
def remove(
    name: _Name,
    *,
    offline: Annotated[
        bool, typer.Option("--offline", help="The site is gone for good: do not ask it, only forget it here.")
    ] = False,
    by: By = "",
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Let a site leave: nothing that it said stays here, and it keeps nothing for this hub any more."""
    (member,) = _members(config, name)
    try:
        joining.remove(member, gone=offline)
    except SiteRefusedError as refused:
        fail(f"{name} was not removed:\n{refused}\nIf it is gone for good: pantau site remove {name} --offline")
    _tell(member, "site left", by, **({"gone": "for good"} if offline else {}))
    typer.echo(f"{name} has left. Take it out of `hub: sites:`.")
    if offline:
        typer.echo(
            f"Should it come back, its PostgreSQL keeps its log for this hub until its disk is full: drop the slot there, "
            f"SELECT pg_drop_replication_slot('{joining.slot_of(member.hub)}')"
        )


def _tell(member: SiteConnection, event: str, by: str, **more: str) -> None:
    """Write into the hub's journal what was done."""
    detail = {"site": member.site, "at": member.server.host, **more}
    try:
        asyncio.run(journal.write(member.store, event, by=by, detail=detail))
    except SiteRefusedError as refused:
        fail(f"{member.site}: {event}, and the journal does not say so: {refused}")


def _show(state: SiteLinkStatus) -> None:
    beat = "no beat yet" if state.beat_age is None else f"beat {state.beat_age.total_seconds():.1f} s ago"
    behind = "not asked" if state.behind is None else f"{state.behind:,} bytes behind"
    word = "fresh" if state.is_fresh else "NOT FRESH"
    typer.echo(f"{state.site}: {word}, {beat}, {behind}, {state.errors} errors")
    for trouble in state.troubles:
        typer.echo(f"  {trouble}")
    for advice in state.advice:
        typer.echo(f"  advice: {advice}")


def _members(config: Path, name: str | None) -> Sequence[SiteConnection]:
    """Return the sites that are configured, or the one that is called *name*; end the command where there is none."""
    document = read_document(config)
    if not document.readable:
        fail("\n".join(str(problem) for problem in document.problems), 2)
    hub, own = _hub(config), document.data.get("site", Settings.model_fields["site"].default)
    if not hub.sites:
        is_site = document.data.get("mode") == "watch"
        whose = f"is that of site {own}, and no hub's" if is_site else "has no site below `hub: sites:`"
        fail(f"{config} {whose}: call this at the hub, with the hub's settings (docs/how-to/operator/sites.md)", 2)
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
    return read_document(config).data.get("mode") != "watch"


def _hub(config: Path) -> HubSettings:
    """Read the section `hub`, whatever else is wrong with the configuration; end the command when it is."""
    return section(config, "hub", HubSettings) or HubSettings()
