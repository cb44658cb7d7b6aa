"""Query parameters of the status page: language, filter, and the wallboard layout for screens of the NOC.

The parameters are in the URL, so that links can be shared: "/?q=jcm&state=down&wallboard=1&lang=en".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlencode

from fastapi import Request, Response

from monitor.views.agency_filter import AgencyFilter
from monitor.views.agency_status import AgencyStatus
from monitor.web.page import PageLanguage

#: Cookie for the language (in Malay: "bahasa"), and its lifetime in seconds: a year. It does not identify the user.
_COOKIE, _COOKIE_MAX_AGE = "bahasa", 365 * 24 * 3600
#: Maximum number of characters of a parameter's value; the rest is ignored.
_MAX_VALUE_LENGTH = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class PageQuery:
    """Query of the status page: its language, the agencies that it shows, and its layout."""

    language: PageLanguage = PageLanguage.MALAY
    agency_filter: AgencyFilter = field(default_factory=AgencyFilter)
    #: Whether the page is shown on a wallboard, which is read at a distance of five metres.
    is_wallboard: bool = False
    #: Values of the parameter `state` that are no `AgencyStatus`. The page reports them, and keeps them in its links.
    unknown_states: tuple[str, ...] = ()

    def url(
        self,
        path: str = "/",
        *,
        language: PageLanguage | None = None,
        state: str | None = None,
        wallboard: bool | None = None,
        drop_text_filter: bool = False,
    ) -> str:
        """Return the URL of this page with some changes.

        *language*: default: that of the cookie. *state*: the only agency status to show; "" for all; default: those of
        this page. *wallboard*: whether to use the wallboard layout; default: as on this page. *drop_text_filter*:
        whether to drop the text that the user searches for.
        """
        states = (
            [*sorted(self.agency_filter.statuses), *self.unknown_states] if state is None else [state] if state else []
        )
        wallboard = self.is_wallboard if wallboard is None else wallboard
        text = "" if drop_text_filter else self.agency_filter.text
        parameters = [("q", text)] if text else []
        parameters += [("state", each) for each in states]
        parameters += [("wallboard", "1")] if wallboard else []
        parameters += [("lang", language)] if language else []
        return f"{path}?{urlencode(parameters)}" if parameters else path


def read_query(request: Request) -> PageQuery:
    """Return the query in the URL of a request. The default language is that of the cookie, or else Malay."""
    parameters = request.query_params
    language = parameters.get("lang") or request.cookies.get(_COOKIE, "")
    requested_states = list(dict.fromkeys(each for each in parameters.getlist("state")[: len(AgencyStatus)] if each))
    valid_states = frozenset(AgencyStatus(each) for each in requested_states if each in set(AgencyStatus))
    return PageQuery(
        language=PageLanguage(language) if language in set(PageLanguage) else PageLanguage.MALAY,
        agency_filter=AgencyFilter(
            text=" ".join(parameters.get("q", "")[:_MAX_VALUE_LENGTH].split()), statuses=valid_states
        ),
        is_wallboard="wallboard" in parameters,
        unknown_states=tuple(each[:_MAX_VALUE_LENGTH] for each in requested_states if each not in valid_states),
    )


def other_parameters(request: Request) -> str:
    """Return the query parameters besides the language, ready for `lang=...` to follow: "q=jcm&"."""
    parameters = [
        (name, value[:_MAX_VALUE_LENGTH]) for name, value in request.query_params.multi_items() if name != "lang"
    ]
    return f"{urlencode(parameters)}&" if parameters else ""


def store_language(request: Request, response: Response) -> Response:
    """Store the language in a cookie, if the URL of this request selects one."""
    if (language := request.query_params.get("lang")) in set(PageLanguage):
        response.set_cookie(_COOKIE, str(language), max_age=_COOKIE_MAX_AGE, samesite="lax", httponly=True)
    return response
