"""Values derived from the current configuration, computed once per configuration."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from alerts.inbound.pin import PinStore
from monitor.config.loading import Configuration

T = TypeVar("T")


class PerConfiguration(Generic[T]):
    """Callable that returns the derived value, and computes the value again only after a reload.

    Without this cache a slow computation, such as one over thousands of contacts, would run at each call.
    """

    def __init__(self, configuration: Callable[[], Configuration], compute: Callable[[Configuration], T]) -> None:
        """Take the current configuration from *configuration*; *compute* derives the value."""
        self._configuration = configuration
        self._compute = compute
        self._computed: tuple[Configuration, T] | None = None

    def __call__(self) -> T:
        configuration = self._configuration()
        if self._computed is None or self._computed[0] is not configuration:
            self._computed = configuration, self._compute(configuration)
        return self._computed[1]


def contact_names(configuration: Configuration) -> Mapping[str, frozenset[str]]:
    """Return the names of the contacts that belong to each user of the portal, by user name."""
    settings, names = configuration.settings, defaultdict[str, set[str]](set)
    groups = (
        settings.contacts,
        settings.noc.contacts,
        *(each.contacts for each in configuration.registry.agencies.values()),
    )
    for contact in (contact for group in groups for contact in group.values() if contact.user):
        names[contact.user or ""].add(contact.name)
    return {user: frozenset(each) for user, each in names.items()}


def build_pin_store(configuration: Configuration) -> PinStore:
    """Return the PINs of all contacts that have one: digits that release an announcement in a telephone call.

    The PIN of an agency's contact is valid for that agency, the PIN of a shared contact for all agencies.
    """
    shared = configuration.settings.contacts
    return PinStore(
        {
            (code, key): contact.pin.get_secret_value()
            for code, agency in configuration.registry.agencies.items()
            for key, contact in {**shared, **agency.contacts}.items()
            if contact.pin is not None
        }
    )
