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
    # Health of a direction.
    "up": "green",
    "degraded": "yellow",
    "down": "bold red",
    "unknown": "dim",
    # Reports of a site, in addition to "up".
    "wrong": "bold red",
    "unclear": "yellow",
    "stale": "dim",
    # States of a notification.
    "delivered": "green",
    "sent": "green",
    "pending": "yellow",
    "failed": "bold red",
    "withdrawn": "dim",
}
_DIRECTIONS = {"outbound": "keluar/out", "inbound": "masuk/in", "internal": "dalaman/internal"}
#: Maximum number of notifications in their table.
_NOTIFICATION_ROWS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ScreenState:
    """Data of the screen, from the service's API and from the lab."""

    agencies: Sequence[Mapping[str, Any]] = ()
    incidents: Sequence[Mapping[str, Any]] = ()
    notifications: Sequence[Mapping[str, Any]] = ()
    #: Faults of each agency's mail system, by agency code.
    faults: Mapping[str, Sequence[str]] = field(default_factory=dict)
    #: What each site is disconnected from (the hub, mail systems), by site.
    disconnected: Mapping[str, Sequence[str]] = field(default_factory=dict)
    #: Messages that reached somebody, the newest last.
    sent: Sequence[Sent] = ()

    @property
    def reports(self) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        """Reports of the sites about each agency, by agency code. Without several sites each list is empty."""
        return {each["agency"]: each["sites"] for each in self.agencies}


def render(
    state: ScreenState, url: str, directory: Path, logins: Sequence[DemoLogin], pages: Mapping[str, str]
) -> RenderableType:
    """Return the whole screen. *pages*: URLs of the hub's and each site's status page, by name."""
    site_rows = [site_commands(len(pages)), Text(), _sites(state, pages)] if pages else []
    command_text = Text(
        "in another terminal: .venv/bin/pantau demo break JCM --how lose | repair JCM      Ctrl-C to stop", style="dim"
    )
    return Group(
        Text.assemble(("Pantau", "bold"), f"  {url}   metrics: {url}/metrics"),
        Text(f"sent messages: {directory}/outbox/", style="dim"),
        command_text,
        *site_rows,
        Text(),
        login_table(logins),
        Text(),
        _agencies(state),
        Text(),
        _notification_table(state),
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


def site_commands(sites: int) -> RenderableType:
    """Return commands to try. *sites*: number of sites, including the hub."""
    return Text(
        "disconnect a site: .venv/bin/pantau demo disconnect johor (from the hub) | disconnect johor JCM (from its mail) | reconnect johor\n"
        f"staff are notified once {QUORUM} of the {sites} report the same",
        style="dim",
    )


def _sites(state: ScreenState, pages: Mapping[str, str]) -> Table:
    """Return a table of the sites with their reports about each agency, and what they are disconnected from."""
    table = Table("site", "page", *state.reports, "disconnected from", box=None, pad_edge=False)
    for site, page in pages.items():
        words = [_report_of(site, reports) for reports in state.reports.values()]
        table.add_row(site, page, *(_coloured(word) for word in words), ", ".join(state.disconnected.get(site, ())))
    return table


def _report_of(site: str, reports: Sequence[Mapping[str, Any]]) -> str:
    """Return what *site* says in the *reports* about an agency; "" if it has not reported."""
    return next((str(report["says"]) for report in reports if report["site"] == site), "")


def _notification_table(state: ScreenState) -> Table:
    table = Table("time", "incident", "channel", "purpose", "to", "state", box=None, pad_edge=False)
    for notification in state.notifications[:_NOTIFICATION_ROWS]:
        table.add_row(
            clock(notification["created_at"]),
            notification["incident"],
            notification["channel"],
            notification["purpose"],
            notification["person"],
            _coloured(notification["state"]),
        )
    if not state.notifications:
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
    """Return what changed between two states, one change in a line, for output that is not a terminal."""
    lines = []
    known = {a["agency"]: a["health"] for a in before.agencies}
    for agency in after.agencies:
        if agency["health"] != known.get(agency["agency"]):
            health = ", ".join(f"{direction} {word}" for direction, word in agency["health"].items())
            lines.append(f"{agency['agency']}: {health}")
    lines += [
        f"{report['site']} says of {code}: {report['says']}"
        for code, reports in after.reports.items()
        for report in reports
        if report["says"] != _report_of(report["site"], before.reports.get(code, ()))
    ]
    seen = {(n["id"], n["state"]) for n in before.notifications}
    lines += [
        f"{clock(notification['created_at'])} {notification['incident']}: {notification['channel']} ({notification['purpose']}) "
        f"to {notification['person']}: {notification['state']}"
        for notification in reversed(after.notifications)
        if (notification["id"], notification["state"]) not in seen
    ]
    known_paths = {sent.path for sent in before.sent}
    lines += [f"    {s.channel} to {s.to}: {s.text or s.path}" for s in after.sent if s.path not in known_paths]
    return lines
