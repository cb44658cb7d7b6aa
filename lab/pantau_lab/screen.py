"""Terminal output of the demo: health of the agencies, and what was sent to whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from alerts.model.channel import Channel
from pantau_lab.outbox import Sent
from pantau_lab.seed.login import DemoLogin, login_table
from pantau_lab.sites.multi_site import QUORUM

_ZONE = ZoneInfo("Asia/Kuala_Lumpur")
_COLOURS = {
    "up": "green",
    "degraded": "yellow",
    "down": "bold red",
    "unknown": "dim",
    "wrong": "bold red",
    "unclear": "yellow",
    "stale": "dim",
    "delivered": "green",
    "sent": "green",
    "pending": "yellow",
    "failed": "bold red",
    "withdrawn": "dim",
}
_DIRECTIONS = {"outbound": "keluar/out", "inbound": "masuk/in", "internal": "dalaman/internal"}
_ROWS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ScreenState:
    """Data of the screen, from the service's API and from the lab."""

    agencies: Sequence[Mapping[str, Any]] = ()
    incidents: Sequence[Mapping[str, Any]] = ()
    notices: Sequence[Mapping[str, Any]] = ()
    #: Faults of its mail system, by agency code.
    faults: Mapping[str, Sequence[str]] = field(default_factory=dict)
    #: Systems from which a site is disconnected, by site.
    disconnected: Mapping[str, Sequence[str]] = field(default_factory=dict)
    #: Messages that reached somebody, the newest last.
    sent: Sequence[Sent] = ()

    @property
    def said(self) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        """Reports of the sites about an agency, by agency code; empty if there is only one site."""
        return {each["agency"]: each["sites"] for each in self.agencies}


def render(
    state: ScreenState, url: str, directory: Path, logins: Sequence[DemoLogin], pages: Mapping[str, str]
) -> RenderableType:
    """Return the whole screen. *pages*: URLs of the hub's and each site's status page, by name."""
    with_sites = [site_orders(len(pages)), Text(), _sites(state, pages)] if pages else []
    command_text = Text(
        "in another terminal: .venv/bin/pantau demo break JCM --how lose | repair JCM      Ctrl-C to stop", style="dim"
    )
    return Group(
        Text.assemble(("Pantau", "bold"), f"  {url}   metrics: {url}/metrics"),
        Text(f"sent messages: {directory}/outbox/", style="dim"),
        command_text,
        *with_sites,
        Text(),
        login_table(logins),
        Text(),
        _agencies(state),
        Text(),
        _notices(state),
        Text(),
        _last_of_each(state, directory),
    )


def _agencies(state: ScreenState) -> Table:
    table = Table("agency", "", *_DIRECTIONS.values(), "incident", "broken by us", box=None, pad_edge=False)
    for agency in state.agencies:
        health = agency["health"]
        cells = [_coloured(health[direction]) if direction in health else Text("") for direction in _DIRECTIONS]
        faults = ", ".join(state.faults.get(agency["agency"], ()))
        table.add_row(agency["agency"], agency["name"], *cells, agency["incident"] or "", faults)
    return table


def site_orders(sites: int) -> RenderableType:
    """Return commands to try. *sites*: number of sites, including the hub."""
    return Text(
        "disconnect a site: .venv/bin/pantau demo disconnect johor (from the hub) | disconnect johor JCM (from its mail) | reconnect johor\n"
        f"people are told once {QUORUM} of the {sites} say the same",
        style="dim",
    )


def _sites(state: ScreenState, pages: Mapping[str, str]) -> Table:
    """Return a table of the sites with their reports about each agency, and what they are disconnected from."""
    table = Table("site", "page", *state.said, "disconnected from", box=None, pad_edge=False)
    for site, page in pages.items():
        words = [_word(said, site) for said in state.said.values()]
        table.add_row(site, page, *(_coloured(word) for word in words), ", ".join(state.disconnected.get(site, ())))
    return table


def _word(said: Sequence[Mapping[str, Any]], site: str) -> str:
    """Return the health that *site* reports of an agency; "" if it has not reported."""
    return next((str(each["says"]) for each in said if each["site"] == site), "")


def _notices(state: ScreenState) -> Table:
    table = Table("time", "incident", "channel", "purpose", "to", "state", box=None, pad_edge=False)
    for notice in state.notices[:_ROWS]:
        table.add_row(
            clock(notice["created_at"]),
            notice["incident"],
            notice["channel"],
            notice["purpose"],
            notice["person"],
            _coloured(notice["state"]),
        )
    if not state.notices:
        table.add_row("", "", "", "", "nothing has been sent", "")
    return table


def _last_of_each(state: ScreenState, directory: Path) -> Table:
    """Return a table of the newest message of each channel, with the text that its recipient got."""
    table = Table("last", "to", "said", box=None, pad_edge=False)
    newest = {sent.channel: sent for sent in state.sent}
    for channel in Channel:
        if (sent := newest.get(channel)) is not None:
            table.add_row(channel, sent.to, sent.text or str(sent.path.relative_to(directory)))
    return table


def clock(text: str) -> str:
    """Return an ISO time as Malaysian clock time."""
    return datetime.fromisoformat(text).astimezone(_ZONE).strftime("%H:%M:%S")


def _coloured(word: str) -> Text:
    return Text(word, style=_COLOURS.get(word, ""))


def changes(before: ScreenState, after: ScreenState) -> list[str]:
    """Return the differences between two states, one a line, for output that is not a terminal."""
    lines = []
    known = {a["agency"]: a["health"] for a in before.agencies}
    for agency in after.agencies:
        if agency["health"] != known.get(agency["agency"]):
            health = ", ".join(f"{direction} {word}" for direction, word in agency["health"].items())
            lines.append(f"{agency['agency']}: {health}")
    lines += [
        f"{each['site']} says of {code}: {each['says']}"
        for code, said in after.said.items()
        for each in said
        if each["says"] != _word(before.said.get(code, ()), each["site"])
    ]
    seen = {(n["id"], n["state"]) for n in before.notices}
    lines += [
        f"{clock(notice['created_at'])} {notice['incident']}: {notice['channel']} ({notice['purpose']}) "
        f"to {notice['person']}: {notice['state']}"
        for notice in reversed(after.notices)
        if (notice["id"], notice["state"]) not in seen
    ]
    known_paths = {sent.path for sent in before.sent}
    lines += [f"    {s.channel} to {s.to}: {s.text or s.path}" for s in after.sent if s.path not in known_paths]
    return lines
