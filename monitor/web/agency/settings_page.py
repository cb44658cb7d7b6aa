"""Settings pages of an agency: forms filled from its document or from unsaved input."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from fastapi import Request, Response

from alerts.model.channel import Channel
from alerts.model.oncall import Days, gaps, spells
from alerts.persistence.clock import Clock
from monitor.config.agency.route import RouteDirection, RouteSettings, default_routes
from monitor.config.files.document import document_of
from monitor.config.files.duration import InvalidDurationError, format_duration, parse_duration
from monitor.config.files.edit import NotEditableError, edit_text
from monitor.model.document import DocumentVersion, digest_of
from monitor.service.portal.agency_editor import AgencyDraft, AgencyEditor, DraftResult
from monitor.web.agency.calendar_file import MOST_EVENTS, read_calendar
from monitor.web.agency.difference import differing_lines
from monitor.web.agency.form_parsing import mapping, sequence
from monitor.web.agency.notification_edits import LINES, MOST_PEOPLE, MOST_ROWS, OFFICE, SIGNATORY, field_of
from monitor.web.agency.settings_edits import (
    BY_PLACE,
    DAYS,
    KINDS,
    NUMBERS,
    OF_A_FILE,
    OFFERED,
    VERIFIED,
    edits_of,
    maintenance_in,
    read_window,
)
from monitor.web.form import Pages

_DAY: Final = timedelta(days=1)
#: Four weeks: one cycle of weekly shifts of four people.
_LOOKED_AHEAD: Final = timedelta(days=28)
_SIMPLE_CRON: Final = re.compile(r"(?P<minute>[0-5]?[0-9]) (?P<hour>[01]?[0-9]|2[0-3]) \* \* (?P<days>\S+)", re.ASCII)
#: Characters quoted of an invalid line. A document may be a single line.
_LONGEST_QUOTED: Final = 200
_OF_A_ROUTE: Final = ("direction", "mailbox", "reference", "recipient", "to", "arrives_in")


@dataclass(frozen=True, slots=True, kw_only=True)
class TypedForm:
    """Input of one form, shown again until it is saved."""

    name: str = ""
    fields: Mapping[str, str]

    @property
    def can_be_repeated(self) -> bool:
        """Whether the input means the same in another version.

        Removals by position do not, because positions may differ.
        """
        return self.name not in {"text", *BY_PLACE} and not self.name.startswith("drop_")

    def value(self, form: str, name: str, present: object = "") -> str:
        """Return the value shown in a form's field."""
        found = self.fields.get(name) if form == self.name else None
        return str(present or "") if found is None else found

    def is_ticked(self, form: str, name: str, *, present: bool) -> bool:
        """Whether a form's checkbox is checked; browsers omit unchecked ones."""
        return name in self.fields if form == self.name else present


_OF_NOTIFICATIONS: Final = frozenset({"notification_settings.html", "rota_preview.html"})
NOTHING_TYPED: Final = TypedForm(fields={})


