"""Letter or fax that announces planned maintenance. Pure.

A maintenance notice belongs to no incident, because no mail has failed. No gateway sends it: a person prints, signs and
sends it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from alerts.documents.body import Body, build_body, channel_list, form_of_address
from alerts.documents.fax import build_fax_data
from alerts.documents.letter import build_letter_data
from alerts.documents.printable import Json
from alerts.documents.sender import file_reference
from alerts.model.notification import Addressee, Facts, IncidentType, IssuingOffice, Language, Plan, Purpose
from alerts.wording.texts import Wording
from alerts.wording.values import Values, for_page, on_one_line


class MaintenanceNoticeKind(StrEnum):
    """Kind of a maintenance notice; also part of the keys of its texts: "letter.maintenance_changed.title"."""

    PLANNED = "maintenance"
    #: The maintenance was postponed.
    CHANGED = "maintenance_changed"
    #: The maintenance is cancelled.
    CANCELLED = "maintenance_cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class MaintenanceNotice:
    """Announcement of one maintenance window to an agency's recipients."""

    kind: MaintenanceNoticeKind
    #: "JCM-P261201-1405": the agency's prefix, "P", and the minute of creation or the next free minute.
    number: str
    starts_at: datetime
    ends_at: datetime
    #: The planned work.
    reason: str
    made_at: datetime
    made_by: str = ""
    #: The notice that this one replaces.
    before: MaintenanceNotice | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MaintenancePage:
    """A maintenance notice to one recipient."""

    notice: MaintenanceNotice
    office: IssuingOffice
    addressee: Addressee
    wording: Wording

    @property
    def at(self) -> datetime:
        """The date of the page."""
        return self.notice.made_at

    def letter_data(self) -> dict[str, Json]:
        """Return the data of `letter.typ`."""
        languages = [Language.MALAY, *([Language.ENGLISH] if self.office.english_attachment else [])]
        bodies = {language: self.body("letter", language) for language in languages}
        reference = file_reference(self.office, self.notice.number)
        return build_letter_data(self._facts(self.notice), reference, bodies, self.addressee, self.wording)

    def fax_data(self) -> dict[str, Json]:
        """Return the data of `fax.typ`."""
        bodies = {language: self.body("fax", language) for language in (Language.MALAY, Language.ENGLISH)}
        reference = file_reference(self.office, self.notice.number)
        return build_fax_data(self._facts(self.notice), reference, bodies, self.addressee, self.wording)

    def body(self, page_kind: str, language: Language) -> Body:
        """Return the body of the page; *page_kind*: "letter" or "fax"."""
        values = self.placeholders(language)
        if page_kind == "letter":
            values["enquiries"] = self.wording.render(language, "letter.enquiries", values)
        values["channels"] = channel_list(language, self.wording, page_kind, values)
        section = f"{page_kind}.{self.notice.kind}"
        if self.notice.kind is not MaintenanceNoticeKind.CANCELLED:
            values["instruction"] = self.wording.render(language, f"{page_kind}.maintenance.instruction", values)
        texts = self.wording.render_all(language, f"{section}.paragraphs", values)
        return build_body(page_kind, section, texts, self.wording, language=language, values=values)

    def placeholders(self, language: Language) -> dict[str, str]:
        """Return the values of the texts' placeholders, except values that are composed of other texts."""
        values = {
            **for_page(self._facts(self.notice), language),
            "you": form_of_address(self.addressee, language),
            "reference": "",
            # The text has a full stop after the reason.
            **on_one_line({"why": self.notice.reason.rstrip(". ")}),
        }
        # The text of a changed or cancelled notice cites times, reference and number of the earlier one.
        if (before := self.notice.before) is not None:
            previous: Values = for_page(self._facts(before), language)
            values |= {f"was_{name}": previous[name] for name in previous if name.startswith(("began_", "ended_"))}
            values["reference"] = file_reference(self.office, before.number)
            values["was_number"] = before.number
        return values

    def _facts(self, notice: MaintenanceNotice) -> Facts:
        """Return the notice as facts of an incident, for the functions that build pages: start and end are the work's.

        With `Purpose.UPDATE` a fax is not marked as urgent.
        """
        return Facts(
            purpose=Purpose.UPDATE,
            plan=Plan.ANNOUNCEMENT,
            type=IncidentType.BOTH,
            office=self.office,
            number=notice.number,
            began_at=notice.starts_at,
            ended_at=notice.ends_at,
            notified_at=notice.made_at,
            first_notified_at=notice.before.made_at if notice.before else None,
        )
