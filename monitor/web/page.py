"""Rendering helpers of pages: texts in Malay and English, Malaysian times, navigation links, and agency cards.

The texts of the status page are in `page.yaml`, the texts of the pages for signed-in users in `texts/`. Pages contain
absolute times, and the browser computes ages from them: a page with ages would change every second, and could not be
cached. Pages show the health of each direction of an agency's mail: internal, outbound (sent by the agency) and
inbound.
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
from alerts.wording import moment as time_wording
from alerts.wording.moment import MALAYSIA
from alerts.wording.source import sections
from monitor.access.principal import Principal
from monitor.access.role import Permission
from monitor.audit import incident_record
from monitor.evaluation.attribution import RunVerdict
from monitor.evaluation.incident_type import TYPE_DIRECTIONS
from monitor.model.health import Health
from monitor.model.route import Direction
from monitor.model.translatable import translate
from monitor.model.window import WindowOccurrence
from monitor.service.errors import OperationRejectedError
from monitor.views.agency_status import AgencyStatus
from monitor.views.overview import ACCEPTED_WITHOUT_ANSWER, AgencyView, IncidentView, RouteView
from monitor.views.site_report import SiteVerdict
from probes.model.check import Verdict

#: Order of the directions on a card.
_DIRECTIONS = (Direction.OUTBOUND, Direction.INBOUND, Direction.INTERNAL)

#: Texts of the pages for signed-in users (`texts/`) by section and key, each in Malay and English.
_SIGNED_IN_TEXTS: Mapping[str, Mapping[str, tuple[str, str]]] = {
    section: texts
    for file in sorted((Path(__file__).parent / "texts").glob("*.yaml"))
    for section, texts in sections(file).items()
}
#: All texts of pages by section and key, each in Malay and English.
PAGE_TEXTS: Mapping[str, Mapping[str, tuple[str, str]]] = {
    **sections(Path(__file__).with_suffix(".yaml")),
    **_SIGNED_IN_TEXTS,
}
#: Malay texts of configuration-check messages, error messages and permissions, by the English text. Both texts may have
#: placeholders.
MALAY_MESSAGES: Mapping[str, str] = {
    **{permission.replace("_", " "): malay for permission, (malay, _) in PAGE_TEXTS["permissions"].items()},
    **{english: malay for malay, english in PAGE_TEXTS["fault"].values()},
}
#: Malay texts by section and key, from the modules that write incident records and letters. The English texts are in
#: page.yaml, in sections such as `english.channels`.
_SHARED_MALAY: Mapping[str, Mapping[str, str]] = {
    "channels": phrase.CHANNELS,
    "purposes": phrase.PURPOSES,
    "states": phrase.STATES,
    "incident_states": phrase.INCIDENT_STATES,
    "outcomes": incident_record.OUTCOMES,
    "phases": incident_record.PHASES,
    "parties": incident_record.PARTIES,
}


class PageLanguage(StrEnum):
    """Languages of pages; Malay is the default. The URL parameter `lang` and the language cookie have these values."""

    MALAY = "ms"
    ENGLISH = "en"


def notification_language(language: PageLanguage) -> Language:
    """Return the corresponding language of notifications."""
    return {PageLanguage.MALAY: Language.MALAY, PageLanguage.ENGLISH: Language.ENGLISH}[language]


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """Summary of an agency, as pages show it.

    A card omits the time of the last run. So two cards of an agency are equal, and the card is not rendered again,
    until something else changes.
    """

    #: Agency code.
    agency: str
    name: str
    status: AgencyStatus
    #: Since when the agency has this status; `None` if unknown.
    since: datetime | None
    #: Health of each probed direction.
    directions: Sequence[tuple[str, Health]]
    #: Current maintenance, and current silence, which suppresses notifications.
    maintenance: WindowOccurrence | None
    silence: Silence | None
    #: Number of the open incident.
    incident: str | None
    #: Problem on which a quorum of sites (enough sites) agrees, and the names of the sites that report a problem now. A
    #: site is an installation of Pantau that probes.
    quorum_type: IncidentType | None
    agreed_by: Sequence[str]
    #: Directions that are down at fewer sites than the quorum, each with the names of the sites that report this. No
    #: names: only this site detects it.
    disputed: Sequence[tuple[Direction, Sequence[str]]]
    #: Outage that a user has declared, even if probes do not detect it, and the name of the user.
    declared: IncidentType | None
    declared_by: str
    #: Incident that a user has closed although probes still detect the outage.
    closed_manually: IncidentView | None
    #: Routes whose last run failed or whose mail is slow; those that affect the status come first.
    problem_routes: Sequence[RouteView]
    #: Kinds of checks that did not pass, each with the verdict of its most severe finding.
    findings: Sequence[tuple[str, Verdict]]


@dataclass(frozen=True, slots=True, kw_only=True)
class NavigationLink:
    """Navigation link for signed-in users."""

    path: str
    #: Text of the link.
    name: str


#: Limit of agencies with a navigation link to their settings. A user who may edit more agencies has no such links, and
#: opens the settings from the agencies' pages.
_MAX_EDITED_AGENCIES: Final = 5


def navigation_links(principal: Principal, language: PageLanguage) -> tuple[NavigationLink, ...]:
    """Return the navigation links of a signed-in user, besides those to the status page and the account.

    Return none for other principals, such as wallboards.
    """
    if principal.user is None:
        return ()

    # *section* and *key* identify the text of the link; *values* fill its placeholders.
    def link(path: str, section: str, key: str, **values: str) -> NavigationLink:
        return NavigationLink(path=path, name=texts_of(section, language)[key].format(**values))

    editable_agencies = sorted(principal.scope(Permission.EDIT_AGENCY).agencies)
    links_by_permission = (
        (Permission.ACKNOWLEDGE, [link("/tasks", "duty", "tasks")]),
        (Permission.READ_PEOPLE, [link("/rotas", "rotas", "heading")]),
        (Permission.POST_LETTERS, [link("/letters", "access", "letters")]),
        (
            Permission.EDIT_AGENCY,
            [link(f"/agencies/{each}/settings", "edit", "title", code=each) for each in editable_agencies]
            if len(editable_agencies) <= _MAX_EDITED_AGENCIES
            else [],
        ),
        (Permission.READ_AUDIT_LOG, [link("/audit", "audit_log", "title")]),
        (Permission.CONFIGURE_SECRETS, [link("/agencies", "agency_list", "title")]),
        (
            Permission.MANAGE_USERS,
            [
                link("/users", "access", "users"),
                link("/tokens", "token", "tokens"),
                link("/wallboards", "wallboards", "title"),
            ],
        ),
    )
    return tuple(each for permission, links in links_by_permission if principal.may(permission) for each in links)


def _displayed_health(agency: AgencyView, direction: Direction) -> Health:
    """Return the displayed health of a direction.

    A direction is down if a quorum of sites agrees that it is. Otherwise its health is what this site detects; if this
    is up, but cannot be observed now, it is unknown.
    """
    if agency.quorum_type is not None and direction in TYPE_DIRECTIONS.get(agency.quorum_type, ()):
        return Health.DOWN
    health = agency.health[direction]
    return Health.UNKNOWN if health is Health.UP and direction in agency.unobserved else health


def _reporting_sites(agency: AgencyView, direction: Direction) -> Sequence[str]:
    """Return the names of the sites that report a direction as down. Reports of slow mail do not count."""
    # By site: the directions that are down; none for a problem that is no outage.
    directions_by_site = {
        each.site: TYPE_DIRECTIONS.get(each.type, ()) for each in agency.sites if each.type is not None
    }
    # A site never reports an outage of internal mail alone, but of outbound mail, of inbound mail, or of both. So any
    # outage also counts as a report about the internal direction.
    return [
        site
        for site, down in directions_by_site.items()
        if direction in down or (down and direction is Direction.INTERNAL)
    ]


def exclusion_reason(route: RouteView) -> str | None:
    """Return why the failed last run of a route does not fully count against the agency.

    The reason is a key of `exclusion_reasons` in page.yaml; `None` if the run counts fully or did not fail.
    """
    if route.failure is None or route.verdict is RunVerdict.FAILED:
        return None
    if route.verdict is None:
        # The verdict is pending, or unknown after a restart. If the route is down, show the run as counted fully.
        return None if route.health is Health.DOWN else "pending"
    # A message that arrived although the server did not reply to its sender counts fully, with the verdict SLOW.
    if route.failure.reason == ACCEPTED_WITHOUT_ANSWER and route.verdict is RunVerdict.SLOW:
        return None
    return str(route.verdict)


def agency_card(agency: AgencyView) -> Card:
    """Return the card of an agency."""
    failed = sorted(
        (each for each in agency.routes if each.failure), key=lambda route: exclusion_reason(route) is not None
    )
    slow = [
        each
        for each in agency.routes
        if not each.failure and each.health is Health.DEGRADED and each.transit_seconds is not None
    ]
    return Card(
        agency=agency.agency,
        name=agency.name,
        status=agency.state,
        since=agency.since,
        directions=[(each, _displayed_health(agency, each)) for each in _DIRECTIONS if each in agency.health],
        maintenance=agency.maintenance,
        silence=agency.silence,
        incident=agency.incident,
        quorum_type=agency.quorum_type,
        agreed_by=[each.site for each in agency.sites if each.says is SiteVerdict.WRONG],
        disputed=[(each, _reporting_sites(agency, each)) for each in agency.disputed],
        declared=agency.declared,
        declared_by=agency.declared_by,
        closed_manually=agency.closed_manually,
        # Drop the time of the last run, which changes with every run.
        problem_routes=[replace(each, last_run_at=None) for each in (*failed, *slow)],
        findings=[(each.kind, each.verdict) for each in agency.checks if each.verdict in {Verdict.WARN, Verdict.FAIL}],
    )


def _format_time(moment: datetime | None, *, pattern: str) -> str:
    """Return the Malaysian local time of *moment*; "" for `None`."""
    return moment.astimezone(MALAYSIA).strftime(pattern) if moment else ""


def _format_local_time(value: object) -> str:
    """Return an ISO 8601 local time in the format of pages: 24/11/2026 14:05. Return any other text unchanged."""
    try:
        return datetime.fromisoformat(str(value)).strftime("%d/%m/%Y %H:%M")
    except ValueError:
        return str(value)


def _month_name(day: date, *, language: Language) -> str:
    """Return the month of *day* in words: November 2026."""
    return time_wording.date(datetime(day.year, day.month, 1, 12, tzinfo=MALAYSIA), language).split(" ", 1)[1]


def _duration_text(minutes: int, *, language: Language) -> str:
    """Return a duration in words; "-" for zero."""
    # `duration_text` needs two times, so choose any start.
    start = datetime(2026, 1, 1, tzinfo=MALAYSIA)
    return time_wording.duration_text(start, start + timedelta(minutes=minutes), language) if minutes else "-"


def _rejection_html(reason: object, *, language: PageLanguage) -> Markup:
    """Return why a command was rejected: the error's text for the page's language, or else its message, translated."""
    if isinstance(reason, OperationRejectedError) and (
        text := reason.malay if language is PageLanguage.MALAY else reason.page_text
    ):
        return escape(text)
    return _check_message_html(str(reason), language=language)


def _check_message_html(text: str, *, language: PageLanguage) -> Markup:
    """Return the message of a configuration check in the page's language; in English if it has no translation."""
    if language is PageLanguage.ENGLISH:
        return escape(text)
    malay = translate(text, MALAY_MESSAGES)
    return Markup('<span lang="en">{}</span>').format(text) if malay is None else escape(malay)


