"""Who may release announcements by telephone, from the configuration in force."""

from __future__ import annotations

from alerts.inbound.pin import PinBook
from monitor.config.loading import Configuration


def pin_book(configuration: Configuration) -> PinBook:
    """Return the PINs of all contacts that have one: those of an agency's file, and the shared ones for every agency."""
    shared = configuration.settings.contacts
    return PinBook(
        {
            (code, key): contact.pin.get_secret_value()
            for code, agency in configuration.registry.agencies.items()
            for key, contact in {**shared, **agency.contacts}.items()
            if contact.pin is not None
        }
    )
