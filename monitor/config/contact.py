"""Staff: who is told, and where they answer."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from alerts.channel import Channel
from alerts.contact import Address, Contact
from alerts.notice import Language
from monitor.config.findings import Findings
from monitor.config.phone import e164, objection
from monitor.config.problem import Path, Severity
from monitor.config.section import Extension, Line, Section, Slug


class ContactSettings(Section):
    """A member of staff. Numbers are kept as they were written."""

    name: Line = Field(examples=["Siti Contoh"])
    language: Language = Language.MALAY
    """What SMS and calls to this person are worded in."""
    sms: Line | None = None
    """A mobile number."""
    voice: Line | None = None
    """A number that rings; also an office line."""
    extension: Extension | None = None
    """Digits to press after the office line under `voice` answers."""
    fax: Line | None = None
    """A fax machine beside this person."""

    def answers_on(self, channel: Channel) -> bool:
        """Return whether there is an address for *channel*."""
        return channel is not Channel.LETTER and bool(getattr(self, channel.value))

    def build(self, key: str) -> Contact:
        """Return the contact as notices are addressed."""
        channels = (Channel.SMS, Channel.VOICE, Channel.FAX)
        return Contact(
            key=key,
            name=self.name,
            language=self.language,
            addresses=tuple(
                line(channel, getattr(self, channel.value), self.extension)
                for channel in channels
                if self.answers_on(channel)
            ),
        )


Contacts = Mapping[Slug, ContactSettings]


def line(channel: Channel, number: str, extension: str | None) -> Address:
    """Return the address of a telephone line; *extension* is pressed on a call and means nothing elsewhere."""
    if channel is not Channel.VOICE or extension is None:
        return Address(channel=channel, number=e164(number))
    # A second of silence first: an exchange that has just answered does not hear the first digit.
    digits = f"W{extension}#" if extension.isdigit() else extension
    return Address(channel=channel, number=e164(number), extension=digits)


def check_contacts(contacts: Mapping[str, ContactSettings], findings: Findings, path: Path) -> None:
    """Note numbers that cannot be reached."""
    for key, contact in contacts.items():
        for channel in (Channel.SMS, Channel.VOICE, Channel.FAX):
            if number := getattr(contact, channel.value):
                check_number(number, channel, findings, (*path, key, channel.value))
        check_extension(contact.extension, contact.voice, findings, (*path, key))


def check_number(number: str, channel: Channel, findings: Findings, path: Path) -> None:
    """Note what speaks against reaching *number* on *channel*."""
    if (found := objection(number, channel)) is None:
        return
    note = findings.error if found.severity is Severity.ERROR else findings.warning
    note(path, found.message, found.instead)


def check_extension(extension: str | None, voice: str | None, findings: Findings, path: Path) -> None:
    """Note an extension without the line that it belongs to."""
    if extension and not voice and not findings.is_broken((*path, "voice")):
        findings.error((*path, "extension"), "is the extension of no line", "voice: 03-1234 5678 beside it")
