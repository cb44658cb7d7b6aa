"""Telephone numbers of staff and offices: validation, formats, and the channels on which a number can be used.

libphonenumber's list of assigned number ranges may be outdated. Therefore a number outside these ranges causes only a
warning, while a number of an impossible length is an error. No number can be recognised as that of a fax machine.
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
from monitor.config.files.section import Extension, OneLine, Section
from monitor.model.translatable import all_of, translatable

#: Region of numbers without a country code.
REGION = "MY"
_EMERGENCY = frozenset({"999", "112", "994", "991"})
_COUNTRY_CODE = 60
_NUMBER_EXAMPLES = "a number as in 010-000 0000, 03-1234 5678 or +60 3-1234 5678"
_SERVICE_NUMBER_TYPES = frozenset({PhoneNumberType.TOLL_FREE, PhoneNumberType.SHARED_COST, PhoneNumberType.UAN})


@dataclass(frozen=True, slots=True, kw_only=True)
class Objection:
    """Reason why a number should not be used."""

    severity: Severity
    message: str
    #: What to write instead.
    instead: str = ""


def find_objection(text: str, channel: Channel) -> Objection | None:
    """Return the first objection against the number *text* on *channel*, errors first; `None` if there is none.

    The message does not contain the number, because the logs and the audit log record messages about a rejected
    configuration.
    """
    digits = "".join(c for c in text if c.isdigit())
    if digits.removeprefix("60") in _EMERGENCY or digits in _EMERGENCY:
        return _error("is an emergency number", "the number of a person or an office")
    number = _parse(text)
    if number is None:
        return _error("is no telephone number", _NUMBER_EXAMPLES)
    if number.extension:
        return _error("holds an extension", "the number alone, and its extension under extension:")
    number_type, national = phonenumbers.number_type(number), str(number.national_number)
    is_malaysian = number.country_code == _COUNTRY_CODE
    if number_type == PhoneNumberType.PREMIUM_RATE or (is_malaysian and national.startswith("1600")):
        return _error("is charged at a premium rate (1-600)", "an ordinary number")
    if not phonenumbers.is_possible_number(number):
        return _error("is not possible as a telephone number", _NUMBER_EXAMPLES)
    if channel is Channel.SMS and _cannot_receive_sms(number_type, national, malaysian=is_malaysian):
        return _error("is no mobile number, and an SMS to a fixed line is lost", "a mobile number, or voice:")
    if is_malaysian and (missing_digits := _expected_length(national) - len(national)) > 0:
        return _error(_too_short_message(missing_digits), _NUMBER_EXAMPLES)
    if number_type in _SERVICE_NUMBER_TYPES:
        return _warning("cannot be reached from abroad, nor by gateways abroad", "an ordinary number")
    if not phonenumbers.is_valid_number(number):
        return _warning("is in no range that is known to be assigned", "the right number, if this is not it")
    return None


def _too_short_message(missing_digits: int) -> str:
    if missing_digits == 1:
        return "is 1 digit short of a Malaysian number"
    return translatable("is {missing} digits short of a Malaysian number", missing=missing_digits)


def is_possible(text: str) -> bool:
    """Return whether *text* has a possible length for a telephone or fax number."""
    number = _parse(text)
    return number is not None and phonenumbers.is_possible_number(number)


def is_foreign(text: str) -> bool:
    """Return whether *text* is a foreign number, or a number of no country, such as a satellite number.

    An invalid number is not foreign.
    """
    number = _parse(text)
    return number is not None and number.country_code != _COUNTRY_CODE


def e164(text: str) -> str:
    """Return *text* in E.164 format, for gateways: "+60312345678". Raise `ValueError` if *text* is no number."""
    number = _parse(text)
    if number is None:
        raise ValueError("no telephone number")
    return phonenumbers.format_number(number, PhoneNumberFormat.E164)


def format_printed(text: str) -> str:
    """Return *text* in the format for letters: "03-1234 5678"; a foreign number with its country code.

    Raise `ValueError` if *text* is no number.
    """
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


#: Number of digits of Malaysian numbers by prefix, without the leading 0, according to the numbering plan of the
#: regulator (MCMC). The first matching prefix applies; other numbers have 8 digits.
_LENGTHS = (("11", 10), ("15", 10), ("1", 9), ("3", 9))


def _expected_length(national: str) -> int:
    """Return the number of digits that the Malaysian number *national* should have."""
    return next((length for prefix, length in _LENGTHS if national.startswith(prefix)), 8)


def _cannot_receive_sms(number_type: int, national: str, *, malaysian: bool) -> bool:
    # The number's type is not sufficient, because a fixed line in an unassigned range has none. Malaysian mobile
    # numbers begin with 1.
    fixed = number_type == PhoneNumberType.FIXED_LINE or number_type in _SERVICE_NUMBER_TYPES
    return fixed or (malaysian and not national.startswith("1"))


def _error(message: str, instead: str) -> Objection:
    return Objection(severity=Severity.ERROR, message=message, instead=instead)


def _warning(message: str, instead: str) -> Objection:
    return Objection(severity=Severity.WARNING, message=message, instead=instead)


class AnsweringHours(StrEnum):
    """When somebody answers at an address."""

    ALWAYS = "always"
    #: Only in office hours on working days.
    OFFICE = "office"


#: Channels of each kind of number, by its key in `AddressSettings`.
_CHANNELS_BY_KIND: dict[str, tuple[Channel, ...]] = {
    "mobile": (Channel.SMS, Channel.VOICE),
    "landline": (Channel.VOICE,),
    "fax": (Channel.FAX,),
}
_ADDRESS_EXAMPLES = "mobile: 010-000 0000, landline: 03-1234 5678 or fax: 03-1234 5678"


class AddressSettings(Section):
    """One number: a mobile (SMS and calls), a landline (calls) or a fax machine."""

    mobile: OneLine | None = None
    """Mobile number, for SMS and calls."""
    landline: OneLine | None = None
    """Landline, for calls."""
    fax: OneLine | None = None
    """Fax number."""
    extension: Extension | None = None
    """Digits to dial after the landline answers."""
    hours: AnsweringHours = AnsweringHours.ALWAYS
    """When somebody answers: always, or in office hours. Outside of office hours, other addresses are tried first."""
    verified: Day | None = None
    """Date on which somebody last answered at this number."""

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
        """Yield the number as an address for each of its channels. *hours*: the office hours."""
        address_hours = hours if self.hours is AnsweringHours.OFFICE else None
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
    """Return a number as an address for *channel*. *extension*: keys to press after a call is answered.

    *hours*: when somebody answers; `None`: always. *verified*: when somebody last answered.
    """
    digits = ""
    if channel is Channel.VOICE and extension is not None:
        # Wait for one second ("W") before digits: a telephone exchange that has just answered would miss the first.
        digits = f"W{extension}#" if extension.isdigit() else extension
    return Address(channel=channel, number=e164(number), extension=digits, hours=hours, verified=verified)


def check_addresses(addresses: Sequence[AddressSettings], findings: Findings) -> None:
    """Record numbers that cannot be reached, entries without exactly one number, and extensions without a landline."""
    if not addresses:
        findings.error("there is no address", f"[{{{_ADDRESS_EXAMPLES.partition(',')[0]}}}]")
    for position, address in enumerate(addresses):
        address_findings = findings[position]
        number_kinds = [kind for kind in _CHANNELS_BY_KIND if getattr(address, kind)]
        if len(number_kinds) != 1 and not address_findings.is_broken:
            kinds_text = all_of(number_kinds) or translatable("no number")
            address_findings.error(
                translatable("holds {found}: an address is one number", found=kinds_text), _ADDRESS_EXAMPLES
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
    """Record an extension without *number*, the number of its line. *key*: the key of this number."""
    if extension and not number and not findings[key].is_broken:
        findings["extension"].error("belongs to no line", translatable("{key}: 03-1234 5678 beside it", key=key))
