"""Section `rotas` of the settings file or an agency's file: on-call schedules."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import time
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import Field

from alerts.hours.calendar import State
from alerts.model.contact import Contact
from alerts.model.oncall import Days, Layer, Rota
from monitor.config.agency.calendar import CalendarSettings
from monitor.config.fields.window import Day, TimeOfDay, Zone
from monitor.config.files.findings import Findings
from monitor.config.files.problem import suggest
from monitor.config.files.section import Section, Slug, SubstituteIfInvalid, parsed_by, shape_error
from monitor.model.translatable import translatable

_NAMED_SHIFTS = {"daily": 1, "weekly": 7}
_MAX_SHIFT_DAYS = 92


def _parse_shift(text: str) -> int:
    days = re.fullmatch(r"([0-9]{1,3})d", text.strip(), re.ASCII)
    shift = _NAMED_SHIFTS.get(text.strip(), int(days[1]) if days else 0)
    if not 1 <= shift <= _MAX_SHIFT_DAYS:
        raise shape_error(
            translatable("'{text}' is no shift of whole days", text=text),
            translatable("daily, weekly, or a number of days up to {longest}: 3d", longest=_MAX_SHIFT_DAYS),
        )
    return shift


#: Length of a shift in days.
Shift = Annotated[int, parsed_by(_parse_shift), SubstituteIfInvalid(1)]


class LayerSettings(Section):
    """Contacts who are on call in turn, on all days or only on some."""

    days: Days = Days.ALL
    """Days on which the layer has somebody on call: all, workdays, or rest (weekends and public holidays)."""
    every: Shift = Field(default=7, examples=["weekly"])
    """Length of a shift: daily, weekly, or a number of days: 3d."""
    begins: Day = Field(alias="from", examples=["2026-11-30"])
    """First day of the first person's first shift."""
    people: tuple[Slug, ...] = Field(examples=["[siti, ali]"])
    """Keys of contacts, in the order of their shifts."""


class RotaSettings(Section):
    """On-call schedule, made of layers."""

    handover: TimeOfDay = time(8)
    """Time of day of the handover, at which shifts begin and the person on call changes."""
    time_zone: Zone | None = None
    """Time zone of the handover; default: `time_zone` of the file, or of the settings."""
    state: State | None = None
    """State whose weekends and holidays apply; default: `calendar.state` of the file, or of the settings."""
    layers: tuple[LayerSettings, ...] = Field(examples=["[{every: weekly, from: 2026-11-30, people: [siti, ali]}]"])
    """Layers; the first layer that has a person for a day decides who is on call."""

    def build(self, name: str, people: Mapping[str, Contact], calendar: CalendarSettings, zone: ZoneInfo) -> Rota:
        """Return the rota, of which each incident keeps a copy. *people*: all contacts that it may name, by key.

        *calendar* and *zone* are those of the file, with the settings as defaults.
        """
        return Rota(
            name=name,
            zone=self.time_zone or zone,
            handover=self.handover,
            calendar=calendar.build_calendar(self.state),
            layers=tuple(
                Layer(
                    days=layer.days,
                    people=tuple(people[key] for key in layer.people),
                    starts_on=layer.begins,
                    shift_days=layer.every,
                )
                for layer in self.layers
            ),
        )


#: Rotas by key.
Rotas = Mapping[Slug, RotaSettings]


def check_rotas(rotas: Mapping[str, RotaSettings], people: Mapping[str, object] | None, findings: Findings) -> None:
    """Record rotas without a layer, and layers without a contact or with an unknown one.

    *people*: all contacts that rotas may name, by key; `None`: not known, because their section is invalid.
    """
    for key, rota in rotas.items():
        layers_findings = findings[key, "layers"]
        if not rota.layers:
            layers_findings.error("nobody is ever on call", "[{every: weekly, from: 2026-11-30, people: [KEY, KEY]}]")
        for number, layer in enumerate(rota.layers):
            _check_people(layer, people, layers_findings[number, "people"])


def _check_people(layer: LayerSettings, people: Mapping[str, object] | None, findings: Findings) -> None:
    if not layer.people:
        findings.error("nobody has a shift", "the key of at least one contact")
    for number, key in enumerate(layer.people):
        if people is not None and key not in people:
            findings[number].error(
                translatable("there is no contact '{key}'", key=key), suggest(key, people, f"contacts: {{{key}: ...}}")
            )