def _remedy_text(text: str, *, language: PageLanguage) -> str:
    """Return the remedy of a problem in the page's language.

    Return a remedy without a Malay text unchanged: it is a value or a command, which the user types as it is.
    """
    malay = translate(text, MALAY_MESSAGES) if language is PageLanguage.MALAY else None
    return text if malay is None else malay


def texts_of(section: str, language: PageLanguage) -> Mapping[str, str]:
    """Return the texts of a section in one language."""
    if section in _SHARED_MALAY:
        english = {key: str(text) for key, text in PAGE_TEXTS[f"english.{section}"].items()}
        return _SHARED_MALAY[section] if language is PageLanguage.MALAY else english
    language_index = list(PageLanguage).index(language)
    return {key: pair[language_index] for key, pair in PAGE_TEXTS[section].items()}


def template_filters(language: PageLanguage) -> dict[str, Callable[..., Any]]:
    """Return the Jinja filters of a language.

    Each section of texts/ is a filter that returns a text and fills its placeholders: `"key" | section(name=value)`.
    The filters "common" and "letter" do the same for texts of page.yaml. Most other filters return the text of an enum
    value. A health or status without a text becomes "unknown", so that it is never shown as up.
    """
    verdicts = texts_of("verdicts", language)
    healths, statuses = texts_of("healths", language), texts_of("agency_statuses", language)
    checks = texts_of("checks", language)

    def fill_text(section: str) -> Callable[..., str]:
        texts_of_section = texts_of(section, language)

        @pass_context
        def fill(_context: object, key: str, **values: object) -> str:
            # Jinja evaluates a filter without the context argument when it compiles the template. All languages share
            # the compiled template, so it must not contain a text of one language.
            return texts_of_section[key].format(**values)

        return fill

    # The text of an enum value; a value without a text is shown as it is.
    def label_of(section: str) -> Callable[[str], str]:
        labels = texts_of(section, language)
        return lambda value: labels.get(value, str(value))

    return {
        **{section: fill_text(section) for section in _SIGNED_IN_TEXTS},
        "common": fill_text("common"),
        "letter": fill_text("letters"),
        # The source of an edit, such as a file or the portal.
        "writer": label_of("writers"),
        "navigation_links": partial(navigation_links, language=language),
        "role": label_of("roles"),
        "permission": label_of("permissions"),
        # For the audit log. The stored name of an event is English, so the English page shows it.
        "event": phrase.event if language is PageLanguage.MALAY else lambda event: event[:1].upper() + event[1:],
        "actor": phrase.actor_name,
        # 24/11 14:05:09, 24/11 14:05, and 24/11/2026 14:05.
        "time_with_seconds": partial(_format_time, pattern="%d/%m %H:%M:%S"),
        "short_time": partial(_format_time, pattern="%d/%m %H:%M"),
        "full_time": partial(_format_time, pattern="%d/%m/%Y %H:%M"),
        "month": partial(_month_name, language=notification_language(language)),
        "duration": partial(_duration_text, language=notification_language(language)),
        "local_time": _format_local_time,
        "health": lambda health: healths.get(health, healths["unknown"]),
        "agency_status": lambda each: statuses.get(each, statuses["unknown"]),
        "verdict": lambda verdict: verdicts.get(verdict or "unseen", verdicts["unknown"]),  # "unseen": not run yet.
        "check": lambda kind: checks.get(kind, kind),
        "incident_type": label_of("incident_types"),
        "direction": label_of("directions"),
        "cause_explanation": label_of("cause_explanations"),
        "cause_remedy": label_of("cause_remedies"),
        "component": label_of("components"),
        "problem": label_of("problems"),  # Of Pantau itself.
        "announcement": label_of("announcements"),  # Of an incident to external recipients.
        "channel": label_of("channels"),
        "rejection": partial(_rejection_html, language=language),
        "bilingual": lambda text: text.malay if language is PageLanguage.MALAY else text.english,
        "fault": partial(_check_message_html, language=language),
        "remedy": partial(_remedy_text, language=language),
        # For the options of a form: the value to submit, and its label.
        "channel_pair": lambda value: (value, label_of("channels")(value)),
        "duty_day_pair": lambda value: (value, label_of("duty_day")(value)),
        "purpose": label_of("purposes"),
        "notification_state": label_of("states"),
        "incident_state": label_of("incident_states"),
        "outcome": label_of("outcomes"),
        "phase": label_of("phases"),
        "party": label_of("parties"),  # The server at which a run failed: the sender's or the recipient's.
        "reason": label_of("reasons"),  # Why a run failed.
        "exclusion_reason": exclusion_reason,
        "exclusion_text": label_of("exclusion_reasons"),
    }
