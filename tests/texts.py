"""Generator of tests/data/texts.md, every text that people read, for a native reader to review.

`make texts` writes the page and a test compares it. Texts are shown with example facts, first with all optional
facts and then without them, where that differs.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from alerts.documents import phrase
from alerts.documents.maintenance_notice import MaintenanceNotice, MaintenanceNoticeKind, MaintenancePage
from alerts.model.notification import Addressee, Facts, IncidentType, IssuingOffice, Language, Plan, Purpose, Successors
from alerts.wording import bundle, moment, spoken, values
from alerts.wording.lint import septets
from alerts.wording.source import read, sections
from alerts.wording.template import parse
from alerts.wording.text_spec import TEXT_SPECS
from alerts.wording.texts import FILES, load
from monitor.audit import incident_record
from monitor.bridge import incident_policy
from monitor.service.errors import REJECTION_TEXTS
from monitor.web import page

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "tests/data/texts.md"

_BEGAN = datetime(2026, 11, 24, 6, 15, tzinfo=UTC)
OFFICE = IssuingOffice(
    short="JCM",
    name="Jabatan Contoh Malaysia",
    domain="jabatan-contoh.gov.my",
    address=("Aras 2, Blok B", "Jalan Contoh", "62000 PUTRAJAYA"),
    telephone="03-0000 3000",
    fax="03-0000 3001",
    hours="8.00 pagi - 5.00 petang, Isnin - Jumaat",
    hours_en="8.00 am - 5.00 pm, Monday - Friday",
    reference="JCM.100-1/2/3",
    contact_name="Puan Siti binti Contoh",
    contact_post="Penolong Pengarah",
)
_FACTS = Facts(
    purpose=Purpose.OUTAGE,
    plan=Plan.ESCALATION,
    type=IncidentType.BOTH,
    office=OFFICE,
    number="JCM-01",
    began_at=_BEGAN,
    notified_at=_BEGAN + timedelta(minutes=15),
    first_notified_at=_BEGAN,
    ended_at=_BEGAN + timedelta(hours=3, minutes=25),
    subject="peti mel rujukan-a",
    subject_en="mailbox rujukan-a",
    last_response_at=_BEGAN,
    until=_BEGAN + timedelta(hours=1),
    arrived=3,
    undelivered=("Kementerian Contoh (no. 0201)", "Jabatan Contoh Sabah (no. 0202)"),
    unposted=2,
)
_PLANNED = MaintenanceNotice(
    kind=MaintenanceNoticeKind.PLANNED,
    number="JCM-P261124-1415",
    starts_at=_BEGAN + timedelta(days=7),
    ends_at=_BEGAN + timedelta(days=7, hours=6),
    reason="Naik taraf pelayan mel",
    made_at=_BEGAN,
)
_ADVANCE = MaintenancePage(
    notice=replace(
        _PLANNED, starts_at=_BEGAN + timedelta(days=9), ends_at=_BEGAN + timedelta(days=9, hours=6), before=_PLANNED
    ),
    office=OFFICE,
    addressee=Addressee(title="", organisation=""),
    wording=load(),
)
_CAUSES = {
    (Language.MALAY, "sms"): "tiada jawapan",
    (Language.ENGLISH, "sms"): "no answer",
    (Language.MALAY, "call"): "pelayan mel tidak menjawab",
    (Language.ENGLISH, "call"): "the mail server does not answer",
}
_WAITS = {
    (Language.MALAY, "sms"): "Notis luar belum dikeluarkan.",
    (Language.ENGLISH, "sms"): "Outside notices wait.",
    (Language.MALAY, "call"): "Notis kepada pihak luar belum dikeluarkan, dan menunggu kebenaran.",
    (Language.ENGLISH, "call"): "The notices to outside parties have not been issued, and wait for release.",
}
_UPDATES = {
    Language.MALAY: "Selagi gangguan berterusan, notis susulan akan dihantar pada setiap hari bekerja.",
    Language.ENGLISH: "As long as the outage lasts, a follow-up will be sent on each working day.",
}
#: Longest values: 11 letters, 8 characters, the longest time and code.
_LONGEST_TIME = datetime(2026, 12, 22, 4, 58, tzinfo=UTC)
_LONGEST = replace(
    _FACTS,
    office=replace(OFFICE, short="ABCDEFGHIJK"),
    number="NNNNN-99",
    began_at=_LONGEST_TIME,
    notified_at=_LONGEST_TIME,
    ended_at=_LONGEST_TIME,
    last_response_at=_LONGEST_TIME,
    until=_LONGEST_TIME,
    first_notified_at=_LONGEST_TIME,
    arrived=999,
    undelivered=("",) * 999,
    unposted=999,
    subject="",
    subject_en="",
)

_CHANNELS = ("sms", "call", "letter", "fax", "list", "page", "dossier", "alert", "runbook", "advice")

#: Texts in the code instead of YAML files: section and dictionary.
_CODE_TEXTS: tuple[tuple[str, Mapping[Any, str]], ...] = (
    ("dossier.matter", phrase.INCIDENT_TYPES),
    ("dossier.state", phrase.STATES),
    ("dossier.event", phrase.EVENTS),
    ("dossier.deed", phrase.ACTIONS),
    ("dossier.outcome", incident_record.OUTCOMES),
    ("dossier.phase", incident_record.PHASES),
    ("dossier.party", incident_record.PARTIES),
    *((f"dossier.result.{channel}", results) for channel, results in phrase.RESULTS.items()),
    ("dossier.result", phrase.COMMON_RESULTS),
    ("page.channel", phrase.CHANNELS),
    ("page.purpose", phrase.PURPOSES),
    ("page.incident", phrase.INCIDENT_STATES),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A text as it is sent."""

    language: Language
    #: "sms", "call", "letter".
    channel: str
    #: Key of the text: "escalation.outage.both".
    key: str
    text: str
    #: "137, at most 153 septets", "24 words".
    length: str


