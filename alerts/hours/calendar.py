"""Workdays of Malaysian states, for office hours and rotas. Pure.

Weekends and public holidays come from the library `holidays`. It includes the weekend on Friday and Saturday in Kedah,
Kelantan and Terengganu, and in Johor from 2014 to 2024. A federal office follows the state in which it is (service
circular Pekeliling Perkhidmatan 13/2005, paragraph 4). The library lacks days that the government gazettes at short
notice: they come from the configuration.
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
    """Workdays of one state, corrected by configured days."""

    state: State = State.PUTRAJAYA
    #: Holidays that the library lacks.
    holidays: tuple[date, ...] = ()
    #: Workdays that are holidays or weekends in the library; they also override `holidays`.
    workdays: tuple[date, ...] = ()

    def preload(self) -> Calendar:
        """Load the library's data and return the calendar. Loading takes 50 ms: call it from a thread."""
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
    # ISO 3166-2:MY numbers the states from 01 in the order of `State`.
    return country_holidays("MY", subdiv=f"{list(State).index(state) + 1:02d}")
