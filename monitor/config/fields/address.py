"""The addresses of staff as they are configured: mobiles, landlines, fax machines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from enum import StrEnum

from alerts.hours.office_hours import OfficeHours
from alerts.model.channel import Channel
from alerts.model.contact import Address
from monitor.config.fields.day import Day
from monitor.config.fields.phone import e164, objection
from monitor.config.files.findings import Findings
from monitor.config.files.problem import Severity
from monitor.config.files.section import Extension, Line, Section


class Presence(StrEnum):
    """When somebody is there."""

    ALWAYS = "always"
    #: On workdays, in office hours.
    OFFICE = "office"


#: By what each kind of number is reached.
_KINDS: dict[str, tuple[Channel, ...]] = {
    "mobile": (Channel.SMS, Channel.VOICE),
    "landline": (Channel.VOICE,),
    "fax": (Channel.FAX,),
}
_EXAMPLE = "mobile: 010-000 0000, landline: 03-1234 5678 or fax: 03-1234 5678"


class AddressSettings(Section):
    """One number: a mobile (SMS and calls), a landline (calls) or a fax machine."""

    mobile: Line | None = None
    landline: Line | None = None
    fax: Line | None = None
    extension: Extension | None = None
    """Digits to press after the landline answers."""
    hours: Presence = Presence.ALWAYS
    """When somebody is there: always, or in office hours. Outside of them another address is tried first."""
    verified: Day | None = None
    """When somebody last answered there."""

    @property
    def channels(self) -> tuple[Channel, ...]:
        """By which channels it is reached."""
        return tuple(channel for kind, channels in _KINDS.items() if getattr(self, kind) for channel in channels)

    def build(self, hours: OfficeHours) -> Iterator[Address]:
        """Yield the address on each of its channels; *hours* are those of the office."""
        there = hours if self.hours is Presence.OFFICE else None
        for kind, channels in _KINDS.items():
            if number := getattr(self, kind):
                for channel in channels:
                    yield line(channel, number, self.extension, hours=there, verified=self.verified)


def line(
    channel: Channel,
    number: str,
    extension: str | None,
    *,
    hours: OfficeHours | None = None,
    verified: date | None = None,
) -> Address:
    """Return the address of a telephone line; *extension* is pressed on a call and means nothing elsewhere."""
    digits = ""
    if channel is Channel.VOICE and extension is not None:
        # A second of silence first: an exchange that has just answered does not hear the first digit.
        digits = f"W{extension}#" if extension.isdigit() else extension
    return Address(channel=channel, number=e164(number), extension=digits, hours=hours, verified=verified)


def check_addresses(addresses: Sequence[AddressSettings], findings: Findings) -> None:
    """Note numbers that cannot be reached, and entries that are no one number."""
    if not addresses:
        findings.error("there is no address", f"[{{{_EXAMPLE.partition(',')[0]}}}]")
    for position, address in enumerate(addresses):
        there = findings[position]
        written = [kind for kind in _KINDS if getattr(address, kind)]
        if len(written) != 1 and not there.is_broken:
            found = " and ".join(written) or "no number"
            there.error(f"holds {found}: an address is one number", _EXAMPLE)
        for kind in written:
            check_number(getattr(address, kind), _KINDS[kind][0], there[kind])
        check_extension(address.extension, address.landline, there, "landline")


def check_number(number: str, channel: Channel, findings: Findings) -> None:
    """Note what speaks against reaching *number* on *channel*."""
    if (found := objection(number, channel)) is None:
        return
    note = findings.error if found.severity is Severity.ERROR else findings.warning
    note(found.message, found.instead)


def check_extension(extension: str | None, number: str | None, findings: Findings, key: str) -> None:
    """Note an extension without the line that it belongs to, which stands at *key*."""
    if extension and not number and not findings[key].is_broken:
        findings["extension"].error("is the extension of no line", f"{key}: 03-1234 5678 beside it")
