"""What a viewer of the status page asks for: a language, some of the agencies, a wall. In the address, so that it can be sent on."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlencode

from fastapi import Request, Response

from monitor.views.agency_filter import AgencyFilter
from monitor.views.agency_status import AgencyStatus
from monitor.web.page import PageLanguage

#: Remembers the language for a year. It says nothing of who somebody is.
_COOKIE, _A_YEAR = "bahasa", 365 * 24 * 3600
#: Nobody looks for more; in characters.
_LONGEST = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class PageQuery:
    """What of the page is wanted, and how."""

    language: PageLanguage = PageLanguage.MALAY
    choice: AgencyFilter = field(default_factory=AgencyFilter)
    #: To be read from five metres.
    is_wallboard: bool = False
    #: States that were asked for, and that there are none of.
    strange: tuple[str, ...] = ()

    def address(self, path: str = "/", *, language: PageLanguage | None = None, **other: str | bool | None) -> str:
        """Return the address of the same, with another state (`""`: all), or without the wall, or in another language."""
        state, wallboard = other.get("state"), other.get("wallboard", self.is_wallboard)
        states = [*sorted(self.choice.standings), *self.strange] if state is None else [str(state)] if state else []
        text = "" if other.get("everything") else self.choice.text
        said = [("q", text)] if text else []
        said += [("state", each) for each in states]
        said += [("wallboard", "1")] if wallboard else []
        said += [("lang", language)] if language else []
        return f"{path}?{urlencode(said)}" if said else path


def asked(request: Request) -> PageQuery:
    """Return what the address and the cookie of a viewer ask for."""
    told = request.query_params
    language = told.get("lang") or request.cookies.get(_COOKIE, "")
    states = list(dict.fromkeys(each for each in told.getlist("state")[: len(AgencyStatus)] if each))
    known = frozenset(AgencyStatus(each) for each in states if each in set(AgencyStatus))
    return PageQuery(
        language=PageLanguage(language) if language in set(PageLanguage) else PageLanguage.MALAY,
        choice=AgencyFilter(text=" ".join(told.get("q", "")[:_LONGEST].split()), standings=known),
        is_wallboard="wallboard" in told,
        strange=tuple(each[:_LONGEST] for each in states if each not in known),
    )


def others_asked(request: Request) -> str:
    """Return what an address asks for besides the language, to stand before that in a link: "q=jcm&"."""
    said = [(name, value[:_LONGEST]) for name, value in request.query_params.multi_items() if name != "lang"]
    return f"{urlencode(said)}&" if said else ""


def remember(request: Request, response: Response) -> Response:
    """Remember the language that was chosen with this request, if one was."""
    if (language := request.query_params.get("lang")) in set(PageLanguage):
        response.set_cookie(_COOKIE, str(language), max_age=_A_YEAR, samesite="lax", httponly=True)
    return response
