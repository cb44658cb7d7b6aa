"""Fixtures of the browser tests: one running Pantau and one browser. Each test has its own browser contexts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.browser.browser_session import TIMEOUT_MS, BrowserSessions
from tests.browser.running_site import RunningSite, running_site
from tests.real.playwright_browser import open_browser

expect.set_options(timeout=TIMEOUT_MS)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningSite]:
    """Start one site for all tests. A test leaves shared data as it was, or uses an agency or user of its own."""
    async with running_site(tmp_path_factory.mktemp("site")) as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with open_browser() as opened:
        yield opened


@pytest.fixture(scope="session")
def idle_pages() -> list[Page]:
    """Return the pages that no test uses."""
    return []


@pytest_asyncio.fixture(loop_scope="session")
async def sessions(site: RunningSite, browser: Browser, idle_pages: list[Page]) -> AsyncIterator[BrowserSessions]:
    """Open browser sessions. Fail if a browser reported an unexpected error."""
    async with AsyncExitStack() as stack:
        browser_sessions = BrowserSessions(site, browser, idle_pages, stack)
        yield browser_sessions
        assert [error for session in browser_sessions.opened for error in session.unexpected_errors()] == []
