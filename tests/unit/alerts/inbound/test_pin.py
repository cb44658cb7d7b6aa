"""Which PINs will do, and whose one is. How a configuration has them is tested there."""

from __future__ import annotations

from dataclasses import replace

import pytest

from alerts.inbound.phone_release import _first_by_pin
from alerts.inbound.pin import PinStore, hash_pin, pin_problem
from tests.unit.alerts.people import BRIEF, incident


@pytest.mark.parametrize("pin", ["280146", "112233", "123450", "998877665544", "121212"])
def test_digits_that_follow_no_rule_will_do(pin: str) -> None:
    assert pin_problem(pin) is None


@pytest.mark.parametrize("pin", ["890123", "321098", "777777777777"])
def test_a_row_that_goes_on_behind_nine_or_nought_is_one_that_anybody_tries(pin: str) -> None:
    assert "easy to guess" in (pin_problem(pin) or "")


async def test_a_pin_is_its_owners_wherever_they_have_the_same_one() -> None:
    one, another = hash_pin("280146"), hash_pin("280146")
    book = PinStore({("JCM", "siti"): one, ("MDC", "siti"): one, ("UCM", "siti"): another, ("PCM", "ravi"): one})

    assert one != another, "salted"
    assert book.agencies("JCM", "siti") == {"JCM", "MDC"}
    assert book.agencies("JCM", "mei") == {"JCM"}
    assert (book.has_pin("PCM", "ravi"), book.has_pin("JCM", "ravi")) == (True, False)
    assert await book.check("MDC", "siti", "280146")
    assert not await book.check("MDC", "siti", "146280")
    assert not await book.check("JCM", "ravi", "280146")


def test_whose_a_pin_is_is_looked_for_once_however_much_is_offered_by_it() -> None:
    looked_for = []

    class Watched(PinStore):
        def agencies(self, agency: str, person: str) -> frozenset[str]:
            looked_for.append((agency, person))
            return super().agencies(agency, person)

    offered = [
        (incident(brief=replace(BRIEF, agency=agency)), person)
        for agency, person in (("JCM", "siti"), ("MDC", "siti"), ("UCM", "siti"), ("PCM", "ravi"), ("JCM", "siti"))
    ]
    book = Watched({("JCM", "siti"): "one", ("MDC", "siti"): "one", ("UCM", "siti"): "other", ("LAIN", "ravi"): "one"})

    found = [(each.policy.agency, person, agencies) for each, person, agencies in _first_by_pin(offered, book)]
    assert found == [("JCM", "siti", frozenset({"JCM", "MDC"})), ("UCM", "siti", frozenset({"UCM"}))]
    assert looked_for == [("JCM", "siti"), ("UCM", "siti")]
