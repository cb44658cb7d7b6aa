"""The data of a list: a fax that tells an office of several agencies at once, Malay first, English below. Pure.

It speaks for no single agency, so it has no letterhead and no signature; each row says who can be reached how.
"""

from __future__ import annotations

from collections.abc import Sequence

from alerts.documents.body import subtag
from alerts.documents.printable import Json
from alerts.documents.sender import present
from alerts.notice import Addressee, Facts, Language, Office, Purpose
from alerts.wording import moment
from alerts.wording.texts import Wording

MALAY, ENGLISH = Language.MALAY, Language.ENGLISH


def list_data(facts: Sequence[Facts], addressee: Addressee, wording: Wording) -> dict[str, Json]:
    """Return what `list.typ` prints about an outage or a recovery of several agencies."""
    purpose = facts[0].purpose
    sent = max(each.noticed_at for each in facts)
    count = {"count": str(len({each.office.name for each in facts}))}

    def both(label: str, section: str = "bundle.list.label") -> str:
        malay, english = (wording.say(language, f"{section}.{label}") for language in (MALAY, ENGLISH))
        return malay if malay == english else f"{malay} / {english}"

    def field(label: str, value: str) -> list[Json]:
        return [{"label": both(label, "fax.label"), "value": value}] if value.strip() else []

    return {
        "lang": subtag(MALAY),
        "title": wording.say(MALAY, f"bundle.list.{purpose}.title", count),
        "author": wording.say(MALAY, "bundle.list.label.from"),
        "heading": both("heading", "fax.label"),
        "fields": [
            *field("to", ", ".join(present(addressee.title, addressee.organisation))),
            *field("attention", addressee.attention),
            *field("to_fax", addressee.fax),
            *field("from", both("from")),
            *field("moment", f"{moment.date(sent, MALAY)}, {moment.clock(sent, MALAY)}"),
            *field("classification", both("open", "fax.label")),
        ],
        "openings": [
            {
                "lang": subtag(language),
                "title": wording.say(language, f"bundle.list.{purpose}.title", count),
                "text": wording.say(language, f"bundle.list.{purpose}.opening"),
            }
            for language in (MALAY, ENGLISH)
        ],
        "columns": [
            both(label)
            for label in ("agency", "matter", "moment" if purpose is Purpose.OUTAGE else "ended", "reach", "number")
        ],
        "rows": [_row(each, wording) for each in facts],
    }


def _row(facts: Facts, wording: Wording) -> list[Json]:
    over = facts.ended_at if facts.purpose is Purpose.RECOVERY else None
    at = over or facts.began_at
    matters = [wording.say(language, f"bundle.list.matter.{facts.matter}") for language in (MALAY, ENGLISH)]
    return [
        facts.office.name,
        " / ".join(matters),
        moment.stamp(at, MALAY),
        _reach(facts.office, wording),
        facts.number,
    ]


def _reach(office: Office, wording: Wording) -> str:
    telephone, fax = (wording.say(MALAY, f"letter.label.{label}") for label in ("telephone", "office_fax"))
    return ", ".join(
        present(
            f"{telephone} {office.telephone}" if office.telephone else "", f"{fax} {office.fax}" if office.fax else ""
        )
    )
