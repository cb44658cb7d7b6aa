"""Workdays of Malaysian states, for office hours and rotas. Pure.

Weekends and public holidays come from the library `holidays`, which has the Friday and Saturday weekend of Kedah,
Kelantan and Terengganu, and of Johor from 2014 to 2024. Federal offices follow the state in which they are (PP 13/2005,
paragraph 4). Days gazetted at short notice are configured.
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
    """Workdays of one state, with the gazetted days that the library lacks."""

    state: State = State.PUTRAJAYA
    #: Additional holidays.
    holidays: tuple[date, ...] = ()
    #: Additional workdays.
    workdays: tuple[date, ...] = ()

    def preload(self) -> Calendar:
        """Load the library's data and return the calendar. It takes 50 ms: call it from a thread."""
        _holidays_of(self.state)
        return self

    def is_workday(self, day: date) -> bool:
        """Return whether offices are open on *day*. Configured days take precedence."""
        if day in self.workdays:
            return True
        if day in self.holidays:
            return False
        days = _holidays_of(self.state)
        return not (days.is_weekend(day) or day in days)


@cache
def _holidays_of(state: State) -> HolidayBase:
    # ISO 3166-2:MY numbers the states in the order of the enumeration.
    return country_holidays("MY", subdiv=f"{list(State).index(state) + 1:02d}")
