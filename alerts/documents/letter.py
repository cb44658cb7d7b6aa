"""Data of a letter, in the order of an official letter (Pekeliling Perkhidmatan 5/2007, part VI). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from alerts.documents.body import Body, drill_stamps, notification_body, typst_language
from alerts.documents.printable import Json
from alerts.documents.sender import letterhead, non_empty, on_behalf_line, reference
from alerts.model.notification import Addressee, Facts, IssuingOffice, Language
from alerts.wording import moment
from alerts.wording.texts import Wording

MALAY = Language.MALAY

_DEFAULT_SALUTATION = Addressee(title="", organisation="").salutation


def letter_data(facts: Facts, addressee: Addressee, wording: Wording) -> dict[str, Json]:
    """Return the data of `letter.typ`: the letter, and its English translation if the office attaches one.

    *facts*: what the letter reports. A letter is in Malay, and the translation an attachment (MyPPSM, PO.1.1.1).
    """
    languages = [MALAY, *([Language.ENGLISH] if facts.office.english_attachment else [])]
    bodies = {each: notification_body("letter", facts, addressee, each, wording) for each in languages}
    return build_letter_data(facts, reference(facts), bodies, addressee, wording)


def build_letter_data(
    facts: Facts, reference: str, bodies: Mapping[Language, Body], addressee: Addressee, wording: Wording
) -> dict[str, Json]:
    """Return the data of `letter.typ` for *bodies*: the letter's, and that of an English attachment if there is one.

    *reference*: the sender's reference of the letter: "JCM.100-1/9/1 (JCM-07/2)".
    """
    office = facts.office
    attention = addressee.attention.strip()

    def label(name: str) -> str:
        return wording.render(MALAY, f"letter.label.{name}")

    return {
        "lang": typst_language(MALAY),
        "author": office.name,
        "marks": drill_stamps(facts, wording),
        "head": letterhead(office, wording, MALAY),
        "reference": {"label": label("reference"), "value": reference},
        "date": {"label": label("date"), "value": moment.date(facts.notified_at, MALAY)},
        "addresses": _addresses(addressee),
        "attention": f"({label('attention')}: {attention})" if attention else "",
        "fax": {"label": label("fax"), "value": addressee.fax},
        "salutation": _salutation(addressee, wording),
        **_body(bodies[MALAY]),
        "closing": wording.render(MALAY, "letter.closing"),
        "slogans": non_empty(*office.slogans),
        "farewell": wording.render(MALAY, "letter.farewell"),
        "signature": _signature(office, wording),
        "unsigned": wording.render(MALAY, "letter.unsigned") if office.unsigned else "",
        "copies": {"label": label("copies"), "lines": non_empty(*office.copies)},
        "notice": {"label": label("notice"), "value": facts.number},
        "attachments": [_translation(body, wording) for each, body in bodies.items() if each is not MALAY],
    }


def _addresses(addressee: Addressee) -> list[Json]:
    """Return layouts of the address. The first has all lines; each further one joins two more short lines.

    The town keeps its own line, but a state may follow it. The window of an envelope shows five lines at 11 pt;
    `letter.typ` uses the layout that fits with the largest type.
    """
    head = non_empty(addressee.title, addressee.organisation)
    street = [line.rstrip(",") for line in non_empty(*addressee.address)]
    layouts: list[Json] = [[*head, *street]]
    if len(street) > 1 and not any(character.isdecimal() for character in street[-1]):
        # The last line is a state, which may follow the town on one line.
        street[-2:] = [f"{street[-2]}, {street[-1]}"]
        layouts.append([*head, *street])
    while len(street) > 2:
        joined = [f"{first}, {second}" for first, second in pairwise(street[:-1])]
        shortest = min(range(len(joined)), key=lambda index: len(joined[index]))
        street[shortest : shortest + 2] = [joined[shortest]]
        layouts.append([*head, *street])
    return layouts


def _signature(office: IssuingOffice, wording: Wording) -> dict[str, Json]:
    return {
        "name": office.signatory_name.strip().upper(),
        "lines": non_empty(office.signatory_post, on_behalf_line(office, wording), office.name),
        "signed": not office.unsigned,
    }


def _salutation(addressee: Addressee, wording: Wording) -> str:
    # An addressee's own salutation takes precedence over that of the wording.
    if addressee.salutation.strip() in {"", _DEFAULT_SALUTATION}:
        return wording.render(MALAY, "letter.salutation")
    return addressee.salutation


def _translation(body: Body, wording: Wording) -> dict[str, Json]:
    english = Language.ENGLISH
    return {
        "lang": typst_language(english),
        "mark": wording.render(MALAY, "letter.label.attachment"),
        "heading": wording.render(MALAY, "letter.translation"),
        **_body(body),
        "closing": wording.render(english, "letter.closing"),
        "notes": [
            {"lang": typst_language(language), "text": f"({wording.render(language, 'letter.translation_note')})"}
            for language in (english, MALAY)
        ],
    }


def _body(body: Body) -> dict[str, Json]:
    return {"title": body.title, "opening": body.opening, "paragraphs": body.numbered_paragraphs()}
