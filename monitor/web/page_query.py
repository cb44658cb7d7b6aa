"""Query parameters of the status page: language, filter, wallboard form.

They are in the URL, so that links can be shared.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlencode

from fastapi import Request, Response

from monitor.views.agency_filter import AgencyFilter
from monitor.views.agency_status import AgencyStatus
from monitor.web.page import PageLanguage

#: Cookie for the language, kept for a year. It does not identify the user.
_COOKIE, _A_YEAR = "bahasa", 365 * 24 * 3600
#: Characters of a filter; a longer one is not useful.
_LONGEST = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class PageQuery:
    """Selected part and form of the page."""

    language: PageLanguage = PageLanguage.MALAY
    choice: AgencyFilter = field(default_factory=AgencyFilter)
    #: For reading at a distance of five metres.
    is_wallboard: bool = False
    #: Requested states that do not exist.
    strange: tuple[str, ...] = ()

    def address(self, path: str = "/", *, language: PageLanguage | None = None, **other: str | bool | None) -> str:
        """Return the URL of this page with another state (`""`: all) or language, or without the wallboard form."""
        state, wallboard = other.get("state"), other.get("wallboard", self.is_wallboard)
        states = [*sorted(self.choice.standings), *self.strange] if state is None else [str(state)] if state else []
        text = "" if other.get("everything") else self.choice.text
        said = [("q", text)] if text else []
        said += [("state", each) for each in states]
        said += [("wallboard", "1")] if wallboard else []
        said += [("lang", language)] if language else []
        return f"{path}?{urlencode(said)}" if said else path


def asked(request: Request) -> PageQuery:
    """Return the query of a request, from its URL and its cookie."""
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
    """Return the other query parameters of a URL, to precede the language in a link: "q=jcm&"."""
    said = [(name, value[:_LONGEST]) for name, value in request.query_params.multi_items() if name != "lang"]
    return f"{urlencode(said)}&" if said else ""


def remember(request: Request, response: Response) -> Response:
    """Store the language selected in this request, if any."""
    if (language := request.query_params.get("lang")) in set(PageLanguage):
        response.set_cookie(_COOKIE, str(language), max_age=_A_YEAR, samesite="lax", httponly=True)
    return response
