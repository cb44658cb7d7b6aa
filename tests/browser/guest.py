"""Somebody before a browser: what they see and press, in their language, and what the browser complained of meanwhile."""

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
#: A telephone's.
NARROW: Final = {"width": 400, "height": 800}
#: In milliseconds. The service answers in some; a machine that does everything at once may need many.
PATIENCE: Final = 30_000
#: A connection that is kept is closed by the service after some seconds, perhaps just when the next request takes it. A browser
#: asks again then; what asks in its name does not.
_ONCE: Final = {"Connection": "close"}


@dataclass(slots=True)
class Guest:
    """A browser of somebody's own, and its first window."""

    site: RunningSite
    context: BrowserContext
    page: Page
    language: PageLanguage = PageLanguage.MALAY
    #: What the console, the scripts and what was fetched complained of.
    complaints: list[str] = field(default_factory=list)
    _refused: set[str] = field(default_factory=set)
    #: What complaints begin with that are as they should be.
    _foreseen: tuple[str, ...] = ()

    # -- what they read ------------------------------------------------------------------------------------------

    def say(self, text: str, **values: object) -> str:
        """Return what the portal says in their language: "duty.acknowledge" is a key of texts/duty.yaml."""
        section, _, key = text.partition(".")
        return texts_of(section, self.language)[key].format(**values)

    def button(self, text: str, **values: object) -> Locator:
        """Return the one button that is called so."""
        return self.page.get_by_role("button", name=self.say(text, **values), exact=True)

    def link(self, text: str, **values: object) -> Locator:
        """Return the link that is called so."""
        return self.page.get_by_role("link", name=self.say(text, **values), exact=True)

    def field(self, text: str, **values: object) -> Locator:
        """Return the field that is labelled so."""
        return self.page.get_by_label(self.say(text, **values), exact=True)

    def choice(self, text: str, **values: object) -> Locator:
        """Return the list to choose from that is labelled so."""
        return self.page.locator("label").filter(has_text=self.say(text, **values)).locator("select")

    def unfolded(self, text: str, **values: object) -> Locator:
        """Return what is folded under a heading; `unfold` opens it."""
        heading = self.page.locator("summary").filter(has_text=self.say(text, **values))
        return self.page.locator("details").filter(has=heading)

    async def sees(self, text: str, **values: object) -> None:
        """Wait until it stands there."""
        await expect(self.page.get_by_text(self.say(text, **values)).first).to_be_visible()

    async def path(self) -> str:
        """Return where they are, without what is behind the path."""
        return re.sub(r"^\w+://[^/]+|[?#].*$", "", self.page.url)

    # -- what they do --------------------------------------------------------------------------------------------

    async def go(self, path: str) -> Response:
        """Open a page of the portal."""
        answer = await self.page.goto(self.site.url + path)
        assert answer is not None
        return answer

    async def fetch(self, path: str, **headers: str) -> APIResponse:
        """Return what is at a path of the portal for them, which need be no page."""
        return await self.context.request.get(self.site.url + path, headers=_ONCE | headers)

    async def press(self, button: Locator) -> None:
        """Press what leads on to another page, and wait for that."""
        async with self.page.expect_navigation():
            await button.click()

    async def unfold(self, text: str, **values: object) -> Locator:
        """Unfold what stands under a heading, and return it."""
        folded = self.unfolded(text, **values)
        await folded.locator("summary").first.click()
        return folded

    async def sign_in(self, login: DemoLogin) -> None:
        """Sign in by the form, wherever they were sent to it from."""
        if await self.path() != "/sign-in":
            await self.go("/sign-in")
        await self.field("access.name").fill(login.name)
        await self.field("access.password").fill(login.password)
        await self.press(self.button("access.sign_in"))

    async def is_sent_away(self) -> None:
        """Wait until the page, which asks by itself, has heard that they are not let on any more, and leads to the way in."""
        self.foresee("401 ", "Failed to load resource: the server responded with a status of 401")
        await self.page.wait_for_url(re.compile(r"/sign-in\?"))

    # -- what their browser says --------------------------------------------------------------------------------

    def foresee(self, *beginnings: str) -> None:
        """Let complaints that begin so be as they should be; the browser may have told of them, or tell later."""
        self._foreseen += beginnings

    def unforeseen(self) -> Sequence[str]:
        """Return what the browser has complained of, and should not have."""
        return [said for said in self.complaints if not said.startswith(self._foreseen)]

    # -- what holds of every page --------------------------------------------------------------------------------

    async def wider_than(self, width: int) -> Sequence[str]:
        """Return what reaches out of a page of this width, so that all of it has to be pushed about."""
        found: Sequence[str] = await self.page.evaluate(_TOO_WIDE, width)
        return found


