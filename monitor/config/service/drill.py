"""Section `drills`: regular test notifications, which show that numbers of contacts and gateways work."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Annotated

from pydantic import BeforeValidator, Field

from alerts.model.channel import Channel
from monitor.config.fields.window import WindowSettings
from monitor.config.files.findings import Findings
from monitor.config.files.problem import closest_match
from monitor.config.files.section import PositiveDuration, Section, Slug, SubstituteIfInvalid, shape_error


def _parse_contacts(value: object) -> object:
    """Return the keys of contacts; empty for "all". Reject an empty list."""
    if value == []:
        raise shape_error("names nobody", "all, or the keys of contacts")
    return () if value == "all" else value


class DrillSettings(Section):
    """Drills: test notifications. Each text says that it is a drill, and real notifications take precedence."""

    when: WindowSettings = Field(examples=['{cron: "0 10 * * tue", for: 4h}'])
    """Start and maximum duration of a series of drills; numbers that are not tested by its end are skipped."""
    contacts: Annotated[tuple[Slug, ...], BeforeValidator(_parse_contacts), SubstituteIfInvalid(())] = ()
    """Keys of the contacts whose numbers are tested, or `all` (the default)."""
    pace: PositiveDuration = timedelta(seconds=30)
    """Minimum time between two drills on one gateway, and between two drills of one person."""

    def includes(self, contact: str) -> bool:
        """Whether the contact with the key *contact* participates."""
        return not self.contacts or contact in self.contacts


def check_drill_contacts(settings: DrillSettings, contact_keys: Collection[str], findings: Findings) -> None:
    """Record unknown contacts. *contact_keys*: the keys of all contacts in the settings and in agency files."""
    for number, key in enumerate(settings.contacts):
        if key not in contact_keys:
            instead = closest_match(key, contact_keys) or "all, or the key of a contact"
            findings["contacts", number].error(f"there is no contact '{key}'", instead)


def check_drill_duration(
    settings: DrillSettings,
    drill_counts: Mapping[Channel, int],
    gateway_counts: Mapping[Channel, int],
    findings: Findings,
) -> None:
    """Record a duration that is too short for all drills.

    *drill_counts*: number of drills by channel. *gateway_counts*: number of gateways by channel.
    """
    for channel, number in drill_counts.items():
        drills_per_gateway = math.ceil(number / gateway_counts[channel]) if gateway_counts.get(channel) else 0
        if drills_per_gateway * settings.pace > settings.when.lasts:
            possible = settings.when.lasts // settings.pace * gateway_counts[channel]
            message = f"leaves time for {possible} of {number} drills by {channel}; the others are skipped each time"
            findings["when", "for"].warning(message, "longer hours, a shorter pace, or another gateway")


def check_drills(settings: DrillSettings, findings: Findings) -> None:
    """Record a series of drills longer than a day, and a pace that providers would treat as flooding."""
    if settings.when.lasts > timedelta(days=1):
        findings["when", "for"].error("is longer than a day: people would be called at night", "4h")
    if settings.pace < timedelta(seconds=1):
        findings["pace"].error("is so fast that providers take it for flooding", "30s")
