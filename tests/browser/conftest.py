"""What all journeys share: a Pantau at work, and a browser; each has windows of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.browser.guest import PATIENCE, Door
from tests.browser.running_site import RunningSite, running_site
from tests.real.visitor import opened_browser

expect.set_options(timeout=PATIENCE)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningSite]:
    """One for all journeys: each leaves what the others look at as it was, or is about an agency or a user of its own."""
    async with running_site(tmp_path_factory.mktemp("site")) as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with opened_browser() as opened:
        yield opened


@pytest.fixture(scope="session")
def empty() -> list[Page]:
    """Return the windows that nobody is before."""
    return []


@pytest_asyncio.fixture(loop_scope="session")
async def door(site: RunningSite, browser: Browser, empty: list[Page]) -> AsyncIterator[Door]:
    """Let people in; and when they have gone, no browser of theirs may have complained of anything."""
    async with AsyncExitStack() as stack:
        opened = Door(site, browser, empty, stack)
        yield opened
        assert [said for guest in opened.guests for said in guest.unforeseen()] == []