#: Of a page that is too wide what reaches out of it: boxes, or of a box that does not its text.
_TOO_WIDE: Final = """(width) => {
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
class Door:
    """Lets people in, each with a browser of their own, and hears what the browsers say."""

    site: RunningSite
    browser: Browser
    #: Windows that others have left, with nothing of theirs in them: to open one costs as much as five pages.
    empty: list[Page]
    stack: AsyncExitStack
    guests: list[Guest] = field(default_factory=list)

    async def admit(
        self,
        name: str = "",
        *,
        language: PageLanguage = PageLanguage.MALAY,
        screen: dict[str, int] = WIDE,
        scheme: Literal["light", "dark"] = "light",
        script: bool = True,
    ) -> Guest:
        """Return somebody before a browser; *name*: who has signed in there before."""
        page = self.empty.pop() if self.empty and script else await self._window(script)
        await page.set_viewport_size(screen)  # type: ignore[arg-type]
        await page.emulate_media(color_scheme=scheme)
        guest = Guest(self.site, page.context, page, language)
        self.guests.append(guest)
        listening = _listening(guest)
        for event, hear in listening.items():
            page.context.on(event, hear)  # type: ignore[call-overload]
        self.stack.push_async_callback(self._leave, page, listening, script)
        if language is not PageLanguage.MALAY:
            await page.context.add_cookies([{"name": "bahasa", "value": str(language), "url": self.site.url}])
        if name:
            login = self.site.logins[name]
            form: dict[str, str | float | bool] = {"name": login.name, "password": login.password}
            headers = _ONCE | {"Origin": self.site.url}
            answer = await page.context.request.post(
                f"{self.site.url}/sign-in", form=form, headers=headers, max_redirects=0
            )
            assert answer.status == 303, await answer.text()
        return guest

    async def _window(self, script: bool) -> Page:  # noqa: FBT001 - whether it has one
        context = await self.browser.new_context(java_script_enabled=script, reduced_motion="reduce")
        context.set_default_timeout(PATIENCE)
        return await context.new_page()

    async def _leave(self, page: Page, listening: Mapping[str, Any], script: bool) -> None:  # noqa: FBT001 - as above
        """Clear away what somebody has left, for the next."""
        for event, hear in listening.items():
            page.context.remove_listener(event, hear)
        if not script:
            await page.context.close()
            return
        # What asks for nothing. To leave the portal would be to leave the process that shows it, by its opener policy.
        await page.goto(f"{self.site.url}/static/status.css")
        await page.context.clear_cookies()
        self.empty.append(page)


def _listening(guest: Guest) -> Mapping[str, Callable[[Any], None]]:
    """Return what notes the browser's complaints. That a page was refused a person it says, too, and that is as it should be."""

    def answered(response: Response) -> None:
        is_page = response.request.is_navigation_request()
        if response.status >= 500 or (response.status >= 400 and not is_page):
            guest.complaints.append(f"{response.status} {response.url}")
        elif response.status >= 400:
            guest._refused.add(response.url)

    def failed(request: Request) -> None:
        # A page that is left asks for nothing more.
        if request.failure != "net::ERR_ABORTED":
            guest.complaints.append(f"{request.failure} {request.url}")

    def said(message: ConsoleMessage) -> None:
        # A window that somebody has left is at a style sheet, which names no icon; that there is none is told late.
        if message.location["url"].endswith("/favicon.ico"):
            return
        if message.type in {"error", "warning"} and not (
            message.text.startswith("Failed to load resource") and message.location["url"] in guest._refused
        ):
            guest.complaints.append(f"{message.text} {message.location['url']}")

    def broke(error: WebError) -> None:
        guest.complaints.append(str(error.error))

    return {"response": answered, "requestfailed": failed, "console": said, "weberror": broke}