def texts() -> Iterator[Text]:
    """Yield every text, in the order of the files."""
    for language in Language:
        yield from _wording_texts(language)
    yield from _code_texts()
    yield from _incident_record_texts()
    yield from _page_texts()
    yield from _alert_texts()
    yield from _runbook_texts()
    yield from _advice_texts()


def document() -> str:
    """Return tests/data/texts.md."""
    lines = [_HEAD]
    sections_by_channel: dict[tuple[Language, str], list[Text]] = {}
    for text in texts():
        sections_by_channel.setdefault((text.language, text.channel), []).append(text)
    for (language, channel), found in sorted(sections_by_channel.items(), key=lambda each: _CHANNELS.index(each[0][1])):
        name = "Malay" if language is Language.MALAY else "English"
        lines += [
            f"\n## {name}: {channel}\n",
            "| text | what people read | length | mark |",
            "| --- | --- | --- | --- |",
        ]
        lines += [f"| {f'`{each.key}`' if each.key else ''} | {_cell(each.text)} | {each.length} | |" for each in found]
    return "\n".join(lines) + "\n"


_HEAD = """\
# All texts

Written by `make texts`; a test compares it with the texts. For a reader whose language it is: mark what is wrong, say what
should stand there, and change it in `alerts/wording/ms.yaml` or `en.yaml`, or in the file that a site names with `wording`.
The advice is in `monitor/advice/ms.yaml` and `en.yaml`: what it means, what to do, what to look at; `{server}` and the like are filled in.
Texts of the page, of dossiers, alerts and runbooks stand in the code and with the rules.

Sebarang kesilapan ejaan, istilah atau laras bahasa mohon ditandakan dalam lajur terakhir.

An SMS has its length in septets: of this example, and at most (a short name of 11 letters, a number of 8 characters, the
longest moment and code); up to 153 every provider has room for it. A call and a page have theirs in words. `/` stands
between sentences that are spoken, and paragraphs that are printed, one after the other."""


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())


