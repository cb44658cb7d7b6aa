"""Data of a fax: cover and text on one page, Malay first, English below. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from alerts.documents.body import Body, marks, notice_body, subtag
from alerts.documents.printable import Json
from alerts.documents.sender import letterhead, present, reference, signature
from alerts.model.notification import Addressee, Facts, IssuingOffice, Language, Plan, Purpose
from alerts.wording import moment
from alerts.wording.texts import Wording

MALAY, ENGLISH = Language.MALAY, Language.ENGLISH


def fax_data(facts: Facts, addressee: Addressee, wording: Wording) -> dict[str, Json]:
    """Return the data of `fax.typ`."""
    bodies = {language: notice_body("fax", facts, addressee, language, wording) for language in (MALAY, ENGLISH)}
    return fax_of(facts, reference(facts), bodies, addressee, wording)


def fax_of(
    facts: Facts, reference: str, bodies: Mapping[Language, Body], addressee: Addressee, wording: Wording
) -> dict[str, Json]:
    """Return the data of `fax.typ` for *bodies*, the Malay and the English one."""
    office = facts.office
    return {
        "lang": subtag(MALAY),
        "title": bodies[MALAY].title,
        "author": office.name,
        "marks": marks(facts, wording),
        "head": letterhead(office, wording, MALAY),
        "heading": both(wording, "heading"),
        "fields": _fields(facts, reference, addressee, wording),
        "remarks": _remarks(facts, wording),
        "boxes": _boxes(facts, wording),
        "bodies": [_body(body, wording, language) for language, body in bodies.items()],
        "signature": signature(office, wording),
        "unclear": [text for language in (MALAY, ENGLISH) if (text := _unclear(office, wording, language))],
        "receipt": {
            "title": f"{both(wording, 'receipt')} ({both(wording, 'receipt_request')}):",
            "blanks": [both(wording, label) for label in ("name", "post", "date")],
        },
    }


def both(wording: Wording, label: str, labels: str = "fax.label") -> str:
    """Return a label in both languages: "KEPADA / TO", or once if they are equal."""
    malay, english = (wording.say(language, f"{labels}.{label}") for language in (MALAY, ENGLISH))
    return malay if malay == english else f"{malay} / {english}"


def labelled(wording: Wording, *fields: tuple[str, str]) -> list[Json]:
    """Return the non-empty fields with their labels. Nobody can complete an empty field of a sent fax."""
    return [{"label": both(wording, label), "value": value} for label, value in fields if value.strip()]


def _fields(facts: Facts, reference: str, addressee: Addressee, wording: Wording) -> list[Json]:
    """Return the rows of the cover."""
    office = facts.office
    rows = (
        (("to", _joined(addressee.title, addressee.organisation)),),
        (("attention", addressee.attention),),
        (("to_fax", addressee.fax),),
        (("from", _joined(office.division, office.name)),),
        (("telephone", office.telephone), ("fax", office.fax)),
        (("reference", reference),),
        (("notice", facts.number),),
    )
    return _rows(rows, wording)


def _remarks(facts: Facts, wording: Wording) -> list[Json]:
    """Return the rows whose labels are too long for a column."""
    sent = f"{moment.date(facts.notified_at, MALAY)}, {moment.clock(facts.notified_at, MALAY)}"
    rows = ((("moment", sent),), (("pages", "1"),), (("classification", both(wording, "open")),))
    return _rows(rows, wording)


def _rows(rows: tuple[tuple[tuple[str, str], ...], ...], wording: Wording) -> list[Json]:
    return [fields for row in rows if (fields := labelled(wording, *row))]


def _boxes(facts: Facts, wording: Wording) -> list[Json]:
    news = facts.purpose in {Purpose.OUTAGE, Purpose.CORRECTION} or facts.previous_type is not None
    staff = facts.plan is Plan.ESCALATION and facts.purpose is Purpose.OUTAGE
    ticks = (("urgent", news), ("action", staff), ("information", not staff))
    return [
        {"labels": [wording.say(language, f"fax.label.{label}") for language in (MALAY, ENGLISH)], "ticked": ticked}
        for label, ticked in ticks
    ]


def _body(body: Body, wording: Wording, language: Language) -> dict[str, Json]:
    return {
        "lang": subtag(language),
        "label": wording.say(language, "fax.label.subject"),
        "title": body.title,
        "paragraphs": body.numbered(),
    }


def _joined(*parts: str) -> str:
    return ", ".join(present(*parts))


def _unclear(office: IssuingOffice, wording: Wording, language: Language) -> str:
    return wording.say(language, "fax.unclear", {"telephone": office.telephone})
