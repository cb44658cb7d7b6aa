"""Section `contacts`: staff, with their telephone numbers and PINs."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from alerts.hours.office_hours import OfficeHours
from alerts.inbound.pin import hash_pin, pin_problem
from alerts.model.channel import Channel
from alerts.model.contact import Address, Contact
from alerts.model.notification import Language
from monitor.config.fields.phone import (
    AddressSettings,
    build_address,
    check_addresses,
    check_extension,
    check_number,
    e164,
)
from monitor.config.fields.window import Day
from monitor.config.files.document import Document
from monitor.config.files.findings import Findings
from monitor.config.files.problem import Problem, Severity, closest_match
from monitor.config.files.section import Extension, OneLine, Section, Slug, shape_error
from monitor.model.translatable import translatable


def _hash_pin(pin: SecretStr) -> SecretStr:
    """Return the hash of a PIN. Raise `ValueError` for an unacceptable PIN; the message does not contain it."""
    if (refusal := pin_problem(pin.get_secret_value())) is not None:
        raise shape_error(refusal, "another PIN, alone in the file")
    return SecretStr(hash_pin(pin.get_secret_value()))


#: A PIN, which comes from a file or an environment variable; the value is its salted hash.
Pin = Annotated[SecretStr, AfterValidator(_hash_pin)]


#: Keys that `addresses` replaces.
_SHORT_FORM_KEYS = ("sms", "voice", "extension", "fax", "verified")


class ContactSettings(Section):
    """Member of staff.

    A contact has either a list of `addresses` or, in the short form, one number per channel (`sms`, `voice`, `fax`).
    """

    name: OneLine = Field(examples=["Siti Contoh"])
    """Name of the person."""
    language: Language = Language.MALAY
    """Language of SMS and calls."""
    sms: OneLine | None = None
    """Mobile number."""
    voice: OneLine | None = None
    """Telephone number for calls: a mobile or a landline."""
    extension: Extension | None = None
    """Digits to dial after the landline in `voice` answers."""
    fax: OneLine | None = None
    """Fax number."""
    verified: Day | None = None
    """Date on which somebody last answered at `sms`, `voice` and `fax`."""
    user: OneLine | None = None
    """Portal account of this person. Incidents are assigned to the account, not to the name."""
    pin: Pin | None = None
    """PIN of 6 to 12 digits, with which this person may release (approve) an announcement in a call."""
    addresses: tuple[AddressSettings, ...] | None = None
    """Mobiles, landlines and fax machines, in the order in which they are tried."""

    def has_address_for(self, channel: Channel) -> bool:
        """Return whether the contact has an address for *channel*."""
        if self.addresses is not None:
            return any(channel in address.channels for address in self.addresses)
        return channel is not Channel.LETTER and bool(getattr(self, channel.value))

    @property
    def numbers(self) -> frozenset[str]:
        """Numbers of the short form (E.164)."""
        return frozenset(e164(number) for number in (self.sms, self.voice, self.fax) if number)

    def build(self, key: str, hours: OfficeHours) -> Contact:
        """Return the contact for notifications. *key*: its key in the configuration; *hours*: the office hours."""
        return Contact(
            key=key,
            name=self.name,
            language=self.language,
            addresses=tuple(self._build_addresses(hours)),
            user=self.user or "",
        )

    def _build_addresses(self, hours: OfficeHours) -> Iterator[Address]:
        for address in self.addresses or ():
            yield from address.build(hours)
        for channel in (Channel.SMS, Channel.VOICE, Channel.FAX):
            if number := getattr(self, channel.value):
                yield build_address(channel, number, self.extension, verified=self.verified)


#: Contacts by key.
Contacts = Mapping[Slug, ContactSettings]


def contact_channels(contacts: Contacts) -> Sequence[tuple[str, Channel]]:
    """Return the keys of contacts, each with a channel on which they have an address."""
    return [(key, channel) for key, each in contacts.items() for channel in Channel if each.has_address_for(channel)]


def find_unknown_users(document: Document, users: Collection[str]) -> Iterator[Problem]:
    """Yield a warning for each contact in *document* whose `user` is not one of the accounts *users*."""
    for section in (("contacts",), ("noc", "contacts")):
        contacts: object = document.data
        for key in section:
            contacts = contacts.get(key) if isinstance(contacts, Mapping) else None
        for key, contact in contacts.items() if isinstance(contacts, Mapping) else ():
            user = contact.get("user") if isinstance(contact, Mapping) else None
            if isinstance(user, str) and user not in users:
                yield document.problem(
                    (*section, key, "user"),
                    translatable("'{user}' is no user who may sign in to the portal", user=user),
                    closest_match(user, users)
                    or translatable("a name that `pantau user list` shows, or leave the key out"),
                    Severity.WARNING,
                )


def check_contacts(contacts: Mapping[str, ContactSettings], findings: Findings) -> None:
    """Record numbers that cannot be reached and short-form keys beside `addresses`; say what to write instead."""
    for key, contact in contacts.items():
        contact_findings = findings[key]
        if contact.addresses is not None:
            for field in _SHORT_FORM_KEYS:
                if getattr(contact, field) is not None:
                    contact_findings[field].error(
                        "cannot be combined with addresses", "it in the list, with mobile, landline or fax"
                    )
            check_addresses(contact.addresses, contact_findings["addresses"])
            continue
        for channel in (Channel.SMS, Channel.VOICE, Channel.FAX):
            if number := getattr(contact, channel.value):
                check_number(number, channel, contact_findings[channel.value])
        check_extension(contact.extension, contact.voice, contact_findings, "voice")
