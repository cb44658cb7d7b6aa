"""Values derived from the current configuration, computed once for each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from alerts.inbound.pin import PinStore
from monitor.config.loading import Configuration

T = TypeVar("T")


class PerConfiguration(Generic[T]):
    """Callable that returns the derived value.

    The computation may be slow: an installation has thousands of contacts.
    """

    def __init__(self, configuration: Callable[[], Configuration], make: Callable[[Configuration], T]) -> None:
        """Take the current configuration from *configuration*; *make* computes the value."""
        self._configuration = configuration
        self._make = make
        self._made: tuple[Configuration, T] | None = None

    def __call__(self) -> T:
        configuration = self._configuration()
        if self._made is None or self._made[0] is not configuration:
            self._made = configuration, self._make(configuration)
        return self._made[1]


def contact_names(configuration: Configuration) -> Mapping[str, frozenset[str]]:
    """Return the names of the contacts that name a user, by that user."""
    settings, names = configuration.settings, defaultdict[str, set[str]](set)
    groups = (
        settings.contacts,
        settings.noc.contacts,
        *(each.contacts for each in configuration.registry.agencies.values()),
    )
    for contact in (contact for group in groups for contact in group.values() if contact.user):
        names[contact.user or ""].add(contact.name)
    return {user: frozenset(each) for user, each in names.items()}


def pin_book(configuration: Configuration) -> PinStore:
    """Return the PINs of all contacts that have one: those of an agency's file for that agency, and the shared ones for all."""
    shared = configuration.settings.contacts
    return PinStore(
        {
            (code, key): contact.pin.get_secret_value()
            for code, agency in configuration.registry.agencies.items()
            for key, contact in {**shared, **agency.contacts}.items()
            if contact.pin is not None
        }
    )
