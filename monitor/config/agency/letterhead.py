"""Configuration of a letterhead: its office, its crest, and the signatory."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel

from alerts.documents.crest import LARGEST, Crest, InvalidCrestError, read_crest
from alerts.documents.printable import lost, printable
from alerts.documents.render import draw
from alerts.documents.sender import ENCLOSURE
from alerts.model.channel import Channel
from alerts.model.notification import IssuingOffice
from monitor.config.fields.phone import is_possible
from monitor.config.files.findings import Findings
from monitor.config.files.regular import NotRegularFileError, read_regular, why
from monitor.config.files.section import File, Line, Section
from monitor.model.lazy_text import both, said


def load_crest(file: Path) -> Crest:
    """Return the crest in *file* after a trial rendering. Raise `InvalidCrestError`."""
    try:
        crest = read_crest(read_regular(file, LARGEST))
    except NotRegularFileError as error:
        raise InvalidCrestError(said("{file} {error}", file=file, error=str(error))) from None
    except (OSError, ValueError) as error:
        raise InvalidCrestError(said("{file} cannot be read: {error}", file=file, error=why(error))) from None
    except InvalidCrestError as bad:
        raise InvalidCrestError(said("{file} {error}", file=file, error=str(bad))) from None
    if not draw(crest):
        raise InvalidCrestError(said("{file} cannot be drawn: it is broken", file=file))
    return crest


class Signatory(Section):
    """Signatory of letters."""

    name: Line
    """Name."""
    post: Line
    """Post."""


class ContactOfficer(Section):
    """Contact officer for questions of recipients."""

    name: Line
    """Name."""
    post: Line
    """Post."""
    telephone: Line
    """As printed: "03-1234 5678"."""


class LetterheadSettings(Section):
    """Texts that letters and fax pages print. SMS and calls need none of them."""

    address: tuple[Line, ...] = ()
    """Postal address without the name; the last line is "<postcode> <TOWN>"."""
    telephone: Line | None = None
    """As printed: "03-1234 5678"."""
    fax: Line | None = None
    """As printed."""
    hours: Line | None = None
    """"8.00 pagi - 5.00 petang, Isnin - Jumaat"."""
    hours_en: Line | None = None
    """"8.00 am - 5.00 pm, Monday - Friday"."""
    website: Line | None = None
    """Website, as printed."""
    division: Line | None = None
    """Division that issues the letter: "Bahagian Teknologi Maklumat"."""
    crest: File | None = None
    """SVG or PNG file with the crest; at most 256 KiB. Circular 1/2013 says who may use which."""
    reference: Line | None = None
    """File reference of these letters, such as "JCM.100-1/9/1"; the enclosure number is added. Without it a
    line to fill in by hand is printed.
    """
    signatory: Signatory | None = None
    """Who signs the letters."""
    head: Line | None = None
    """Title of the head of department, printed after "b.p."; omit it if the signatory is the head."""
    contact_officer: ContactOfficer | None = None
    """Officer who answers questions."""
    slogans: tuple[Line, ...] = ('"MALAYSIA MADANI"', '"BERKHIDMAT UNTUK NEGARA"')
    """Quoted lines above the signature; governments and states change them."""
    copies: tuple[Line, ...] = ()
    """Recipients of copies (s.k.)."""
    unsigned: bool = False
    """Print that the letter is computer-generated and needs no signature: the head of department's decision."""
    english_attachment: bool = False
    """Attach the English translation to the letter."""

    def build(self, *, short: str, name: str, domain: str) -> IssuingOffice:
        """Return the office that notifications name."""
        signatory, officer = self.signatory, self.contact_officer
        return IssuingOffice(
            short=short,
            name=name,
            domain=domain,
            address=self.address,
            telephone=self.telephone or "",
            fax=self.fax or "",
            hours=self.hours or "",
            hours_en=self.hours_en or "",
            website=self.website or "",
            division=self.division or "",
            reference=self.reference or "",
            signatory_name=signatory.name if signatory else "",
            signatory_post=signatory.post if signatory else "",
            head_title=self.head or "",
            contact_name=officer.name if officer else "",
            contact_post=officer.post if officer else "",
            contact_telephone=officer.telephone if officer else "",
            slogans=self.slogans,
            copies=self.copies,
            unsigned=self.unsigned,
            english_attachment=self.english_attachment,
        )


