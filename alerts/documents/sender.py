"""Letterhead, signature and reference ("Ruj. Kami") of letters and faxes. Pure.

`alerts.decide.followup.next_enclosure` decides the enclosure number at the end of a reference.
"""

from __future__ import annotations

import re

from alerts.documents.printable import Json, printable
from alerts.model.gateway import SENDER_LINE
from alerts.model.notification import Facts, IssuingOffice, Language, Purpose
from alerts.wording.texts import Wording

#: An enclosure number that a clerk may have added to the file reference.
ENCLOSURE = re.compile(r"\s*\(\s*\d+\s*\)\s*$")


def letterhead(office: IssuingOffice, wording: Wording, language: Language) -> dict[str, Json]:
    """Return the letterhead (Surat Pekeliling Am 1/2013), for letter and fax."""
    lines = [("telephone", office.telephone), ("office_fax", office.fax), ("website", office.website)]
    return {
        "name": office.name,
        "division": office.division,
        "address": present(*office.address),
        "contacts": [
            {"label": wording.say(language, f"letter.label.{name}"), "value": value}
            for name, value in lines
            if value.strip()
        ],
    }


def reference(facts: Facts) -> str:
    """Return the reference of a page: "JCM.100-1/9/1 (JCM-07/2)"; "" for the clerk to fill in.

    The bracket holds the enclosure: the second page of the office about JCM-07. The registry assigns numbers of the
    file's own register.
    """
    return _enclosed(facts, facts.enclosure or (1 if facts.purpose is Purpose.OUTAGE else 2))


def cited_reference(facts: Facts) -> str:
    """Return the reference of the earlier page about the incident that this page cites."""
    return _enclosed(facts, facts.cited)


def enclosure(facts: Facts) -> str:
    """Return the end of a page's reference: "(JCM-07/2)"; "" if a clerk fills the reference in."""
    return f"({reference(facts).rpartition('(')[2]}" if reference(facts) else ""


def reference_to(office: IssuingOffice, within: str) -> str:
    """Return the file reference with a page's name: "JCM.100-1/9/1 (JCM-07/2)"; "" for the clerk to fill in."""
    file = ENCLOSURE.sub("", office.reference).strip()
    return f"{file} ({within})" if file else ""


def _enclosed(facts: Facts, enclosure: int) -> str:
    return reference_to(facts.office, facts.number if facts.purpose is Purpose.DRILL else f"{facts.number}/{enclosure}")


def sender_line(office: IssuingOffice) -> str:
    """Return the line that a fax machine prints above each page: "Jabatan Contoh Malaysia 03-0000 3001".

    A long line is not truncated: the short name replaces the long one, and then the number is left out.
    """
    number = office.fax.strip() or office.telephone.strip()
    lines = (f"{office.name} {number}", f"{office.short} {number}", office.name, office.short)
    whole = (printable(line) for line in lines)
    return next((line for line in whole if 0 < len(line) <= SENDER_LINE), "")


def on_behalf(office: IssuingOffice, wording: Wording) -> str:
    """Return "b.p. Ketua Pengarah" when the officer signs for the head of department (PP 5/2007, 6.4(g)), else ""."""
    head = office.head_title.strip()
    if not head or head.casefold() == office.signatory_post.strip().casefold():
        return ""
    return f"{wording.say(Language.MALAY, 'letter.label.on_behalf')} {head}"


def signature(office: IssuingOffice, wording: Wording) -> list[Json]:
    """Return "(NAME)" and "post, b.p. head" as in the signature of a fax; empty without a name."""
    name = office.signatory_name.strip().upper()
    post = ", ".join(present(office.signatory_post, on_behalf(office, wording)))
    return [*present(f"({name})" if name else "", post)]


def present(*texts: str) -> list[str]:
    """Return the non-empty texts."""
    return [text.strip() for text in texts if text.strip()]
