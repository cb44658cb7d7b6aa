"""Incident numbers: format, and interpretation of quoted numbers.

`monitor.store.engine.incidents` assigns them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

#: Prefix of drill numbers, which incidents should not have.
DRILLS_BEGIN: Final = "LATIH"
_MORE_DIGITS = re.compile(r"(?<=\d\d)\d+$")
#: With the hyphen. The code may contain others: "PPD-01-01".
_QUOTED = re.compile(r"([A-Z0-9][A-Z0-9-]*)-(\d{1,6})", re.ASCII)


def number_prefix(agency: str) -> str:
    """Return the prefix of an agency's incident numbers: few letters, short for an SMS and quick to spell.

    It ends with at most two digits: with four more, carriers do not take it for a telephone number.
    """
    return _MORE_DIGITS.sub("", agency[:5].upper()) or "NOC"


def incident_number(prefix: str, count: int) -> str:
    """Return the number of the *count*-th incident: "JCM-01"."""
    return f"{prefix}-{count:02d}"


def numbers_quoted(quoted: str) -> Sequence[str]:
    """Return the numbers that *quoted* may mean: JCONT-01 for "jcontoh-1". `is_quoted` decides.

    Also NOC-01: an SMS begins with the centre's name, which people put before the number.
    """
    if not (found := _QUOTED.fullmatch(quoted.upper())):
        return [quoted.upper()]
    codes = dict.fromkeys((found[1].replace("-", ""), ""))
    return [incident_number(number_prefix(code), int(found[2])) for code in codes]


def is_quoted(quoted: str, number: str, agency: str) -> bool:
    """Whether *quoted* means the incident of *agency* with that *number*.

    People write the agency's whole code instead of the prefix, and leave out the hyphen and zeros. Without the hyphen
    "PPD0101" may be PPD01-01 or PPD-101.
    """
    prefix, _, count = number.upper().rpartition("-")
    text = quoted.upper()
    with_hyphen = _QUOTED.fullmatch(text)
    for begins in (prefix, agency.upper()):
        head, tail = text[: len(begins)], text[len(begins) :]
        if with_hyphen:
            head, tail = with_hyphen[1].replace("-", ""), with_hyphen[2]
        if begins and head == begins and tail.isdecimal() and tail.lstrip("0") == count.lstrip("0"):
            return True
    return False
