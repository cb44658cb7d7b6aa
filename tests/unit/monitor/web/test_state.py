"""There is one notion of the state of an agency: the page, a wall, the counts and the API never disagree."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from monitor.views.agency_status import AgencyStatus
from monitor.web.portal import portal
from tests.unit.monitor.web.country import MultiSiteDemo, Weather
from tests.unit.monitor.web.source import client

HOSTS = ["localhost"]
#: Each agency is a card, which bears its state, or a tile of a list that does.
_CARD = re.compile(r'<article id="a-(\w+)" class="agency (\w+)"')
_TILES = re.compile(r'<ul id="l-(\w+)".*?</ul>', re.DOTALL)
_COUNT = re.compile(r'id="n-(\w+)"[^>]*><b>(\d+)</b>')


def states_on(page: str) -> dict[str, str]:
    tiles = {code: found[1] for found in _TILES.finditer(page) for code in re.findall(r'<li id="a-(\w+)"', found[0])}
    return dict(_CARD.findall(page)) | tiles


@pytest.mark.parametrize("weather", list(Weather))
async def test_page_wall_counts_and_api_agree_on_every_agency_in_every_weather(weather: Weather) -> None:
    country = MultiSiteDemo(size=60, weather=weather, codes=["A001"])
    async with client(portal(country, HOSTS)) as web:
        page, wall = (await web.get("/")).text, (await web.get("/?wallboard=1")).text
        told = {each["agency"]: each["state"] for each in (await web.get("/api/v1/agencies")).json()}
        one = (await web.get("/api/v1/agencies/A001")).json()["state"]
        asked = {
            state: {each["agency"] for each in (await web.get(f"/api/v1/agencies?state={state}")).json()}
            for state in AgencyStatus
        }
        filtered = {state: states_on((await web.get(f"/?state={state}")).text).keys() for state in AgencyStatus}

    assert len(told) == country.size
    assert states_on(page) == told
    assert states_on(wall).items() <= told.items()
    counts = {state: Counter(told.values())[state] for state in AgencyStatus} | {"all": country.size}
    for shown in (page, wall):
        assert {name: int(count) for name, count in _COUNT.findall(shown)} == counts
    assert one == told["A001"]
    for state in AgencyStatus:
        assert asked[state] == filtered[state] == {code for code, found in told.items() if found == state}
