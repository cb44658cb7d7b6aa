"""Agreement of the status page, wallboard, counts and API on the state of each agency."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from monitor.views.agency_status import AgencyStatus
from monitor.web.portal import portal
from tests.unit.monitor.web.fake_service import client
from tests.unit.monitor.web.many_agencies import ManyAgencies, Scenario

HOSTS = ["localhost"]
#: Each agency is a card with its state, or a tile in a list of that state.
_CARD = re.compile(r'<article id="a-(\w+)" class="agency (\w+)"')
_TILES = re.compile(r'<ul id="l-(\w+)".*?</ul>', re.DOTALL)
_COUNT = re.compile(r'id="n-(\w+)"[^>]*><b>(\d+)</b>')


def states_on(page: str) -> dict[str, str]:
    tiles = {code: found[1] for found in _TILES.finditer(page) for code in re.findall(r'<li id="a-(\w+)"', found[0])}
    return dict(_CARD.findall(page)) | tiles


@pytest.mark.parametrize("scenario", list(Scenario))
async def test_pages_and_api_agree_on_every_agency_state(scenario: Scenario) -> None:
    agencies = ManyAgencies(size=60, scenario=scenario, codes=["A001"])
    async with client(portal(agencies, HOSTS)) as web:
        page, wall = (await web.get("/")).text, (await web.get("/?wallboard=1")).text
        api_states = {each["agency"]: each["state"] for each in (await web.get("/api/v1/agencies")).json()}
        one = (await web.get("/api/v1/agencies/A001")).json()["state"]
        asked = {
            state: {each["agency"] for each in (await web.get(f"/api/v1/agencies?state={state}")).json()}
            for state in AgencyStatus
        }
        filtered = {state: states_on((await web.get(f"/?state={state}")).text).keys() for state in AgencyStatus}

    assert len(api_states) == agencies.size
    assert states_on(page) == api_states
    assert states_on(wall).items() <= api_states.items()
    counts = {state: Counter(api_states.values())[state] for state in AgencyStatus} | {"all": agencies.size}
    for shown in (page, wall):
        assert {name: int(count) for name, count in _COUNT.findall(shown)} == counts
    assert one == api_states["A001"]
    for state in AgencyStatus:
        assert asked[state] == filtered[state] == {code for code, found in api_states.items() if found == state}
