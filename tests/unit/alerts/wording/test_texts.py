"""Texts of a site, and the errors in them."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from alerts.model.notification import Language, Plan
from alerts.wording import bundle
from alerts.wording.call import compose as call
from alerts.wording.catalogue import WordingError
from alerts.wording.sms import compose as sms
from alerts.wording.text_spec import TEXT_SPECS
from alerts.wording.texts import load
from alerts.wording.values import for_call, for_page, for_sms
from tests.unit.alerts.documents.test_maintenance_notice import CHANGED, page
from tests.unit.alerts.wording.situations import OUTAGE


def site_texts(directory: Path, text: str, file: str = "ms.yaml") -> Path:
    (directory / file).write_text(text, encoding="utf-8")
    return directory


def test_site_text_replaces_one_default_and_keeps_rest(tmp_path: Path) -> None:
    wording = load(
        site_texts(
            tmp_path,
            "sms:\n  announcement:\n    outage:\n      both: >-\n        RM0 {agency}: E-mel terganggu. Ruj {number}\n"
            "call:\n  closing: ['Nombor {number}.', 'Sekian.']\n",
        )
    )
    assert sms(OUTAGE, Language.MALAY, wording).text == "RM0 JCM: E-mel terganggu. Ruj JCM-07"
    assert sms(OUTAGE, Language.ENGLISH, wording) == sms(OUTAGE, Language.ENGLISH, load())
    blocks = call(OUTAGE, Language.MALAY, wording).scripts[0].blocks
    assert blocks[-2:] == ("Nombor J, C, M, sempang, kosong, tujuh.", "Sekian.")


def test_directory_without_texts_changes_nothing(tmp_path: Path) -> None:
    site_texts(tmp_path, "")
    assert sms(OUTAGE, Language.MALAY, load(tmp_path)) == sms(OUTAGE, Language.MALAY, load())


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "sms:\n  announcement:\n    drill: 'RM0 {agensi}: LATIHAN'\n",
            (
                "ms.yaml:3: sms.announcement.drill: {agensi} is unknown here; write {agency}, {began}, {noticed}, {number}, "
                "{subject}"
            ),
        ),
        (
            "letter:\n  enquiries: 'Telefon {contact_telephone}.'\n",
            "ms.yaml:2: letter.enquiries: {contact_telephone} may be empty; put [ and ] around the part to leave out",
        ),
        (
            "letter:\n  label:\n    date: '{began}'\n",
            "ms.yaml:3: letter.label.date: {began} is unknown here; write no placeholder at all",
        ),
        (
            "sms:\n  announcement:\n    recover: x\n",
            "ms.yaml:3: sms.announcement.recover: is an unknown text; write sms.announcement.recovery, or remove it",
        ),
        ("zzz: x\n", "ms.yaml:1: zzz: is an unknown text; remove it"),
        (
            "call:\n  hand_on: x\n",
            "ms.yaml:2: call.hand_on: `hand_on` is now `escalate`; write call.escalate",
        ),
        (
            "lifeline:\n  goodbye: x\n",
            "ms.yaml:2: lifeline.goodbye: `lifeline` is now `out_of_band`; write out_of_band.goodbye",
        ),
        (
            "sms:\n  cause:\n    name: x\n",
            "ms.yaml:3: sms.cause.name: `cause.name` is now `cause.dns`; write sms.cause.dns",
        ),
        ("sms:\n  announcement: x\n", "sms.announcement: is an unknown text"),
        ("letter:\n  closing: [a, b]\n", "ms.yaml:2: letter.closing: must be one text"),
        ("call:\n  closing: a\n", "ms.yaml:2: call.closing: must be a list of texts"),
        ("call:\n  closing: [[a]]\n", "ms.yaml:2: call.closing must be a list of texts"),
        ("call:\n  closing: []\n", "ms.yaml:2: call.closing: is empty; write the text"),
        ("letter:\n  closing:\n", "ms.yaml:2: letter.closing: is empty; write the text"),
        ("letter:\n  closing: 'a ]'\n", "ms.yaml:2: letter.closing: a ']' without an opening bracket"),
        ("letter:\n  closing: a\n  closing: b\n", "ms.yaml:3: closing is there twice; keep one"),
        ("? [a]\n: b\n", "ms.yaml:1: a key must be a plain word"),
        ("- a\n", "ms.yaml:1: must contain keys and texts"),
        ("a: [\n", "ms.yaml:2: is not YAML"),
        (
            "sms:\n  announcement:\n    drill: '{agency}: LATIHAN'\n",
            "ms.yaml:3: sms.announcement.drill: prefix: the text must begin with 'RM0 '",
        ),
        (
            "sms:\n  announcement:\n    drill: 'RM0 {agency}: telefon 03-0000 3000'\n",
            "ms.yaml:3: sms.announcement.drill: digits: '03-0000 3000' looks like a telephone number",
        ),
        (
            f"sms:\n  announcement:\n    drill: 'RM0 {{agency}}: {'x' * 160}'\n",
            "ms.yaml:3: sms.announcement.drill: length: 169 septets; shorten the text by 9",
        ),
    ],
)
def test_bad_text_is_rejected_with_file_line_key_and_advice(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(WordingError) as caught:
        load(site_texts(tmp_path, text))
    assert problem in str(caught.value)
    assert len(caught.value.problems) == 1


def test_all_problems_are_reported_together(tmp_path: Path) -> None:
    site_texts(tmp_path, "zzz: x\nletter:\n  closing: '{y}'\n")
    site_texts(tmp_path, "xxx: y\n", file="en.yaml")
    with pytest.raises(WordingError) as caught:
        load(tmp_path)
    assert [problem.partition(":")[0] for problem in caught.value.problems] == ["ms.yaml", "ms.yaml", "en.yaml"]


def test_unknown_file_name_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(WordingError, match=r"my\.yaml: is not read; write its name as ms\.yaml or en\.yaml"):
        load(site_texts(tmp_path, "", file="my.yaml"))


def test_missing_directory_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(WordingError, match="is no directory"):
        load(tmp_path / "nowhere")


_BILLIONS = "a: &a {x: y, z: w}\n" + "".join(
    f"{chr(n)}: &{chr(n)} {{a: *{chr(n - 1)}, b: *{chr(n - 1)}, c: *{chr(n - 1)}}}\n" for n in range(98, 123)
)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: &a {b: *a}\n", "ms.yaml:1: aliases (*) are not supported here; write the texts out"),
        (_BILLIONS, "ms.yaml:1: aliases (*) are not supported here; write the texts out"),
        ("a: " + "[" * 5000, "ms.yaml: is nested too deeply; write fewer levels"),
        (
            'a: "\\UFFFFFFFF"\n',
            "ms.yaml: is not YAML: it contains an escape that is not allowed; write the character itself",
        ),
        (
            'a: "\\U00110000"\n',
            "ms.yaml: is not YAML: it contains an escape that is not allowed; write the character itself",
        ),
        ("x: " + "y" * 600_000, "ms.yaml: is not a file of texts; write keys and texts in it, or remove it"),
    ],
    ids=["an alias of itself", "billions", "nested", "an escape", "another escape", "a large one"],
)
def test_file_abusing_yaml_is_rejected(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(WordingError) as refused:
        load(site_texts(tmp_path, text))
    assert problem in refused.value.problems


def test_texts_in_fifo_are_rejected_without_blocking(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "ms.yaml")
    with pytest.raises(WordingError, match=r"ms\.yaml: is not a file of texts"):
        load(tmp_path)


def test_file_in_other_encoding_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "ms.yaml").write_bytes("letter:\n  closing: café\n".encode("latin-1"))
    with pytest.raises(WordingError, match="saved as UTF-8"):
        load(tmp_path)


@pytest.mark.parametrize("plan", Plan)
def test_every_placeholder_has_value(plan: Plan) -> None:
    facts = replace(OUTAGE, plan=plan)
    given = {
        # Besides the facts: the reply code, and the counts of an announcement.
        "sms": set(for_sms(facts, Language.MALAY)) | {"response", "by", "cause", "waits", "then"},
        "call": set(for_call(facts, Language.MALAY))
        | {"recipients", "counts", "updates", "count", "names", "more", "cause", "waits", "then"},
        "page": set(for_page(facts, Language.MALAY)) | {"cause", "waits", "then"},
        # tests/unit/alerts/wording/test_out_of_band.py composes all of them.
        "out_of_band": {"whose", *for_sms(facts, Language.MALAY), *for_call(facts, Language.MALAY)},
    }
    # An escalated incident has `then` instead of `waits`.
    handed, unposted = replace(facts, escalated=True), replace(facts, unposted=2)
    for each in (handed, unposted):
        given["sms"] |= set(for_sms(each, Language.MALAY))
        given["call"] |= set(for_call(each, Language.MALAY))
        given["page"] |= set(for_page(each, Language.MALAY))
    given["bundle"] = {"response", "by", "then", *bundle.for_sms([facts], Language.MALAY, ["JCM"], 1)}
    for each in (facts, handed):
        given["bundle"] |= {
            *bundle.for_sms([each], Language.MALAY, ["JCM"], 1),
            *bundle.for_call([each], Language.MALAY),
        }
    phrases = {"change", "scope", "instruction", "warning", "enquiries", "channels", "you", "reference", "follow_ups"}
    advance = set(page(CHANGED).placeholders(Language.MALAY))
    for key, need in TEXT_SPECS.items():
        kind = key.partition(".")[0]
        printed = given["page"] | phrases | (advance if ".maintenance" in key else set())
        assert need.always | need.maybe <= given.get(kind, printed), key
        # Staff get the text of a call on paper, except for texts about a release.
        if kind == "call" and key != "call.closing" and not key.startswith("call.release."):
            assert need.always | need.maybe <= given["page"], key
