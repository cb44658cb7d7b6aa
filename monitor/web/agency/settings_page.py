"""Template variables of an agency's settings pages: forms filled from its document, or from input that was not saved.

A document is the YAML configuration of an agency; the database stores its versions. A draft is an edited document
before it is saved. A window is a period of maintenance, or of the hours in which Pantau probes.
"""

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
from alerts.model.oncall import Days, gaps, on_call_periods
from alerts.persistence.clock import Clock
from monitor.config.agency.route import RouteDirection, RouteSettings, default_routes
from monitor.config.files.document import document_from_text
from monitor.config.files.duration import InvalidDurationError, format_duration, parse_duration
from monitor.config.files.edit import NotEditableError, edit_text
from monitor.model.document import DocumentVersion, digest_of
from monitor.service.portal.agency_editor import AgencyDraft, AgencyEditor, DraftResult
from monitor.web.agency.calendar_file import MAX_EVENTS, read_calendar
from monitor.web.agency.difference import diff_lines
from monitor.web.agency.form_parsing import as_mapping, as_sequence
from monitor.web.agency.notification_edits import (
    LETTERHEAD_FIELDS,
    MAX_PEOPLE,
    MAX_ROWS,
    RECIPIENT_FIELDS,
    SIGNATORY_FIELDS,
    field_for_key,
)
from monitor.web.agency.settings_edits import (
    ADDRESS_KINDS,
    CONTACT_NUMBERS,
    OFFERED_PREFIX,
    POSITIONAL_FORMS,
    PROBE_DAYS,
    SELECTED_PREFIX,
    VERIFIED_KEY,
    form_edits,
    maintenance_windows,
    parse_window,
)
from monitor.web.form import Pages

_ONE_DAY: Final = timedelta(days=1)
#: Period that the preview of a rota (an on-call schedule) shows: long enough for a weekly shift of each of four people.
_PREVIEW_PERIOD: Final = timedelta(days=28)
#: Cron expressions that the form for probe hours can show: a time and days of the week.
_SIMPLE_CRON: Final = re.compile(r"(?P<minute>[0-5]?[0-9]) (?P<hour>[01]?[0-9]|2[0-3]) \* \* (?P<days>\S+)", re.ASCII)
#: Maximum number of characters that the page quotes from an invalid line. A document may be one long line.
_MAX_QUOTED_LENGTH: Final = 200
#: Document keys of a route. A route leads from one mailbox to another.
_ROUTE_KEYS: Final = ("direction", "mailbox", "reference", "recipient", "to", "arrives_in")


@dataclass(frozen=True, slots=True, kw_only=True)
class FormInput:
    """Input of one form, which the page shows again if the input was not saved."""

    #: Name of the form; "" if no form was sent.
    name: str = ""
    #: Input by field name.
    fields: Mapping[str, str]

    @property
    def can_be_repeated(self) -> bool:
        """Whether the user may apply the same input to a newer version of the document.

        `False` for the form with the whole text, for forms with row positions (other rows may have these positions in
        the newer version), and for forms that remove an item.
        """
        return self.name not in {"text", *POSITIONAL_FORMS} and not self.name.startswith("drop_")

    def value(self, form: str, name: str, present: object = "") -> str:
        """Return the value that a field of *form* shows: the input, or the *present* value of the document."""
        entered = self.fields.get(name) if form == self.name else None
        return str(present or "") if entered is None else entered

    def is_ticked(self, form: str, name: str, *, present: bool) -> bool:
        """Whether a checkbox of *form* is ticked: in the input, if it is of this form, otherwise in the document.

        *present*: whether it is ticked according to the document. Browsers omit unticked checkboxes from the input.
        """
        return name in self.fields if form == self.name else present


#: Templates of the notification page; other templates belong to the settings page.
_NOTIFICATION_TEMPLATES: Final = frozenset({"notification_settings.html", "rota_preview.html"})
NO_INPUT: Final = FormInput(fields={})