def _wording_texts(language: Language) -> Iterator[Text]:
    for entry in read(ROOT / "alerts/wording" / FILES[language]):
        channel, key = _channel(entry.key)
        templates = [parse(each) for each in ([entry.value] if isinstance(entry.value, str) else entry.value)]
        maybe = TEXT_SPECS[entry.key].maybe
        full, longest = _values(entry.key, language, _FACTS), _values(entry.key, language, _LONGEST)
        seen: list[str] = []
        # An escalated incident has another text than an expired acknowledgement.
        expired = {name for name in maybe if name.startswith("heard")}
        # A detected outage has no name of the person who declared it.
        for left_out in ((), {"declared"} & maybe, expired, maybe):
            texts_of_place = [template.fill({**full, **dict.fromkeys(left_out, "")}) for template in templates]
            text = " / ".join(filter(None, texts_of_place))
            if not text or text in seen:
                continue
            seen.append(text)
            at_most = None
            if channel == "sms" and not entry.key.startswith("out_of_band"):
                at_most = septets(templates[0].fill({**longest, **dict.fromkeys(left_out, "")}))
            yield Text(language=language, channel=channel, key=key, text=text, length=_length(channel, text, at_most))


def _channel(key: str) -> tuple[str, str]:
    """Return "sms" and "bundle.escalation.outage.mail" for "bundle.sms.escalation.outage.mail"."""
    parts = key.split(".")
    at = 1 if parts[0] in {"bundle", "out_of_band"} and parts[1] in {"sms", "call", "list"} else 0
    if parts[0] == "out_of_band" and at == 0:
        return "call", key
    return parts[at], ".".join(parts[:at] + parts[at + 1 :])


def _length(channel: str, text: str, at_most: int | None) -> str:
    if channel == "sms":
        return f"{septets(text)} septets" if at_most is None else f"{septets(text)}, at most {at_most} septets"
    count = len(re.findall(r"\w[\w'/.-]*", text))
    return f"{count} word{'' if count == 1 else 's'}"


def _values(key: str, language: Language, facts: Facts) -> dict[str, str]:
    """Return the values of the placeholders of a text."""
    several = [facts, replace(facts, office=replace(facts.office, short="MDC", name="Majlis Daerah Contoh"))]
    more = {
        "response": "1A" if facts is _FACTS else "99A",
        "by": "Siti binti Contoh",
        "relieved": "Ali bin Contoh",
        "whose": "pantau-2",
    }
    channel, who = _channel(key)[0], Successors.OTHERS if facts is _FACTS else Successors.SELF
    if channel in {"sms", "call"}:
        more["then"] = load().render(language, f"{channel}.then.{who}")
    if facts is _FACTS:
        more["cause"] = _CAUSES.get((language, key.partition(".")[0]), "")
        more["waits"] = _WAITS.get((language, key.partition(".")[0]), "")
    # Short form of the name, where there is no room.
    more["declared"] = "Siti binti Contoh" if facts is _FACTS else "Siti"
    match key.split("."):
        case ["bundle", "sms", *_]:
            names = [each.office.short for each in several]
            handed = bundle.for_sms([replace(each, escalated=True) for each in several], language, names, 5)
            return {**handed, **bundle.for_sms(several, language, names, 5), **more}
        case ["sms", *_]:
            handed = dict(values.for_sms(replace(facts, escalated=True), language))
            return {**handed, **values.for_sms(facts, language), **more}
        case ["out_of_band", "sms", *_]:
            return {
                "began": moment.stamp(facts.began_at, language),
                "ended": moment.stamp(_ended(facts), language),
            } | more
        case ["bundle", "call", *_]:
            handed = dict(bundle.for_call([replace(each, escalated=True) for each in several], language))
            return {
                **handed,
                **bundle.for_call(several, language),
                "by": more["by"],
                "then": more["then"],
                "more": spoken.number(3, language),
            }
        case ["call" | "out_of_band", *_]:
            counted = {"recipients": spoken.number(2, language), "count": spoken.number(2, language)}
            counts = "satu faks dan satu surat" if language is Language.MALAY else "one by fax and one by letter"
            listed = {"names": "; ".join(each.office.name for each in several), "more": spoken.number(3, language)}
            listed["updates"] = _UPDATES[language]
            handed = dict(values.for_call(replace(facts, escalated=True), language))
            return {**handed, **values.for_call(facts, language), **counted, **listed, "counts": counts, **more}
        case _:
            inner = {
                name: f"({name})" for name in ("change", "scope", "instruction", "warning", "channels", "enquiries")
            }
            inner["you"] = "tuan/puan" if language is Language.MALAY else "you"
            inner["reference"] = "JCM.600-1/2 Jld. 1 (1)"
            advance = _ADVANCE.placeholders(language) if ".maintenance" in key else {}
            return {**values.for_page(facts, language), **advance, **inner, "count": "2"}


