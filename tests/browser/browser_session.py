"""A browser session of one user: what the page shows, actions in the user's language, and browser errors."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from playwright.async_api import (
    APIResponse,
    Browser,
    BrowserContext,
    ConsoleMessage,
    Locator,
    Page,
    Request,
    Response,
    WebError,
    expect,
)

from monitor.web.page import PageLanguage, texts_of
from pantau_lab.seed.login import DemoLogin
from tests.browser.running_site import RunningSite

WIDE: Final = {"width": 1400, "height": 900}
#: A telephone's screen.
NARROW: Final = {"width": 400, "height": 800}
#: In milliseconds. A response takes a few; a busy machine may need many.
TIMEOUT_MS: Final = 30_000
#: The service closes a kept connection after some seconds, perhaps as the next request uses it. A browser retries then;
#: Playwright's request client does not.
_CLOSE: Final = {"Connection": "close"}


@dataclass(slots=True)
class BrowserSession:
    """A browser context of one user, and its first page."""

    site: RunningSite
    context: BrowserContext
    page: Page
    language: PageLanguage = PageLanguage.MALAY
    #: Errors of the console, scripts and requests.
    errors: list[str] = field(default_factory=list)
    _refused: set[str] = field(default_factory=set)
    #: Prefixes of expected errors.
    _allowed: tuple[str, ...] = ()

    # -- what they read ------------------------------------------------------------------------------------------

    def translate(self, text: str, **values: object) -> str:
        """Return a text of the portal in the session's language: "duty.acknowledge" is a key of texts/duty.yaml."""
        section, _, key = text.partition(".")
        return texts_of(section, self.language)[key].format(**values)

    def button(self, text: str, **values: object) -> Locator:
        """Return the button with this text."""
        return self.page.get_by_role("button", name=self.translate(text, **values), exact=True)

    def link(self, text: str, **values: object) -> Locator:
        """Return the link with this text."""
        return self.page.get_by_role("link", name=self.translate(text, **values), exact=True)

    def field(self, text: str, **values: object) -> Locator:
        """Return the field with this label."""
        return self.page.get_by_label(self.translate(text, **values), exact=True)

    def choice(self, text: str, **values: object) -> Locator:
        """Return the select element with this label."""
        return self.page.locator("label").filter(has_text=self.translate(text, **values)).locator("select")

    def details(self, text: str, **values: object) -> Locator:
        """Return the details element under a heading; `expand` opens it."""
        heading = self.page.locator("summary").filter(has_text=self.translate(text, **values))
        return self.page.locator("details").filter(has=heading)

    async def expect_text(self, text: str, **values: object) -> None:
        """Wait until the text is visible."""
        await expect(self.page.get_by_text(self.translate(text, **values)).first).to_be_visible()

    async def path(self) -> str:
        """Return the path of the present URL, without query and fragment."""
        return re.sub(r"^\w+://[^/]+|[?#].*$", "", self.page.url)

    # -- what they do --------------------------------------------------------------------------------------------

    async def go(self, path: str) -> Response:
        """Open a page of the portal."""
        answer = await self.page.goto(self.site.url + path)
        assert answer is not None
        return answer

    async def fetch(self, path: str, **headers: str) -> APIResponse:
        """Return the response of a path, which need not be a page."""
        return await self.context.request.get(self.site.url + path, headers=_CLOSE | headers)

    async def press(self, button: Locator) -> None:
        """Press a button or link, and wait for the next page."""
        async with self.page.expect_navigation():
            await button.click()

    async def expand(self, text: str, **values: object) -> Locator:
        """Open the details element under a heading, and return it."""
        folded = self.details(text, **values)
        await folded.locator("summary").first.click()
        return folded

    async def sign_in(self, login: DemoLogin) -> None:
        """Sign in with the form, on the present page if it is the sign-in page."""
        if await self.path() != "/sign-in":
            await self.go("/sign-in")
        await self.field("access.name").fill(login.name)
        await self.field("access.password").fill(login.password)
        await self.press(self.button("access.sign_in"))

    async def expect_sign_in(self) -> None:
        """Wait until the page's poll is refused and the page redirects to the sign-in page."""
        self.allow_errors("401 ", "Failed to load resource: the server responded with a status of 401")
        await self.page.wait_for_url(re.compile(r"/sign-in\?"))

    # -- what their browser says --------------------------------------------------------------------------------

    def allow_errors(self, *beginnings: str) -> None:
        """Accept errors with these prefixes, also those reported before."""
        self._allowed += beginnings

    def unexpected_errors(self) -> Sequence[str]:
        """Return the errors that are not accepted."""
        return [on_console for on_console in self.errors if not on_console.startswith(self._allowed)]

    # -- what holds of every page --------------------------------------------------------------------------------

    async def overflowing(self, width: int) -> Sequence[str]:
        """Return the elements that are wider than a page of this width."""
        found: Sequence[str] = await self.page.evaluate(_OVERFLOWING, width)
        return found


