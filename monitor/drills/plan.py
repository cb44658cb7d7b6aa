"""Drill plan (participants and schedule) of a configuration. A drill is a test of contacts and gateways."""

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

#: Pace (minimum time between two notifications) of requested drills if no scheduled drills are configured.
_PACE = timedelta(seconds=30)


class DrillPlans:
    """Creates the drill plan of each configuration. Targets of unchanged agencies are cached."""

    def __init__(self) -> None:
        #: Settings that all agencies share, for which the cache is valid.
        self._shared: SharedSettings | None = None
        #: By agency code: the configuration of the agency, and its targets.
        self._cache: dict[str, tuple[Agency, tuple[DrillTarget, ...]]] = {}

    def make(self, configuration: Configuration) -> DrillPlan:
        """Return the drill plan of a configuration."""
        settings = configuration.settings
        drills = settings.drills
        window = drills.when.build(settings.time_zone) if drills else None

        def next_window(now: datetime) -> WindowOccurrence | None:
            return window.next_occurrence(now) if window else None

        return DrillPlan(
            targets=tuple(self._targets(configuration)),
            pace=drills.pace if drills else _PACE,
            next_window=next_window,
            schedule=drills.when if drills else None,
            is_participant=drills.includes if drills else lambda _: True,
        )

    def _targets(self, configuration: Configuration) -> Iterator[DrillTarget]:
        settings = configuration.settings
        office, shared = settings.noc.build_office(), settings.build_shared()
        cache = self._cache if shared == self._shared else {}
        self._shared, self._cache = shared, {}
        yield from _contact_targets(
            "", office, [*shared.contacts.values(), *settings.noc.build_contacts(shared).values()]
        )
        for code, agency in configuration.registry.agencies.items():
            cached_agency, targets = cache.get(code, (None, ()))
            if cached_agency is not agency:
                contacts = agency.build_contacts(shared).values()
                targets = tuple(_contact_targets(code, agency.build_office(), contacts))
            self._cache[code] = agency, targets
            yield from targets
        yield from _office_target(office, settings)


def _contact_targets(agency: str, office: IssuingOffice, contacts: Iterable[Contact]) -> Iterator[DrillTarget]:
    """Yield a target for each contact. *agency*: "" for contacts that are shared or of the NOC."""
    return (DrillTarget(agency=agency, contact=contact, office=office) for contact in contacts)


def _office_target(office: IssuingOffice, settings: Settings) -> Iterator[DrillTarget]:
    """Yield the office that operates Pantau. A drill addresses letters to it, and withdraws them at the end."""
    if settings.gateways.get(Channel.LETTER):
        address = Address(channel=Channel.LETTER, number=office.name)
        contact = Contact(key="", name=office.name, language=Language.MALAY, addresses=(address,))
        yield DrillTarget(agency="", contact=contact, office=office)
