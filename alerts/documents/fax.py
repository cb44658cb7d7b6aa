"""Data of a fax for its template `fax.typ`: cover and text on one page, Malay first, English below. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from alerts.documents.body import Body, drill_stamps, notification_body, typst_language
from alerts.documents.printable import Json
from alerts.documents.sender import letterhead, non_empty, reference, signature
from alerts.model.notification import Addressee, Facts, IssuingOffice, Language, Plan, Purpose
from alerts.wording import moment
from alerts.wording.texts import Wording

MALAY, ENGLISH = Language.MALAY, Language.ENGLISH


def fax_data(facts: Facts, addressee: Addressee, wording: Wording) -> dict[str, Json]:
    """Return the data of `fax.typ`; *facts*: what the fax reports."""
    bodies = {language: notification_body("fax", facts, addressee, language, wording) for language in (MALAY, ENGLISH)}
    return build_fax_data(facts, reference(facts), bodies, addressee, wording)


def build_fax_data(
    facts: Facts, reference: str, bodies: Mapping[Language, Body], addressee: Addressee, wording: Wording
) -> dict[str, Json]:
    """Return the data of `fax.typ` for *bodies*, the Malay and the English one.

    *reference*: the sender's reference of the fax: "JCM.100-1/9/1 (JCM-07/2)".
    """
    office = facts.office
    return {
        "lang": typst_language(MALAY),
        "title": bodies[MALAY].title,
        "author": office.name,
        "marks": drill_stamps(facts, wording),
        "head": letterhead(office, wording, MALAY),
        "heading": bilingual_label(wording, "heading"),
        "fields": _fields(facts, reference, addressee, wording),
        "remarks": _remarks(facts, wording),
        "boxes": _boxes(facts, wording),
        "bodies": [_body(body, wording, language) for language, body in bodies.items()],
        "signature": signature(office, wording),
        "unclear": [text for language in (MALAY, ENGLISH) if (text := _illegible_page_note(office, wording, language))],
        # The reader signs it and faxes the page back.
        "receipt": {
            "title": f"{bilingual_label(wording, 'receipt')} ({bilingual_label(wording, 'receipt_request')}):",
            "blanks": [bilingual_label(wording, label) for label in ("name", "post", "date")],
        },
    }


def bilingual_label(wording: Wording, label: str, labels: str = "fax.label") -> str:
    """Return a label in both languages: "KEPADA / TO", or once if they are equal."""
    malay, english = (wording.render(language, f"{labels}.{label}") for language in (MALAY, ENGLISH))
    return malay if malay == english else f"{malay} / {english}"


def labelled_fields(wording: Wording, *fields: tuple[str, str]) -> list[Json]:
    """Return the non-empty fields with their labels. Empty ones are left out, because nobody completes a sent fax."""
    return [{"label": bilingual_label(wording, label), "value": value} for label, value in fields if value.strip()]


def _fields(facts: Facts, reference: str, addressee: Addressee, wording: Wording) -> list[Json]:
    """Return the rows of the cover."""
    office = facts.office
    rows = (
        (("to", _comma_separated(addressee.title, addressee.organisation)),),
        (("attention", addressee.attention),),
        (("to_fax", addressee.fax),),
        (("from", _comma_separated(office.division, office.name)),),
        (("telephone", office.telephone), ("fax", office.fax)),
        (("reference", reference),),
        (("notice", facts.number),),
    )
    return _rows(rows, wording)


def _remarks(facts: Facts, wording: Wording) -> list[Json]:
    """Return the rows whose labels are too long for a column."""
    sent = f"{moment.date(facts.notified_at, MALAY)}, {moment.clock(facts.notified_at, MALAY)}"
    rows = ((("moment", sent),), (("pages", "1"),), (("classification", bilingual_label(wording, "open")),))
    return _rows(rows, wording)


def _rows(rows: tuple[tuple[tuple[str, str], ...], ...], wording: Wording) -> list[Json]:
    return [fields for row in rows if (fields := labelled_fields(wording, *row))]


def _boxes(facts: Facts, wording: Wording) -> list[Json]:
    """Return the tick boxes of the cover: urgent, for action, for information."""
    # An update is urgent if it reports a change of type.
    is_urgent = facts.purpose in {Purpose.OUTAGE, Purpose.CORRECTION} or facts.previous_type is not None
    is_to_staff = facts.plan is Plan.ESCALATION and facts.purpose is Purpose.OUTAGE
    boxes = (("urgent", is_urgent), ("action", is_to_staff), ("information", not is_to_staff))
    return [
        {"labels": [wording.render(language, f"fax.label.{label}") for language in (MALAY, ENGLISH)], "ticked": ticked}
        for label, ticked in boxes
    ]


def _body(body: Body, wording: Wording, language: Language) -> dict[str, Json]:
    return {
        "lang": typst_language(language),
        "label": wording.render(language, "fax.label.subject"),
        "title": body.title,
        "paragraphs": body.numbered_paragraphs(),
    }


def _comma_separated(*parts: str) -> str:
    return ", ".join(non_empty(*parts))


def _illegible_page_note(office: IssuingOffice, wording: Wording, language: Language) -> str:
    """Return what to do if the fax is unclear or incomplete; "" without such a text."""
    return wording.render(language, "fax.unclear", {"telephone": office.telephone})
