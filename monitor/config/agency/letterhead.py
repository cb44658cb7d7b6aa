"""Section `letterhead`: what letters and fax pages print about the issuing office."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel

from alerts.documents.crest import MAX_OCTETS, Crest, InvalidCrestError, read_crest
from alerts.documents.printable import printable, replaced_characters
from alerts.documents.render import can_render
from alerts.documents.sender import ENCLOSURE
from alerts.model.channel import Channel
from alerts.model.notification import IssuingOffice
from monitor.config.fields.phone import is_possible
from monitor.config.files.findings import Findings
from monitor.config.files.regular import NotRegularFileError, error_reason, read_regular
from monitor.config.files.section import OneLine, ResolvedPath, Section
from monitor.model.translatable import all_of, translatable


def load_crest(file: Path) -> Crest:
    """Return the crest (coat of arms) in *file*. Raise `InvalidCrestError` if it cannot be read or rendered."""
    try:
        crest = read_crest(read_regular(file, MAX_OCTETS))
    except NotRegularFileError as error:
        raise InvalidCrestError(translatable("{file} {error}", file=file, error=str(error))) from None
    except (OSError, ValueError) as error:
        raise InvalidCrestError(
            translatable("{file} cannot be read: {error}", file=file, error=error_reason(error))
        ) from None
    except InvalidCrestError as error:
        raise InvalidCrestError(translatable("{file} {error}", file=file, error=str(error))) from None
    if not can_render(crest):
        raise InvalidCrestError(translatable("{file} cannot be drawn: it is broken", file=file))
    return crest


class Signatory(Section):
    """Signatory of letters."""

    name: OneLine
    """Name."""
    post: OneLine
    """Post."""


class ContactOfficer(Section):
    """Contact officer for questions of recipients."""

    name: OneLine
    """Name."""
    post: OneLine
    """Post."""
    telephone: OneLine
    """As printed: "03-1234 5678"."""


class LetterheadSettings(Section):
    """Texts that letters and fax pages print. SMS and calls need none of them."""

    address: tuple[OneLine, ...] = ()
    """Postal address without the name; the last line is "<postcode> <TOWN>"."""
    telephone: OneLine | None = None
    """Telephone number as printed: "03-1234 5678"."""
    fax: OneLine | None = None
    """Fax number as printed."""
    hours: OneLine | None = None
    """Office hours in Malay: "8.00 pagi - 5.00 petang, Isnin - Jumaat"."""
    hours_en: OneLine | None = None
    """Office hours in English: "8.00 am - 5.00 pm, Monday - Friday"."""
    website: OneLine | None = None
    """Website as printed."""
    division: OneLine | None = None
    """Division that issues the letter: "Bahagian Teknologi Maklumat"."""
    crest: ResolvedPath | None = None
    """SVG or PNG file with the crest (coat of arms); at most 256 KiB. Circular 1/2013 says who may use which crest."""
    reference: OneLine | None = None
    """File reference of the letters, such as "JCM.100-1/9/1". Each letter adds an end such as "(JCM-07/2)": the second
    page about incident JCM-07. Without this key, letters have a blank line for a reference by hand.
    """
    signatory: Signatory | None = None
    """Who signs the letters."""
    head: OneLine | None = None
    """Title of the head of department, on whose behalf ("b.p.") the signatory signs; omit it if the head signs."""
    contact_officer: ContactOfficer | None = None
    """Officer who answers questions of recipients."""
    slogans: tuple[OneLine, ...] = ('"MALAYSIA MADANI"', '"BERKHIDMAT UNTUK NEGARA"')
    """Slogans, with quotes, above the signature; they change with governments and differ by state."""
    copies: tuple[OneLine, ...] = ()
    """Recipients of copies, listed after "s.k." (copies to)."""
    unsigned: bool = False
    """Whether letters say that they are computer-generated and need no signature; the head of department decides it."""
    english_attachment: bool = False
    """Whether letters have an English translation attached."""

    def build(self, *, short: str, name: str, domain: str) -> IssuingOffice:
        """Return the issuing office of notifications, with its *short* code, *name* and mail *domain* ("": none)."""
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


#: Keys that pages print and therefore require, each with an example, and with the channels of the pages that print it.
_REQUIRED_FIELDS = {
    "address": ("[Aras 1, Blok Contoh, 62000 PUTRAJAYA]", {Channel.LETTER, Channel.FAX}),
    "telephone": ("telephone: 03-1234 5678", {Channel.LETTER, Channel.FAX}),
    "hours": ("hours: 8.00 pagi - 5.00 petang, Isnin - Jumaat", {Channel.LETTER, Channel.FAX}),
    "signatory": ("signatory: {name: NAME, post: POST}", {Channel.LETTER, Channel.FAX}),
    "contact_officer": ("contact_officer: {name: NAME, post: POST, telephone: NUMBER}", {Channel.LETTER}),
}
#: Form of the last line of a postal address: a postcode and a town.
_LAST_LINE = re.compile(r"\d{5} \S.*", re.ASCII)
#: Limits of a postal address, so that it fits into the window of an envelope and into a letterhead.
_MAX_LINES, _MAX_CHARACTERS, _MAX_WORD_CHARACTERS = 10, 300, 40


def check_letterhead(letterhead: LetterheadSettings, used: Iterable[Channel], findings: Findings) -> None:
    """Record missing keys that the pages of the *used* channels require, and invalid texts; say what to write."""
    pages = set(used) & {Channel.FAX, Channel.LETTER}
    for field, (example, channels) in _REQUIRED_FIELDS.items():
        if (pages_without := pages & channels) and not getattr(letterhead, field):
            for_pages = all_of(translatable(channel) for channel in sorted(pages_without))
            findings[field].error(
                translatable("is missing, and the {pages} of this office prints it", pages=for_pages), example
            )
    if pages:
        check_glyphs(letterhead, findings)
    if pages and not letterhead.fax:
        findings["fax"].warning("is missing: pages show no fax number", "fax: 03-1234 5678")
    if letterhead.crest is not None:
        try:
            load_crest(letterhead.crest)
        except InvalidCrestError as error:
            findings["crest"].error(str(error), "the path of a plain SVG or a PNG file, or leave the key out")
    check_postal(letterhead.address, findings["address"])
    # An enclosure number is a number in brackets at the end: "JCM.100-1/9/1 (7)".
    if letterhead.reference and ENCLOSURE.search(letterhead.reference):
        findings["reference"].warning(
            "ends with the enclosure number of one letter; each letter has its own",
            f"reference: {ENCLOSURE.sub('', letterhead.reference)}",
        )
    for field in ("telephone", "fax"):
        if (number := getattr(letterhead, field)) and not is_possible(number):
            findings[field].warning(
                translatable("'{number}' is not possible as a telephone number", number=number), "03-1234 5678"
            )


def check_glyphs(printed: object, findings: Findings) -> None:
    """Record texts with characters that the font of letters and fax pages lacks.

    *printed*: a text, or a model or tuple that contains texts.
    """
    match printed:
        case str() if missing_glyphs := replaced_characters(printed):
            findings.warning(
                translatable(
                    "letters and fax pages have no glyph for {strange} (U+{code:04X}), and print '{printed}'",
                    strange=missing_glyphs[0],
                    code=ord(missing_glyphs[0]),
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
    """Record an *address* that is too long or too wide to print, or whose last line has no postcode and town."""
    joined = ", ".join(address)
    if len(address) > _MAX_LINES or len(joined) > _MAX_CHARACTERS:
        findings.error(
            "is longer than a letterhead and the window of an envelope have room for",
            translatable("{lines} lines and {letters} letters at most", lines=_MAX_LINES, letters=_MAX_CHARACTERS),
        )
        return
    if any(len(word) > _MAX_WORD_CHARACTERS for word in re.split(r"[\s,-]", joined)):
        findings.warning(
            translatable(
                "has a word of more than {most} letters: it is wider than the window of an envelope",
                most=_MAX_WORD_CHARACTERS,
            ),
            "a shorter one, or a hyphen in it",
        )
    if address and not _LAST_LINE.fullmatch(address[-1]):
        findings[len(address) - 1].warning(
            translatable("'{address}' does not begin with a postcode", address=address[-1]), "62000 PUTRAJAYA"
        )