class SettingsPage:
    """Renderer of the pages of an agency's document."""

    def __init__(self, editor: AgencyEditor, clock: Clock, pages: Pages) -> None:
        self._editor = editor
        self._clock = clock
        self._pages = pages

    def usual_routes(self, code: str, data: Mapping[str, Any]) -> Sequence[RouteSettings]:
        """Return the default routes of an agency that lists none, if the active configuration has its mailboxes."""
        configuration = self._editor.configuration()
        agency = configuration.registry.agencies.get(code)
        if agency is None or list(agency.mailboxes) != list(mapping(data.get("mailboxes"))):
            return ()
        return default_routes(agency.mailboxes, configuration.settings.references_in_use)

    async def show(
        self,
        request: Request,
        template: str,
        version: DocumentVersion,
        status: int = 200,
        *,
        typed: TypedForm = NOTHING_TYPED,
        draft: AgencyDraft | None = None,
        answer: DraftResult | None = None,
        **facts: object,
    ) -> Response:
        """Return a page of forms. *draft*: the rejected text to which *answer* belongs."""

        def shown() -> Response:
            page = self._page(version, typed, draft, answer)
            return self.render(request, template, {**page, **facts}, status)

        # Half a MiB takes three seconds to parse and one to render, which would block the probes.
        return await asyncio.to_thread(shown)

    def _page(
        self, version: DocumentVersion, typed: TypedForm, draft: AgencyDraft | None, answer: DraftResult | None
    ) -> Mapping[str, object]:
        text, general = version.text or "", self._editor.configuration().settings
        lines = (draft.text if draft else text).splitlines() if answer and answer.problems else ()
        quoted = {each.line for each in answer.problems} if answer else ()
        now = self._clock.now().astimezone(self._zone(version.agency))
        return {
            "version": version,
            "code": version.agency,
            "file": self._editor.file_of(version),
            "text": typed.value("text", "text", text).replace("\r\n", "\n"),
            "typed": typed,
            "answer": answer,
            "quoted": {number: lines[number - 1][:_LONGEST_QUOTED] for number in quoted if 0 < number <= len(lines)},
            "now": f"{now:%Y-%m-%dT%H:%M}",
            "usual_interval": format_duration(general.probing.interval),
            "references": list(general.references),
            "directions": list(RouteDirection),
            "numbers": NUMBERS,
            "kinds": KINDS,
            "days": DAYS,
            "saved": None,
            "is_same": False,
            "wrong": "",
            "at_fields": _at_fields(typed, answer),
            **self._values(version.agency, data := document_of(text, version.agency).data),
            **self._telling(data),
        }

    def _zone(self, code: str) -> ZoneInfo:
        """Return the time zone of an agency's windows."""
        configuration = self._editor.configuration()
        agency = configuration.registry.agencies.get(code)
        return (agency.time_zone if agency else None) or configuration.settings.time_zone

    def _values(self, code: str, data: Mapping[str, Any]) -> Mapping[str, object]:
        usual = [each.model_dump() for each in self.usual_routes(code, data)]
        probing = mapping(data.get("probing"))
        return {
            "lists_routes": "routes" in data,
            "routes": _rows(data.get("routes", usual), _OF_A_ROUTE),
            "mailboxes": list(mapping(data.get("mailboxes"))),
            "interval": probing.get("interval", ""),
            "windows": [{**each, **_in_words(each)} for each in _rows(probing.get("active_hours"), ("cron", "for"))],
            "maintenance": _rows(data.get("maintenance"), ("from", "until", "cron", "for", "reason")),
            "contacts": {key: _contact(mapping(each)) for key, each in mapping(data.get("contacts")).items()},
        }

    def _telling(self, data: Mapping[str, Any]) -> Mapping[str, object]:
        shared = self._editor.configuration().settings.shared()
        own = {key: str(mapping(each).get("name", key)) for key, each in mapping(data.get("contacts")).items()}
        announced = mapping(data.get("announcement"))
        escalation = mapping(data.get("escalation"))
        signatory = _row(mapping(data.get("letterhead")).get("signatory"), SIGNATORY)
        return {
            "people": {**{key: person.name for key, person in shared.people.items()}, **own},
            "known_rotas": list(dict.fromkeys((*shared.rotas, *mapping(data.get("rotas"))))),
            "rotas": {
                key: {
                    **_row(each, ("handover",)),
                    "layers": _rows(mapping(each).get("layers"), ("days", "every", "from", "people")),
                }
                for key, each in mapping(data.get("rotas")).items()
            },
            "escalation": {
                **_row(
                    escalation, ("rounds", "repeat_after", "repeat_interval", "acknowledgement_timeout", "fallback")
                ),
                "steps": _rows(escalation.get("steps"), ("after", "contacts", "rotas", "channels", "redial")),
            },
            "announcement": _row(announced, ("release", "release_offered_after", "updates")),
            "recipients": {
                key: _row(each, (*LINES, "channels", "address", "hours", "language"))
                for key, each in mapping(announced.get("recipients")).items()
            },
            "letterhead": {
                **_row(data.get("letterhead"), ("address", *OFFICE)),
                **{f"signatory.{name}": text for name, text in signatory.items()},
            },
            "office_lines": (*OFFICE, *(f"signatory.{name}" for name in SIGNATORY)),
            "lines": LINES,
            "channels": list(Channel),
            "duty_days": list(Days),
            "most_rows": MOST_ROWS,
            "most_people": MOST_PEOPLE,
        }

    def rota_look(
        self, version: DocumentVersion, typed: TypedForm, draft: AgencyDraft, look: DraftResult
    ) -> Mapping[str, object]:
        """Return a preview of a rota for the next four weeks, before it is saved."""
        key, now = typed.fields.get("key", "").strip().lower(), self._clock.now()
        would_be = look.would_be
        agency = would_be.registry.agencies.get(version.agency) if would_be else None
        rota = agency.build_rotas(would_be.settings.shared()).get(key) if would_be and agency else None
        until = now + _LOOKED_AHEAD
        planned = spells(rota, (), now, until) if rota else ()
        return {
            "code": version.agency,
            "key": key,
            "spells": [each for each in planned if each.ends_at > now and each.starts_at < until],
            "gaps": gaps(rota, (), now, _LOOKED_AHEAD) if rota else (),
            "problems": look.problems,
            "fields": {name: value for name, value in typed.fields.items() if value},
            "changes": differing_lines(version.text or "", draft.text),
        }

    def calendar(self, version: DocumentVersion, octets: bytes) -> Mapping[str, object]:
        """Return the preview of a calendar file before it is saved. Raise `InvalidCalendarError`."""
        text, zone = version.text or "", self._zone(version.agency)
        data = document_of(text, version.agency).data
        found, there = read_calendar(octets, zone, self._clock.now()), maintenance_in(data)
        new = [each for each in found.windows if each not in there]
        fields = {f"{OF_A_FILE}{number}": json.dumps(each) for number, each in enumerate(new)}
        try:
            after, why = edit_text(text, edits_of("calendar", fields, data, ())), ""
        except NotEditableError as wrong:
            after, why = text, str(wrong)
        offered = {f"{OFFERED}{number}": written for number, written in enumerate(fields.values())}
        return {
            **_offer(version.agency, version.digest, TypedForm(fields={**fields, **offered}), text, after),
            "present": [each for each in found.windows if each in there],
            "refused": found.refused,
            "why": why,
        }

    @staticmethod
    def calendar_again(typed: TypedForm, before: str, draft: AgencyDraft) -> Mapping[str, object]:
        """Return the preview of a calendar file after the selection has changed. Raise `InvalidFieldError`."""
        is_asked_for = "again" in typed.fields
        return {
            **_offer(draft.agency, draft.started_from, typed, before, draft.text),
            "is_other": not is_asked_for and "shown" in typed.fields,
        }

    @staticmethod
    def clash(
        draft: AgencyDraft, typed: TypedForm, theirs: DocumentVersion, common: str | None
    ) -> Mapping[str, object]:
        """Return the conflict page after a concurrent edit has stored *theirs*."""
        their_text = theirs.text or ""
        return {
            "theirs": theirs,
            "text": draft.text,
            "again": typed.fields if typed.can_be_repeated else None,
            "code": draft.agency,
            "common": common,
            "their_changes": None if common is None else differing_lines(common, their_text),
            "our_changes": differing_lines(their_text if common is None else common, draft.text),
        }

    @staticmethod
    def address(code: str, template: str) -> str:
        """Return the path of the page that has *template*."""
        return f"/agencies/{code}/{'notifications' if template in _OF_NOTIFICATIONS else 'settings'}"

    def render(self, request: Request, template: str, facts: Mapping[str, object], status: int = 200) -> Response:
        """Return a rendered page."""
        if request.method == "POST":
            # Not the path of a form, which has no page to show in another language.
            facts = {"path": self.address(str(facts["code"]), template), **facts}
        return self._pages.show(request, template, facts, status)


