"""PIN rules and PIN owners."""

from __future__ import annotations

from dataclasses import replace

import pytest

from alerts.inbound.phone_release import _first_by_pin
from alerts.inbound.pin import PinStore, hash_pin, pin_problem
from tests.unit.alerts.people import SNAPSHOT, incident


@pytest.mark.parametrize("pin", ["280146", "112233", "123450", "998877665544", "121212"])
def test_pin_problem_accepts_random_digits(pin: str) -> None:
    assert pin_problem(pin) is None


@pytest.mark.parametrize("pin", ["890123", "321098", "777777777777"])
def test_pin_problem_rejects_wrapping_sequence_or_repeated_digit(pin: str) -> None:
    assert "easy to guess" in (pin_problem(pin) or "")


async def test_pin_store_shares_pin_across_agencies_of_same_person() -> None:
    one, another = hash_pin("280146"), hash_pin("280146")
    store = PinStore({("JCM", "siti"): one, ("MDC", "siti"): one, ("UCM", "siti"): another, ("PCM", "ravi"): one})

    assert one != another, "salted"
    assert store.agencies("JCM", "siti") == {"JCM", "MDC"}
    assert store.agencies("JCM", "mei") == {"JCM"}
    assert (store.has_pin("PCM", "ravi"), store.has_pin("JCM", "ravi")) == (True, False)
    assert await store.check("MDC", "siti", "280146")
    assert not await store.check("MDC", "siti", "146280")
    assert not await store.check("JCM", "ravi", "280146")


def test_first_by_pin_looks_up_each_pin_once() -> None:
    lookups = []

    class Watched(PinStore):
        def agencies(self, agency: str, person: str) -> frozenset[str]:
            lookups.append((agency, person))
            return super().agencies(agency, person)

    offered = [
        (incident(snapshot=replace(SNAPSHOT, agency=agency)), person)
        for agency, person in (("JCM", "siti"), ("MDC", "siti"), ("UCM", "siti"), ("PCM", "ravi"), ("JCM", "siti"))
    ]
    store = Watched({("JCM", "siti"): "one", ("MDC", "siti"): "one", ("UCM", "siti"): "other", ("LAIN", "ravi"): "one"})

    found = [(each.policy.agency, person, agencies) for each, person, agencies in _first_by_pin(offered, store)]
    assert found == [("JCM", "siti", frozenset({"JCM", "MDC"})), ("UCM", "siti", frozenset({"UCM"}))]
    assert lookups == [("JCM", "siti"), ("UCM", "siti")]
