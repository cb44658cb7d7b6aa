"""How the status page says things: words in two languages (`page.yaml`), times in Malaysia, and what is on an agency's card.

Every time is an absolute one. How long ago it is the browser reckons, or the page would be another every second.
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

#: Of each section by what it stands for: the Malay and the English. Those of the signed-in pages are in words/.
_SIGNED_IN: Mapping[str, Mapping[str, tuple[str, str]]] = {
    section: said
    for file in sorted((Path(__file__).parent / "words").glob("*.yaml"))
    for section, said in sections(file).items()
}
WORDS: Mapping[str, Mapping[str, tuple[str, str]]] = {**sections(Path(__file__).with_suffix(".yaml")), **_SIGNED_IN}
#: Of what the checks say, by the English, with what is filled in: the Malay.
FAULTS: Mapping[str, str] = {
    **{permission.replace("_", " "): malay for permission, (malay, _) in WORDS["permissions"].items()},
    **{english: malay for malay, english in WORDS["fault"].values()},
}
#: What a dossier says, too, in Malay.
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
    """The languages of the page, as `lang` and its cookie have them; Malay is the first."""

    MALAY = "ms"
    ENGLISH = "en"


def language_of(language: PageLanguage) -> Language:
    """Return the language in which notices say the same."""
    return {PageLanguage.MALAY: Language.MALAY, PageLanguage.ENGLISH: Language.ENGLISH}[language]


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What the page shows of an agency: not when its routes were last run, which changes with every run."""

    agency: str
    name: str
    standing: AgencyStatus
    since: datetime | None
    #: Direction, and how mail flows in it.
    directions: Sequence[tuple[str, Health]]
    maintenance: WindowOccurrence | None
    silence: Silence | None
    incident: str | None
    #: What is wrong as enough sites say, and which of them say now that something is.
    quorum_type: IncidentType | None
    agreed_by: Sequence[str]
    #: The directions that are down as too few sites say, each with those that do; without any this one measures it.
    disputed: Sequence[tuple[Direction, Sequence[str]]]
    #: What people have declared that no probe may see, and who has.
    declared: IncidentType | None
    declared_by: str
    #: The incident that a person has ended by hand, while the probes see it still.
    closed_manually: IncidentView | None
    #: The routes whose last run failed, or whose mail is slow: those that count first.
    lines: Sequence[RouteView]
    #: The kinds of checks that found something amiss, and what the gravest of it is.
    findings: Sequence[tuple[str, Verdict]]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceLink:
    """A page in the head of all pages of somebody who has signed in."""

    path: str
    name: str


#: Whoever looks after more agencies finds the link to its settings on each agency's own page.
_MOST_EDITED: Final = 5


def places_of(principal: Principal, language: PageLanguage) -> tuple[PlaceLink, ...]:
    """Return where somebody may go who has signed in, besides how mail stands and their account; nobody else goes anywhere."""
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
    """Return how a direction is shown: as enough sites say; what was well when it could last be seen is not known to be."""
    if agency.quorum_type is not None and direction in WAYS.get(agency.quorum_type, ()):
        return Health.DOWN
    health = agency.health[direction]
    return Health.UNKNOWN if health is Health.UP and direction in agency.unobserved else health


def _fails_for(agency: AgencyView, direction: Direction) -> Sequence[str]:
    """Return the sites that say that a direction is down: others may find it slow, or another one down."""
    ways = {each.site: WAYS.get(each.type, ()) for each in agency.sites if each.type is not None}
    # That the internal one fails is told as one of the others, or both.
    return [site for site, down in ways.items() if direction in down or (down and direction is Direction.INTERNAL)]


def tally_of(route: RouteView) -> str | None:
    """Return why a failed run of a route is not held against the agency, or not as such; `None`: it is.

    What is returned is a key of `tallies` in page.yaml.
    """
    if route.failure is None or route.verdict is RunVerdict.FAILED:
        return None
    if route.verdict is None:
        # Of one that is down it hardly matters, and after a restart nobody remembers that it was.
        return None if route.health is Health.DOWN else "pending"
    # One that has come, and whose sender was shown an error, is slow by itself.
    return None if route.failure.reason == TAKEN_UNANSWERED and route.verdict is RunVerdict.SLOW else str(route.verdict)