def _at_fields(typed: TypedForm, answer: DraftResult | None) -> Mapping[str, Sequence[tuple[str, str]]]:
    """Return the problems and remedies of a form's fields, by field name."""
    found: dict[str, list[tuple[str, str]]] = {}
    for each in answer.errors if answer else ():
        if (field := field_of(typed.name, typed.fields, each.key)) is not None:
            found.setdefault(field, []).append((each.message, each.instead))
    return found


def _offer(code: str, started_from: str, typed: TypedForm, before: str, after: str) -> Mapping[str, object]:
    """Return the events of a calendar file with the selection and the resulting difference."""
    offered = [name for name in typed.fields if name.startswith(OFFERED)][:MOST_EVENTS]
    ticks = [f"{OF_A_FILE}{name.removeprefix(OFFERED)}" for name in offered]
    written = [typed.fields[name] for name in offered]
    return {
        "code": code,
        "started_from": started_from,
        # Exactly this version is saved.
        "shown": digest_of(after),
        "windows": [
            (name, tick, each, read_window(each), tick in typed.fields)
            for name, tick, each in zip(offered, ticks, written, strict=True)
        ],
        "changes": differing_lines(before, after),
        "present": (),
        "refused": (),
        "is_other": False,
    }


def _row(value: Any, keys: Iterable[str]) -> Mapping[str, Any]:
    return {key: mapping(value).get(key) or "" for key in keys}


def _rows(value: Any, keys: Iterable[str]) -> Sequence[Mapping[str, Any]]:
    return [_row(each, keys) for each in sequence(value)]


def _in_words(window: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the days, start and end of a probe window if our form could have written it."""
    found = _SIMPLE_CRON.fullmatch(str(window["cron"]))
    try:
        lasts = parse_duration(str(window["for"]))
    except InvalidDurationError:
        lasts = _DAY
    if found is None or found["days"] not in DAYS or lasts >= _DAY:
        return {"days": ""}
    begins = datetime(2026, 1, 1, int(found["hour"]), int(found["minute"]), tzinfo=UTC)
    return {"days": found["days"], "begins": f"{begins:%H:%M}", "ends": f"{begins + lasts:%H:%M}"}


def _contact(contact: Mapping[str, Any]) -> Mapping[str, Any]:
    addresses = _rows(contact["addresses"], (*KINDS, VERIFIED)) if "addresses" in contact else None
    return {**_row(contact, ("name", "language", *NUMBERS, VERIFIED)), "addresses": addresses}
