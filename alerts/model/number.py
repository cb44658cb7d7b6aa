"""The number of an incident: how it is written, and which one people mean.

`monitor.store.engine.incidents` counts, where the incident is opened.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

#: What the numbers of drills begin with, and those of incidents should not.
DRILLS_BEGIN: Final = "LATIH"
_MORE_DIGITS = re.compile(r"(?<=\d\d)\d+$")
#: With the hyphen. The code may hold others: "PPD-01-01".
_QUOTED = re.compile(r"([A-Z0-9][A-Z0-9-]*)-(\d{1,6})", re.ASCII)


def number_prefix(agency: str) -> str:
    """Return what an agency's incidents' numbers begin with: few letters, to fit an SMS and be quick to spell.

    It ends with two digits at most: with four behind them there are fewer than a carrier takes for a telephone number.
    """
    return _MORE_DIGITS.sub("", agency[:5].upper()) or "NOC"


def incident_number(prefix: str, count: int) -> str:
    """Return the number of the *count*-th incident: "JCM-01"."""
    return f"{prefix}-{count:02d}"


def numbers_quoted(quoted: str) -> Sequence[str]:
    """Return the numbers that *quoted* may stand for: JCONT-01 of "jcontoh-1". Whose it is, `is_quoted` says.

    NOC-01, too: the SMS about it begins with what the centre calls itself, and people put that before the number.
    """
    if not (found := _QUOTED.fullmatch(quoted.upper())):
        return [quoted.upper()]
    codes = dict.fromkeys((found[1].replace("-", ""), ""))
    return [incident_number(number_prefix(code), int(found[2])) for code in codes]


def is_quoted(quoted: str, number: str, agency: str) -> bool:
    """Whether somebody who writes *quoted* means the incident of *agency* with that *number*.

    People write the agency's whole code for what the number begins with, and leave out the hyphen and zeros. Without the
    hyphen "PPD0101" may be PPD01-01 as well as PPD-101.
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