class SettingsPage:
    """Renderer of the pages of an agency's document."""

    def __init__(self, editor: AgencyEditor, clock: Clock, pages: Pages) -> None:
        self._editor = editor
        self._clock = clock
        self._pages = pages

    def default_routes_of(self, code: str, data: Mapping[str, Any]) -> Sequence[RouteSettings]:
        """Return the routes that apply if an agency's document lists none: the default routes of its mailboxes.

        A route leads from one mailbox to another. Return no routes if the document, whose content is *data*, has other
        mailboxes than the active configuration.
        """
        configuration = self._editor.configuration()
        agency = configuration.registry.agencies.get(code)
        if agency is None or list(agency.mailboxes) != list(as_mapping(data.get("mailboxes"))):
            return ()
        return default_routes(agency.mailboxes, configuration.settings.references_in_use)

    async def show(
        self,
        request: Request,
        template: str,
        version: DocumentVersion,
        status: int = 200,
        *,
        form_input: FormInput = NO_INPUT,
        draft: AgencyDraft | None = None,
        result: DraftResult | None = None,
        **context: object,
    ) -> Response:
        """Return a page with the forms of *version*.

        *draft*: the rejected draft. *result*: result of saving the draft. For its problems the page quotes lines of the
        draft, or of *version* if there is no draft.
        """

        def render_forms() -> Response:
            page = self._forms_context(version, form_input, draft, result)
            return self.render(request, template, {**page, **context}, status)

        # Use a thread: a document of half a MiB takes three seconds to parse and one second to render. The probes must
        # not wait that long.
        return await asyncio.to_thread(render_forms)

    def _forms_context(
        self, version: DocumentVersion, form_input: FormInput, draft: AgencyDraft | None, result: DraftResult | None
    ) -> Mapping[str, object]:
        text, settings = version.text or "", self._editor.configuration().settings
        lines = (draft.text if draft else text).splitlines() if result and result.problems else ()
        quoted = {each.line for each in result.problems} if result else ()
        now = self._clock.now().astimezone(self._zone(version.agency))
        return {
            "version": version,
            "code": version.agency,
            "file": self._editor.configured_file(version),
            "text": form_input.value("text", "text", text).replace("\r\n", "\n"),
            "form_input": form_input,
            "result": result,
            # A problem without a line has the line number 0.
            "quoted": {number: lines[number - 1][:_MAX_QUOTED_LENGTH] for number in quoted if 0 < number <= len(lines)},
            "now": f"{now:%Y-%m-%dT%H:%M}",
            "default_interval": format_duration(settings.probing.interval),
            # Reference mailboxes, which are Pantau's own.
            "references": list(settings.references),
            "directions": list(RouteDirection),
            "contact_numbers": CONTACT_NUMBERS,
            "address_kinds": ADDRESS_KINDS,
            "probe_days": PROBE_DAYS,
            "saved": None,
            "is_same": False,
            "file_problem": "",
            "field_problems": _problems_by_field(form_input, result),
            **self._settings_values(version.agency, data := document_from_text(text, version.agency).data),
            **self._notification_values(data),
        }

    def _zone(self, code: str) -> ZoneInfo:
        """Return the time zone of an agency's maintenance windows and probe hours."""
        configuration = self._editor.configuration()
        agency = configuration.registry.agencies.get(code)
        return (agency.time_zone if agency else None) or configuration.settings.time_zone

    def _settings_values(self, code: str, data: Mapping[str, Any]) -> Mapping[str, object]:
        default_routes_data = [each.model_dump() for each in self.default_routes_of(code, data)]
        probing = as_mapping(data.get("probing"))
        return {
            "has_own_routes": "routes" in data,
            "routes": _row_values(data.get("routes", default_routes_data), _ROUTE_KEYS),
            "mailboxes": list(as_mapping(data.get("mailboxes"))),
            "interval": probing.get("interval", ""),
            "windows": [
                {**each, **_simple_window(each)} for each in _row_values(probing.get("active_hours"), ("cron", "for"))
            ],
            "maintenance": _row_values(data.get("maintenance"), ("from", "until", "cron", "for", "reason")),
            "contacts": {
                key: _contact_values(as_mapping(each)) for key, each in as_mapping(data.get("contacts")).items()
            },
        }

    def _notification_values(self, data: Mapping[str, Any]) -> Mapping[str, object]:
        shared = self._editor.configuration().settings.build_shared()
        own_contacts = {
            key: str(as_mapping(each).get("name", key)) for key, each in as_mapping(data.get("contacts")).items()
        }
        announcement = as_mapping(data.get("announcement"))
        escalation = as_mapping(data.get("escalation"))
        signatory = _text_values(as_mapping(data.get("letterhead")).get("signatory"), SIGNATORY_FIELDS)
        return {
            "people": {**{key: person.name for key, person in shared.contacts.items()}, **own_contacts},
            "known_rotas": list(dict.fromkeys((*shared.rotas, *as_mapping(data.get("rotas"))))),
            "rotas": {
                key: {
                    **_text_values(each, ("handover",)),
                    "layers": _row_values(as_mapping(each).get("layers"), ("days", "every", "from", "people")),
                }
                for key, each in as_mapping(data.get("rotas")).items()
            },
            "escalation": {
                **_text_values(
                    escalation, ("rounds", "repeat_after", "repeat_interval", "acknowledgement_timeout", "fallback")
                ),
                "steps": _row_values(escalation.get("steps"), ("after", "contacts", "rotas", "channels", "redial")),
            },
            "announcement": _text_values(announcement, ("release", "release_offered_after", "updates")),
            "recipients": {
                key: _text_values(each, (*RECIPIENT_FIELDS, "channels", "address", "hours", "language"))
                for key, each in as_mapping(announcement.get("recipients")).items()
            },
            "letterhead": {
                **_text_values(data.get("letterhead"), ("address", *LETTERHEAD_FIELDS)),
                **{f"signatory.{name}": text for name, text in signatory.items()},
            },
            "letterhead_fields": (*LETTERHEAD_FIELDS, *(f"signatory.{name}" for name in SIGNATORY_FIELDS)),
            "recipient_fields": RECIPIENT_FIELDS,
            "channels": list(Channel),
            "duty_days": list(Days),
            "max_rows": MAX_ROWS,
            "max_people": MAX_PEOPLE,
        }

    def rota_preview(
        self, version: DocumentVersion, form_input: FormInput, draft: AgencyDraft, preview: DraftResult
    ) -> Mapping[str, object]:
        """Return the template variables for the preview of an unsaved rota: who is on call in the next four weeks."""
        key, now = form_input.fields.get("key", "").strip().lower(), self._clock.now()
        new_configuration = preview.new_configuration
        agency = new_configuration.registry.agencies.get(version.agency) if new_configuration else None
        rota = (
            agency.build_rotas(new_configuration.settings.build_shared()).get(key)
            if new_configuration and agency
            else None
        )
        preview_end = now + _PREVIEW_PERIOD
        # "()": without overrides, which put another person on call for a time.
        periods = on_call_periods(rota, (), now, preview_end) if rota else ()
        return {
            "code": version.agency,
            "key": key,
            "periods": [each for each in periods if each.ends_at > now and each.starts_at < preview_end],
            "gaps": gaps(rota, (), now, _PREVIEW_PERIOD) if rota else (),
            "problems": preview.problems,
            "fields": {name: value for name, value in form_input.fields.items() if value},
            "changes": diff_lines(version.text or "", draft.text),
        }

    def calendar_preview(self, version: DocumentVersion, content: bytes) -> Mapping[str, object]:
        """Return the template variables for the preview of the maintenance windows in a calendar file.

        Raise `InvalidCalendarError`.
        """
        text, zone = version.text or "", self._zone(version.agency)
        data = document_from_text(text, version.agency).data
        calendar, present = read_calendar(content, zone, self._clock.now()), maintenance_windows(data)
        new_windows = [each for each in calendar.windows if each not in present]
        fields = {f"{SELECTED_PREFIX}{number}": json.dumps(each) for number, each in enumerate(new_windows)}
        try:
            after, problem = edit_text(text, form_edits("calendar", fields, data, ())), ""
        except NotEditableError as error:
            after, problem = text, str(error)
        # The first preview offers all new windows, and all are selected.
        offered_fields = {
            f"{OFFERED_PREFIX}{number}": window_json for number, window_json in enumerate(fields.values())
        }
        return {
            **_calendar_context(
                version.agency, version.digest, FormInput(fields={**fields, **offered_fields}), text, after
            ),
            "present_windows": [each for each in calendar.windows if each in present],
            "refused_events": calendar.refused,
            "reason": problem,
        }

    @staticmethod
    def updated_calendar_preview(form_input: FormInput, before: str, draft: AgencyDraft) -> Mapping[str, object]:
        """Return the template variables for the preview after the user has changed the selection of windows.

        Raise `InvalidFieldError`.
        """
        is_update = "again" in form_input.fields
        return {
            **_calendar_context(draft.agency, draft.started_from, form_input, before, draft.text),
            # Whether the user wanted to save, but the selection makes another draft than the page had shown.
            "has_changed": not is_update and "shown" in form_input.fields,
        }

    @staticmethod
    def conflict_context(
        draft: AgencyDraft, form_input: FormInput, newer_version: DocumentVersion, common_text: str | None
    ) -> Mapping[str, object]:
        """Return the template variables of the page for a conflict with the edit that has stored *newer_version*.

        *common_text*: text of the version on which both edits are based; `None` if this version is unknown.
        """
        newer_text = newer_version.text or ""
        return {
            "newer_version": newer_version,
            "text": draft.text,
            "repeatable_fields": form_input.fields if form_input.can_be_repeated else None,
            "code": draft.agency,
            "common_text": common_text,
            "newer_changes": None if common_text is None else diff_lines(common_text, newer_text),
            "own_changes": diff_lines(newer_text if common_text is None else common_text, draft.text),
        }

    @staticmethod
    def address(code: str, template: str) -> str:
        """Return the path of the page to which *template* belongs."""
        return f"/agencies/{code}/{'notifications' if template in _NOTIFICATION_TEMPLATES else 'settings'}"

    def render(self, request: Request, template: str, context: Mapping[str, object], status: int = 200) -> Response:
        """Return a rendered page."""
        if request.method == "POST":
            # The links to the other language need a path that accepts GET; the URL of a form may accept POST only.
            context = {"path": self.address(str(context["code"]), template), **context}
        return self._pages.show(request, template, context, status)