#: Required keys of each kind of page, with an example; only the fax number is optional (not every office has one).
_NEEDED = {
    "address": ("[Aras 1, Blok Contoh, 62000 PUTRAJAYA]", {Channel.LETTER, Channel.FAX}),
    "telephone": ("telephone: 03-1234 5678", {Channel.LETTER, Channel.FAX}),
    "hours": ("hours: 8.00 pagi - 5.00 petang, Isnin - Jumaat", {Channel.LETTER, Channel.FAX}),
    "signatory": ("signatory: {name: NAME, post: POST}", {Channel.LETTER, Channel.FAX}),
    "contact_officer": ("contact_officer: {name: NAME, post: POST, telephone: NUMBER}", {Channel.LETTER}),
}
_LAST_LINE = re.compile(r"\d{5} \S.*", re.ASCII)
#: Minimum capacity of an envelope window and of a letterhead.
_MOST_LINES, _MOST_LETTERS, _LONGEST_WORD = 10, 300, 40


def check_letterhead(letterhead: LetterheadSettings, used: Iterable[Channel], findings: Findings) -> None:
    """Record what pages on the *used* channels lack, and numbers that cannot be dialled as printed."""
    pages = set(used) & {Channel.FAX, Channel.LETTER}
    for field, (example, channels) in _NEEDED.items():
        if (wanting := pages & channels) and not getattr(letterhead, field):
            for_pages = both(said(channel) for channel in sorted(wanting))
            findings[field].error(
                said("is missing, and the {pages} of this office prints it", pages=for_pages), example
            )
    if pages:
        check_glyphs(letterhead, findings)
    if pages and not letterhead.fax:
        findings["fax"].warning("is missing: recipients are told of no fax number", "fax: 03-1234 5678")
    if letterhead.crest is not None:
        try:
            load_crest(letterhead.crest)
        except InvalidCrestError as bad:
            findings["crest"].error(str(bad), "the path of a plain SVG or a PNG file, or leave the key out")
    check_postal(letterhead.address, findings["address"])
    if letterhead.reference and ENCLOSURE.search(letterhead.reference):
        findings["reference"].warning(
            "ends with the enclosure number of one letter; each letter bears one of its own",
            f"reference: {ENCLOSURE.sub('', letterhead.reference)}",
        )
    for field in ("telephone", "fax"):
        if (number := getattr(letterhead, field)) and not is_possible(number):
            findings[field].warning(
                said("'{number}' is not possible as a telephone number", number=number), "03-1234 5678"
            )


def check_glyphs(printed: object, findings: Findings) -> None:
    """Record texts anywhere in *printed* that pages cannot render as written."""
    match printed:
        case str() if strange := lost(printed):
            findings.warning(
                said(
                    "letters and fax pages have no glyph for {strange} (U+{code:04X}), and print '{printed}'",
                    strange=strange[0],
                    code=ord(strange[0]),
                    printed=printable(printed),
                ),
                "it in Latin letters",
            )
        case BaseModel():
            for name in type(printed).model_fields:
                check_glyphs(getattr(printed, name), findings[name])
        case tuple():
            for number, each in enumerate(printed):
                check_glyphs(each, findings[number])


def check_postal(address: tuple[str, ...], findings: Findings) -> None:
    """Record an *address* that is too long or too wide to print, or whose last line does not identify a town."""
    whole = ", ".join(address)
    if len(address) > _MOST_LINES or len(whole) > _MOST_LETTERS:
        findings.error(
            "is longer than a letterhead and the window of an envelope have room for",
            said("{lines} lines and {letters} letters at most", lines=_MOST_LINES, letters=_MOST_LETTERS),
        )
        return
    if any(len(word) > _LONGEST_WORD for word in re.split(r"[\s,-]", whole)):
        findings.warning(
            said(
                "has a word of more than {most} letters: it is wider than the window of an envelope", most=_LONGEST_WORD
            ),
            "a shorter one, or a hyphen in it",
        )
    if address and not _LAST_LINE.fullmatch(address[-1]):
        findings[len(address) - 1].warning(
            said("'{address}' does not begin with a postcode", address=address[-1]), "62000 PUTRAJAYA"
        )
