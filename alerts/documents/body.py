"""Title, opening and paragraphs of a page: a letter or a fax. Pure.

The texts are in `alerts/wording`. Their keys are composed: "letter.outage.title", "fax.staff.title". A page to staff
has the text of a call: "call.escalation.outage.both".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from alerts.documents.printable import Json
from alerts.documents.sender import cited_reference
from alerts.model.notification import OUTAGE_PURPOSES, Addressee, Facts, Language, Plan, Purpose
from alerts.wording.key import occasion, situation_key
from alerts.wording.texts import Wording
from alerts.wording.values import Values, failure_cause, for_page, next_step, pending_release

#: Separates a list item's label from its text: "faks : 03-..."
_LABEL_END = " : "
#: Forms of address that are lower case within a sentence; a title ("YBhg. Datuk") is not.
_COMMON_FORMS_OF_ADDRESS = frozenset({"Tuan", "Puan", "Encik", "Cik"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """An item of the list (a), (b), (c)."""

    label: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Paragraph:
    text: str
    items: tuple[Item, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    title: str
    #: The unnumbered first paragraph of a letter; "" on a fax.
    opening: str
    paragraphs: tuple[Paragraph, ...]

    def numbered_paragraphs(self) -> list[Json]:
        """Return the paragraphs in the format of `frame.typ`, which numbers them."""
        return [
            {"text": paragraph.text, "items": [{"label": item.label, "text": item.text} for item in paragraph.items]}
            for paragraph in self.paragraphs
        ]


def typst_language(language: Language) -> str:
    """Return "ms" or "en", typst's name of a language."""
    return language.value.partition("-")[0]


def drill_stamps(facts: Facts, wording: Wording) -> list[Json]:
    """Return the stamps across the page of a drill (a test), in both languages; none for other pages."""
    if facts.purpose is not Purpose.DRILL:
        return []
    return [wording.render(language, "letter.label.drill") for language in (Language.MALAY, Language.ENGLISH)]


def notification_body(kind: str, facts: Facts, addressee: Addressee, language: Language, wording: Wording) -> Body:
    """Return the body of a page; *kind*: "letter" or "fax".

    `situation_key` raises `ValueError` for an incident type of which recipients outside are never notified.
    """
    values = {
        **for_page(facts, language),
        "you": form_of_address(addressee, language),
        "reference": cited_reference(facts),  # Of the earlier page that this page cites.
        # When the page promises further ones: "on each working day".
        "follow_ups": wording.render(language, "letter.follow_ups") if facts.followed_up else "",
    }
    if kind == "letter":
        values["enquiries"] = wording.render(language, "letter.enquiries", values)
    texts = _texts(facts, language, wording, kind, values)
    return build_body(kind, _section(facts, kind), texts, wording, language=language, values=values)


def build_body(
    kind: str, section: str, texts: Sequence[str], wording: Wording, *, language: Language, values: Values
) -> Body:
    """Return a body with the title and, for a letter, the opening of *section*; *texts*: its paragraphs."""
    return Body(
        title=wording.render(language, f"{section}.title", values),
        opening=wording.render(language, f"{section}.opening", values) if kind == "letter" else "",
        paragraphs=tuple(_paragraph(text) for text in texts),
    )


def form_of_address(addressee: Addressee, language: Language) -> str:
    """Return the form of address within a sentence, from the salutation: "tuan/puan", or "YBhg. Datuk"."""
    if language is not Language.MALAY:
        return "you"
    greeting = addressee.salutation.strip().rstrip(",").strip() or Addressee(title="", organisation="").salutation
    return "/".join(
        each.lower() if each in _COMMON_FORMS_OF_ADDRESS else each for each in greeting.rstrip(",").split("/")
    )


def _is_to_staff(facts: Facts) -> bool:
    """Whether the page goes to staff and has the text of a call. The page of a drill has a text of its own instead."""
    return facts.plan is Plan.ESCALATION and facts.purpose is not Purpose.DRILL


def _section(facts: Facts, kind: str) -> str:
    """Return the beginning of the keys: "letter.staff", or with the reason of the page: "fax.recovery"."""
    return f"{kind}.staff" if _is_to_staff(facts) else f"{kind}.{occasion(facts)}"


def _texts(facts: Facts, language: Language, wording: Wording, kind: str, values: Values) -> Sequence[str]:
    situation = situation_key(facts)  # Plan, reason and incident type: "escalation.outage.both".
    if _is_to_staff(facts):
        # Staff get the text of a call, but with times in figures.
        text_values = {
            **values,
            **failure_cause(facts, wording, language, "call"),
            **pending_release(facts, wording, language, "call"),
        }
        text_values |= next_step([facts], wording, language, "call")
        return wording.render_all(language, f"call.{situation}", text_values)
    text_values = {**values, "channels": channel_list(language, wording, kind, values)}
    if facts.purpose in OUTAGE_PURPOSES:
        # Sentences by incident type ("letter.scope.sending"): what works and what fails, after a change of type
        # (change) or during the outage (scope); which channels to use (instruction); what to avoid (warning).
        for name in ("change", "scope", "instruction", *(["warning"] if kind == "letter" else [])):
            text_values[name] = wording.render(language, f"{kind}.{name}.{facts.type}", text_values)
    return wording.render_all(language, f"{_section(facts, kind)}.paragraphs", text_values)


def channel_list(language: Language, wording: Wording, kind: str, values: Values) -> str:
    """Return the sender's postal address, fax and telephone as list items, one per line, punctuated as in a letter."""
    items = wording.render_all(language, f"{kind}.channels", values)
    if kind == "letter" and items:
        last_endings = [f"; {wording.render(language, 'letter.and')}", "."][-len(items) :]
        endings = [";"] * (len(items) - len(last_endings)) + last_endings
        items = tuple(f"{item}{end}" for item, end in zip(items, endings, strict=True))
    return "".join(f"\n{item}" for item in items)


def _paragraph(text: str) -> Paragraph:
    """Return a paragraph from the first line of *text*, and list items from the further lines."""
    head, *lines = text.split("\n")
    return Paragraph(text=head, items=tuple(_item(line) for line in lines))


def _item(line: str) -> Item:
    label, end, text = line.partition(_LABEL_END)
    return Item(label=label, text=text) if end else Item(label="", text=line)