def _problems_by_field(form_input: FormInput, result: DraftResult | None) -> Mapping[str, Sequence[tuple[str, str]]]:
    """Return the errors of a form's fields, each with its remedy, by field name."""
    problems_by_field: dict[str, list[tuple[str, str]]] = {}
    for each in result.errors if result else ():
        if (field := field_for_key(form_input.name, form_input.fields, each.key)) is not None:
            problems_by_field.setdefault(field, []).append((each.message, each.instead))
    return problems_by_field


def _calendar_context(
    code: str, started_from: str, form_input: FormInput, before: str, after: str
) -> Mapping[str, object]:
    """Return the template variables for the windows of a calendar file, their selection, and the resulting changes.

    *before*, *after*: text of the document without and with the selected windows.
    """
    offered_fields = [name for name in form_input.fields if name.startswith(OFFERED_PREFIX)][:MAX_EVENTS]
    selection_fields = [f"{SELECTED_PREFIX}{name.removeprefix(OFFERED_PREFIX)}" for name in offered_fields]
    windows_json = [form_input.fields[name] for name in offered_fields]
    return {
        "code": code,
        "started_from": started_from,
        # The form sends this digest back. Only a draft with the same digest is saved.
        "draft_digest": digest_of(after),
        # Of each offered window: name of its field, name of its checkbox, JSON, content, and whether it is selected.
        "windows": [
            (name, checkbox, each, parse_window(each), checkbox in form_input.fields)
            for name, checkbox, each in zip(offered_fields, selection_fields, windows_json, strict=True)
        ],
        "changes": diff_lines(before, after),
        "present_windows": (),
        "refused_events": (),
        "has_changed": False,
    }


