"""Participants of drills by the configuration."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from alerts.decide.drill import DrillTarget
from alerts.model.channel import Channel
from alerts.model.contact import Address, Contact
from alerts.model.notification import IssuingOffice, Language
from monitor.config.loading import Configuration
from monitor.config.model.registry import Agency
from monitor.config.model.settings import Settings, SharedSettings
from monitor.drills.runner import DrillPlan
from monitor.model.window import WindowOccurrence

#: For drills on request only.
_PACE = timedelta(seconds=30)


class DrillPlans:
    """Creates the drill plan of each configuration. Unchanged agencies are cached among thousands."""

    def __init__(self) -> None:
        self._shared: SharedSettings | None = None
        self._known: dict[str, tuple[Agency, tuple[DrillTarget, ...]]] = {}

    def make(self, configuration: Configuration) -> DrillPlan:
        """Return the drill plan of a configuration."""
        settings = configuration.settings
        drills = settings.drills
        window = drills.when.build(settings.time_zone) if drills else None

        def stretch(now: datetime) -> WindowOccurrence | None:
            return window.following(now) if window else None

        return DrillPlan(
            targets=tuple(self._trainees(configuration)),
            pace=drills.pace if drills else _PACE,
            stretch=stretch,
            schedule=drills.when if drills else None,
            concerns=drills.concerns if drills else lambda _: True,
        )

    def _trainees(self, configuration: Configuration) -> Iterator[DrillTarget]:
        settings = configuration.settings
        office, shared = settings.noc.build_office(), settings.shared()
        known = self._known if shared == self._shared else {}
        self._shared, self._known = shared, {}
        yield from _people("", office, [*shared.people.values(), *settings.noc.build_people(shared).values()])
        for code, agency in configuration.registry.agencies.items():
            there = known.get(code)
            if there is None or there[0] is not agency:
                there = agency, tuple(_people(code, agency.build_office(), agency.build_people(shared).values()))
            self._known[code] = there
            yield from there[1]
        yield from _office(office, settings)


def _people(agency: str, office: IssuingOffice, contacts: Iterable[Contact]) -> Iterator[DrillTarget]:
    return (DrillTarget(agency=agency, contact=contact, office=office) for contact in contacts)


def _office(office: IssuingOffice, settings: Settings) -> Iterator[DrillTarget]:
    """Yield the office itself: letters of a drill are addressed to it and withdrawn from the tray."""
    if settings.gateways.get(Channel.LETTER):
        to_ourselves = (Address(channel=Channel.LETTER, number=office.name),)
        ourselves = Contact(key="", name=office.name, language=Language.MALAY, addresses=to_ourselves)
        yield DrillTarget(agency="", contact=ourselves, office=office)
