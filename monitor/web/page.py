"""Rendering helpers of pages: texts in two languages (`page.yaml`), times in Malaysia, and the cards of agencies.

All times are absolute. The browser computes ages, because otherwise the page would change every second.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any, Final

from jinja2 import pass_context
from markupsafe import Markup, escape

from alerts.decide.silence import Silence
from alerts.documents import phrase
from alerts.model.notification import IncidentType, Language
from alerts.wording import moment as in_words
from alerts.wording.moment import MALAYSIA
from alerts.wording.source import sections
from monitor.access.principal import Principal
from monitor.access.role import Permission
from monitor.audit import dossier
from monitor.evaluation.attribution import RunVerdict
from monitor.evaluation.incident_type import WAYS
from monitor.model.health import Health
from monitor.model.lazy_text import in_other_words
from monitor.model.route import Direction
from monitor.model.window import WindowOccurrence
from monitor.service.errors import OperationRejectedError
from monitor.views.agency_status import AgencyStatus
from monitor.views.overview import TAKEN_UNANSWERED, AgencyView, IncidentView, RouteView
from monitor.views.site_report import SiteVerdict
from probes.model.check import Verdict

_DIRECTIONS = (Direction.OUTBOUND, Direction.INBOUND, Direction.INTERNAL)

#: Malay and English texts by section and key. Those of the signed-in pages are in texts/.
_SIGNED_IN: Mapping[str, Mapping[str, tuple[str, str]]] = {
    section: said
    for file in sorted((Path(__file__).parent / "texts").glob("*.yaml"))
    for section, said in sections(file).items()
}
WORDS: Mapping[str, Mapping[str, tuple[str, str]]] = {**sections(Path(__file__).with_suffix(".yaml")), **_SIGNED_IN}
#: Malay texts of the checks' messages, by their English text with placeholders.
FAULTS: Mapping[str, str] = {
    **{permission.replace("_", " "): malay for permission, (malay, _) in WORDS["permissions"].items()},
    **{english: malay for malay, english in WORDS["fault"].values()},
}
#: Malay texts that incident records use as well.
_MALAY: Mapping[str, Mapping[str, str]] = {
    "channels": phrase.CHANNELS,
    "purposes": phrase.PURPOSES,
    "states": phrase.STATES,
    "incident_states": phrase.INCIDENT_STATES,
    "outcomes": dossier.OUTCOMES,
    "phases": dossier.PHASES,
    "parties": dossier.PARTIES,
}


class PageLanguage(StrEnum):
    """Languages of pages, with the values of `lang` and its cookie; Malay is the default."""

    MALAY = "ms"
    ENGLISH = "en"


def language_of(language: PageLanguage) -> Language:
    """Return the corresponding language of notifications."""
    return {PageLanguage.MALAY: Language.MALAY, PageLanguage.ENGLISH: Language.ENGLISH}[language]


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What a page shows of an agency. The time of the last run is omitted, because it changes with every run."""

    agency: str
    name: str
    standing: AgencyStatus
    since: datetime | None
    #: Each direction with its health.
    directions: Sequence[tuple[str, Health]]
    maintenance: WindowOccurrence | None
    silence: Silence | None
    incident: str | None
    #: The outage on which a quorum of sites agrees, and the sites that report it now.
    quorum_type: IncidentType | None
    agreed_by: Sequence[str]
    #: Directions that are down according to fewer sites than the quorum, each with these sites. If none are named, this
    #: site alone detects it.
    disputed: Sequence[tuple[Direction, Sequence[str]]]
    #: The outage declared by users, which probes may not detect, and its author.
    declared: IncidentType | None
    declared_by: str
    #: The incident that a user has closed while probes still detect it.
    closed_manually: IncidentView | None
    #: Routes whose last run failed or whose mail is slow; those that affect the status come first.
    lines: Sequence[RouteView]
    #: Kinds of checks with findings, each with its most severe verdict.
    findings: Sequence[tuple[str, Verdict]]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceLink:
    """Navigation link for signed-in users."""

    path: str
    name: str


#: Limit of agencies with links to their settings. With more, the links are on the agencies' own pages.
_MOST_EDITED: Final = 5


