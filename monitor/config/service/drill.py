"""Section `drills`: when the numbers of all contacts, and all gateways, are tested."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Annotated

from pydantic import BeforeValidator, Field

from alerts.model.channel import Channel
from monitor.config.fields.window import WindowSettings
from monitor.config.files.findings import Findings
from monitor.config.files.problem import nearest
from monitor.config.files.section import InvalidValue, Section, Slug, Span, wrong


def _everybody(written: object) -> object:
    if written == []:
        raise wrong("is nobody", "all, or the keys of contacts")
    return () if written == "all" else written


class DrillSettings(Section):
    """Test of numbers and gateways, marked as a drill in every text. Real notifications take precedence."""

    when: WindowSettings = Field(examples=['{cron: "0 10 * * tue", for: 4h}'])
    """Start and maximum duration of drills; numbers that are left at the end are skipped."""
    contacts: Annotated[tuple[Slug, ...], BeforeValidator(_everybody), InvalidValue(())] = ()
    """`all`, or the keys of contacts."""
    pace: Span = timedelta(seconds=30)
    """Time between two tests on one gateway, and between two tests of one person."""

    def concerns(self, contact: str) -> bool:
        """Whether the contact participates."""
        return not self.contacts or contact in self.contacts


def check_drilled(settings: DrillSettings, known: Collection[str], findings: Findings) -> None:
    """Record unknown contacts; *known* are the keys of all contacts, including those of agency files."""
    for number, key in enumerate(settings.contacts):
        if key not in known:
            instead = nearest(key, known) or "all, or the key of a contact"
            findings["contacts", number].error(f"there is no contact '{key}'", instead)


def check_room(
    settings: DrillSettings,
    notifications: Mapping[Channel, int],
    gateways: Mapping[Channel, int],
    findings: Findings,
) -> None:
    """Record hours that are too short for the number of drills; *notifications* and *gateways* are per channel."""
    for channel, number in notifications.items():
        each = -(-number // gateways[channel]) if gateways.get(channel) else 0
        if each * settings.pace > settings.when.lasts:
            room = settings.when.lasts // settings.pace * gateways[channel]
            message = f"leaves time for {room} of {number} drills by {channel}; the others are left out every week"
            findings["when", "for"].warning(message, "longer hours, a shorter pace, or another gateway")


def check_drills(settings: DrillSettings, findings: Findings) -> None:
    """Record drills at a rate that exceeds a modem's, and drills that overlap the next."""
    if settings.when.lasts > timedelta(days=1):
        findings["when", "for"].error("is longer than a day: people would be called at night", "4h")
    if settings.pace < timedelta(seconds=1):
        findings["pace"].error("is so fast that providers take it for flooding", "30s")
