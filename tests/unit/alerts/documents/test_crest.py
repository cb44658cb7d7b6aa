"""Crest of a letter: drawn if safe, rejected with a reason if not."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pytest

from alerts.documents.crest import MAX_OCTETS, Crest, CrestFormat, InvalidCrestError, read_crest
from alerts.documents.render import can_render, letter
from monitor.config.agency.letterhead import load_crest
from tests.unit.alerts.documents.pages import FACTS, LONG, LONG_ADDRESSEE, MINISTRY, boxes
from tests.unit.alerts.wording.situations import WORDING

SHAPES = (
    '<defs><linearGradient id="a"><stop stop-color="#036"/></linearGradient></defs><path d="M0 0h9v9z" fill="url(#a)"/>'
)


def svg(inside: str = SHAPES, attributes: str = 'viewBox="0 0 10 10"') -> bytes:
    return f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:x="urn:x" {attributes}>{inside}</svg>'.encode()


def png(width: int = 8, height: int = 8) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(b"".join(b"\0" + b"\x20\x60\xa0" * min(width, 8) for _ in range(min(height, 8))))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("octets", "form"),
    [
        (svg(), CrestFormat.SVG),
        (b"\xef\xbb\xbf" + svg(), CrestFormat.SVG),
        (
            b'<?xml version="1.0" encoding="UTF-8"?><!-- x -->' + svg(SHAPES + "<x:notes>siapa</x:notes>"),
            CrestFormat.SVG,
        ),
        (png(), CrestFormat.PNG),
    ],
)
def test_valid_crest_is_rendered(octets: bytes, form: CrestFormat) -> None:
    crest = read_crest(octets)
    assert crest.format is form
    assert can_render(crest)
    assert "octets" not in repr(crest)


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        (b"", "is neither"),
        (b"GIF89a", "is neither"),
        (b"\xff\xfe<\0s\0v\0g\0", "in UTF-8"),
        (b"<html/>", "not an SVG drawing"),
        (b"<svg/>", "not an SVG drawing"),
        (svg() + b" " * MAX_OCTETS, "is larger than 256 KiB"),
        (b'<!DOCTYPE svg [<!ENTITY a "b">]>' + svg("&a;"), "document type"),
        (b"<!doctype svg>" + svg(), "document type"),
        (svg("<script>x()</script>"), "contains <script>"),
        (svg("<text>JCM</text>"), "contains <text>"),
        (svg('<image href="a.png"/>'), "contains <image>"),
        (svg('<g id="a"/><use href="#a"/>'), "contains <use>"),
        (svg("<foreignObject/>"), "contains <foreignObject>"),
        (svg('<g onload="x()"/>'), "contains a script"),
        (svg('<linearGradient href="http://jahat.contoh/a#b"/>'), "another file"),
        (svg('<linearGradient x:href="file:///etc/passwd"/>'), "another file"),
        (svg('<g fill="url(http://jahat.contoh/a)"/>'), "another file"),
        (svg("<g style=\"fill: url( 'a.svg#b' )\"/>"), "another file"),
        (svg('<style>@import "a.css";</style>'), "another file"),
        (svg("<g/>" * 6000), "more than 5000"),
        (png(4000, 10), "4000 x 10 pixels"),
        (png(0, 10), "0 x 10 pixels"),
        (b"\x89PNG\r\n\x1a\n", "not a complete PNG"),
    ],
)
def test_unsafe_or_invalid_crest_is_rejected_with_reason(octets: bytes, why: str) -> None:
    with pytest.raises(InvalidCrestError, match=why):
        read_crest(octets)


@pytest.mark.parametrize("octets", [png()[:60], png().replace(b"IDAT", b"XDAT")])
def test_corrupt_crest_is_rejected_when_loaded(octets: bytes, tmp_path: Path) -> None:
    file = tmp_path / "jata"
    file.write_bytes(octets)
    with pytest.raises(InvalidCrestError, match="cannot be drawn"):
        load_crest(file)


@pytest.mark.parametrize("name", ["tiada.svg", "."])
def test_missing_crest_file_is_reported(name: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidCrestError, match="cannot be read"):
        load_crest(tmp_path / name)


@pytest.mark.parametrize("octets", [svg(), png(), svg(attributes='viewBox="0 0 900 10"')], ids=["svg", "png", "wide"])
def test_letter_with_crest_keeps_layout(octets: bytes, tmp_path: Path) -> None:
    crest = read_crest(octets)
    for facts, addressee in ((FACTS, MINISTRY), (LONG, LONG_ADDRESSEE)):
        plain, crested = letter(facts, addressee, WORDING), letter(facts, addressee, WORDING, crest=crest)
        assert crested.pages == plain.pages
        without = {word[0]: word[1:] for word in boxes(plain, tmp_path)}
        bearing = {word[0]: word[1:] for word in boxes(crested, tmp_path)}
        # The envelope window and the fold.
        for word in ("Ruj.", "Tarikh", addressee.title.split()[0], "PEMAKLUMAN"):
            assert bearing[word] == pytest.approx(without[word]), word
        assert max(right for _, _, right, _ in bearing.values()) <= 185.1
    assert crested.pdf != plain.pdf
    assert letter(FACTS, MINISTRY, WORDING, crest=crest).pdf == letter(FACTS, MINISTRY, WORDING, crest=crest).pdf


def test_letter_with_crest_differs_from_letter_without() -> None:
    one = letter(FACTS, MINISTRY, WORDING, crest=Crest(format=CrestFormat.PNG, octets=png()))
    assert one.pdf != letter(FACTS, MINISTRY, WORDING).pdf