def places_of(principal: Principal, language: PageLanguage) -> tuple[PlaceLink, ...]:
    """Return the navigation links of a principal, besides the status page and the account; empty if not signed in."""
    if principal.user is None:
        return ()

    def link(path: str, section: str, key: str, **values: str) -> PlaceLink:
        return PlaceLink(path=path, name=words(section, language)[key].format(**values))

    edited = sorted(principal.scope(Permission.EDIT_AGENCY).agencies)
    wanted = (
        (Permission.ACKNOWLEDGE, [link("/tasks", "duty", "tasks")]),
        (Permission.READ_PEOPLE, [link("/rotas", "rotas", "heading")]),
        (Permission.POST_LETTERS, [link("/letters", "access", "letters")]),
        (
            Permission.EDIT_AGENCY,
            [link(f"/agencies/{each}/settings", "edit", "title", code=each) for each in edited]
            if len(edited) <= _MOST_EDITED
            else [],
        ),
        (Permission.READ_AUDIT_LOG, [link("/audit", "journal", "title")]),
        (Permission.CONFIGURE_SECRETS, [link("/agencies", "roll", "title")]),
        (
            Permission.MANAGE_USERS,
            [
                link("/users", "access", "users"),
                link("/tokens", "token", "tokens"),
                link("/wallboards", "wall", "title"),
            ],
        ),
    )
    return tuple(each for permission, links in wanted if principal.may(permission) for each in links)


def _seen(agency: AgencyView, direction: Direction) -> Health:
    """Return the displayed health of a direction, as agreed by the quorum.

    If the last known state is up but outdated, it is unknown.
    """
    if agency.quorum_type is not None and direction in WAYS.get(agency.quorum_type, ()):
        return Health.DOWN
    health = agency.health[direction]
    return Health.UNKNOWN if health is Health.UP and direction in agency.unobserved else health


def _fails_for(agency: AgencyView, direction: Direction) -> Sequence[str]:
    """Return the sites that report a direction as down. Others may report it as slow, or another direction as down."""
    ways = {each.site: WAYS.get(each.type, ()) for each in agency.sites if each.type is not None}
    # An outage of the internal direction is reported as one of the others, or both.
    return [site for site, down in ways.items() if direction in down or (down and direction is Direction.INTERNAL)]


def tally_of(route: RouteView) -> str | None:
    """Return why a failed run of a route does not count against the agency, or only partly; `None`: it counts.

    The result is a key of `tallies` in page.yaml.
    """
    if route.failure is None or route.verdict is RunVerdict.FAILED:
        return None
    if route.verdict is None:
        # For a route that is down it is irrelevant, and the information is lost at a restart.
        return None if route.health is Health.DOWN else "pending"
    # A message that was delivered although the sender received an error counts as slow.
    return None if route.failure.reason == TAKEN_UNANSWERED and route.verdict is RunVerdict.SLOW else str(route.verdict)


def card_of(agency: AgencyView) -> Card:
    """Return the card of an agency."""
    failed = sorted((r for r in agency.routes if r.failure), key=lambda route: tally_of(route) is not None)
    slow = [r for r in agency.routes if not r.failure and r.health is Health.DEGRADED and r.transit_seconds is not None]
    return Card(
        agency=agency.agency,
        name=agency.name,
        standing=agency.state,
        since=agency.since,
        directions=[(each, _seen(agency, each)) for each in _DIRECTIONS if each in agency.health],
        maintenance=agency.maintenance,
        silence=agency.silence,
        incident=agency.incident,
        quorum_type=agency.quorum_type,
        agreed_by=[each.site for each in agency.sites if each.says is SiteVerdict.WRONG],
        disputed=[(each, _fails_for(agency, each)) for each in agency.disputed],
        declared=agency.declared,
        declared_by=agency.declared_by,
        closed_manually=agency.closed_manually,
        # The time of the last run changes with every run, and is not shown.
        lines=[replace(each, last_run_at=None) for each in (*failed, *slow)],
        findings=[(c.kind, c.verdict) for c in agency.checks if c.verdict in {Verdict.WARN, Verdict.FAIL}],
    )


def _shown(moment: datetime | None, *, pattern: str) -> str:
    """Return Malaysian time."""
    return moment.astimezone(MALAYSIA).strftime(pattern) if moment else ""


def _as_read(written: object) -> str:
    """Return a local time of a document in the format of pages: 24/11/2026 14:05. Text that is no time is unchanged."""
    try:
        return datetime.fromisoformat(str(written)).strftime("%d/%m/%Y %H:%M")
    except ValueError:
        return str(written)


def _month(first: date, *, language: Language) -> str:
    """Return the name of a month: November 2026."""
    return in_words.date(datetime(first.year, first.month, 1, 12, tzinfo=MALAYSIA), language).split(" ", 1)[1]


