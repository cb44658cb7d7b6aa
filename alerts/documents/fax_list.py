"""Data of a fax that reports several incidents to one recipient, Malay first, English below. Pure.

To an outside office it does not speak for one agency: it has the letterhead and the officer's name of Pantau's
operator, and each row gives the contact of its agency.
"""

from __future__ import annotations

from collections.abc import Sequence

from alerts.documents.body import subtag
from alerts.documents.fax import both, labelled
from alerts.documents.printable import Json
from alerts.documents.sender import letterhead, present, signature
from alerts.model.notification import Addressee, Facts, IssuingOffice, Language, Plan, Purpose
from alerts.wording import moment
from alerts.wording.texts import Wording

MALAY, ENGLISH = Language.MALAY, Language.ENGLISH

_LABELS = "bundle.list.label"


def fax_list_data(
    facts: Sequence[Facts], addressee: Addressee, wording: Wording, operator: IssuingOffice
) -> dict[str, Json]:
    """Return the data of `fax_list.typ` for outages or recoveries of one plan and purpose.

    *operator*: the office that operates Pantau, which is the sender.
    """
    staff = facts[0].plan is Plan.ESCALATION
    over = facts[0].purpose is Purpose.RECOVERY
    section = f"bundle.list.{'staff.' if staff else ''}{facts[0].purpose}"
    sent = max(each.notified_at for each in facts)
    # An office counts agencies; a staff member has to acknowledge each incident.
    count = {"count": str(len(facts) if staff else len({each.office.name for each in facts}))}

    return {
        "lang": subtag(MALAY),
        "title": wording.say(MALAY, f"{section}.title", count),
        "author": operator.name,
        "head": letterhead(operator, wording, MALAY),
        "heading": both(wording, "heading"),
        "fields": labelled(
            wording,
            ("to", ", ".join(present(addressee.title, addressee.organisation))),
            ("attention", addressee.attention),
            ("to_fax", addressee.fax),
            ("from", ", ".join(present(operator.division, operator.name))),
            ("telephone", operator.telephone),
            ("fax", operator.fax),
        ),
        "behalf": both(wording, "from_monitoring" if staff else "from", _LABELS),
        "signature": signature(operator, wording),
        # Their labels are too long for a column.
        "remarks": labelled(
            wording,
            ("moment", f"{moment.date(sent, MALAY)}, {moment.clock(sent, MALAY)}"),
            ("classification", both(wording, "open")),
        ),
        "pages": both(wording, "pages"),
        "openings": [
            {
                "lang": subtag(language),
                "title": wording.say(language, f"{section}.title", count),
                "text": wording.say(language, f"{section}.opening"),
            }
            for language in (MALAY, ENGLISH)
        ],
        "columns": [
            both(wording, label, _LABELS)
            for label in ("agency", "was" if over else "matter", "ended" if over else "moment", "reach", "number")
        ],
        "rows": [_row(each, wording) for each in facts],
    }


def _row(facts: Facts, wording: Wording) -> list[Json]:
    """Return the cells, each as a list of lines."""
    over = facts.ended_at if facts.purpose is Purpose.RECOVERY else None
    malay, english = (wording.say(language, f"bundle.list.matter.{facts.type}") for language in (MALAY, ENGLISH))
    return [
        [facts.office.name],
        [": ".join(present(malay, facts.subject)), ": ".join(present(english, facts.subject_en))],
        [moment.stamp(over or facts.began_at, MALAY)],
        _reach(facts.office, wording),
        [facts.number],
    ]


def _reach(office: IssuingOffice, wording: Wording) -> list[str]:
    numbers = (("telephone", office.telephone), ("office_fax", office.fax))
    return [f"{wording.say(MALAY, f'letter.label.{label}')} {number}" for label, number in numbers if number]