def _ended(facts: Facts) -> datetime:
    assert facts.ended_at is not None
    return facts.ended_at


def _malay(channel: str, key: str, text: str) -> Text:
    return Text(language=Language.MALAY, channel=channel, key=key, text=text, length=_length(channel, text, None))


def _code_texts() -> Iterator[Text]:
    for place, texts_of_place in _CODE_TEXTS:
        channel, _, about = place.partition(".")
        for key, text in texts_of_place.items():
            yield _malay(channel, f"{about}.{key}", text)
    for key, (malay, *_) in REJECTION_TEXTS.items():
        yield _malay("page", f"refused.{key}", malay)
    for section in page.PAGE_TEXTS:
        if not section.startswith("english."):
            for key, text in page.texts_of(section, page.PageLanguage.MALAY).items():
                yield _malay("page", f"{section}.{key}", text)
    for blame, (malay, _) in incident_policy.FAULT_NAMES.items():
        yield _malay("page", f"subject.{blame}", malay)


def _incident_record_texts() -> Iterator[Text]:
    """Yield headings and sentences of the module: literals with a capital first letter or a space."""
    module = ast.parse((ROOT / "alerts/documents/incident_record.py").read_text(encoding="utf-8"))
    documented = (node for node in ast.walk(module) if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef))
    docstrings = {ast.get_docstring(node, clean=False) for node in documented}
    literals = [
        node.value for node in ast.walk(module) if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    for text in dict.fromkeys(literals):
        if text not in docstrings and re.search(r"^[A-Z]\w{2}|\w{3} \w{3}", text):
            yield _malay("dossier", "", text)


def _page_texts() -> Iterator[Text]:
    for template in sorted((ROOT / "monitor/web/templates").glob("*.html")):
        # English, placeholders and markup are removed; Malay is left.
        plain = re.sub(
            r"{#.*?#}|{%.*?%}|{{.*?}}|<(\w+) lang=\"en\">.*?</\1>", "\n", template.read_text("utf-8"), flags=re.DOTALL
        )
        lines = (line.strip(" ·:,") for line in re.sub(r"<[^>]*>", "\n", plain).splitlines())
        for line in dict.fromkeys(lines):
            if re.search(r"[^\W\d_]{3}", line):
                yield _malay("page", template.name, line)
    for key, texts_of_place in sections(ROOT / "monitor/web/uptime_bars.yaml")["ms"].items():
        yield _malay("page", f"history.{key}", texts_of_place)


def _alert_texts() -> Iterator[Text]:
    rules = yaml.safe_load((ROOT / "grafana/rules/pantau.rules.yml").read_text(encoding="utf-8"))
    for group in rules["groups"]:
        for rule in group["rules"]:
            for name in ("summary_ms", "description_ms"):
                if name in rule.get("annotations", {}):
                    yield _malay("alert", f"{rule['alert']} {name}", rule["annotations"][name])


def _runbook_texts() -> Iterator[Text]:
    for runbook in sorted((ROOT / "docs/runbooks").glob("*.md")):
        for found in re.findall(r"\*\*Ringkasan:\*\*((?:.+\n)+)", runbook.read_text(encoding="utf-8")):
            yield _malay("runbook", runbook.name, found)


def _advice_texts() -> Iterator[Text]:
    for language, file in FILES.items():
        for section, texts_of_place in sections(ROOT / "monitor/advice" / file).items():
            if section.startswith("shared"):
                continue
            found = {f"{section}.{name}": text for name, text in texts_of_place.items()}
            if "what" in texts_of_place:
                found = {
                    section: " / ".join(
                        (texts_of_place["what"], texts_of_place["do"], *texts_of_place.get("steps", ()))
                    )
                }
            for key, text in found.items():
                length = _length("advice", text, None)
                yield Text(language=language, channel="advice", key=key, text=text, length=length)


if __name__ == "__main__":
    DOCUMENT.write_text(document(), encoding="utf-8")
