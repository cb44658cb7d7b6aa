"""Data of a letter, in the order of an official letter (Pekeliling Perkhidmatan 5/2007, part VI). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from alerts.documents.body import Body, marks, notice_body, subtag
from alerts.documents.printable import Json
from alerts.documents.sender import letterhead, on_behalf, present, reference
from alerts.model.notification import Addressee, Facts, IssuingOffice, Language
from alerts.wording import moment
from alerts.wording.texts import Wording

MALAY = Language.MALAY

_USUAL_SALUTATION = Addressee(title="", organisation="").salutation


def letter_data(facts: Facts, addressee: Addressee, wording: Wording) -> dict[str, Json]:
    """Return the data of `letter.typ`: the letter, and its English translation if the office attaches one.

    A letter is in Malay, and English an attachment (MyPPSM, PO.1.1.1).
    """
    languages = [MALAY, *([Language.ENGLISH] if facts.office.english_attachment else [])]
    bodies = {each: notice_body("letter", facts, addressee, each, wording) for each in languages}
    return letter_of(facts, reference(facts), bodies, addressee, wording)


def letter_of(
    facts: Facts, reference: str, bodies: Mapping[Language, Body], addressee: Addressee, wording: Wording
) -> dict[str, Json]:
    """Return the data of `letter.typ` for *bodies*: the letter's, and that of an English attachment if there is one."""
    office = facts.office
    attention = addressee.attention.strip()

    def label(name: str) -> str:
        return wording.say(MALAY, f"letter.label.{name}")

    return {
        "lang": subtag(MALAY),
        "author": office.name,
        "marks": marks(facts, wording),
        "head": letterhead(office, wording, MALAY),
        "reference": {"label": label("reference"), "value": reference},
        "date": {"label": label("date"), "value": moment.date(facts.notified_at, MALAY)},
        "addresses": _addresses(addressee),
        "attention": f"({label('attention')}: {attention})" if attention else "",
        "fax": {"label": label("fax"), "value": addressee.fax},
        "salutation": _salutation(addressee, wording),
        **_body(bodies[MALAY]),
        "closing": wording.say(MALAY, "letter.closing"),
        "slogans": present(*office.slogans),
        "farewell": wording.say(MALAY, "letter.farewell"),
        "signature": _signature(office, wording),
        "unsigned": wording.say(MALAY, "letter.unsigned") if office.unsigned else "",
        "copies": {"label": label("copies"), "lines": present(*office.copies)},
        "notice": {"label": label("notice"), "value": facts.number},
        "attachments": [_translation(body, wording) for each, body in bodies.items() if each is not MALAY],
    }


def _addresses(addressee: Addressee) -> list[Json]:
    """Return layouts of the address: line by line, then with more and more short lines joined; the town has its own line.

    The window of an envelope shows five lines at 11 pt; `letter.typ` uses the layout with the largest type.
    """
    head = present(addressee.title, addressee.organisation)
    street = [line.rstrip(",") for line in present(*addressee.address)]
    choices: list[Json] = [[*head, *street]]
    if len(street) > 1 and not any(character.isdecimal() for character in street[-1]):
        # A state below the town may follow it on one line.
        street[-2:] = [f"{street[-2]}, {street[-1]}"]
        choices.append([*head, *street])
    while len(street) > 2:
        joined = [f"{first}, {second}" for first, second in pairwise(street[:-1])]
        shortest = min(range(len(joined)), key=lambda index: len(joined[index]))
        street[shortest : shortest + 2] = [joined[shortest]]
        choices.append([*head, *street])
    return choices


def _signature(office: IssuingOffice, wording: Wording) -> dict[str, Json]:
    return {
        "name": office.signatory_name.strip().upper(),
        "lines": present(office.signatory_post, on_behalf(office, wording), office.name),
        "signed": not office.unsigned,
    }


def _salutation(addressee: Addressee, wording: Wording) -> str:
    # Keep a salutation that was chosen.
    if addressee.salutation.strip() in {"", _USUAL_SALUTATION}:
        return wording.say(MALAY, "letter.salutation")
    return addressee.salutation


def _translation(body: Body, wording: Wording) -> dict[str, Json]:
    english = Language.ENGLISH
    return {
        "lang": subtag(english),
        "mark": wording.say(MALAY, "letter.label.attachment"),
        "heading": wording.say(MALAY, "letter.translation"),
        **_body(body),
        "closing": wording.say(english, "letter.closing"),
        "notes": [
            {"lang": subtag(language), "text": f"({wording.say(language, 'letter.translation_note')})"}
            for language in (english, MALAY)
        ],
    }


def _body(body: Body) -> dict[str, Json]:
    return {"title": body.title, "opening": body.opening, "paragraphs": body.numbered()}