def card_of(agency: AgencyView) -> Card:
    """Return what the page shows of an agency."""
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
        # When each was run changes with every run, and is not shown.
        lines=[replace(each, last_run_at=None) for each in (*failed, *slow)],
        findings=[(c.kind, c.verdict) for c in agency.checks if c.verdict in {Verdict.WARN, Verdict.FAIL}],
    )


def _shown(moment: datetime | None, *, pattern: str) -> str:
    """Return Malaysian time."""
    return moment.astimezone(MALAYSIA).strftime(pattern) if moment else ""


def _as_read(written: object) -> str:
    """Return a time of a document, which is local, as people read it here: 24/11/2026 14:05. What is none stays as it is."""
    try:
        return datetime.fromisoformat(str(written)).strftime("%d/%m/%Y %H:%M")
    except ValueError:
        return str(written)


def _month(first: date, *, language: Language) -> str:
    """Return what a month is called: November 2026."""
    return in_words.date(datetime(first.year, first.month, 1, 12, tzinfo=MALAYSIA), language).split(" ", 1)[1]


def _lasting(minutes: int, *, language: Language) -> str:
    """Return a time in words; nothing for none."""
    begin = datetime(2026, 1, 1, tzinfo=MALAYSIA)
    return in_words.lasted(begin, begin + timedelta(minutes=minutes), language) if minutes else "-"


def _refused(why: object, *, language: PageLanguage) -> Markup:
    """Return why something was not done: as a page says it where there are words for that, else as the service says it."""
    if isinstance(why, OperationRejectedError) and (
        said := why.malay if language is PageLanguage.MALAY else why.on_page
    ):
        return escape(said)
    return _fault(str(why), language=language)


def _fault(text: str, *, language: PageLanguage) -> Markup:
    """Return what a check says: in Malay where there are words for it, else as it is."""
    if language is PageLanguage.ENGLISH:
        return escape(text)
    malay = in_other_words(text, FAULTS)
    return Markup('<span lang="en">{}</span>').format(text) if malay is None else escape(malay)


def _instead(text: str, *, language: PageLanguage) -> str:
    """Return what a check says to write instead: in Malay, or as it is where it is to be typed just so."""
    malay = in_other_words(text, FAULTS) if language is PageLanguage.MALAY else None
    return text if malay is None else malay


def words(section: str, language: PageLanguage) -> Mapping[str, str]:
    """Return a section's words in one language."""
    if section in _MALAY:
        english = {key: str(text) for key, text in WORDS[f"english.{section}"].items()}
        return _MALAY[section] if language is PageLanguage.MALAY else english
    at = list(PageLanguage).index(language)
    return {key: pair[at] for key, pair in WORDS[section].items()}


def filters_of(language: PageLanguage) -> dict[str, Callable[..., Any]]:
    """Return the filters of a language's templates. What has no word is not known, and never well."""
    verdicts = words("verdicts", language)
    healths, standings = words("healths", language), words("standings", language)
    checks = words("checks", language)

    def saying(section: str) -> Callable[..., str]:
        said = words(section, language)

        @pass_context
        def say(_context: object, key: str, **values: object) -> str:
            # With the context, or it would be compiled into templates that all languages share.
            return said[key].format(**values)

        return say

    def among(section: str) -> Callable[[str], str]:
        known = words(section, language)
        return lambda value: known.get(value, str(value))

    return {
        # Each section of words/ is a filter of its own.
        **{section: saying(section) for section in _SIGNED_IN},
        "say": saying("say"),
        "letter": saying("letters"),
        "writer": among("writers"),
        "places": partial(places_of, language=language),
        "role": among("roles"),
        "permission": among("permissions"),
        # Of the journal: in English it is what it is called there.
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
        # For the choices of a form: what is sent, and what is read.
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
