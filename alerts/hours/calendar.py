"""Which days are worked in a Malaysian state. Pure.

Weekends and public holidays come from the library `holidays`, which knows that Kedah, Kelantan and Terengganu rest on
Friday and Saturday and that Johor did so from 2014 to 2024. Federal offices rest as the state does in which they are
(PP 13/2005, paragraph 4). What is gazetted a few days ahead no library knows: those days are written down by hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from functools import cache

from holidays import HolidayBase, country_holidays


class State(StrEnum):
    """A state or federal territory of Malaysia."""

    JOHOR = "johor"
    KEDAH = "kedah"
    KELANTAN = "kelantan"
    MELAKA = "melaka"
    NEGERI_SEMBILAN = "negeri-sembilan"
    PAHANG = "pahang"
    PULAU_PINANG = "pulau-pinang"
    PERAK = "perak"
    PERLIS = "perlis"
    SELANGOR = "selangor"
    TERENGGANU = "terengganu"
    SABAH = "sabah"
    SARAWAK = "sarawak"
    KUALA_LUMPUR = "kuala-lumpur"
    LABUAN = "labuan"
    PUTRAJAYA = "putrajaya"


@dataclass(frozen=True, slots=True, kw_only=True)
class Calendar:
    """The days of one state, with what was gazetted beside what the library knows."""

    state: State = State.PUTRAJAYA
    #: Holidays that the library does not know.
    holidays: tuple[date, ...] = ()
    #: Days that are worked after all.
    workdays: tuple[date, ...] = ()

    def fetched(self) -> Calendar:
        """Return it once the library's days are there: the first to ask waits 50 ms, which is not to be in the loop."""
        _known(self.state)
        return self

    def is_workday(self, day: date) -> bool:
        """Return whether offices are open on *day*. What was written down by hand counts first."""
        if day in self.workdays:
            return True
        if day in self.holidays:
            return False
        known = _known(self.state)
        return not (known.is_weekend(day) or day in known)


@cache
def _known(state: State) -> HolidayBase:
    # ISO 3166-2:MY numbers the states in the order of the enumeration.
    return country_holidays("MY", subdiv=f"{list(State).index(state) + 1:02d}")
