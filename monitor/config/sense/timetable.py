"""What the routes of all files together come to: hours that never come, accounts that would send too much."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from monitor.config.files.duration import format_duration
from monitor.config.files.findings import Findings
from monitor.config.model.registry import Registry
from monitor.model.budget import Overdraft, overdrafts
from monitor.model.provider import Providers

#: What does not come in the years from here on never comes.
_SOME_DAY = datetime(2026, 1, 5, tzinfo=UTC)


def check_timetable(registry: Registry, providers: Providers, files: Mapping[str, Findings]) -> None:
    """Note what cannot be run as it is configured.

    *files*: the findings of each agency's file by its short code, those of the settings file by "".
    """
    # All routes of an agency have the same hours.
    of_agencies = ((code, registry.routes_of(code)) for code in (*registry.agencies, ""))
    closed = {code for code, routes in of_agencies if routes and routes[0].probing.hours.opens(_SOME_DAY) is None}
    for code in closed:
        _note_closed(files[code])
    for overdraft in overdrafts((route for route in registry.routes if route.agency not in closed), providers):
        _note_overdraft(overdraft, files)


def _note_closed(findings: Findings) -> None:
    when = findings["probing", "when"]
    there = when if when.is_written else findings["maintenance"]
    there.error("leaves no time in which mail is probed", "hours that maintenance does not cover")


def _note_overdraft(overdraft: Overdraft, files: Mapping[str, Findings]) -> None:
    code, _, key = overdraft.sender.name.rpartition("/")
    findings, provider = files[code], overdraft.provider
    there = findings["probing", "interval"]
    if not code or not there.is_written:
        # What a reference has to send depends on all agencies: it is told where the account is.
        there = findings["mailboxes" if code else "references", key]
    there.error(
        f"{overdraft.sender.address} would send up to {overdraft.messages_per_day} messages a day, and "
        f"{provider.name} allows an account {overdraft.allowed}",
        f"an interval of {format_duration(overdraft.interval)} or longer on all routes from it, or another account for "
        "some of them",
    )
