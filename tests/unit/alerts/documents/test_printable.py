"""Reduction of text to printable characters."""

import re
from pathlib import Path

import pytest
import typst

from alerts.documents import printable as module
from alerts.documents import render
from alerts.documents.printable import printable, printable_all


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("Jabatan Contoh", "Jabatan Contoh"),
        ("Dato\u2019 Sri \u201cContoh\u201d \u2013 5 €", "Dato\u2019 Sri \u201cContoh\u201d \u2013 5 €"),
        ("Cafe\u0301", "Café"),
        ("a\tb\nc\u00a0d  e", "a b c d e"),
        ("a\u202eb\u200bc\x00d\x07", "abcd"),
        ("x \u202e", "x"),
        ("\uff21\uff22", "AB"),
        ("ǎ", "a"),
        ("中ஆج😀", "????"),
        ("?", "?"),
    ],
)
def test_printable_reduces_text_to_font_characters(text: str, printed: str) -> None:
    assert printable(text) == printed


def test_printable_all_keeps_structure() -> None:
    assert printable_all({"a": ["b\n", 1, True, {"c": "中"}]}) == {"a": ["b", 1, True, {"c": "?"}]}


def test_every_printable_character_is_in_font() -> None:
    from alerts.documents.render import _fonts  # noqa: PLC0415 - the font as the renderer sees it

    everything = "".join(chr(code) for first, last in module._PRINTABLE for code in range(first, last + 1))
    source = b'#set document(title: "x")\n#set text(font: "Arimo", lang: "ms")\n#sys.inputs.text'
    pdf = typst.compile(
        source,
        format="pdf",
        font_paths=_fonts(),
        ignore_system_fonts=True,
        sys_inputs={"text": everything},
        pdf_standards=["a-2a", "ua-1"],
    )
    assert pdf.startswith(b"%PDF")


def test_frame_letter_pattern_covers_every_printable_letter() -> None:
    frame = Path(render.__file__).with_name("frame.typ").read_text(encoding="utf-8")
    (letters,) = re.findall(r'let letter = "(.*)"', frame)
    printed = [chr(code) for first, last in module._PRINTABLE for code in range(first, last + 1)]
    assert "".join(re.findall(f"[{letters}]", "".join(printed))) == "".join(filter(str.isalpha, printed))
