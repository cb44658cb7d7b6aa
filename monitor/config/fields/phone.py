"""Telephone numbers of staff: validation and formats, and the channels that can reach a number.

libphonenumber's list of assigned number ranges is not always current, so a number outside these ranges causes only a
warning. A number of an impossible length is an error. libphonenumber has no type for fax numbers: only a call shows
whether a fax machine answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from functools import lru_cache

import phonenumbers
from phonenumbers import NumberParseException, PhoneNumberFormat, PhoneNumberType

from alerts.hours.office_hours import OfficeHours
from alerts.model.channel import Channel
from alerts.model.contact import Address
from monitor.config.fields.window import Day
from monitor.config.files.findings import Findings
from monitor.config.files.problem import Severity
from monitor.config.files.section import Extension, Line, Section
from monitor.model.lazy_text import all_of, lazy_text

REGION = "MY"
_EMERGENCY = frozenset({"999", "112", "994", "991"})
_COUNTRY_CODE = 60
_NUMBER_EXAMPLES = "a number as in 010-000 0000, 03-1234 5678 or +60 3-1234 5678"
_SERVICE_NUMBER_TYPES = frozenset({PhoneNumberType.TOLL_FREE, PhoneNumberType.SHARED_COST, PhoneNumberType.UAN})


@dataclass(frozen=True, slots=True, kw_only=True)
class Objection:
    """Reason against the use of a number."""

    severity: Severity
    message: str
    instead: str = ""


def find_objection(text: str, channel: Channel) -> Objection | None:
    """Return the most severe objection against the number *text* on *channel*, or `None`.

    The message does not contain the number, because messages about a rejected configuration are logged and recorded in
    the audit log.
    """
    digits = "".join(c for c in text if c.isdigit())
    if digits.removeprefix("60") in _EMERGENCY or digits in _EMERGENCY:
        return _error("is an emergency number", "the number of a person or an office")
    number = _parse(text)
    if number is None:
        return _error("is no telephone number", _NUMBER_EXAMPLES)
    if number.extension:
        return _error("holds an extension", "the number alone, and its extension under extension:")
    kind, national = phonenumbers.number_type(number), str(number.national_number)
    is_malaysian = number.country_code == _COUNTRY_CODE
    if kind == PhoneNumberType.PREMIUM_RATE or (is_malaysian and national.startswith("1600")):
        return _error("is charged at a premium rate (1-600)", "an ordinary number")
    if not phonenumbers.is_possible_number(number):
        return _error("is not possible as a telephone number", _NUMBER_EXAMPLES)
    if channel is Channel.SMS and _cannot_receive_sms(kind, national, malaysian=is_malaysian):
        return _error("is no mobile number, and an SMS to a fixed line is lost", "a mobile number, or voice:")
    if is_malaysian and (missing_digits := _expected_length(national) - len(national)) > 0:
        return _error(_too_short_message(missing_digits), _NUMBER_EXAMPLES)
    if kind in _SERVICE_NUMBER_TYPES:
        return _warning("cannot be reached from abroad, nor by gateways abroad", "an ordinary number")
    if not phonenumbers.is_valid_number(number):
        return _warning("is in no range that is known to be assigned", "the right number, if this is not it")
    return None


def _too_short_message(missing_digits: int) -> str:
    if missing_digits == 1:
        return "is 1 digit short of a Malaysian number"
    return lazy_text("is {missing} digits short of a Malaysian number", missing=missing_digits)


def is_possible(text: str) -> bool:
    """Return whether *text* may be printed as a telephone or fax number."""
    number = _parse(text)
    return number is not None and phonenumbers.is_possible_number(number)


def is_foreign(text: str) -> bool:
    """Return whether *text* is a foreign number, or a number of no country, such as a satellite number.

    An invalid number is not foreign.
    """
    number = _parse(text)
    return number is not None and number.country_code != _COUNTRY_CODE


def e164(text: str) -> str:
    """Return *text* in the form for gateways: "+60312345678". Raise `ValueError` if it is not a number."""
    number = _parse(text)
    if number is None:
        raise ValueError("no telephone number")
    return phonenumbers.format_number(number, PhoneNumberFormat.E164)


def format_printed(text: str) -> str:
    """Return *text* in the form for letters: "03-1234 5678"; with the country code for a foreign number."""
    number = _parse(text)
    if number is None:
        raise ValueError("no telephone number")
    is_malaysian = number.country_code == _COUNTRY_CODE
    form = PhoneNumberFormat.NATIONAL if is_malaysian else PhoneNumberFormat.INTERNATIONAL
    return phonenumbers.format_number(number, form)


@lru_cache(maxsize=4096)
def _parse(text: str) -> phonenumbers.PhoneNumber | None:
    """Return the parsed number. Do not modify it, because it is cached."""
    try:
        return phonenumbers.parse(text, REGION)
    except NumberParseException:
        return None


#: Number of digits of a Malaysian number by its prefix, without the leading 0 (MCMC's numbering plan). Numbers with
#: other prefixes have 8.
_LENGTHS = (("11", 10), ("15", 10), ("1", 9), ("3", 9))


def _expected_length(national: str) -> int:
    return next((length for prefix, length in _LENGTHS if national.startswith(prefix)), 8)


def _cannot_receive_sms(kind: int, national: str, *, malaysian: bool) -> bool:
    # The number type alone is not enough: a fixed line in an unassigned range has no type. Malaysian mobile numbers
    # begin with 1.
    fixed = kind == PhoneNumberType.FIXED_LINE or kind in _SERVICE_NUMBER_TYPES
    return fixed or (malaysian and not national.startswith("1"))


def _error(message: str, instead: str) -> Objection:
    return Objection(severity=Severity.ERROR, message=message, instead=instead)


def _warning(message: str, instead: str) -> Objection:
    return Objection(severity=Severity.WARNING, message=message, instead=instead)


class Presence(StrEnum):
    """When a contact is available."""

    ALWAYS = "always"
    #: On working days, during office hours.
    OFFICE = "office"


#: Channels of each kind of number.
_CHANNELS_BY_KIND: dict[str, tuple[Channel, ...]] = {
    "mobile": (Channel.SMS, Channel.VOICE),
    "landline": (Channel.VOICE,),
    "fax": (Channel.FAX,),
}
_ADDRESS_EXAMPLES = "mobile: 010-000 0000, landline: 03-1234 5678 or fax: 03-1234 5678"


class AddressSettings(Section):
    """One number: a mobile (SMS and calls), a landline (calls) or a fax machine."""

    mobile: Line | None = None
    """Mobile number, for SMS and calls."""
    landline: Line | None = None
    """Landline, for calls."""
    fax: Line | None = None
    """Fax number."""
    extension: Extension | None = None
    """Digits to dial after the landline answers."""
    hours: Presence = Presence.ALWAYS
    """When somebody answers: always, or in office hours. Outside of them another address is tried first."""
    verified: Day | None = None
    """Date of the last answer."""

    @property
    def channels(self) -> tuple[Channel, ...]:
        """Channels of the number."""
        return tuple(
            channel for kind, channels in _CHANNELS_BY_KIND.items() if getattr(self, kind) for channel in channels
        )

    @property
    def numbers(self) -> frozenset[str]:
        """The numbers (E.164). A valid configuration has exactly one."""
        return frozenset(e164(number) for number in (self.mobile, self.landline, self.fax) if number)

    def build(self, hours: OfficeHours) -> Iterator[Address]:
        """Yield the address on each of its channels; *hours* are the office hours."""
        address_hours = hours if self.hours is Presence.OFFICE else None
        for kind, channels in _CHANNELS_BY_KIND.items():
            if number := getattr(self, kind):
                for channel in channels:
                    yield build_address(channel, number, self.extension, hours=address_hours, verified=self.verified)


def build_address(
    channel: Channel,
    number: str,
    extension: str | None,
    *,
    hours: OfficeHours | None = None,
    verified: date | None = None,
) -> Address:
    """Return the address of a telephone line; *extension* is dialled on a call and has no effect elsewhere."""
    digits = ""
    if channel is Channel.VOICE and extension is not None:
        # Wait one second first: an exchange that has just answered misses the first digit.
        digits = f"W{extension}#" if extension.isdigit() else extension
    return Address(channel=channel, number=e164(number), extension=digits, hours=hours, verified=verified)


def check_addresses(addresses: Sequence[AddressSettings], findings: Findings) -> None:
    """Record numbers that cannot be reached, and entries that do not have exactly one number."""
    if not addresses:
        findings.error("there is no address", f"[{{{_ADDRESS_EXAMPLES.partition(',')[0]}}}]")
    for position, address in enumerate(addresses):
        address_findings = findings[position]
        number_kinds = [kind for kind in _CHANNELS_BY_KIND if getattr(address, kind)]
        if len(number_kinds) != 1 and not address_findings.is_broken:
            kinds_text = all_of(number_kinds) or lazy_text("no number")
            address_findings.error(
                lazy_text("holds {found}: an address is one number", found=kinds_text), _ADDRESS_EXAMPLES
            )
        for kind in number_kinds:
            check_number(getattr(address, kind), _CHANNELS_BY_KIND[kind][0], address_findings[kind])
        check_extension(address.extension, address.landline, address_findings, "landline")


def check_number(number: str, channel: Channel, findings: Findings) -> None:
    """Record objections to *number* on *channel*."""
    if (objection := find_objection(number, channel)) is None:
        return
    record = findings.error if objection.severity is Severity.ERROR else findings.warning
    record(objection.message, objection.instead)


def check_extension(extension: str | None, number: str | None, findings: Findings, key: str) -> None:
    """Record an extension without *number*, the line that it belongs to; *key*: the key of that line."""
    if extension and not number and not findings[key].is_broken:
        findings["extension"].error("is the extension of no line", lazy_text("{key}: 03-1234 5678 beside it", key=key))
