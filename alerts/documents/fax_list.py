"""Data of a fax that reports several incidents to one recipient, Malay first, English below. Pure.

The incidents may be of several agencies. So the office that operates Pantau is the sender (letterhead and officer's
name), and each row gives the contact of its agency.
"""

from __future__ import annotations

from collections.abc import Sequence

from alerts.documents.body import typst_language
from alerts.documents.fax import bilingual_label, labelled_fields
from alerts.documents.printable import Json
from alerts.documents.sender import letterhead, non_empty, signature
from alerts.model.notification import Addressee, Facts, IssuingOffice, Language, Plan, Purpose
from alerts.wording import moment
from alerts.wording.texts import Wording

MALAY, ENGLISH = Language.MALAY, Language.ENGLISH

_LABELS = "bundle.list.label"


def fax_list_data(
    facts: Sequence[Facts], addressee: Addressee, wording: Wording, operator: IssuingOffice
) -> dict[str, Json]:
    """Return the data of `fax_list.typ` for outages or recoveries of one plan and purpose.

    *facts*: those of each incident. *operator*: the office that operates Pantau, which is the sender.
    """
    is_to_staff = facts[0].plan is Plan.ESCALATION
    is_recovery = facts[0].purpose is Purpose.RECOVERY
    # Key of the texts: "bundle.list.outage", "bundle.list.staff.recovery".
    section = f"bundle.list.{'staff.' if is_to_staff else ''}{facts[0].purpose}"
    sent_at = max(each.notified_at for each in facts)
    # The title gives recipients outside the number of agencies, and staff the number of incidents to acknowledge.
    count = {"count": str(len(facts) if is_to_staff else len({each.office.name for each in facts}))}

    return {
        "lang": typst_language(MALAY),
        "title": wording.render(MALAY, f"{section}.title", count),
        "author": operator.name,
        "head": letterhead(operator, wording, MALAY),
        "heading": bilingual_label(wording, "heading"),
        "fields": labelled_fields(
            wording,
            ("to", ", ".join(non_empty(addressee.title, addressee.organisation))),
            ("attention", addressee.attention),
            ("to_fax", addressee.fax),
            ("from", ", ".join(non_empty(operator.division, operator.name))),
            ("telephone", operator.telephone),
            ("fax", operator.fax),
        ),
        # "Pantau, official e-mail monitoring", to recipients outside also "on behalf of the agencies listed".
        "behalf": bilingual_label(wording, "from_monitoring" if is_to_staff else "from", _LABELS),
        "signature": signature(operator, wording),
        # These labels are too long for the columns of `fields`.
        "remarks": labelled_fields(
            wording,
            ("moment", f"{moment.date(sent_at, MALAY)}, {moment.clock(sent_at, MALAY)}"),
            ("classification", bilingual_label(wording, "open")),
        ),
        "pages": bilingual_label(wording, "pages"),
        "openings": [
            {
                "lang": typst_language(language),
                "title": wording.render(language, f"{section}.title", count),
                "text": wording.render(language, f"{section}.opening"),
            }
            for language in (MALAY, ENGLISH)
        ],
        # Agency, incident type, start or end, contact, incident number.
        "columns": [
            bilingual_label(wording, label, _LABELS)
            for label in (
                "agency",
                "was" if is_recovery else "matter",
                "ended" if is_recovery else "moment",
                "reach",
                "number",
            )
        ],
        "rows": [_row(each, wording) for each in facts],
    }


def _row(facts: Facts, wording: Wording) -> list[Json]:
    """Return the cells, each as a list of lines."""
    ended_at = facts.ended_at if facts.purpose is Purpose.RECOVERY else None
    malay, english = (wording.render(language, f"bundle.list.matter.{facts.type}") for language in (MALAY, ENGLISH))
    return [
        [facts.office.name],
        [": ".join(non_empty(malay, facts.subject)), ": ".join(non_empty(english, facts.subject_en))],
        [moment.stamp(ended_at or facts.began_at, MALAY)],
        _contact_lines(facts.office, wording),
        [facts.number],
    ]


def _contact_lines(office: IssuingOffice, wording: Wording) -> list[str]:
    numbers = (("telephone", office.telephone), ("office_fax", office.fax))
    return [f"{wording.render(MALAY, f'letter.label.{label}')} {number}" for label, number in numbers if number]