def _lasting(minutes: int, *, language: Language) -> str:
    """Return a duration in words; empty for zero."""
    begin = datetime(2026, 1, 1, tzinfo=MALAYSIA)
    return in_words.lasted(begin, begin + timedelta(minutes=minutes), language) if minutes else "-"


def _refused(why: object, *, language: PageLanguage) -> Markup:
    """Return why a command was rejected: in the page's language if a text exists, otherwise in the service's words."""
    if isinstance(why, OperationRejectedError) and (
        said := why.malay if language is PageLanguage.MALAY else why.on_page
    ):
        return escape(said)
    return _fault(str(why), language=language)


def _fault(text: str, *, language: PageLanguage) -> Markup:
    """Return the message of a check: in Malay if a text exists, otherwise unchanged."""
    if language is PageLanguage.ENGLISH:
        return escape(text)
    malay = in_other_words(text, FAULTS)
    return Markup('<span lang="en">{}</span>').format(text) if malay is None else escape(malay)


def _instead(text: str, *, language: PageLanguage) -> str:
    """Return the remedy of a check: in Malay, or unchanged if it must be entered literally."""
    malay = in_other_words(text, FAULTS) if language is PageLanguage.MALAY else None
    return text if malay is None else malay


def words(section: str, language: PageLanguage) -> Mapping[str, str]:
    """Return the texts of a section in one language."""
    if section in _MALAY:
        english = {key: str(text) for key, text in WORDS[f"english.{section}"].items()}
        return _MALAY[section] if language is PageLanguage.MALAY else english
    at = list(PageLanguage).index(language)
    return {key: pair[at] for key, pair in WORDS[section].items()}


def filters_of(language: PageLanguage) -> dict[str, Callable[..., Any]]:
    """Return the template filters of a language. A value without a text is shown as unknown, and never as up."""
    verdicts = words("verdicts", language)
    healths, standings = words("healths", language), words("standings", language)
    checks = words("checks", language)

    def saying(section: str) -> Callable[..., str]:
        said = words(section, language)

        @pass_context
        def say(_context: object, key: str, **values: object) -> str:
            # The context argument prevents constant folding: compiled templates are shared by all languages.
            return said[key].format(**values)

        return say

    def among(section: str) -> Callable[[str], str]:
        known = words(section, language)
        return lambda value: known.get(value, str(value))

    return {
        # Each section of texts/ is a filter.
        **{section: saying(section) for section in _SIGNED_IN},
        "say": saying("say"),
        "letter": saying("letters"),
        "writer": among("writers"),
        "places": partial(places_of, language=language),
        "role": among("roles"),
        "permission": among("permissions"),
        # For the audit log: in English the event's own name is shown.
        "event": phrase.event if language is PageLanguage.MALAY else lambda event: event[:1].upper() + event[1:],
        "person": phrase.person,
        # 24/11 14:05:09, 24/11 14:05, and 24/11/2026 14:05.
        "clock": partial(_shown, pattern="%d/%m %H:%M:%S"),
        "short": partial(_shown, pattern="%d/%m %H:%M"),
        "minute": partial(_shown, pattern="%d/%m/%Y %H:%M"),
        "month": partial(_month, language=language_of(language)),
        "lasting": partial(_lasting, language=language_of(language)),
        "as_read": _as_read,
        "health": lambda health: healths.get(health, healths["unknown"]),
        "standing": lambda each: standings.get(each, standings["unknown"]),
        "verdict": lambda verdict: verdicts.get(verdict or "unseen", verdicts["unknown"]),
        "check": lambda kind: checks.get(kind, kind),
        "matter": among("matters"),
        "direction": among("directions"),
        "cause_says": among("cause_says"),
        "cause_do": among("cause_do"),
        "component": among("components"),
        "problem": among("problems"),
        "announcement": among("announcements"),
        "channel": among("channels"),
        # For the options of a form: the submitted value, and its label.
        "refused": partial(_refused, language=language),
        "bilingual": lambda said: said.malay if language is PageLanguage.MALAY else said.english,
        "fault": partial(_fault, language=language),
        "instead": partial(_instead, language=language),
        "channel_pair": lambda value: (value, among("channels")(value)),
        "duty_day_pair": lambda value: (value, among("duty_day")(value)),
        "purpose": among("purposes"),
        "notice_state": among("states"),
        "incident_state": among("incident_states"),
        "outcome": among("outcomes"),
        "phase": among("phases"),
        "party": among("parties"),
        "reason": among("reasons"),
        "tally": tally_of,
        "tally_words": among("tallies"),
    }
