"""Letterhead, signature and reference ("Ruj. Kami") of letters and faxes. Pure.

The pages (letters or faxes) to one recipient about an incident are numbered: the enclosure number, which
`alerts.decide.followup.next_enclosure` assigns.
"""

from __future__ import annotations

import re

from alerts.documents.printable import Json, printable
from alerts.model.gateway import MAX_SENDER_LENGTH
from alerts.model.notification import Facts, IssuingOffice, Language, Purpose
from alerts.wording.texts import Wording

#: Enclosure number at the end of a configured file reference, where a clerk may have added it.
ENCLOSURE = re.compile(r"\s*\(\s*\d+\s*\)\s*$")


def letterhead(office: IssuingOffice, wording: Wording, language: Language) -> dict[str, Json]:
    """Return the letterhead (Surat Pekeliling Am 1/2013), for letter and fax."""
    lines = [("telephone", office.telephone), ("office_fax", office.fax), ("website", office.website)]
    return {
        "name": office.name,
        "division": office.division,
        "address": non_empty(*office.address),
        "contacts": [
            {"label": wording.render(language, f"letter.label.{name}"), "value": value}
            for name, value in lines
            if value.strip()
        ],
    }


def reference(facts: Facts) -> str:
    """Return the reference of a page: "JCM.100-1/9/1 (JCM-07/2)"; "" if a clerk fills it in.

    The brackets contain incident and enclosure number: the second page about JCM-07. They are not the enclosure number
    of the office's file, which its registry assigns.
    """
    # An unnumbered page about an outage is the first one, any other page the second.
    return _reference_with_enclosure(facts, facts.enclosure or (1 if facts.purpose is Purpose.OUTAGE else 2))


def cited_reference(facts: Facts) -> str:
    """Return the reference of the earlier page about the incident that this page cites."""
    return _reference_with_enclosure(facts, facts.cited)


def enclosure(facts: Facts) -> str:
    """Return the end of a page's reference: "(JCM-07/2)"; "" if a clerk fills the reference in."""
    return f"({reference(facts).rpartition('(')[2]}" if reference(facts) else ""


def file_reference(office: IssuingOffice, name: str) -> str:
    """Return the file reference, then *name* in brackets: "JCM.100-1/9/1 (JCM-07/2)"; "" if a clerk fills it in.

    *name*: what identifies the page.
    """
    file = ENCLOSURE.sub("", office.reference).strip()
    return f"{file} ({name})" if file else ""


def _reference_with_enclosure(facts: Facts, enclosure: int) -> str:
    return file_reference(
        facts.office, facts.number if facts.purpose is Purpose.DRILL else f"{facts.number}/{enclosure}"
    )


def sender_line(office: IssuingOffice) -> str:
    """Return the line that a fax machine prints above each page: "Jabatan Contoh Malaysia 03-0000 3001".

    A line that is too long is not truncated: first the office's short name replaces its name, then the number is left
    out.
    """
    number = office.fax.strip() or office.telephone.strip()
    lines = (f"{office.name} {number}", f"{office.short} {number}", office.name, office.short)
    printable_lines = (printable(line) for line in lines)
    return next((line for line in printable_lines if 0 < len(line) <= MAX_SENDER_LENGTH), "")


def on_behalf_line(office: IssuingOffice, wording: Wording) -> str:
    """Return "b.p. Ketua Pengarah" when the officer signs for the head of department (PP 5/2007, 6.4(g)), else ""."""
    head = office.head_title.strip()
    if not head or head.casefold() == office.signatory_post.strip().casefold():
        return ""
    return f"{wording.render(Language.MALAY, 'letter.label.on_behalf')} {head}"


def signature(office: IssuingOffice, wording: Wording) -> list[Json]:
    """Return "(NAME)" and "post, b.p. head" as in the signature of a fax; empty without a name."""
    name = office.signatory_name.strip().upper()
    post = ", ".join(non_empty(office.signatory_post, on_behalf_line(office, wording)))
    return [*non_empty(f"({name})" if name else "", post)]


def non_empty(*texts: str) -> list[str]:
    """Return the non-empty texts."""
    return [text.strip() for text in texts if text.strip()]