def _text_values(value: Any, keys: Iterable[str]) -> Mapping[str, Any]:
    return {key: as_mapping(value).get(key) or "" for key in keys}


def _row_values(value: Any, keys: Iterable[str]) -> Sequence[Mapping[str, Any]]:
    return [_text_values(each, keys) for each in as_sequence(value)]


def _simple_window(window: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the days, start and end of a window of probe hours; "days" is "" if the form cannot express the window."""
    match = _SIMPLE_CRON.fullmatch(str(window["cron"]))
    try:
        duration = parse_duration(str(window["for"]))
    except InvalidDurationError:
        duration = _ONE_DAY
    if match is None or match["days"] not in PROBE_DAYS or duration >= _ONE_DAY:
        return {"days": ""}
    start = datetime(2026, 1, 1, int(match["hour"]), int(match["minute"]), tzinfo=UTC)
    return {"days": match["days"], "begins": f"{start:%H:%M}", "ends": f"{start + duration:%H:%M}"}


def _contact_values(contact: Mapping[str, Any]) -> Mapping[str, Any]:
    addresses = _row_values(contact["addresses"], (*ADDRESS_KINDS, VERIFIED_KEY)) if "addresses" in contact else None
    return {**_text_values(contact, ("name", "language", *CONTACT_NUMBERS, VERIFIED_KEY)), "addresses": addresses}
