"""Incident numbers such as "JCM-01": format, and interpretation of numbers that people quote.

`monitor.store.engine.incidents` assigns the numbers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

#: Prefix of the numbers of drills (test notifications), Malay for "practice". An agency must not have the same prefix.
DRILL_PREFIX: Final = "LATIH"
#: The digits at the end of a prefix, without the first two of them.
_EXTRA_DIGITS = re.compile(r"(?<=\d\d)\d+$")
#: An incident number with its hyphen. An agency's code may contain hyphens as well: "PPD-01-01".
_HYPHENATED = re.compile(r"([A-Z0-9][A-Z0-9-]*)-(\d{1,6})", re.ASCII)


def number_prefix(agency: str) -> str:
    """Return the prefix of an agency's incident numbers: at most five characters, for short SMS and quick spelling.

    *agency*: the agency's code; "" gives the prefix NOC. The prefix ends with at most two digits, so that carriers do
    not mistake an incident number for a telephone number.
    """
    return _EXTRA_DIGITS.sub("", agency[:5].upper()) or "NOC"


def incident_number(prefix: str, count: int) -> str:
    """Return the number of the *count*-th incident with *prefix*: "JCM-01"."""
    return f"{prefix}-{count:02d}"


def candidate_numbers(quoted: str) -> Sequence[str]:
    """Return the incident numbers to search for when a person quotes *quoted*: JCONT-01 for "jcontoh-1".

    `matches_number` then decides for each incident found. *quoted* without a hyphen is searched as written. Otherwise a
    number with the prefix NOC is included: SMS about the NOC's own incidents begin with the NOC's name, which people
    may write instead of the prefix.
    """
    if not (match := _HYPHENATED.fullmatch(quoted.upper())):
        return [quoted.upper()]
    codes = dict.fromkeys((match[1].replace("-", ""), ""))
    return [incident_number(number_prefix(code), int(match[2])) for code in codes]


def matches_number(quoted: str, number: str, agency: str) -> bool:
    """Whether *quoted* may mean the incident of *agency* with *number*.

    People write the agency's whole code instead of the prefix, and leave out the hyphen and leading zeros. Without the
    hyphen a text may match several incidents: "PPD0101" matches PPD01-01 and PPD-101.
    """
    prefix, _, count = number.upper().rpartition("-")
    text = quoted.upper()
    hyphenated = _HYPHENATED.fullmatch(text)
    for code in (prefix, agency.upper()):
        head, tail = text[: len(code)], text[len(code) :]
        if hyphenated:
            head, tail = hyphenated[1].replace("-", ""), hyphenated[2]
        if code and head == code and tail.isdecimal() and tail.lstrip("0") == count.lstrip("0"):
            return True
    return False