#: Returns the elements that overflow a page: by their box, or by their text.
_OVERFLOWING: Final = """(width) => {
  if (document.documentElement.scrollWidth <= width) return [];
  const out = (each) => {
    const text = document.createRange();
    text.selectNodeContents(each);
    return Math.max(each.getBoundingClientRect().right, text.getBoundingClientRect().right) > width + 0.5;
  };
  const found = [...document.querySelectorAll("body *")].filter(out).map((each) => each.outerHTML.slice(0, 160));
  return found.length ? found : ["something"];
}"""


@dataclass(slots=True)
class BrowserSessions:
    """Opener of browser sessions, each in its own context; collects their errors."""

    site: RunningSite
    browser: Browser
    #: Cleared pages of earlier tests: a new page costs as much as five page loads.
    idle_pages: list[Page]
    stack: AsyncExitStack
    opened: list[BrowserSession] = field(default_factory=list)

    async def open(
        self,
        name: str = "",
        *,
        language: PageLanguage = PageLanguage.MALAY,
        screen: dict[str, int] = WIDE,
        scheme: Literal["light", "dark"] = "light",
        script: bool = True,
    ) -> BrowserSession:
        """Open a session; *name*: the user who is signed in."""
        page = self.idle_pages.pop() if self.idle_pages and script else await self._new_page(script)
        await page.set_viewport_size(screen)  # type: ignore[arg-type]
        await page.emulate_media(color_scheme=scheme)
        session = BrowserSession(self.site, page.context, page, language)
        self.opened.append(session)
        listeners = _listeners(session)
        for event, listener in listeners.items():
            page.context.on(event, listener)  # type: ignore[call-overload]
        self.stack.push_async_callback(self._release, page, listeners, script)
        if language is not PageLanguage.MALAY:
            await page.context.add_cookies([{"name": "bahasa", "value": str(language), "url": self.site.url}])
        if name:
            login = self.site.logins[name]
            form: dict[str, str | float | bool] = {"name": login.name, "password": login.password}
            headers = _CLOSE | {"Origin": self.site.url}
            answer = await page.context.request.post(
                f"{self.site.url}/sign-in", form=form, headers=headers, max_redirects=0
            )
            assert answer.status == 303, await answer.text()
        return session

    async def _new_page(self, script: bool) -> Page:  # noqa: FBT001 - whether it has one
        context = await self.browser.new_context(java_script_enabled=script, reduced_motion="reduce")
        context.set_default_timeout(TIMEOUT_MS)
        return await context.new_page()

    async def _release(self, page: Page, listeners: Mapping[str, Any], script: bool) -> None:  # noqa: FBT001 - as above
        """Clear a page for the next test."""
        for event, listener in listeners.items():
            page.context.remove_listener(event, listener)
        if not script:
            await page.context.close()
            return
        # A style sheet loads nothing else. Leaving the portal would end its renderer process, by its opener policy.
        await page.goto(f"{self.site.url}/static/status.css")
        await page.context.clear_cookies()
        self.idle_pages.append(page)


def _listeners(session: BrowserSession) -> Mapping[str, Callable[[Any], None]]:
    """Return handlers that record the browser's errors.

    The browser also logs a refused page, which is expected.
    """

    def on_response(response: Response) -> None:
        is_page = response.request.is_navigation_request()
        if response.status >= 500 or (response.status >= 400 and not is_page):
            session.errors.append(f"{response.status} {response.url}")
        elif response.status >= 400:
            session._refused.add(response.url)

    def on_failed_request(request: Request) -> None:
        # A page that was left cancels its requests.
        if request.failure != "net::ERR_ABORTED":
            session.errors.append(f"{request.failure} {request.url}")

    def on_console(message: ConsoleMessage) -> None:
        # A cleared page is at a style sheet, which names no icon; the browser reports the missing icon late.
        if message.location["url"].endswith("/favicon.ico"):
            return
        if message.type in {"error", "warning"} and not (
            message.text.startswith("Failed to load resource") and message.location["url"] in session._refused
        ):
            session.errors.append(f"{message.text} {message.location['url']}")

    def on_error(error: WebError) -> None:
        session.errors.append(str(error.error))

    return {"response": on_response, "requestfailed": on_failed_request, "console": on_console, "weberror": on_error}
